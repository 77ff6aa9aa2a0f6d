//! A request target's path: checked, dot segments merged once, everything else left as sent.
//!
//! Whatever comes out is what routes match **and** what goes upstream, so the two cannot differ.
//! Percent-encoding is never decoded: `/v1/models/org%2Fname` names one model.

use crate::error::Violation;
use crate::octets;

/// Appends the normal form of an origin-form target (`/path[?query]`) or `*`; gives the length of
/// its path. On error `out` may hold a part of it.
pub fn normalise(target: &[u8], out: &mut Vec<u8>) -> Result<usize, Violation> {
    // RFC 3986 §2: octets outside the URI alphabet are sent encoded. A `#` is never sent (§3.5).
    if !octets::is_target(target) {
        return Err(Violation::bad_request(
            "target has an octet that must be encoded",
        ));
    }
    let start = out.len();
    let query = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(query).unwrap_or((target, &[]));
    match path {
        b"*" if query.is_empty() => out.push(b'*'),
        [b'/', ..] if is_plain(path) => out.extend_from_slice(path),
        [b'/', rest @ ..] => {
            check_escapes(path)?;
            merge(rest, out)?;
        }
        _ => return Err(Violation::bad_request("target is not in origin form")),
    }
    let path_len = out.len() - start;
    out.extend_from_slice(query);
    Ok(path_len)
}

/// No escapes and no segment that starts with a dot: nothing to check and nothing to merge.
fn is_plain(path: &[u8]) -> bool {
    let dotted = |at: usize| at > 0 && path.get(at - 1) == Some(&b'/');
    memchr::memchr2_iter(b'%', b'.', path).all(|at| path.get(at) == Some(&b'.') && !dotted(at))
}

/// Every `%` starts an escape; none of them is NUL, CR, LF or `\`; those above 0x7f are UTF-8.
fn check_escapes(path: &[u8]) -> Result<(), Violation> {
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        rest = rest.get(at..).unwrap_or_default();
        let first = escape(rest)?;
        match first {
            0 | b'\r' | b'\n' => {
                return Err(Violation::bad_request("path has an encoded NUL, CR or LF"));
            }
            b'\\' => return Err(Violation::bad_request("path has an encoded backslash")),
            ..=0x7f => rest = rest.get(3..).unwrap_or_default(),
            _ => rest = check_utf8(rest, first)?,
        }
    }
    Ok(())
}

/// The octet of the escape that `bytes` start with.
fn escape(bytes: &[u8]) -> Result<u8, Violation> {
    let hex = |byte: u8| char::from(byte).to_digit(16);
    if let [b'%', high, low, ..] = bytes
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        return Ok((high * 16 + low) as u8);
    }
    Err(Violation::bad_request(
        "path has a % without two hexadecimal digits",
    ))
}

/// An encoded character of two to four octets. RFC 3629 §3: overlong forms are invalid; decoders
/// that take them see a `/` or a `.` where we see none.
fn check_utf8(bytes: &[u8], first: u8) -> Result<&[u8], Violation> {
    let len = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let mut octets = [0; 4];
    let mut rest = bytes;
    for octet in octets.iter_mut().take(len) {
        *octet = escape(rest)?;
        rest = rest.get(3..).unwrap_or_default();
    }
    match octets.get(..len).map(std::str::from_utf8) {
        Some(Ok(_)) => Ok(rest),
        _ => Err(Violation::bad_request(
            "path has encoded octets that are not UTF-8",
        )),
    }
}

/// RFC 3986 §5.2.4, once: `.` and `..`, encoded or not; above the root is the root.
fn merge(path: &[u8], out: &mut Vec<u8>) -> Result<(), Violation> {
    let root = out.len();
    let mut segments = path.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let Some(dots) = dots(segment) else {
            check_hidden_dots(segment)?;
            out.push(b'/');
            out.extend_from_slice(segment);
            continue;
        };
        if dots == 2 {
            let parent = out.get(root..).unwrap_or_default();
            let len = memchr::memrchr(b'/', parent).unwrap_or(0);
            out.truncate(root + len);
        }
        if segments.peek().is_none() {
            out.push(b'/');
        }
    }
    Ok(())
}

