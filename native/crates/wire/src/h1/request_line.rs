//! The request line: three parts, two single spaces, nothing else.

use crate::error::{Code, Violation};
use crate::message::{RequestHead, Version};
use crate::method::Method;
use crate::octets;

/// A request line whose form, method and version are acceptable; its target is not yet judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLine<'a> {
    pub(crate) method: Method,
    pub(crate) version: Version,
    target: &'a [u8],
}

const MALFORMED: Violation =
    Violation::bad_request("request line is not method, target and version");

impl<'a> RequestLine<'a> {
    /// `line` is without its CRLF.
    ///
    /// RFC 9112 §3: "request-line = method SP request-target SP HTTP-version". Whitespace of other
    /// kinds may be taken as a delimiter (§3), which is what request smugglers live on: refused.
    pub(crate) fn parse(line: &'a [u8], method_bytes_max: usize) -> Result<Self, Violation> {
        let (method, rest) = cut(line)?;
        let (target, version) = cut(rest)?;
        if !octets::is_token(method) {
            return Err(Violation::bad_request("method is not a token"));
        }
        if target.is_empty() {
            return Err(MALFORMED);
        }
        let version = parse_version(version)?;
        // RFC 9112 §3: a method longer than any implemented one SHOULD get 501.
        let method = Method::from_bytes(method)
            .filter(|_| method.len() <= method_bytes_max)
            .ok_or(Violation::connection(
                Code::NotImplemented,
                "method is too long",
            ))?;
        match method {
            // RFC 9110 §9.3.8: TRACE would reflect credentials; §9.3.6: we are no tunnel.
            Method::Trace | Method::Connect => Err(Violation::connection(
                Code::MethodNotAllowed,
                "TRACE or CONNECT",
            )),
            _ => Ok(Self {
                method,
                version,
                target,
            }),
        }
    }

    /// Puts method, version and target into `head`; the authority only if the target has one.
    pub(crate) fn store(&self, head: &mut RequestHead) -> Result<(), Violation> {
        head.method = self.method;
        head.version = self.version;
        match self.target {
            [b'/', ..] => head.set_target(self.target),
            b"*" => self.store_asterisk(head),
            _ => self.store_absolute(head),
        }
    }

    /// RFC 9112 §3.2.4: asterisk-form is only for OPTIONS.
    fn store_asterisk(&self, head: &mut RequestHead) -> Result<(), Violation> {
        if self.method == Method::Options {
            head.set_target(b"*")
        } else {
            Err(Violation::bad_request("target * without OPTIONS"))
        }
    }

    /// RFC 9112 §3.2.2: a server MUST accept the absolute form.
    fn store_absolute(&self, head: &mut RequestHead) -> Result<(), Violation> {
        // RFC 9112 §3.2.3: the authority form is only for CONNECT, which never comes here.
        let rest = strip_scheme(self.target).ok_or(Violation::bad_request(
            "target is neither a path nor an http URI",
        ))?;
        let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        // RFC 9110 §4.2.4: userinfo in an http URI is an error; `check` knows no `@`.
        head.set_authority(authority)?;
        match path {
            [b'/', ..] => head.set_target(path),
            // RFC 9112 §3.2.4: OPTIONS with neither path nor query means the server itself.
            [] if self.method == Method::Options => head.set_target(b"*"),
            // RFC 9112 §3.2.1: an empty path is sent as "/".
            [] => head.set_target(b"/"),
            query => {
                let mut origin = Vec::with_capacity(1 + query.len());
                origin.push(b'/');
                origin.extend_from_slice(query);
                head.set_target(&origin)
            }
        }
    }
}

/// Splits at the first space.
fn cut(bytes: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let at = memchr::memchr(b' ', bytes).ok_or(MALFORMED)?;
    bytes.get(..at).zip(bytes.get(at + 1..)).ok_or(MALFORMED)
}

fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
}

/// RFC 9112 §2.3: case-sensitive, one digit each. A higher minor version may be read as 1.1; we
/// say 505 instead, for such a peer is more often a probe than a client.
pub(super) fn parse_version(version: &[u8]) -> Result<Version, Violation> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1'..=b'9', b'.', b'0'..=b'9'] => Err(
            Violation::connection(Code::VersionNotSupported, "version is neither 1.0 nor 1.1"),
        ),
        // HTTP/0.9 has no version in its request line: one that says so is malformed.
        _ => Err(Violation::bad_request("HTTP version is malformed")),
    }
}
