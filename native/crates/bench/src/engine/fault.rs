//! The ways in which a simulated engine fails on purpose.

use crate::http::decimal;

/// One fault of one request. Numbers are tokens sent before it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Close the connection instead of answering.
    Refuse,
    /// End with RST.
    Reset(u32),
    /// End with FIN in the middle of the body.
    Eof(u32),
    /// End the HTTP body properly, without the last events.
    Cut(u32),
    /// Say nothing more and keep the slot until the client leaves.
    Stall(u32),
    /// An error event inside the stream, then a regular end.
    Error(u32),
    /// Break the chunk framing.
    Malformed(u32),
    /// Answer this status at once.
    Status(u16),
    /// Ten times slower.
    Slow,
    /// Write one byte at a time.
    Split,
    /// The whole engine stops for this many milliseconds first.
    Freeze(u32),
}

impl Fault {
    /// What `parse` takes, for error texts.
    pub(crate) const FORMS: &str = "refuse, reset:N, eof:N, cut:N, stall:N, error:N, malformed:N, \
        status:CODE, slow, split, freeze:MS";

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (name, number) = match memchr::memchr(b':', text) {
            Some(at) => (
                &text[..at],
                Some(u32::try_from(decimal(&text[at + 1..])?).ok()?),
            ),
            None => (text, None),
        };
        let tokens = number.unwrap_or(0);
        Some(match name {
            b"refuse" => Self::Refuse,
            b"reset" => Self::Reset(tokens),
            b"eof" => Self::Eof(tokens),
            b"cut" => Self::Cut(tokens),
            b"stall" => Self::Stall(tokens),
            b"error" => Self::Error(tokens),
            b"malformed" => Self::Malformed(tokens),
            b"status" => Self::Status(
                u16::try_from(number?)
                    .ok()
                    .filter(|s| (200..600).contains(s))?,
            ),
            b"slow" => Self::Slow,
            b"split" => Self::Split,
            b"freeze" => Self::Freeze(number?),
            _ => return None,
        })
    }

    /// The token before which it strikes, for those that strike inside an answer.
    pub(crate) fn after(self) -> Option<u32> {
        match self {
            Self::Reset(n)
            | Self::Eof(n)
            | Self::Cut(n)
            | Self::Stall(n)
            | Self::Error(n)
            | Self::Malformed(n) => Some(n),
            _ => None,
        }
    }
}
