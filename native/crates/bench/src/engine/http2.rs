//! An HTTP/2 connection of the engine: its streams, and what their events come to.
//!
//! Invariant: `streams` has one entry for each stream that `wire` has not been told to forget, and
//! the stream's tag is the entry's place and one.

use wire::h2::{Config, Connection as Wire, Event, Heads, Role, StreamId};

use super::{
    answer,
    connection::{Connection, Speech},
    core::Core,
    reply::{Home, Lane},
    request::Head,
};
use crate::slab::{Key, Slab};

/// What an HTTP/2 client says first, as far as it tells it from HTTP/1.1.
pub(crate) const PREFACE_BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n";

/// A stream and what is done for it.
#[derive(Debug)]
pub(crate) enum Stream {
    /// The body of its request is coming.
    Asking { head: Head, body: Vec<u8> },
    /// An exchange answers it.
    Answering(Key),
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Http2 {
    pub(crate) wire: Wire,
    pub(crate) streams: Slab<Stream>,
    /// Room for a part of a body.
    pub(crate) part: Vec<u8>,
}

impl Http2 {
    /// Says what a server says first.
    pub(crate) fn new(streams_max: u32, out: &mut Vec<u8>) -> Self {
        let config = Config {
            streams_max,
            ..Config::default()
        };
        Self {
            wire: Wire::new(Role::Server, &config, out),
            streams: Slab::new(),
            part: Vec::new(),
        }
    }

    /// The exchanges that its streams wait for.
    pub(crate) fn exchanges(&mut self) -> Vec<Key> {
        let bound = self.streams.bound();
        (0..bound)
            .filter_map(|slot| match self.streams.at(slot) {
                Some(Stream::Answering(exchange)) => Some(*exchange),
                _ => None,
            })
            .collect()
    }

    fn slot(tag: u64) -> usize {
        (tag as usize).wrapping_sub(1)
    }
}

/// What has happened on a stream, without what it borrows.
enum Happened {
    Asked(StreamId, usize),
    Left(usize, StreamId),
    Nothing,
}

/// Takes all of `bytes`; false when the peer has broken the protocol.
pub(crate) fn take(
    core: &mut Core,
    connection: &mut Connection,
    key: Key,
    mut bytes: &[u8],
    heads: &mut Heads,
    now_ns: u64,
) -> bool {
    if let Speech::Http2(http2) = &mut connection.speech {
        http2.wire.begin(now_ns);
    }
    loop {
        let Speech::Http2(http2) = &mut connection.speech else {
            return false;
        };
        let event = match http2.wire.next(&mut bytes, heads, &mut connection.output) {
            Ok(Some(event)) => event,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let happened = match event {
            Event::Head { id, end, .. } => headed(core, connection, key, id, end, heads, now_ns),
            Event::Data {
                id,
                tag,
                bytes,
                credit,
                end,
            } => {
                let slot = Http2::slot(tag);
                let mut fits = true;
                if let Some(Stream::Asking { body, .. }) = http2.streams.at(slot) {
                    body.extend_from_slice(bytes);
                    fits = body.len() as u64 <= core.options.body_bytes_max;
                }
                http2.wire.consumed(id, credit, &mut connection.output);
                if !fits {
                    too_long(connection, id, slot, now_ns);
                    Happened::Nothing
                } else if end {
                    Happened::Asked(id, slot)
                } else {
                    Happened::Nothing
                }
            }
            Event::End { id, tag } | Event::Trailers { id, tag, .. } => {
                Happened::Asked(id, Http2::slot(tag))
            }
            Event::Reset { id, tag, .. } => Happened::Left(Http2::slot(tag), id),
            Event::Bad {
                id,
                violation,
                reset,
            } => {
                let why = (!reset).then_some(violation.why);
                refuse(connection, id, why, now_ns);
                Happened::Nothing
            }
            Event::Interim { .. } | Event::Goaway { .. } | Event::Settings => Happened::Nothing,
        };
        match happened {
            Happened::Asked(id, slot) => asked(core, connection, key, id, slot, now_ns),
            Happened::Left(slot, id) => left(core, connection, slot, id, now_ns),
            Happened::Nothing => {}
        }
    }
}

/// A head that is no request; `why`: it may be answered.
fn refuse(connection: &mut Connection, id: StreamId, why: Option<&str>, now_ns: u64) {
    let slot = usize::MAX;
    let lane = Lane::Http2 { id, slot };
    if let Some(why) = why {
        answer::error(&mut connection.reply(lane), 400, why, 0);
    }
    connection.release(lane, now_ns);
}

/// The head of a request.
fn headed(
    core: &mut Core,
    connection: &mut Connection,
    key: Key,
    id: StreamId,
    end: bool,
    heads: &Heads,
    now_ns: u64,
) -> Happened {
    let head = match Head::of_http2(&heads.request) {
        Ok(head) => head,
        Err(malformed) => {
            let lane = Lane::Http2 {
                id,
                slot: usize::MAX,
            };
            answer::error(&mut connection.reply(lane), 400, malformed.0, 0);
            connection.release(lane, now_ns);
            return Happened::Nothing;
        }
    };
    let Speech::Http2(http2) = &mut connection.speech else {
        return Happened::Nothing;
    };
    let stream = Stream::Asking {
        head,
        body: Vec::new(),
    };
    let slot = http2.streams.insert(stream).index;
    http2.wire.set_tag(id, slot as u64 + 1);
    if end {
        asked(core, connection, key, id, slot, now_ns);
    } else if heads.request.expect_continue {
        let mut head = http2.wire.head(id, &mut connection.output);
        head.status(100);
        head.finish(false);
    }
    Happened::Nothing
}

/// A request is complete.
fn asked(
    core: &mut Core,
    connection: &mut Connection,
    key: Key,
    id: StreamId,
    slot: usize,
    now_ns: u64,
) {
    let Speech::Http2(http2) = &mut connection.speech else {
        return;
    };
    let Some(Stream::Asking { head, body }) = http2.streams.at(slot) else {
        return;
    };
    let (head, body) = (head.clone(), std::mem::take(body));
    let lane = Lane::Http2 { id, slot };
    let home = Home {
        connection: key,
        lane,
    };
    let mut reply = connection.reply(lane);
    match core.dispatch(home, &mut reply, &head, &body, now_ns) {
        Some(exchange) => {
            if let Speech::Http2(http2) = &mut connection.speech
                && let Some(stream) = http2.streams.at(slot)
            {
                *stream = Stream::Answering(exchange);
            }
        }
        None => connection.release(lane, now_ns),
    }
}

/// The client has reset a stream.
fn left(core: &mut Core, connection: &mut Connection, slot: usize, id: StreamId, now_ns: u64) {
    if let Speech::Http2(http2) = &mut connection.speech
        && let Some(Stream::Answering(exchange)) = http2.streams.at(slot)
    {
        core.cancel(*exchange);
    }
    connection.release(Lane::Http2 { id, slot }, now_ns);
}

fn too_long(connection: &mut Connection, id: StreamId, slot: usize, now_ns: u64) {
    let lane = Lane::Http2 { id, slot };
    answer::error(&mut connection.reply(lane), 413, "the body is too long", 0);
    connection.release(lane, now_ns);
}
