//! One row for every rule about frames and streams: what comes in, which clause, what we say.

mod h2_script;

use h2_script::*;
use wire::fuzzing::h2::Seen;
use wire::h2::{Cause, Config, Connection, ErrorCode, Role};

/// What a script ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// No error of any kind.
    Fine,
    /// A connection error.
    Connection(ErrorCode, Cause),
    /// A stream error on stream 1, and the connection goes on.
    Stream(ErrorCode),
}

use Verdict::{Connection as Conn, Fine, Stream};

const PROTOCOL: Verdict = Conn(ErrorCode::ProtocolError, Cause::Protocol);
const SIZE: Verdict = Conn(ErrorCode::FrameSizeError, Cause::FrameSize);
const FLOW: Verdict = Conn(ErrorCode::FlowControlError, Cause::FlowControl);
const CLOSED: Verdict = Conn(ErrorCode::StreamClosed, Cause::StreamClosed);
const COMPRESSION: Verdict = Conn(ErrorCode::CompressionError, Cause::Compression);

type Row = (&'static str, Vec<Vec<u8>>, Verdict);

/// The last error of a script.
fn verdict(seen: &[Seen], out: &[u8]) -> Verdict {
    if let Some(Seen::Closed(closing)) = seen.last() {
        let frames = sent(out);
        let goaway = frames.last().expect("GOAWAY is the last frame");
        assert_eq!(goaway.kind, GOAWAY);
        assert_eq!(goaway.payload[4..8], closing.code.number().to_be_bytes());
        return Conn(closing.code, closing.cause);
    }
    match resets(out).as_slice() {
        [] => Fine,
        [(1, code)] => Stream(
            ALL_CODES
                .into_iter()
                .find(|one| one.number() == *code)
                .expect("a code"),
        ),
        other => panic!("{other:?}"),
    }
}

const ALL_CODES: [ErrorCode; 5] = [
    ErrorCode::ProtocolError,
    ErrorCode::FlowControlError,
    ErrorCode::StreamClosed,
    ErrorCode::FrameSizeError,
    ErrorCode::RefusedStream,
];

/// A server that answers at once and is done with a stream when both have ended.
fn answer(connection: &mut Connection, seen: &Seen, out: &mut Vec<u8>) {
    match *seen {
        Seen::Request(id, _, end) => {
            let mut head = connection.head(id, out);
            head.status(200);
            head.finish(true);
            if end {
                connection.forget(id, out);
            }
        }
        Seen::Data(id, .., true)
        | Seen::End(id)
        | Seen::Trailers(id, _)
        | Seen::Reset(id, ..)
        | Seen::Bad(id, ..) => connection.forget(id, out),
        _ => {}
    }
}

fn silent(_: &mut Connection, _: &Seen, _: &mut Vec<u8>) {}

fn check(rows: Vec<Row>, act: fn(&mut Connection, &Seen, &mut Vec<u8>)) {
    for (name, frames, expected) in rows {
        let script = [client_start(), frames.concat()].concat();
        let (seen, out, _) = run(Role::Server, &Config::DEFAULT, &script, act);
        assert_eq!(verdict(&seen, &out), expected, "{name}: {seen:?}");
    }
}

fn ping(flags: u8, id: u32, len: usize) -> Vec<u8> {
    frame(PING, flags, id, &vec![0; len])
}

#[test]
#[rustfmt::skip]
fn frames_and_their_form() {
    let get = || headers(1, END, GET);
    let post = || headers(1, 0, POST);
    let dep = |on: u32| [&on.to_be_bytes()[..], &[0]].concat();
    let with_priority = |on: u32| [dep(on), block(GET)].concat();
    check(vec![
        ("§4.1 unknown type", vec![frame(0xfe, 0xff, 0, b"x"), frame(0xfe, 0, 99, b"")], Fine),
        ("§4.1 unknown flags", vec![frame(PING, 0xfe, 0, b"12345678")], Fine),
        ("§4.1 reserved bit", vec![frame(HEADERS, END | WHOLE, 1 | 1 << 31, &block(GET))], Fine),
        ("§4.2 DATA of the largest size", vec![post(), data(1, END, &[0; 16_384])], Fine),
        ("§4.2 DATA too large", vec![post(), data(1, END, &[0; 16_385])], SIZE),
        ("§4.2 HEADERS too large", vec![frame(HEADERS, WHOLE, 1, &[0; 16_385])], SIZE),
        ("§4.2 unknown type too large", vec![frame(0xfe, 0, 0, &[0; 16_385])], SIZE),
        ("§4.3 block that is none", vec![frame(HEADERS, END | WHOLE, 1, b"\x80")], COMPRESSION),
        ("§4.3 block that ends early", vec![frame(HEADERS, END | WHOLE, 1, b"\x00\x05a")],
            COMPRESSION),
        ("§6.1 DATA on 0", vec![data(0, 0, b"x")], PROTOCOL),
        ("§6.1 padding", vec![post(), data(1, END | PADDED, b"\x03abc\0\0\0")], Fine),
        ("§6.1 only padding", vec![post(), data(1, END | PADDED, b"\x03\0\0\0")], Fine),
        ("§6.1 padding as long as the rest", vec![post(), data(1, PADDED, b"\x04abc")], PROTOCOL),
        ("§6.1 padding too long", vec![post(), data(1, PADDED, b"\xffabc")], PROTOCOL),
        ("§6.1 no pad length", vec![post(), data(1, PADDED, b"")], SIZE),
        ("§6.2 HEADERS on 0", vec![headers(0, END, GET)], PROTOCOL),
        ("§6.2 padding", vec![frame(HEADERS, END | WHOLE | PADDED, 1,
            &[b"\x02".as_slice(), &block(GET), b"\0\0"].concat())], Fine),
        ("§6.2 padding too long", vec![frame(HEADERS, END | WHOLE | PADDED, 1, b"\x02\x82")],
            PROTOCOL),
        ("§6.2 no pad length", vec![frame(HEADERS, END | WHOLE | PADDED, 1, b"")], SIZE),
        ("§6.2 priority", vec![frame(HEADERS, END | WHOLE | WITH_PRIORITY, 1,
            &with_priority(3))], Fine),
        ("§6.2 priority cut", vec![frame(HEADERS, END | WHOLE | WITH_PRIORITY, 1, b"\0\0\0\0")],
            SIZE),
        ("§6.2 depends on itself", vec![frame(HEADERS, END | WHOLE | WITH_PRIORITY, 1,
            &with_priority(1))], Stream(ErrorCode::ProtocolError)),
        ("§6.2 interrupted by DATA", vec![frame(HEADERS, 0, 1, &block(GET)), data(1, 0, b"x")],
            PROTOCOL),
        ("§6.2 interrupted by another", vec![frame(HEADERS, 0, 1, b""), headers(3, END, GET)],
            PROTOCOL),
        ("§6.2 interrupted by unknown", vec![frame(HEADERS, 0, 1, b""), frame(0xfe, 0, 0, b"")],
            PROTOCOL),
        ("§6.3 PRIORITY", vec![get(), frame(PRIORITY, 0, 1, &dep(3))], Fine),
        ("§6.3 on an idle stream", vec![frame(PRIORITY, 0, 7, &dep(3)), get()], Fine),
        ("§6.3 on 0", vec![frame(PRIORITY, 0, 0, &dep(3))], PROTOCOL),
        ("§6.3 length", vec![get(), frame(PRIORITY, 0, 1, b"\0\0\0\0")],
            Stream(ErrorCode::FrameSizeError)),
        ("§6.3 length, idle", vec![frame(PRIORITY, 0, 1, b"\0\0\0\0")], SIZE),
        ("§6.3 on itself", vec![post(), frame(PRIORITY, 0, 1, &dep(1))],
            Stream(ErrorCode::ProtocolError)),
        ("§6.3 on itself, idle", vec![frame(PRIORITY, 0, 1, &dep(1))], PROTOCOL),
        ("§6.4 on 0", vec![reset(0, 8)], PROTOCOL),
        ("§6.4 on an idle stream", vec![reset(1, 8)], PROTOCOL),
        ("§6.4 length", vec![get(), frame(RST_STREAM, 0, 1, b"\0\0\0")], SIZE),
    ], silent);
}

#[test]
#[rustfmt::skip]
fn frames_that_steer() {
    let get = || headers(1, END, GET);
    let post = || headers(1, 0, POST);
    check(vec![
        ("§6.5 on a stream", vec![frame(SETTINGS, 0, 1, b"")], PROTOCOL),
        ("§6.5 length", vec![frame(SETTINGS, 0, 0, b"\0\0\0")], SIZE),
        ("§6.5 ACK with a payload", vec![frame(SETTINGS, ACK, 0, &[0; 6])], SIZE),
        ("§6.5.2 unknown", vec![settings(&[(0xff, 1)])], Fine),
        ("§6.5.2 ENABLE_PUSH", vec![settings(&[(2, 2)])], PROTOCOL),
        ("§6.5.2 INITIAL_WINDOW_SIZE", vec![settings(&[(4, 1 << 31)])], FLOW),
        ("§6.5.2 MAX_FRAME_SIZE, small", vec![settings(&[(5, 16_383)])], PROTOCOL),
        ("§6.5.2 MAX_FRAME_SIZE, large", vec![settings(&[(5, 1 << 24)])], PROTOCOL),
        ("§6.5 many entries", vec![settings(&[(0xff, 1); 33])],
            Conn(ErrorCode::EnhanceYourCalm, Cause::SettingsFlood)),
        ("§6.6 PUSH_PROMISE", vec![get(), frame(PUSH_PROMISE, WHOLE, 1, b"\0\0\0\x02\x82")],
            PROTOCOL),
        ("§6.7 PING", vec![ping(0, 0, 8)], Fine),
        ("§6.7 ACK of nothing", vec![ping(ACK, 0, 8)], Fine),
        ("§6.7 on a stream", vec![get(), ping(0, 1, 8)], PROTOCOL),
        ("§6.7 length", vec![ping(0, 0, 7)], SIZE),
        ("§6.8 GOAWAY", vec![frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0why"), get()], Fine),
        ("§6.8 on a stream", vec![get(), frame(GOAWAY, 0, 1, &[0; 8])], PROTOCOL),
        ("§6.8 length", vec![frame(GOAWAY, 0, 0, &[0; 7])], SIZE),
        ("§6.8 takes back", vec![frame(GOAWAY, 0, 0, &[0; 8]),
            frame(GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0")], PROTOCOL),
        ("§6.9 of 0", vec![window_update(0, 0)], PROTOCOL),
        ("§6.9 of 0 on a stream", vec![get(), window_update(1, 0)],
            Stream(ErrorCode::ProtocolError)),
        ("§6.9 length", vec![frame(WINDOW_UPDATE, 0, 0, b"\0\0\x01")], SIZE),
        ("§6.9.1 overflow", vec![window_update(0, 0x7fff_ffff)], FLOW),
        ("§6.9.1 the most", vec![window_update(0, 0x7fff_ffff - 65_535)], Fine),
        ("§6.9.1 overflow on a stream", vec![get(), window_update(1, 0x7fff_ffff)],
            Stream(ErrorCode::FlowControlError)),
        ("§6.9.2 overflow by settings", vec![get(), window_update(1, 0x7fff_ffff - 65_535),
            settings(&[(4, 65_536)])], FLOW),
        ("§6.10 CONTINUATION", vec![frame(HEADERS, END, 1, &block(&GET[..2])),
            frame(CONTINUATION, 0, 1, b""), frame(CONTINUATION, WHOLE, 1, &block(&GET[2..]))],
            Fine),
        ("§6.10 of nothing", vec![frame(CONTINUATION, WHOLE, 1, b"")], PROTOCOL),
        ("§6.10 behind a whole block", vec![get(), frame(CONTINUATION, WHOLE, 1, b"")], PROTOCOL),
        ("§6.10 behind DATA", vec![post(), data(1, 0, b"x"), frame(CONTINUATION, WHOLE, 1, b"")],
            PROTOCOL),
        ("§6.10 on 0", vec![frame(HEADERS, 0, 1, b""), frame(CONTINUATION, WHOLE, 0, b"")],
            PROTOCOL),
        ("§6.10 of another", vec![frame(HEADERS, 0, 1, b""), frame(CONTINUATION, WHOLE, 3, b"")],
            PROTOCOL),
        ("9218 §7.1", vec![get(), frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=0")], Fine),
        ("9218 §7.1 idle", vec![frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x09u=0")], Fine),
        ("9218 §7.1 on a stream", vec![get(), frame(PRIORITY_UPDATE, 0, 1, b"\0\0\0\x01u=0")],
            PROTOCOL),
        ("9218 §7.1 for 0", vec![frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\0u=0")], PROTOCOL),
        ("9218 §7.1 length", vec![frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0")], SIZE),
        ("9218 §7.1 long", vec![frame(PRIORITY_UPDATE, 0, 0, &[b'u'; 300])], Fine),
    ], silent);
}

#[test]
#[rustfmt::skip]
fn streams_while_they_live() {
    let post = || headers(1, 0, POST);
    check(vec![
        ("§5.1 idle, DATA", vec![data(1, END, b"x")], PROTOCOL),
        ("§5.1 idle, WINDOW_UPDATE", vec![window_update(1, 1)], PROTOCOL),
        ("§5.1 half-closed (remote), DATA", vec![headers(1, END, GET), data(1, END, b"x")],
            Stream(ErrorCode::StreamClosed)),
        ("§5.1 half-closed (remote), HEADERS",
            vec![headers(1, END, GET), headers(1, END, GET)], Stream(ErrorCode::StreamClosed)),
        ("§5.1 half-closed (remote), WINDOW_UPDATE",
            vec![headers(1, END, GET), window_update(1, 9)], Fine),
        ("§5.1 half-closed (remote), PRIORITY",
            vec![headers(1, END, GET), frame(PRIORITY, 0, 1, &[0; 5])], Fine),
        ("§5.1 reset by the peer, DATA", vec![post(), reset(1, 8), data(1, END, b"x")],
            Stream(ErrorCode::StreamClosed)),
        ("§5.1 reset by the peer, HEADERS", vec![post(), reset(1, 8), headers(1, END, GET)],
            Stream(ErrorCode::StreamClosed)),
        ("§5.1 reset by the peer, again", vec![post(), reset(1, 8), reset(1, 8)], Fine),
        ("§5.1 reset by the peer, WINDOW_UPDATE", vec![post(), reset(1, 8), window_update(1, 1)],
            Fine),
        ("§5.1 reset by us, anything", vec![post(), window_update(1, 0), data(1, 0, b"x"),
            data(1, END, b"x"), headers(1, END, GET), window_update(1, 0), reset(1, 8)],
            Stream(ErrorCode::ProtocolError)),
        ("§5.1.1 even", vec![headers(2, END, GET)], PROTOCOL),
        ("§5.1.1 passed over", vec![headers(5, END, GET), headers(3, END, GET)], PROTOCOL),
        ("§8.1 second HEADERS that end nothing", vec![post(), headers(1, 0, &[("a", "b")])],
            Stream(ErrorCode::ProtocolError)),
        ("§8.1 trailers", vec![post(), data(1, 0, b"x"), headers(1, END, &[("a", "b")])], Fine),
        ("§8.1 no trailers but an end", vec![post(), headers(1, END, &[])], Fine),
        ("§8.1 trailers with a pseudo-header field",
            vec![post(), headers(1, END, &[(":path", "/")])], Stream(ErrorCode::ProtocolError)),
        ("§8.1 trailers with content-length",
            vec![post(), headers(1, END, &[("content-length", "0")])],
            Stream(ErrorCode::ProtocolError)),
        ("§8.2.2 trailers with TE", vec![post(), headers(1, END, &[("te", "trailers")])],
            Stream(ErrorCode::ProtocolError)),
        ("§8.2.2 trailers with Connection",
            vec![post(), headers(1, END, &[("connection", "close")])],
            Stream(ErrorCode::ProtocolError)),
        ("§8.1.1 less than content-length", vec![
            headers_with(1, 0, POST, &[("content-length", "2")]), data(1, END, b"x")],
            Stream(ErrorCode::ProtocolError)),
        ("§8.1.1 more than content-length", vec![
            headers_with(1, 0, POST, &[("content-length", "2")]), data(1, 0, b"xyz")],
            Stream(ErrorCode::ProtocolError)),
        ("§8.1.1 more in several", vec![
            headers_with(1, 0, POST, &[("content-length", "2")]), data(1, 0, b"x"),
            data(1, 0, b"x"), data(1, END, b"x")], Stream(ErrorCode::ProtocolError)),
        ("§8.1.1 less before trailers", vec![
            headers_with(1, 0, POST, &[("content-length", "2")]), data(1, 0, b"x"),
            headers(1, END, &[("a", "b")])], Stream(ErrorCode::ProtocolError)),
        ("§8.1.1 as content-length says", vec![
            headers_with(1, 0, POST, &[("content-length", "2")]), data(1, 0, b"x"),
            data(1, END | PADDED, b"\x02x\0\0")], Fine),
        ("§8.1.1 as content-length says, then an empty end", vec![
            headers_with(1, 0, POST, &[("content-length", "2")]), data(1, 0, b"xy"),
            data(1, END, b"")], Fine),
    ], silent);
}

#[test]
#[rustfmt::skip]
fn streams_that_were() {
    let get = || headers(1, END, GET);
    check(vec![
        ("§5.1 closed, DATA", vec![get(), data(1, END, b"x")], Stream(ErrorCode::StreamClosed)),
        ("§5.1 closed, HEADERS", vec![get(), get()], CLOSED),
        ("§5.1 closed, CONTINUATION", vec![get(), frame(CONTINUATION, WHOLE, 1, b"")], PROTOCOL),
        ("§5.1 closed, WINDOW_UPDATE", vec![get(), window_update(1, 9)], Fine),
        ("§5.1 closed, RST_STREAM", vec![get(), reset(1, 8)], Fine),
        ("§5.1 closed, PRIORITY", vec![get(), frame(PRIORITY, 0, 1, &[0; 5])], Fine),
        ("§8.1 answered early, the rest comes",
            vec![headers(1, 0, POST), data(1, 0, b"x"), data(1, END, b"x")], Fine),
        ("§8.1 answered early, trailers",
            vec![headers(1, 0, POST), headers(1, END, &[("a", "b")])], Fine),
    ], answer);
}

#[test]
#[rustfmt::skip]
fn beginnings() {
    for (name, bytes, expected) in [
        ("§3.4 preface", client_start(), Fine),
        ("§3.4 HTTP/1.1", b"GET / HTTP/1.1\r\n\r\n".to_vec(), PROTOCOL),
        ("§3.4 cut and changed", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r".to_vec(), PROTOCOL),
        ("§3.4 a part of it", b"PRI * HT".to_vec(), Fine),
        ("§3.4 no SETTINGS", [PREFACE, &ping(0, 0, 8)].concat(), PROTOCOL),
        ("§3.4 ACK is not enough", [PREFACE, &frame(SETTINGS, ACK, 0, b"")].concat(), PROTOCOL),
        ("§3.4 DATA first", [PREFACE, &data(1, 0, b"x")].concat(), PROTOCOL),
    ] {
        let (seen, out, _) = run(Role::Server, &Config::DEFAULT, &bytes, silent);
        assert_eq!(verdict(&seen, &out), expected, "{name}: {seen:?}");
    }
}

#[test]
fn windows_are_kept_to() {
    let frames = |count: usize| vec![data(1, 0, &[0; 16_384]); count].concat();
    // A stream's window is 65,536, and nobody consumes.
    let script = [client_start(), headers(1, 0, POST), frames(4)].concat();
    let (seen, out, _) = run(Role::Server, &Config::DEFAULT, &script, silent);
    assert_eq!(verdict(&seen, &out), Fine);
    let script = [script, data(1, 0, b"x")].concat();
    let (seen, out, _) = run(Role::Server, &Config::DEFAULT, &script, silent);
    assert_eq!(verdict(&seen, &out), Stream(ErrorCode::FlowControlError));
    let reset = seen
        .iter()
        .any(|one| matches!(one, Seen::Reset(1, 3, Some(_))));
    assert!(reset, "{seen:?}");
    // The connection's is 65,535 at least, and given back on receipt.
    let config = Config {
        connection_window: 0,
        stream_window: 1 << 20,
        ..Config::DEFAULT
    };
    let script = [client_start(), headers(1, 0, POST), frames(20)].concat();
    let (seen, out, _) = run(Role::Server, &config, &script, silent);
    assert_eq!(verdict(&seen, &out), Fine);
    let updates = sent(&out);
    let updates = updates.iter().filter(|frame| frame.kind == WINDOW_UPDATE);
    assert!(updates.clone().all(|frame| frame.id == 0) && updates.count() == 10);
}

#[test]
fn padding_costs_and_is_given_back() {
    // 250 bytes of padding with a byte of data, ten times what the window holds: the reader hands
    // out what each frame cost, and gives back itself what carries nothing.
    let padded = data(1, PADDED, &[&[250, b'x'][..], &[0; 250]].concat());
    let empty = data(1, PADDED, &[&[250][..], &[0; 250]].concat());
    let both = [padded, empty].concat().repeat(1_300);
    let script = [client_start(), headers(1, 0, POST), both, data(1, END, b"")].concat();
    let mut out = Vec::new();
    let mut connection = Connection::new(Role::Server, &Config::DEFAULT, &mut out);
    let (mut input, mut heads) = (script.as_slice(), wire::h2::Heads::default());
    let mut credits = 0;
    loop {
        let event = connection.next(&mut input, &mut heads, &mut out);
        match event.expect("no error") {
            Some(wire::h2::Event::Data {
                id, credit, bytes, ..
            }) => {
                assert_eq!((id, credit, bytes), (1, 252, &b"x"[..]));
                credits += credit;
                connection.consumed(id, credit, &mut out);
            }
            Some(wire::h2::Event::End { .. }) => break,
            Some(_) => {}
            None => panic!("the end comes"),
        }
    }
    assert_eq!(credits, 1_300 * 252);
    wire::fuzzing::h2::audit(&connection);
}

#[test]
fn answers_to_what_asks_for_one() {
    let script = [
        client_start(),
        frame(PING, 0, 0, b"12345678"),
        settings(&[(4, 70_000)]),
    ]
    .concat();
    let (seen, out, _) = run(Role::Server, &Config::DEFAULT, &script, silent);
    assert_eq!(seen, [Seen::Settings, Seen::Settings]);
    let acks: Vec<_> = sent(&out)
        .into_iter()
        .map(|frame| (frame.kind, frame.flags, frame.payload))
        .collect();
    let nothing = Vec::new;
    assert_eq!(
        acks,
        [
            (SETTINGS, ACK, nothing()),
            (PING, ACK, b"12345678".to_vec()),
            (SETTINGS, ACK, nothing()),
        ]
    );
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let config = Config {
        streams_max: 2,
        ..Config::DEFAULT
    };
    let ids = [1, 3, 5, 7];
    let requests: Vec<_> = ids.iter().map(|&id| headers(id, END, GET)).collect();
    let script = [client_start(), requests.concat()].concat();
    let (seen, out, mut connection) = run(Role::Server, &config, &script, silent);
    assert_eq!(resets(&out), [(5, 7), (7, 7)]);
    assert_eq!(seen.len(), 3);
    assert_eq!((connection.streams(), connection.accepted()), (2, 4));
    // A slot is free when the work is gone, not when the peer has reset the stream.
    let mut out = Vec::new();
    let more = [reset(1, 8), headers(9, END, GET)].concat();
    wire::fuzzing::h2::read(&mut connection, &mut out, [more.as_slice()], silent);
    assert_eq!(resets(&out), [(9, 7)]);
    connection.forget(1, &mut out);
    let more = headers(11, END, GET);
    let seen = wire::fuzzing::h2::read(&mut connection, &mut out, [more.as_slice()], silent);
    assert!(matches!(seen[..], [Seen::Request(11, ..)]));
}
