//! The bodies of the fuzz targets and what tests ask of a connection; see [`crate::fuzzing`].

use crate::error::Violation;
use crate::fields::Fields;
use crate::fuzzing::Cuts;
use crate::h2::connection::PREFACE;
use crate::h2::state::{Over, Recv, Stream};
use crate::h2::{Closing, Config, Connection, ErrorCode, Event, Heads, Role, StreamId};
use crate::limits::Limits;
use crate::message::{RequestHead, ResponseHead};
use crate::name::Name;

/// What a connection gave, with neighbouring data of a stream joined, so that it does not depend
/// on chunking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A request's head, and whether the message ends with it.
    Request(StreamId, Box<RequestHead>, bool),
    /// A request that cannot be served, and whether it was reset.
    Bad(StreamId, Violation, bool),
    /// A final response's head, and whether the message ends with it.
    Response(StreamId, Box<ResponseHead>, bool),
    /// A 1xx.
    Interim(StreamId, Box<ResponseHead>),
    /// Body bytes, what they cost, and whether the message ends with them.
    Data(StreamId, Vec<u8>, u32, bool),
    /// A trailer section.
    Trailers(StreamId, Fields),
    /// The end of a message.
    End(StreamId),
    /// A stream that is over, by which code and whether by us.
    Reset(StreamId, u32, Option<Violation>),
    /// The peer's GOAWAY.
    Goaway(StreamId, u32),
    /// The peer's settings.
    Settings,
    /// The connection is over; nothing follows.
    Closed(Closing),
}

/// Runs a connection over pieces. `answer` is called for every event but data that does not end,
/// and may say anything to the connection.
pub fn read<'a>(
    connection: &mut Connection,
    out: &mut Vec<u8>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    mut answer: impl FnMut(&mut Connection, &Seen, &mut Vec<u8>),
) -> Vec<Seen> {
    let mut seen = Vec::new();
    for mut piece in pieces {
        loop {
            // Heads of its own at every call: nothing may be kept in them between calls.
            let mut heads = Heads::default();
            let event = match connection.next(&mut piece, &mut heads, out) {
                Ok(Some(event)) => event,
                Ok(None) => {
                    assert!(piece.is_empty(), "None must take all input");
                    break;
                }
                Err(closing) => {
                    let left = piece.len();
                    let again = connection.next(&mut piece, &mut heads, out);
                    assert_eq!(again, Err(closing), "stays closed");
                    assert_eq!(piece.len(), left, "takes nothing any more");
                    seen.push(Seen::Closed(closing));
                    return seen;
                }
            };
            push(&mut seen, event, &heads);
            match seen.last() {
                None | Some(Seen::Data(.., false)) => {}
                Some(last) => answer(connection, last, out),
            }
            audit(connection);
        }
    }
    seen
}

fn push(seen: &mut Vec<Seen>, event: Event<'_>, heads: &Heads) {
    let request = || Box::new(heads.request.clone());
    let response = || Box::new(heads.response.clone());
    let next = match event {
        Event::Head { id, end, .. } if heads.response.status == 0 => {
            Seen::Request(id, request(), end)
        }
        Event::Head { id, end, .. } => Seen::Response(id, response(), end),
        Event::Interim { id, .. } => Seen::Interim(id, response()),
        Event::Bad {
            id,
            violation,
            reset,
        } => Seen::Bad(id, violation, reset),
        Event::Data {
            id,
            bytes,
            credit,
            end,
            ..
        } => {
            assert!(!bytes.is_empty(), "no empty data events");
            assert!(credit as usize >= bytes.len(), "data costs what it is");
            match seen.last_mut() {
                Some(Seen::Data(last, joined, cost, ended)) if *last == id && !*ended => {
                    joined.extend_from_slice(bytes);
                    *cost += credit;
                    *ended = end;
                    return;
                }
                _ => Seen::Data(id, bytes.to_vec(), credit, end),
            }
        }
        Event::Trailers { id, fields, .. } => {
            assert!(!fields.is_empty(), "no empty trailers");
            Seen::Trailers(id, *fields)
        }
        Event::End { id, .. } => Seen::End(id),
        Event::Reset {
            id, code, by_us, ..
        } => Seen::Reset(id, code, by_us),
        Event::Goaway { last, code } => Seen::Goaway(last, code),
        Event::Settings => Seen::Settings,
    };
    seen.push(next);
}

/// Panics if what a connection counts is not what it has.
pub fn audit(connection: &Connection) {
    let streams = || connection.streams.iter();
    let queued: usize = streams().map(|stream| stream.queue.len()).sum();
    assert_eq!(connection.queued, queued, "queued bytes are counted");
    let held: u64 = streams().map(|stream| u64::from(stream.head_bytes)).sum();
    assert_eq!(connection.held_head_bytes, held, "heads are counted");
    assert_eq!(streams().count(), connection.streams.len());
    assert_eq!(
        connection.inbound.size(),
        connection.config.connection_window,
        "the connection's window is given back on receipt"
    );
    for stream in streams() {
        let could = !stream.queue.is_empty() && stream.outbound.allows() > 0;
        assert_eq!(stream.ready, could, "who can send has a turn");
        assert!(
            stream.inbound.size() <= connection.config.stream_window.max(65_535),
            "no window is given twice"
        );
    }
    let block_max = connection.config.header_list_bytes_max as usize + 16_384;
    assert!(
        connection.reader.gathered() <= block_max,
        "what is gathered is bounded"
    );
}

