//! Addresses as people write them: `HOST:PORT`, `http://HOST:PORT` and `unix:/PATH`.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    str::FromStr,
};

use crate::Error;

/// A resolved place to listen on or to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Error;

    /// Resolves a name to its first address, so it may block: call it at start only.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: String| Error::Address {
            text: text.to_owned(),
            why,
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(wrong("the path is empty".to_owned()));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let host = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("tcp:"));
        let host = host.unwrap_or(text).trim_end_matches('/');
        host.to_socket_addrs()
            .map_err(|error| wrong(error.to_string()))?
            .next()
            .map(Self::Tcp)
            .ok_or_else(|| wrong("the name has no address".to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
