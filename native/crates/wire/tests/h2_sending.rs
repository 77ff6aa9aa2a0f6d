//! What we send, as frames: windows, queues, turns, ends, and what the caller is told of them.

mod h2_script;

use h2_script::*;
use wire::fuzzing::h2::{Seen, assert_at_rest, read};
use wire::h2::{Config, Connection, ErrorCode, OUT_BYTES_HIGH, Role};
use wire::{Fields as List, Name};

fn silent(_: &mut Connection, _: &Seen, _: &mut Vec<u8>) {}

/// A server with open streams whose heads were sent.
struct Server {
    connection: Connection,
    out: Vec<u8>,
}

impl Server {
    fn new(ids: &[u32], before: &[Vec<u8>]) -> Self {
        let mut out = Vec::new();
        let connection = Connection::new(Role::Server, &Config::DEFAULT, &mut out);
        let mut server = Self { connection, out };
        server.take(&client_start());
        server.take(&before.concat());
        for &id in ids {
            server.take(&headers(id, 0, POST));
            let mut head = server.connection.head(id, &mut server.out);
            head.status(200);
            head.finish(false);
        }
        server.out.clear();
        server
    }

    fn take(&mut self, bytes: &[u8]) -> Vec<Seen> {
        read(&mut self.connection, &mut self.out, [bytes], silent)
    }

    fn data(&mut self, id: u32, len: usize, end: bool) {
        self.connection.data(id, &vec![0; len], end, &mut self.out);
    }

    /// What was sent since the last call: (id, bytes of data, whether it ends).
    fn sent(&mut self) -> Vec<(u32, usize, bool)> {
        let frames = sent(&std::mem::take(&mut self.out)).into_iter();
        frames
            .filter(|frame| frame.kind == DATA)
            .map(|frame| (frame.id, frame.payload.len(), frame.flags & END != 0))
            .collect()
    }

    fn flush(&mut self) -> Vec<(u32, usize, bool)> {
        self.connection.flush(&mut self.out);
        self.sent()
    }
}

#[test]
fn data_goes_at_once_and_ends_with_its_last_frame() {
    let mut server = Server::new(&[1], &[]);
    server.data(1, 10, false);
    server.data(1, 0, false);
    server.data(1, 20_000, true);
    assert_eq!(
        server.sent(),
        [(1, 10, false), (1, 16_384, false), (1, 3_616, true)]
    );
    server.data(1, 5, true);
    server.data(1, 0, true);
    assert_eq!(server.sent(), []);
    let mut server = Server::new(&[1], &[]);
    server.data(1, 10, false);
    server.data(1, 0, true);
    assert_eq!(server.sent(), [(1, 10, false), (1, 0, true)]);
}

#[test]
fn windows_hold_data_back() {
    let mut server = Server::new(&[1], &[settings(&[(4, 100)])]);
    server.data(1, 150, false);
    assert_eq!(server.sent(), [(1, 100, false)]);
    assert_eq!(server.connection.queued(1), 50);
    server.data(1, 10, true);
    assert_eq!(server.flush(), []);
    server.take(&window_update(1, 55));
    assert_eq!(server.flush(), [(1, 55, false)]);
    // A smaller initial window makes it negative; it must grow beyond 0 first.
    server.take(&settings(&[(4, 40)]));
    server.take(&window_update(1, 60));
    assert_eq!(server.flush(), []);
    server.take(&window_update(1, 1));
    assert_eq!(server.flush(), [(1, 1, false)]);
    server.take(&settings(&[(4, 1_000)]));
    assert_eq!(server.flush(), [(1, 4, true)]);
    assert_eq!(server.connection.queued_bytes(), 0);
}

#[test]
fn the_connection_window_is_shared() {
    let mut server = Server::new(&[1, 3], &[settings(&[(4, 100_000)])]);
    server.data(1, 60_000, false);
    while !server.flush().is_empty() {}
    server.data(3, 10_000, true);
    assert_eq!(server.sent(), [(3, 5_535, false)]);
    server.data(1, 1, false);
    assert_eq!(server.flush(), []);
    server.take(&window_update(0, 10));
    assert_eq!(server.flush(), [(3, 10, false)]);
    server.take(&window_update(0, 10_000));
    assert_eq!(server.flush(), [(1, 1, false), (3, 4_455, true)]);
}

