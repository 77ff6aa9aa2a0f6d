//! What a peer did wrong, and how much of the connection it spoils.
//!
//! A violation names no status code for the client: the engine maps [`Code`] to one, in one place.
//! `why` is a constant, so that a hostile peer can neither make us allocate nor write our log.

use std::fmt;

/// How far the damage reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This stream alone; its siblings on the connection go on.
    Stream,
    /// The whole connection: nothing behind this byte can be trusted. Always so in HTTP/1.
    Connection,
}

/// Which refusal fits. Requests use the first seven, responses only [`Code::BadResponse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The bytes are not a message (400).
    BadRequest,
    /// The request line is longer than we read (414).
    UriTooLong,
    /// A field, the number of fields or the head is larger than we read (431).
    FieldsTooLarge,
    /// `Expect` asks for what we do not know (417).
    ExpectationFailed,
    /// `CONNECT` and `TRACE`, which this proxy never serves (405).
    MethodNotAllowed,
    /// A method or a transfer coding that we do not implement (501).
    NotImplemented,
    /// An HTTP version that we do not speak (505).
    VersionNotSupported,
    /// An upstream broke the protocol (502).
    BadResponse,
}

/// A breach of the protocol by the peer, or a value that must not be serialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// What is spoilt by it.
    pub scope: Scope,
    /// Which refusal fits.
    pub code: Code,
    /// What was wrong, for logs and counters; never a peer's bytes.
    pub why: &'static str,
}

impl Violation {
    /// A violation that spoils the whole connection.
    pub const fn connection(code: Code, why: &'static str) -> Self {
        Self {
            scope: Scope::Connection,
            code,
            why,
        }
    }

    /// A violation that spoils one stream.
    pub const fn stream(code: Code, why: &'static str) -> Self {
        Self {
            scope: Scope::Stream,
            code,
            why,
        }
    }

    pub(crate) const fn bad_request(why: &'static str) -> Self {
        Self::connection(Code::BadRequest, why)
    }

    pub(crate) const fn too_large(why: &'static str) -> Self {
        Self::connection(Code::FieldsTooLarge, why)
    }

    pub(crate) const fn bad_response(why: &'static str) -> Self {
        Self::connection(Code::BadResponse, why)
    }

    /// The same fault when an upstream commits it: whatever it was, the answer is not usable.
    pub(crate) const fn by_upstream(self) -> Self {
        Self {
            scope: self.scope,
            code: Code::BadResponse,
            why: self.why,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.why)
    }
}

impl std::error::Error for Violation {}
