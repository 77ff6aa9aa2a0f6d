//! How long is the body, and does the connection live on? RFC 9112 §6 and §9, without leniency.
//!
//! Everything a smuggler would use to make two parties count differently is refused here.

use crate::error::{Code, Violation};
use crate::fields::Fields;
use crate::hop::ConnectionNames;
use crate::limits::CONTENT_LENGTH_MAX;
use crate::message::{Body, Version};
use crate::name::Name;
use crate::octets;

/// What the fields say about the message as a whole. Borrowed from them, read in one pass.
#[derive(Debug, Default)]
pub(crate) struct Framing<'a> {
    pub(crate) host: Option<&'a [u8]>,
    pub(crate) expect: Option<&'a [u8]>,
    pub(crate) upgrade: Option<&'a [u8]>,
    pub(crate) connection: ConnectionNames,
    length: Option<u64>,
    chunked: bool,
}

impl<'a> Framing<'a> {
    pub(crate) fn read(fields: &'a Fields) -> Result<Self, Violation> {
        let mut framing = Self::default();
        for field in fields.iter() {
            match field.known {
                Name::Host => framing.set_host(field.value)?,
                Name::ContentLength => framing.set_length(field.value)?,
                Name::TransferEncoding => framing.set_coding(field.value)?,
                Name::Connection => framing.connection.read(field.value)?,
                Name::Expect => {
                    // RFC 9110 §10.1.1: any expectation but this one fails; a second one as well.
                    framing.expect = match framing.expect {
                        None => Some(field.value),
                        Some(_) => Some(b""),
                    };
                }
                Name::Upgrade => {
                    framing.upgrade = match framing.upgrade {
                        None => Some(field.value),
                        Some(_) => Some(b""),
                    };
                }
                _ => {}
            }
        }
        Ok(framing)
    }

    /// RFC 9112 §3.2: more than one Host line is 400, be they equal.
    fn set_host(&mut self, value: &'a [u8]) -> Result<(), Violation> {
        match self.host.replace(value) {
            None => Ok(()),
            Some(_) => Err(Violation::bad_request("more than one Host")),
        }
    }

    /// RFC 9112 §6.3 rule 5 allows equal duplicates to be merged; nobody honest sends them.
    fn set_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        match self.length.replace(parse_length(value)?) {
            None => Ok(()),
            Some(_) => Err(Violation::bad_request("more than one Content-Length")),
        }
    }

    fn set_coding(&mut self, value: &[u8]) -> Result<(), Violation> {
        if self.chunked {
            return Err(Violation::bad_request("more than one Transfer-Encoding"));
        }
        check_coding(value)?;
        self.chunked = true;
        Ok(())
    }

    /// How the body is delimited; `None` if the fields do not say.
    pub(crate) fn body(&self, version: Version) -> Result<Option<Body>, Violation> {
        match (self.length, self.chunked) {
            (None, false) => Ok(None),
            (Some(length), false) => Ok(Some(Body::Length(length))),
            // RFC 9112 §6.1: "ought to be handled as an error".
            (Some(_), true) => Err(Violation::bad_request(
                "Content-Length and Transfer-Encoding together",
            )),
            // RFC 9112 §6.1: Transfer-Encoding in HTTP/1.0 is faulty framing.
            (None, true) if version == Version::Http10 => {
                Err(Violation::bad_request("Transfer-Encoding in HTTP/1.0"))
            }
            (None, true) => Ok(Some(Body::Chunked)),
        }
    }

    /// RFC 9112 §9.3.
    pub(crate) fn keep_alive(&self, version: Version) -> bool {
        match version {
            Version::Http11 | Version::Http2 => !self.connection.close(),
            Version::Http10 => self.connection.keep_alive() && !self.connection.close(),
        }
    }
}

/// RFC 9110 §8.6: 1*DIGIT. No sign, no list, no leading zero, nothing beyond 63 bits.
pub(crate) fn parse_length(value: &[u8]) -> Result<u64, Violation> {
    let bad = Violation::bad_request("Content-Length is not a plain decimal number");
    match value {
        b"0" => return Ok(0),
        [b'1'..=b'9', ..] if value.len() <= 19 => {}
        _ => return Err(bad),
    }
    let mut length = 0_u64;
    for &digit in value {
        if !digit.is_ascii_digit() {
            return Err(bad);
        }
        // 19 digits are less than 10^19, which fits.
        length = length * 10 + u64::from(digit - b'0');
    }
    if length > CONTENT_LENGTH_MAX {
        Err(bad)
    } else {
        Ok(length)
    }
}

/// RFC 9112 §6.1 and §7: `chunked` exactly once and alone.
fn check_coding(value: &[u8]) -> Result<(), Violation> {
    if matches!(value, b"chunked" | b"Chunked") {
        return Ok(());
    }
    // RFC 9112 §6.1: a transfer coding we do not understand SHOULD get 501; that is one which is
    // well-formed and properly followed by chunked. The rest has no determinable length (§6.3
    // rule 4) or is somebody's disguise of chunked.
    let mut codings = value.split(|&byte| byte == b',').map(octets::trim).rev();
    let disguised = |coding: &[u8]| {
        !octets::is_token(coding)
            || coding.eq_ignore_ascii_case(b"chunked")
            || coding.eq_ignore_ascii_case(b"identity")
    };
    if codings.next() == Some(b"chunked") && !codings.any(disguised) {
        return Err(Violation::connection(
            Code::NotImplemented,
            "transfer coding is unknown",
        ));
    }
    Err(Violation::bad_request("Transfer-Encoding is not chunked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        assert_eq!(parse_length(b"0"), Ok(0));
        assert_eq!(parse_length(b"9223372036854775807"), Ok(CONTENT_LENGTH_MAX));
        for bad in [
            "",
            "+5",
            "-0",
            "0x5",
            "1_0",
            "5.0",
            "5e0",
            "5 5",
            "05",
            "00",
            "5,5",
            "5, 5",
            "٥",
            "9223372036854775808",
            "18446744073709551616",
            "99999999999999999999",
        ] {
            assert!(parse_length(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn codings() {
        assert!(check_coding(b"chunked").is_ok() && check_coding(b"Chunked").is_ok());
        for unknown in ["gzip, chunked", "foo,chunked", "a , b\t, chunked"] {
            assert_eq!(
                check_coding(unknown.as_bytes()).unwrap_err().code,
                Code::NotImplemented
            );
        }
        for bad in [
            "",
            "CHUNKED",
            "xchunked",
            "chunkedx",
            "chunked, chunked",
            ",chunked",
            "chunked,",
            "chunked;a=b",
            "identity",
            "identity, chunked",
            "gzip",
            "chunked, gzip",
            "gzip;q=1, chunked",
            "\"chunked\"",
            "chunked chunked",
            "gzip, , chunked",
            "gzip, Chunked, chunked",
        ] {
            assert_eq!(
                check_coding(bad.as_bytes()).unwrap_err().code,
                Code::BadRequest,
                "{bad}"
            );
        }
    }
}
