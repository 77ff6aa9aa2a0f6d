//! What the end of an upstream connection means for the exchange that needs it.

use super::{Failure, FailureKind};
use crate::input::{Closed, DialError};

/// What a dial that failed means for the exchange that needs it.
impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        let (kind, why) = match error {
            DialError::Refused => (
                FailureKind::ConnectRefused,
                "the endpoint refused the connection",
            ),
            DialError::TimedOut => (
                FailureKind::ConnectTimeout,
                "the endpoint did not answer the connection in time",
            ),
            DialError::Unreachable => (
                FailureKind::ConnectRefused,
                "the endpoint cannot be reached",
            ),
            DialError::Exhausted => (
                FailureKind::ConnectRefused,
                "this gateway has no descriptor or port left",
            ),
            DialError::Unresolved => (
                FailureKind::ConnectRefused,
                "the endpoint's name could not be resolved",
            ),
            DialError::Tls(why) => (FailureKind::UpstreamTls, why),
        };
        Self::new(kind, why)
    }
}

/// What the end of an upstream connection means for the exchange on it.
impl From<Closed> for Failure {
    fn from(closed: Closed) -> Self {
        let (kind, why) = match closed {
            Closed::Eof => (
                FailureKind::UpstreamClosed,
                "the endpoint closed the connection before its response was complete",
            ),
            Closed::Truncated => (
                FailureKind::UpstreamClosed,
                "the endpoint's TLS connection was cut: it ended without close_notify",
            ),
            Closed::Reset => (
                FailureKind::UpstreamReset,
                "the endpoint reset the connection",
            ),
            Closed::Tls(_) => (
                FailureKind::UpstreamReset,
                "a TLS record of the endpoint was not good",
            ),
            Closed::TimedOut => (
                FailureKind::UpstreamReset,
                "the endpoint vanished from the network",
            ),
        };
        Self::new(kind, why)
    }
}
