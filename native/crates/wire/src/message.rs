//! Version-neutral heads: what HTTP/1 readers and HTTP/2 streams fill.
//!
//! A head is an object to reuse: `clear` keeps its memory, so a connection in its stride allocates
//! nothing. What a head says has been checked; nothing here parses.

use crate::error::Violation;
use crate::fields::Fields;
use crate::method::Method;
use crate::{authority, path};

/// The version that the peer spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

/// How the body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Body {
    /// There is none.
    #[default]
    None,
    /// This many bytes, by `Content-Length`; possibly 0.
    Length(u64),
    /// By the chunked transfer coding.
    Chunked,
    /// By the end of the connection; responses only.
    UntilClose,
}

/// The head of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// What is asked for.
    pub method: Method,
    /// The version that the client spoke.
    pub version: Version,
    /// All fields as received, hop-by-hop ones included.
    pub fields: Fields,
    /// How the body is delimited.
    pub body: Body,
    /// Whether the client lets the connection live on after this exchange.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before its body.
    pub expect_continue: bool,
    /// Whether this is a well-formed WebSocket upgrade. What follows such a request is not HTTP
    /// if the upgrade succeeds: the caller must not ask the reader for another event before it
    /// knows.
    pub websocket: bool,
    /// Normalised path and, behind a `?`, the query.
    target: Vec<u8>,
    /// 0..=target.len()
    path_len: usize,
    authority: Vec<u8>,
}

impl RequestHead {
    /// An empty head without memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// The absolute path: dot segments merged once, percent-encoding opaque (`%2f` stays).
    pub fn path(&self) -> &[u8] {
        self.target.get(..self.path_len).unwrap_or_default()
    }

    /// The query without its `?`; `None` if there was no `?`.
    pub fn query(&self) -> Option<&[u8]> {
        self.target.get(self.path_len + 1..)
    }

    /// What is forwarded: path and query, or `*` for `OPTIONS *`.
    pub fn target(&self) -> &[u8] {
        &self.target
    }

    /// Host and port from an absolute-form target, or else from Host; empty only for HTTP/1.0
    /// without Host.
    pub fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// Sets path and query from an origin-form target (`/…`) or `*`, checked and normalised.
    pub fn set_target(&mut self, origin: &[u8]) -> Result<(), Violation> {
        self.target.clear();
        self.path_len = path::normalise(origin, &mut self.target)?;
        Ok(())
    }

    /// Sets the authority, checked.
    pub fn set_authority(&mut self, host: &[u8]) -> Result<(), Violation> {
        authority::check(host)?;
        self.authority.clear();
        self.authority.extend_from_slice(host);
        Ok(())
    }

    /// Makes it an empty head and keeps the memory.
    pub fn clear(&mut self) {
        self.method = Method::Get;
        self.version = Version::Http11;
        self.fields.clear();
        self.body = Body::None;
        self.keep_alive = false;
        self.expect_continue = false;
        self.websocket = false;
        self.target.clear();
        self.path_len = 0;
        self.authority.clear();
    }
}

/// The head of a response, final or interim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// 100..=599
    pub status: u16,
    /// The version that the upstream spoke.
    pub version: Version,
    /// All fields as received, hop-by-hop ones included.
    pub fields: Fields,
    /// How the body is delimited, given the method that was asked.
    pub body: Body,
    /// Whether the connection may carry another exchange after this one.
    pub keep_alive: bool,
}

impl ResponseHead {
    /// An empty head without memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes it an empty head and keeps the memory.
    pub fn clear(&mut self) {
        self.status = 0;
        self.version = Version::Http11;
        self.fields.clear();
        self.body = Body::None;
        self.keep_alive = false;
    }
}
