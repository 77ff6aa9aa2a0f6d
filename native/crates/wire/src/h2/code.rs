//! The error codes of RFC 9113 §7.

/// Why a stream or a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ErrorCode {
    /// Nothing is wrong: a graceful shutdown, or "stop sending" after an early response.
    NoError = 0x0,
    /// The peer broke the protocol in a way that no other code describes.
    ProtocolError = 0x1,
    /// We broke.
    InternalError = 0x2,
    /// The peer sent more than a window allowed.
    FlowControlError = 0x3,
    /// Our settings were not acknowledged in time.
    SettingsTimeout = 0x4,
    /// A frame for a stream that had ended.
    StreamClosed = 0x5,
    /// A frame of a wrong length.
    FrameSizeError = 0x6,
    /// The stream was not processed at all; it may be tried again.
    RefusedStream = 0x7,
    /// The stream is no longer wanted.
    Cancel = 0x8,
    /// The state of the header compression is lost.
    CompressionError = 0x9,
    /// The connection behind a CONNECT failed.
    ConnectError = 0xa,
    /// The peer makes more work than it may.
    EnhanceYourCalm = 0xb,
    /// The transport is not good enough.
    InadequateSecurity = 0xc,
    /// Use HTTP/1.1 for this.
    Http11Required = 0xd,
}

impl ErrorCode {
    /// The number on the wire.
    #[inline]
    pub const fn number(self) -> u32 {
        self as u32
    }
}