/// `Some(1)` for `.`, `Some(2)` for `..`, in any mixture of plain and encoded dots.
fn dots(segment: &[u8]) -> Option<usize> {
    let mut rest = segment;
    let mut count = 0;
    loop {
        rest = match rest {
            [] => return (1..=2).contains(&count).then_some(count),
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return None,
        };
        count += 1;
    }
}

/// An encoded slash stays a part of its segment, but an upstream that decodes it must not find a
/// dot segment beside it: `/public/..%2fadmin` has no honest use.
fn check_hidden_dots(segment: &[u8]) -> Result<(), Violation> {
    let mut start = 0;
    let mut slashes = 0;
    for at in memchr::memchr_iter(b'%', segment) {
        if matches!(segment.get(at + 1..at + 3), Some([b'2', b'f' | b'F'])) {
            slashes += 1;
            hidden_dots(segment.get(start..at))?;
            start = at + 3;
        }
    }
    if slashes == 0 {
        Ok(())
    } else {
        hidden_dots(segment.get(start..))
    }
}

fn hidden_dots(part: Option<&[u8]>) -> Result<(), Violation> {
    match part.and_then(dots) {
        Some(_) => Err(Violation::bad_request(
            "path has a dot segment behind an encoded slash",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> Result<String, &'static str> {
        let mut out = b"kept".to_vec();
        let len = normalise(target.as_bytes(), &mut out).map_err(|v| v.why)?;
        assert!(out.starts_with(b"kept"));
        assert!(len <= out.len() - 4);
        Ok(String::from_utf8(out.split_off(4)).unwrap())
    }

    #[test]
    fn merges_dot_segments_once() {
        for (target, normal) in [
            ("/", "/"),
            ("*", "*"),
            ("/v1/chat", "/v1/chat"),
            ("/v1/chat?x=/../y", "/v1/chat?x=/../y"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/b/../", "/a/"),
            ("/..", "/"),
            ("/../../x", "/x"),
            ("/.", "/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b?q", "/b?q"),
            ("/a/%2e/b", "/a/b"),
            ("/a//../b", "/a/b"),
            ("//a//", "//a//"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
            ("/a/%252e%252e/b", "/a/%252e%252e/b"),
            ("/v1/models/org%2Fname", "/v1/models/org%2Fname"),
            ("/v1/models/llama-3.1%2fx", "/v1/models/llama-3.1%2fx"),
            ("/%e2%82%ac/%C3%A9", "/%e2%82%ac/%C3%A9"),
            ("/a?%zz%00", "/a?%zz%00"),
        ] {
            assert_eq!(path(target).as_deref(), Ok(normal), "{target}");
        }
    }

    #[test]
    fn refuses_what_an_upstream_may_read_otherwise() {
        for target in [
            "",
            "a",
            "?x",
            "*?",
            "**",
            "/%",
            "/%4",
            "/%4g",
            "/%g4",
            "/%00",
            "/a%0d",
            "/%0A",
            "/%5c",
            "/%5C..",
            "/%c0%af",
            "/%e0%80%af",
            "/%f0%80%80%af",
            "/%ff",
            "/%80",
            "/%c3",
            "/%c3a",
            "/%ed%a0%80",
            "/%f4%90%80%80",
            "/ ",
            "/\t",
            "/\"",
            "/<",
            "/>",
            "/\\",
            "/^",
            "/`",
            "/{",
            "/|",
            "/}",
            "/#",
            "/\u{7f}",
            "/é",
            "/a?é",
            "/a?b#c",
            "/a..%2f../b/%2e",
            "/a/..%2fb",
            "/a/x%2F%2e%2e",
            "/a/x%2f.%2fy",
            "/\0",
        ] {
            assert!(path(target).is_err(), "{target:?}");
        }
    }
}
