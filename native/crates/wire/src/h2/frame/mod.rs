//! Frames as bytes: the header that all have, and the writing of those that we send.
//!
//! Invariant: what is written here has the length that its header says, and never more than
//! `FRAME_BYTES_MAX` bytes of payload.

pub(crate) mod settings;
pub(crate) mod write;

use crate::h2::StreamId;

/// RFC 9113 §4.1.
pub(crate) const HEADER_BYTES: usize = 9;

/// The types of RFC 9113 §6 and RFC 9218 §7.1.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const PRIORITY: u8 = 0x2;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const PUSH_PROMISE: u8 = 0x5;
    pub(crate) const PING: u8 = 0x6;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const WINDOW_UPDATE: u8 = 0x8;
    pub(crate) const CONTINUATION: u8 = 0x9;
    pub(crate) const PRIORITY_UPDATE: u8 = 0x10;
}

/// Flags that are defined; all others are ignored (RFC 9113 §4.1).
pub(crate) mod flag {
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes of payload; 24 bits.
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// The reserved bit is cleared.
    pub(crate) id: StreamId,
}

impl Header {
    #[inline]
    pub(crate) fn parse(bytes: [u8; HEADER_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, i0, i1, i2, i3] = bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            id: u32::from_be_bytes([i0, i1, i2, i3]) & 0x7fff_ffff,
        }
    }

    #[inline]
    pub(crate) fn bytes(self) -> [u8; HEADER_BYTES] {
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [i0, i1, i2, i3] = self.id.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, i0, i1, i2, i3]
    }

    #[inline]
    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_without_the_reserved_bit() {
        let header = Header {
            length: 0x01_02_03,
            kind: kind::HEADERS,
            flags: flag::END_STREAM | flag::PADDED,
            id: 0x7fff_fffd,
        };
        assert_eq!(header.bytes(), [1, 2, 3, 1, 9, 0x7f, 0xff, 0xff, 0xfd]);
        assert_eq!(Header::parse(header.bytes()), header);
        assert_eq!(
            Header::parse([1, 2, 3, 1, 9, 0xff, 0xff, 0xff, 0xfd]),
            header
        );
        assert!(header.has(flag::PADDED) && !header.has(flag::END_HEADERS));
    }
}
