//! Frames spelt out, for scripts of what a peer sends, and a reader of what we sent.

#![allow(dead_code, reason = "each test file uses a part of it")]

use wire::fuzzing::h2::{Seen, read};
use wire::h2::{Config, Connection, Role};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const PRIORITY_UPDATE: u8 = 16;

pub(crate) const END: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const WHOLE: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 32;

pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

/// What a request needs at least.
pub(crate) const GET: Fields<'_> = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/"),
];
pub(crate) const POST: Fields<'_> = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/"),
];

pub(crate) fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(id.to_be_bytes());
    out.extend(payload);
    out
}

fn integer(out: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        return out.push(value as u8);
    }
    out.push(127);
    value -= 127;
    while value >= 128 {
        out.push((value % 128 + 128) as u8);
        value /= 128;
    }
    out.push(value as u8);
}

/// A block of literals without indexing (RFC 7541 §6.2.2), which needs no table.
pub(crate) fn block(fields: Fields<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        integer(&mut out, name.len());
        out.extend(name.as_bytes());
        integer(&mut out, value.len());
        out.extend(value.as_bytes());
    }
    out
}

/// HEADERS in one frame.
pub(crate) fn headers(id: u32, flags: u8, fields: Fields<'_>) -> Vec<u8> {
    frame(HEADERS, flags | WHOLE, id, &block(fields))
}

/// HEADERS in one frame: `first` and then `more`.
pub(crate) fn headers_with(id: u32, flags: u8, first: Fields<'_>, more: Fields<'_>) -> Vec<u8> {
    frame(
        HEADERS,
        flags | WHOLE,
        id,
        &[block(first), block(more)].concat(),
    )
}

/// A block in as many frames as it needs.
pub(crate) fn long_headers(id: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    let (first, rest) = block.split_at(block.len().min(16_000));
    let whole = if rest.is_empty() { WHOLE } else { 0 };
    let mut out = frame(HEADERS, flags | whole, id, first);
    let count = rest.len().div_ceil(16_000);
    for (at, piece) in rest.chunks(16_000).enumerate() {
        let whole = if at + 1 == count { WHOLE } else { 0 };
        out.extend(frame(CONTINUATION, whole, id, piece));
    }
    out
}

pub(crate) fn data(id: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, id, payload)
}

pub(crate) fn reset(id: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, id, &code.to_be_bytes())
}

pub(crate) fn window_update(id: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, id, &increment.to_be_bytes())
}

pub(crate) fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (parameter, value) in entries {
        payload.extend(parameter.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// What a client sends first, and its acknowledgement of our settings.
pub(crate) fn client_start() -> Vec<u8> {
    [PREFACE, &settings(&[]), &frame(SETTINGS, ACK, 0, &[])].concat()
}

/// What a server sends first, and its acknowledgement of our settings.
pub(crate) fn server_start() -> Vec<u8> {
    [settings(&[]), frame(SETTINGS, ACK, 0, &[])].concat()
}

/// One frame that we sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) id: u32,
    pub(crate) payload: Vec<u8>,
}

impl Sent {
    /// The first four bytes of the payload.
    pub(crate) fn word(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().expect("four bytes"))
    }
}

/// All frames in what we sent, the preface apart.
pub(crate) fn sent(mut bytes: &[u8]) -> Vec<Sent> {
    bytes = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (header, rest) = bytes.split_at(9);
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let id = u32::from_be_bytes(header[5..].try_into().expect("four bytes"));
        let (payload, rest) = rest.split_at(length);
        frames.push(Sent {
            kind: header[3],
            flags: header[4],
            id,
            payload: payload.to_vec(),
        });
        bytes = rest;
    }
    frames
}

/// The codes of the RST_STREAM frames that we sent.
pub(crate) fn resets(out: &[u8]) -> Vec<(u32, u32)> {
    let frames = sent(out).into_iter();
    let resets = frames.filter(|frame| frame.kind == RST_STREAM);
    resets.map(|frame| (frame.id, frame.word())).collect()
}

/// Runs a new connection over one piece of bytes.
pub(crate) fn run(
    role: Role,
    config: &Config,
    bytes: &[u8],
    answer: impl FnMut(&mut Connection, &Seen, &mut Vec<u8>),
) -> (Vec<Seen>, Vec<u8>, Connection) {
    let mut out = Vec::new();
    let mut connection = Connection::new(role, config, &mut out);
    out.clear();
    let seen = read(&mut connection, &mut out, [bytes], answer);
    (seen, out, connection)
}
