//! An HTTP/1.1 connection of the engine: one request after the other.

use super::{
    answer,
    connection::{Connection, Http1, Speech},
    core::Core,
    http2::PREFACE_BEGIN,
    reply::{Home, Lane},
    request::{Head, Pending},
};
use crate::{
    http::{Framing, HEAD_BYTES_MAX, head_length},
    slab::Key,
};

/// Takes requests from the bytes until one has to wait, and keeps the rest.
pub(crate) fn take(
    core: &mut Core,
    connection: &mut Connection,
    key: Key,
    bytes: &[u8],
    now_ns: u64,
) {
    let mut at = 0;
    while at < bytes.len() && connection.takes_requests() {
        let used = take_request(core, key, connection, &bytes[at..], now_ns);
        if used == 0 {
            break;
        }
        at += used;
    }
    if let Speech::Http1(http1) = &mut connection.speech {
        http1.input.extend_from_slice(&bytes[at..]);
        // A preface may come in pieces, too.
        http1.begun |= at > 0 || !PREFACE_BEGIN.starts_with(bytes);
    }
}

fn http1(connection: &mut Connection) -> Option<&mut Http1> {
    match &mut connection.speech {
        Speech::Http1(http1) => Some(http1),
        Speech::Http2(_) => None,
    }
}

/// Uses bytes from the front of `bytes` for the current request; 0 when more are needed.
fn take_request(
    core: &mut Core,
    key: Key,
    connection: &mut Connection,
    bytes: &[u8],
    now_ns: u64,
) -> usize {
    if let Some(mut pending) = http1(connection).and_then(|http1| http1.pending.take()) {
        let Pending { framing, body, .. } = &mut pending;
        let fed = framing.feed(bytes, |part| body.extend_from_slice(part));
        let Ok((used, done)) = fed else {
            refuse(connection, 400, "the body's framing is broken");
            return bytes.len();
        };
        if pending.body.len() as u64 > core.options.body_bytes_max {
            refuse(connection, 413, "the body is too long");
        } else if done {
            dispatch(core, key, connection, &pending.head, &pending.body, now_ns);
        } else if let Some(http1) = http1(connection) {
            http1.pending = Some(pending);
        }
        return used;
    }
    let Some(length) = head_length(bytes) else {
        if bytes.len() > HEAD_BYTES_MAX {
            refuse(connection, 400, "the head is too long");
        }
        return 0;
    };
    let head = match Head::parse(&bytes[..length]) {
        Ok(head) => head,
        Err(malformed) => {
            refuse(connection, 400, malformed.0);
            return length;
        }
    };
    let Some(framing) = head.framing.clone() else {
        dispatch(core, key, connection, &head, &[], now_ns);
        return length;
    };
    let mut capacity = 0;
    if let Framing::Length(body_bytes) = framing {
        if body_bytes > core.options.body_bytes_max {
            refuse(connection, 413, "the body is too long");
            return length;
        }
        capacity = body_bytes as usize;
        if let Some(body) = bytes.get(length..length + capacity) {
            dispatch(core, key, connection, &head, body, now_ns);
            return length + capacity;
        }
    }
    if head.expect && bytes.len() == length {
        connection
            .output
            .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    if let Some(http1) = http1(connection) {
        http1.pending = Some(Pending {
            head,
            framing,
            body: Vec::with_capacity(capacity),
        });
    }
    length
}

fn dispatch(
    core: &mut Core,
    key: Key,
    connection: &mut Connection,
    head: &Head,
    body: &[u8],
    now_ns: u64,
) {
    let lane = Lane::Http1 { close: head.close };
    let home = Home {
        connection: key,
        lane,
    };
    let exchange = core.dispatch(home, &mut connection.reply(lane), head, body, now_ns);
    if let Some(http1) = http1(connection) {
        http1.exchange = exchange;
    }
}

fn refuse(connection: &mut Connection, status: u16, why: &str) {
    let mut reply = connection.reply(Lane::Http1 { close: true });
    answer::error(&mut reply, status, why, 0);
}
