//! How a request can end: each in exactly one way.

use serde::{Deserialize, Serialize};

/// See the head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A 2xx answer that came to its proper end.
    Ok,
    /// 429.
    Shed,
    /// Any other status that is not 2xx.
    HttpError,
    /// No connection could be had.
    ConnectError,
    /// The connection was reset, or closed before any byte of an answer.
    Reset,
    /// The answer ended early, by its framing or without the last event of its stream.
    Truncated,
    /// An error event inside a stream.
    StreamError,
    /// The bytes of the answer were no HTTP.
    Malformed,
    /// It took longer than `timeout_ms`, or the run had ended.
    Timeout,
    /// We left ourselves (`client_abort`).
    Aborted,
}

impl Outcome {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Ok,
        Self::Shed,
        Self::HttpError,
        Self::ConnectError,
        Self::Reset,
        Self::Truncated,
        Self::StreamError,
        Self::Malformed,
        Self::Timeout,
        Self::Aborted,
    ];

    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Shed => "shed",
            Self::HttpError => "http_error",
            Self::ConnectError => "connect_error",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::StreamError => "stream_error",
            Self::Malformed => "malformed",
            Self::Timeout => "timeout",
            Self::Aborted => "aborted",
        }
    }

    /// Neither good, nor an honest refusal, nor our own doing.
    pub fn failed(self) -> bool {
        !matches!(self, Self::Ok | Self::Shed | Self::Aborted)
    }
}
