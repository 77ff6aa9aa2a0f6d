//! A request method: the registered ones as variants, any other token inline and Copy.

use std::fmt;

use crate::limits::METHOD_BYTES_CEILING;
use crate::octets;

/// A method token of 1 to 32 bytes. Methods are case-sensitive (RFC 9110 §9.1): `get` is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `PATCH`
    Patch,
    /// `TRACE`
    Trace,
    /// `CONNECT`
    Connect,
    /// Any other token; pass it or refuse it by route.
    Other(OtherMethod),
}

/// The bytes of an unregistered method. Made only by [`Method::from_bytes`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OtherMethod {
    /// Token octets, then zeros.
    bytes: [u8; METHOD_BYTES_CEILING],
    /// 1..=32
    len: u8,
}

impl Method {
    /// The method of these bytes; `None` if they are no token or more than 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            b"GET" => Self::Get,
            b"POST" => Self::Post,
            b"HEAD" => Self::Head,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other(OtherMethod::new(bytes)?),
        })
    }

    /// The token as sent.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Trace => "TRACE",
            Self::Connect => "CONNECT",
            Self::Other(other) => other.as_str(),
        }
    }
}

impl OtherMethod {
    fn new(token: &[u8]) -> Option<Self> {
        if !octets::is_token(token) {
            return None;
        }
        let mut bytes = [0; METHOD_BYTES_CEILING];
        bytes.get_mut(..token.len())?.copy_from_slice(token);
        Some(Self {
            bytes,
            len: token.len() as u8,
        })
    }

    fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        // A token is ASCII, so this never falls back.
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Method {
    fn as_ref(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for OtherMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_bounds() {
        for name in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
        ] {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(method.as_str(), name);
            assert!(!matches!(method, Method::Other(_)));
        }
        let long = "M".repeat(32);
        assert_eq!(Method::from_bytes(long.as_bytes()).unwrap().as_str(), long);
        assert_eq!(Method::from_bytes("M".repeat(33).as_bytes()), None);
        assert_eq!(Method::from_bytes(b""), None);
        assert_eq!(Method::from_bytes(b"G ET"), None);
        assert_eq!(Method::from_bytes(b"get").unwrap().as_str(), "get");
    }
}