/// Panics unless a connection is as it was before its first stream.
pub fn assert_at_rest(connection: &Connection) {
    audit(connection);
    assert_eq!(connection.streams.len(), 0, "no stream is left");
    assert_eq!(connection.queued, 0, "nothing is queued");
    assert!(connection.schedule.is_empty(), "nobody waits for a turn");
    assert_eq!(connection.reader.gathered(), 0, "no scratch is held");
}

/// A stream whose peer may send nothing more until its caller consumes what it has.
pub fn starved(connection: &Connection) -> Option<StreamId> {
    let live = |stream: &&Stream| stream.recv == Recv::Body && stream.over == Over::No;
    let mut streams = connection.streams.iter().filter(live);
    let found = streams.find(|stream| stream.inbound.size() == 0);
    found.map(|stream| stream.id)
}

/// What the connection's windows allow: the peer, with what we still owe it, and us.
pub fn windows(connection: &Connection) -> (u32, u32, usize) {
    let inbound = connection.inbound;
    (
        inbound.left(),
        inbound.size() - inbound.left(),
        connection.outbound.allows(),
    )
}

/// Bytes that a connection holds, the two compression tables apart (4 KiB each when full).
pub fn held_bytes(connection: &Connection) -> usize {
    size_of::<Connection>()
        + connection.streams.held_bytes()
        + connection.closed.held_bytes()
        + connection.reader.held_bytes()
        + connection.relieved.capacity() * size_of::<StreamId>()
}

/// Bounds small enough for a fuzzer to reach.
fn config(steering: u8) -> Config {
    if steering & 1 == 0 {
        return Config::DEFAULT;
    }
    Config {
        streams_max: 3,
        stream_window: 100,
        header_list_bytes_max: 400,
        limits: Limits {
            field_count_max: 6,
            field_bytes_max: 80,
            trailer_bytes_max: 120,
            trailer_count_max: 2,
            interim_count_max: 1,
            ..Limits::DEFAULT
        },
        ..Config::DEFAULT
    }
}

/// Ends a stream as soon as it may be ended; with `speak`, a server answers first.
fn settle(connection: &mut Connection, seen: &Seen, out: &mut Vec<u8>, speak: bool) {
    match *seen {
        Seen::Request(id, ref head, end) => {
            if speak {
                let mut writer = connection.head(id, out);
                writer.status(200);
                writer.field(Name::Server, b"server", b"s");
                writer.finish(false);
                connection.data(id, head.target(), !end, out);
            }
            if end {
                connection.forget(id, out);
            }
        }
        Seen::Bad(id, ..)
        | Seen::Response(id, _, true)
        | Seen::Data(id, .., true)
        | Seen::Trailers(id, _)
        | Seen::End(id)
        | Seen::Reset(id, ..) => connection.forget(id, out),
        Seen::Settings => connection.flush(out),
        _ => {}
    }
}

/// One end's events and what it sent, with its caller's work done at the end.
fn run(
    role: Role,
    steering: u8,
    bytes: &[u8],
    pieces: impl IntoIterator<Item = Vec<u8>>,
) -> (Vec<Seen>, Vec<u8>) {
    let mut out = Vec::new();
    let mut connection = Connection::new(role, &config(steering), &mut out);
    let mut streams = Vec::new();
    while role == Role::Client
        && streams.len() < 3
        && let Some(id) = connection.open()
    {
        let method: &[u8] = if streams.is_empty() { b"HEAD" } else { b"GET" };
        let mut writer = connection.head(id, &mut out);
        writer.request(method, b"http", b"a", b"/", None);
        writer.finish(streams.len() < 2);
        streams.push(id);
    }
    let speak = steering & 2 != 0;
    let pieces: Vec<Vec<u8>> = pieces.into_iter().collect();
    let whole = pieces.is_empty().then_some(bytes);
    let all = whole.into_iter().chain(pieces.iter().map(Vec::as_slice));
    let seen = read(&mut connection, &mut out, all, |connection, seen, out| {
        settle(connection, seen, out, speak);
    });
    let said = out.clone();
    if !matches!(seen.last(), Some(Seen::Closed(_))) {
        let live: Vec<_> = connection.tags().map(|(id, _)| id).collect();
        for id in live {
            connection.reset(id, ErrorCode::Cancel, &mut out);
            connection.forget(id, &mut out);
        }
        audit(&connection);
    }
    (seen, said)
}

fn any_chunking(role: Role, data: &[u8]) {
    let (&steering, bytes) = data.split_first().unwrap_or((&0, &[]));
    let mut input = Vec::new();
    // With a good beginning, so that a fuzzer need not find it.
    if steering & 4 == 0 {
        if role == Role::Server {
            input.extend_from_slice(PREFACE);
        }
        input.extend_from_slice(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0");
    }
    input.extend_from_slice(bytes);
    let whole = run(role, steering, &input, []);
    let mut rest = input.as_slice();
    let mut cuts = Cuts::new(u32::from(steering >> 3) * 0x0101_0101);
    let pieces = std::iter::from_fn(|| cuts.piece(&mut rest).map(<[u8]>::to_vec));
    let split = run(role, steering, &input, pieces);
    assert_eq!(whole, split, "any chunking gives the same");
}

/// A client's bytes: whole and in pieces, the same events and the same answers.
pub fn h2_server(data: &[u8]) {
    any_chunking(Role::Server, data);
}

/// A server's bytes, for a client that asked three times: whole and in pieces.
pub fn h2_client(data: &[u8]) {
    any_chunking(Role::Client, data);
}