#[test]
fn streams_take_turns_by_urgency() {
    let wide = [settings(&[(4, 1 << 20)]), window_update(0, 1 << 20)];
    let mut server = Server::new(&[1, 3, 5, 7], &wide);
    // The send queue is long, so all waits.
    server.out.extend(vec![0; OUT_BYTES_HIGH]);
    for id in [1, 3, 5, 7] {
        server.data(id, 20_000, true);
    }
    server.take(&frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x07u=0"));
    server.take(&frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=7"));
    server.out.clear();
    let mut order = Vec::new();
    loop {
        let sent = server.flush();
        if sent.is_empty() {
            break;
        }
        assert!(sent.iter().map(|one| one.1).sum::<usize>() < OUT_BYTES_HIGH + 16_384);
        order.extend(sent.iter().map(|one| (one.0, one.1)));
    }
    let (full, rest) = (16_384, 3_616);
    assert_eq!(
        order,
        [
            (7, full),
            (7, rest),
            (3, full),
            (5, full),
            (3, rest),
            (5, rest),
            (1, full),
            (1, rest),
        ]
    );
}

#[test]
fn the_priority_field_counts() {
    let mut server = Server::new(&[1], &[]);
    server.take(&headers_with(3, 0, POST, &[("priority", "u=1, i")]));
    let mut head = server.connection.head(3, &mut server.out);
    head.status(200);
    head.finish(false);
    server.out.extend(vec![0; OUT_BYTES_HIGH]);
    server.data(1, 5, false);
    server.data(3, 6, false);
    server.out.clear();
    assert_eq!(server.flush(), [(3, 6, false), (1, 5, false)]);
}

#[test]
fn who_waits_is_not_passed() {
    let mut server = Server::new(&[1, 3], &[]);
    server.out.extend(vec![0; OUT_BYTES_HIGH]);
    server.data(1, 5, false);
    server.out.clear();
    server.data(3, 7, false);
    assert_eq!(server.sent(), []);
    assert_eq!(server.flush(), [(1, 5, false), (3, 7, false)]);
}

#[test]
fn a_full_stream_is_relieved_once() {
    let mut server = Server::new(&[1, 3], &[settings(&[(4, 0)])]);
    server.connection.begin(77);
    server.connection.set_tag(1, 11);
    server.data(1, 65_536, false);
    assert!(!server.connection.full(1));
    server.data(1, 1, false);
    server.data(3, 1, false);
    assert!(server.connection.full(1) && !server.connection.full(3));
    assert_eq!(server.connection.stalled_since_ns(1), Some(77));
    assert_eq!(server.connection.relieved(), None);
    server.connection.begin(99);
    server.take(&window_update(1, 32_768));
    while !server.flush().is_empty() {}
    assert!(!server.connection.full(1));
    assert_eq!(server.connection.relieved(), None, "more than half is left");
    assert_eq!(server.connection.stalled_since_ns(1), Some(99));
    server.take(&window_update(1, 1));
    server.flush();
    assert_eq!(server.connection.relieved(), Some((1, 11)));
    assert_eq!(server.connection.relieved(), None);
    server.take(&window_update(1, 100_000));
    server.take(&window_update(3, 1));
    server.take(&window_update(0, 100_000));
    while !server.flush().is_empty() {}
    assert_eq!(server.connection.stalled_since_ns(1), None);
    assert_eq!(server.connection.queued(3), 0);
}

#[test]
fn a_full_connection_stops_every_stream_with_a_queue() {
    let ids: Vec<u32> = (0..20).map(|at| at * 2 + 1).collect();
    let mut server = Server::new(&ids, &[settings(&[(4, 0)])]);
    for &id in &ids[1..18] {
        server.data(id, 65_536, false);
    }
    server.data(37, 1, false);
    assert!(server.connection.queued_bytes() > 1 << 20);
    assert!(server.connection.full(3) && server.connection.full(37));
    assert!(!server.connection.full(1) && !server.connection.full(39));
    server
        .connection
        .reset(3, ErrorCode::Cancel, &mut server.out);
    server
        .connection
        .reset(5, ErrorCode::Cancel, &mut server.out);
    assert!(!server.connection.full(37));
}

#[test]
fn trailers_and_resets_wait_behind_data() {
    let mut trailers = List::new();
    trailers.push(b"grpc-status", b"0");
    let mut server = Server::new(&[1, 3, 5], &[settings(&[(4, 5)])]);
    for id in [1, 3, 5] {
        server.data(id, 10, false);
    }
    server.connection.trailers(1, &trailers, &mut server.out);
    server
        .connection
        .abort(3, ErrorCode::InternalError, &mut server.out);
    server
        .connection
        .reset(5, ErrorCode::Cancel, &mut server.out);
    let frames = sent(&std::mem::take(&mut server.out));
    let kinds: Vec<_> = frames.iter().map(|one| (one.kind, one.id)).collect();
    assert_eq!(kinds, [(DATA, 1), (DATA, 3), (DATA, 5), (RST_STREAM, 5)]);
    server.data(1, 1, true);
    server.data(3, 1, true);
    server.take(
        &[
            window_update(1, 5),
            window_update(3, 5),
            window_update(5, 5),
        ]
        .concat(),
    );
    server.connection.flush(&mut server.out);
    let frames = sent(&std::mem::take(&mut server.out));
    let kinds: Vec<_> = frames
        .iter()
        .map(|one| (one.kind, one.id, one.flags))
        .collect();
    let trailer_flags = END | WHOLE;
    assert_eq!(
        kinds,
        [
            (DATA, 1, 0),
            (HEADERS, 1, trailer_flags),
            (DATA, 3, 0),
            (RST_STREAM, 3, 0)
        ]
    );
    // Without a queue they go at once, and without fields they are an end.
    let mut server = Server::new(&[1, 3], &[]);
    server.connection.trailers(1, &trailers, &mut server.out);
    server.connection.trailers(3, &List::new(), &mut server.out);
    let frames = sent(&server.out);
    let kinds: Vec<_> = frames
        .iter()
        .map(|one| (one.kind, one.id, one.flags))
        .collect();
    assert_eq!(kinds, [(HEADERS, 1, trailer_flags), (DATA, 3, END)]);
}

#[test]
fn heads_interim_and_final() {
    let mut server = Server::new(&[], &[]);
    server.take(&headers(1, END, GET));
    let long = "v".repeat(20_000);
    let Server { connection, out } = &mut server;
    for (status, end) in [(103, true), (200, false), (200, false)] {
        let mut head = connection.head(1, out);
        head.status(status);
        head.field(Name::Other, b"x-long", long.as_bytes());
        head.finish(end);
    }
    let frames = sent(&std::mem::take(out));
    let kinds: Vec<_> = frames.iter().map(|one| (one.kind, one.flags)).collect();
    // A head that came too late is none.
    let (head, rest) = ((HEADERS, 0), (CONTINUATION, WHOLE));
    assert_eq!(kinds[kinds.len() - 4..], [head, rest, head, rest]);
    server.data(1, 1, true);
    assert_eq!(server.sent(), [(1, 1, true)]);
}

#[test]
fn forgetting_says_what_the_peer_must_know() {
    let mut server = Server::new(&[1, 3, 5, 7, 9], &[settings(&[(4, 5)])]);
    server.connection.begin(1_000);
    // Ended by both: nothing.
    server.take(&data(1, END, b""));
    server.data(1, 5, true);
    // Ended by us: the peer may stop. Ended by nobody: a truncation.
    server.data(3, 5, true);
    server.data(5, 5, false);
    // Ended by us, but the queue is not: later.
    server.data(7, 10, true);
    // Neither the peer's end is read nor does its window ever open.
    server.data(9, 10, true);
    server.out.clear();
    for id in [1, 3, 5, 7, 9] {
        server.connection.forget(id, &mut server.out);
    }
    let resets_now = resets(&std::mem::take(&mut server.out));
    assert_eq!(resets_now, [(3, 0), (5, 2)]);
    assert_eq!(
        (
            server.connection.streams(),
            server.connection.tags().count()
        ),
        (2, 0)
    );
    // What still comes for them is nobody's.
    let late = [
        data(3, 0, b"x"),
        data(5, END, b"x"),
        data(7, 0, b"x"),
        window_update(7, 5),
    ];
    assert_eq!(server.take(&late.concat()), []);
    server.connection.flush(&mut server.out);
    let frames = sent(&std::mem::take(&mut server.out));
    let kinds: Vec<_> = frames
        .iter()
        .map(|one| (one.kind, one.id, one.flags))
        .collect();
    assert_eq!(kinds, [(DATA, 7, END), (RST_STREAM, 7, 0)]);
    assert_eq!(server.connection.sweep_due_ns(), Some(30_000_001_000));
    server.connection.begin(30_000_000_999);
    assert_eq!(server.connection.sweep(&mut server.out), Ok(()));
    assert_eq!(server.connection.streams(), 1);
    server.connection.begin(30_000_001_000);
    assert_eq!(server.connection.sweep(&mut server.out), Ok(()));
    assert_eq!(resets(&server.out), [(9, 8)]);
    assert_eq!(server.connection.sweep_due_ns(), None);
    assert_at_rest(&server.connection);
}

#[test]
fn consumed_gives_the_stream_window_back_by_halves() {
    let mut server = Server::new(&[1], &[]);
    server.take(&data(1, 0, &[0; 16_384]).repeat(4));
    let Server { connection, out } = &mut server;
    out.clear();
    connection.consumed(1, 32_767, out);
    assert_eq!(sent(out), []);
    connection.consumed(1, 1, out);
    connection.consumed(1, 32_768, out);
    let updates: Vec<_> = sent(out).iter().map(|one| (one.id, one.word())).collect();
    assert_eq!(updates, [(1, 32_768), (1, 32_768)]);
    out.clear();
    server.take(&data(1, END, &[0; 16_384]));
    server.connection.consumed(1, 16_384, &mut server.out);
    server.connection.consumed(99, 16_384, &mut server.out);
    assert_eq!(sent(&server.out), [], "a stream that ended needs no window");
}

#[test]
fn goaway_first_lets_all_in_and_then_none() {
    let mut server = Server::new(&[1], &[]);
    let Server { connection, out } = &mut server;
    connection.goaway(ErrorCode::NoError, out);
    connection.goaway(ErrorCode::NoError, out);
    assert!(connection.going());
    assert!(matches!(
        server.take(&headers(3, END, GET))[..],
        [Seen::Request(3, ..)]
    ));
    let Server { connection, out } = &mut server;
    connection.goaway_final(ErrorCode::NoError, out);
    connection.goaway_final(ErrorCode::NoError, out);
    let late = [headers(5, 0, POST), data(5, END, b"x"), data(1, END, b"")].concat();
    assert_eq!(server.take(&late), [Seen::End(1)]);
    let frames = sent(&server.out);
    let said: Vec<_> = frames
        .iter()
        .map(|one| (one.kind, one.id, one.word()))
        .collect();
    assert_eq!(
        said,
        [(GOAWAY, 0, 0x7fff_ffff), (GOAWAY, 0, 3), (RST_STREAM, 5, 7)]
    );
}

/// A client whose server said what is given.
fn client(server: &[Vec<u8>]) -> (Connection, Vec<u8>) {
    let mut out = Vec::new();
    let mut client = Connection::new(Role::Client, &Config::DEFAULT, &mut out);
    let script = [server_start(), server.concat()].concat();
    read(&mut client, &mut out, [script.as_slice()], silent);
    out.clear();
    (client, out)
}

fn ask(client: &mut Connection, out: &mut Vec<u8>) -> Option<u32> {
    let id = client.open()?;
    let mut head = client.head(id, out);
    head.request(b"GET", b"http", b"a", b"/", None);
    head.finish(true);
    Some(id)
}

#[test]
fn a_client_opens_what_it_may() {
    let (mut client, mut out) = client(&[settings(&[(3, 2)])]);
    assert!(client.settled() && !client.connect_protocol());
    assert_eq!(ask(&mut client, &mut out), Some(1));
    assert_eq!(ask(&mut client, &mut out), Some(3));
    assert_eq!(ask(&mut client, &mut out), None);
    let done = headers(1, END, &[(":status", "200")]);
    read(&mut client, &mut out, [done.as_slice()], silent);
    assert!(!client.can_open(), "not before it is forgotten");
    client.forget(1, &mut out);
    assert_eq!(ask(&mut client, &mut out), Some(5));
    // A stream that was never asked for is nothing to the peer.
    client.forget(3, &mut out);
    let unsaid = client.open().expect("a stream");
    out.clear();
    client.forget(unsaid, &mut out);
    assert_eq!(out, b"");
    assert_eq!(ask(&mut client, &mut out), Some(unsaid + 2));
    client.goaway(ErrorCode::NoError, &mut out);
    assert_eq!(client.open(), None);
    let mut server = Server::new(&[], &[]);
    assert_eq!(server.connection.open(), None);
}

#[test]
fn goaway_refuses_what_was_not_processed() {
    let (mut client, mut out) = client(&[]);
    for id in [1, 3, 5, 7] {
        assert_eq!(ask(&mut client, &mut out), Some(id));
    }
    client.reset(5, ErrorCode::Cancel, &mut out);
    let goaway = frame(GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0");
    let seen = read(&mut client, &mut out, [goaway.as_slice()], silent);
    let refused = ErrorCode::RefusedStream.number();
    assert_eq!(
        seen,
        [
            Seen::Goaway(1, 0),
            Seen::Reset(3, refused, None),
            Seen::Reset(7, refused, None)
        ]
    );
    assert!(client.going() && !client.can_open());
    let answer = headers(1, END, &[(":status", "200")]);
    let seen = read(&mut client, &mut out, [answer.as_slice()], silent);
    assert!(matches!(seen[..], [Seen::Response(1, _, true)]));
    for id in [1, 3, 5, 7] {
        client.forget(id, &mut out);
    }
    assert_at_rest(&client);
}

#[test]
fn a_ping_at_a_time() {
    let (mut client, mut out) = client(&[]);
    client.ping(&mut out);
    client.ping(&mut out);
    let pings = sent(&out);
    assert_eq!((pings.len(), pings[0].kind, pings[0].flags), (1, PING, 0));
    let ack = |payload: &[u8]| frame(PING, ACK, 0, payload);
    read(&mut client, &mut out, [ack(&[9; 8]).as_slice()], silent);
    assert!(client.ping_outstanding());
    read(
        &mut client,
        &mut out,
        [ack(&pings[0].payload).as_slice()],
        silent,
    );
    assert!(!client.ping_outstanding());
    client.ping(&mut out);
    assert_eq!(sent(&out).len(), 2);
}

#[test]
fn an_early_response_stops_the_request_and_stands() {
    let (mut client, mut out) = client(&[]);
    let id = client.open().expect("a stream");
    let mut head = client.head(id, &mut out);
    head.request(b"POST", b"http", b"a", b"/", None);
    head.finish(false);
    let early = [headers(1, END, &[(":status", "413")]), reset(1, 0)].concat();
    let seen = read(&mut client, &mut out, [early.as_slice()], silent);
    assert!(matches!(
        seen[..],
        [Seen::Response(1, _, true), Seen::Reset(1, 0, None)]
    ));
    out.clear();
    client.data(1, b"more", true, &mut out);
    client.forget(1, &mut out);
    assert_eq!(out, b"");
    assert_at_rest(&client);
}
