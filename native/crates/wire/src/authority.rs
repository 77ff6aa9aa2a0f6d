//! Host and port: what may stand in Host, in an absolute-form target and in `:authority`.

use std::net::IpAddr;

use crate::error::Violation;
use crate::limits::HOST_BYTES_MAX;
use crate::octets;

/// Checks `host [":" port]`: a registered name, an IPv4 address or an IPv6 literal in brackets.
///
/// RFC 9112 §3.2: a server MUST answer 400 to an invalid Host value. Refused here: empty, a list,
/// a path, userinfo, percent-encoding, a port that is empty, zero, above 65,535 or not digits.
pub fn check(authority: &[u8]) -> Result<(), Violation> {
    split(authority).map(|_| ())
}

/// Checks as [`check`] does and gives the host (IPv6 in its brackets) and the port.
pub fn split(authority: &[u8]) -> Result<(&[u8], Option<u16>), Violation> {
    let (host, port) = if authority.first() == Some(&b'[') {
        let end = memchr::memchr(b']', authority).ok_or(BAD_LITERAL)?;
        let (literal, rest) = authority.split_at_checked(end + 1).ok_or(BAD_LITERAL)?;
        check_literal(literal)?;
        match rest {
            [] => (literal, None),
            [b':', port @ ..] => (literal, Some(port)),
            _ => return Err(BAD_LITERAL),
        }
    } else {
        let (host, port) = match memchr::memchr(b':', authority) {
            Some(colon) => (authority.get(..colon), authority.get(colon + 1..)),
            None => (Some(authority), None),
        };
        let host = host.unwrap_or_default();
        if !octets::is_host(host) {
            return Err(Violation::bad_request(
                "host is empty or has an octet that no host has",
            ));
        }
        (host, port)
    };
    if host.len() > HOST_BYTES_MAX {
        return Err(Violation::bad_request("host is longer than a DNS name"));
    }
    Ok((host, port.map(parse_port).transpose()?))
}

const BAD_LITERAL: Violation = Violation::bad_request("host is not an IPv6 address in brackets");

/// RFC 3986 §3.2.2: IP-literal, less IPvFuture and zones, which name nothing of ours.
fn check_literal(literal: &[u8]) -> Result<(), Violation> {
    let inner = literal.get(1..literal.len() - 1).unwrap_or_default();
    let text = std::str::from_utf8(inner).map_err(|_| BAD_LITERAL)?;
    match text.parse() {
        Ok(IpAddr::V6(_)) => Ok(()),
        _ => Err(BAD_LITERAL),
    }
}

fn parse_port(digits: &[u8]) -> Result<u16, Violation> {
    let bad = Violation::bad_request("port is not a number from 1 to 65535");
    if digits.is_empty() || digits.len() > 5 || digits.first() == Some(&b'0') {
        return Err(bad);
    }
    let mut port = 0_u32;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(bad);
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    u16::try_from(port).map_err(|_| bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_addresses_and_ports() {
        for (text, host, port) in [
            ("a", "a", None),
            ("Example.COM:8080", "Example.COM", Some(8080)),
            ("my_svc-1.ns~x", "my_svc-1.ns~x", None),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]", "[::1]", None),
            ("[2001:db8::1]:65535", "[2001:db8::1]", Some(65535)),
        ] {
            assert_eq!(
                split(text.as_bytes()),
                Ok((host.as_bytes(), port)),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:08",
            "a:8x",
            "a:+8",
            "a:1:2",
            "a,b",
            "a/b",
            "a b",
            "u@a",
            "u:p@a",
            "a?b",
            "a#b",
            "a%41",
            "a\\b",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:",
            "[fe80::1%25eth0]",
            "[1.2.3.4]",
            "[]",
            "[v1.a]",
            "h\u{e9}",
            "a\t",
            "a\0",
        ] {
            assert!(check(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(check(&[b'a'; HOST_BYTES_MAX]).is_ok());
        assert!(check(&[b'a'; HOST_BYTES_MAX + 1]).is_err());
    }
}
