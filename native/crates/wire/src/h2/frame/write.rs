//! The frames that we send, appended to a buffer.

use crate::h2::frame::{HEADER_BYTES, Header, flag, kind};
use crate::h2::limits::FRAME_BYTES_MAX;
use crate::h2::{ErrorCode, StreamId};

#[inline]
fn short<const N: usize>(out: &mut Vec<u8>, kind: u8, flags: u8, id: StreamId, payload: [u8; N]) {
    let header = Header {
        length: N as u32,
        kind,
        flags,
        id,
    };
    out.extend_from_slice(&header.bytes());
    out.extend_from_slice(&payload);
}

/// One DATA frame; `bytes` are at most `FRAME_BYTES_MAX`.
#[inline]
pub(crate) fn data(out: &mut Vec<u8>, id: StreamId, bytes: &[u8], end: bool) {
    debug_assert!(bytes.len() <= FRAME_BYTES_MAX, "no frame is longer");
    let header = Header {
        length: bytes.len() as u32,
        kind: kind::DATA,
        flags: if end { flag::END_STREAM } else { 0 },
        id,
    };
    out.reserve(HEADER_BYTES + bytes.len());
    out.extend_from_slice(&header.bytes());
    out.extend_from_slice(bytes);
}

/// RFC 9113 §6.4.
pub(crate) fn reset(out: &mut Vec<u8>, id: StreamId, code: ErrorCode) {
    let code = code.number().to_be_bytes();
    short(out, kind::RST_STREAM, 0, id, code);
}

/// RFC 9113 §6.5.3.
pub(crate) fn settings_ack(out: &mut Vec<u8>) {
    short(out, kind::SETTINGS, flag::ACK, 0, []);
}

/// RFC 9113 §6.7.
pub(crate) fn ping(out: &mut Vec<u8>, payload: [u8; 8], ack: bool) {
    let flags = if ack { flag::ACK } else { 0 };
    short(out, kind::PING, flags, 0, payload);
}

/// RFC 9113 §6.8; `debug` is a text of ours.
pub(crate) fn goaway(out: &mut Vec<u8>, last: StreamId, code: ErrorCode, debug: &'static str) {
    let header = Header {
        length: 8 + debug.len() as u32,
        kind: kind::GOAWAY,
        flags: 0,
        id: 0,
    };
    out.extend_from_slice(&header.bytes());
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.number().to_be_bytes());
    out.extend_from_slice(debug.as_bytes());
}

/// RFC 9113 §6.9; `increment` is 1..=2^31-1.
#[inline]
pub(crate) fn window_update(out: &mut Vec<u8>, id: StreamId, increment: u32) {
    debug_assert!((1..1 << 31).contains(&increment), "RFC 9113 §6.9");
    short(out, kind::WINDOW_UPDATE, 0, id, increment.to_be_bytes());
}

/// Room for the header of a HEADERS frame, whose block is appended next; gives where it lies.
pub(crate) fn open_block(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    start
}

/// Makes the block behind [`open_block`] one HEADERS frame, and CONTINUATION frames if it is long.
pub(crate) fn close_block(out: &mut Vec<u8>, start: usize, id: StreamId, end: bool) {
    let block_start = start + HEADER_BYTES;
    let length = out.len().saturating_sub(block_start);
    let first = length.min(FRAME_BYTES_MAX);
    let whole = first == length;
    let header = Header {
        length: first as u32,
        kind: kind::HEADERS,
        flags: if end { flag::END_STREAM } else { 0 } | if whole { flag::END_HEADERS } else { 0 },
        id,
    };
    if let Some(room) = out.get_mut(start..block_start) {
        room.copy_from_slice(&header.bytes());
    }
    if whole {
        return;
    }
    let rest = out.split_off(block_start + first);
    let mut pieces = rest.chunks(FRAME_BYTES_MAX).peekable();
    while let Some(piece) = pieces.next() {
        let header = Header {
            length: piece.len() as u32,
            kind: kind::CONTINUATION,
            flags: if pieces.peek().is_none() {
                flag::END_HEADERS
            } else {
                0
            },
            id,
        };
        out.extend_from_slice(&header.bytes());
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(mut bytes: &[u8]) -> Vec<(Header, usize)> {
        let mut seen = Vec::new();
        while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() {
            let header = Header::parse(*header);
            bytes = &rest[header.length as usize..];
            seen.push((header, header.length as usize));
        }
        assert!(bytes.is_empty());
        seen
    }

    #[test]
    fn blocks_are_split_at_the_frame_size() {
        for (length, lengths) in [
            (0, vec![0]),
            (16_384, vec![16_384]),
            (16_385, vec![16_384, 1]),
            (40_000, vec![16_384, 16_384, 7_232]),
        ] {
            let mut out = b"before".to_vec();
            let start = open_block(&mut out);
            out.extend((0..length).map(|at| at as u8));
            close_block(&mut out, start, 5, true);
            let seen = frames(&out[6..]);
            assert_eq!(seen.iter().map(|one| one.1).collect::<Vec<_>>(), lengths);
            assert_eq!(seen[0].0.kind, kind::HEADERS);
            assert!(seen[0].0.has(flag::END_STREAM));
            for (at, (header, _)) in seen.iter().enumerate() {
                assert_eq!(header.id, 5);
                assert_eq!(header.has(flag::END_HEADERS), at + 1 == seen.len());
                assert_eq!(at > 0, header.kind == kind::CONTINUATION);
            }
        }
    }

    #[test]
    fn short_frames_are_what_the_rfc_draws() {
        let mut out = Vec::new();
        reset(&mut out, 3, ErrorCode::Cancel);
        settings_ack(&mut out);
        ping(&mut out, *b"12345678", true);
        goaway(&mut out, 7, ErrorCode::EnhanceYourCalm, "calm");
        window_update(&mut out, 9, 0x7fff_ffff);
        data(&mut out, 1, b"abc", true);
        let expected: &[&[u8]] = &[
            b"\0\0\x04\x03\0\0\0\0\x03\0\0\0\x08",
            b"\0\0\0\x04\x01\0\0\0\0",
            b"\0\0\x08\x06\x01\0\0\0\x0012345678",
            b"\0\0\x0c\x07\0\0\0\0\0\0\0\0\x07\0\0\0\x0bcalm",
            b"\0\0\x04\x08\0\0\0\0\x09\x7f\xff\xff\xff",
            b"\0\0\x03\0\x01\0\0\0\x01abc",
        ];
        assert_eq!(out, expected.concat());
    }
}
