//! Every budget has its attack here: how far it gets, and what the closure is counted as.

mod h2_script;

use h2_script::*;
use wire::fuzzing::h2::{Seen, read};
use wire::h2::{Cause, Config, Connection, ErrorCode, Event, Heads, Role};

const SECOND: u64 = 1_000_000_000;

/// What the server does with the streams of an attack.
type Act = fn(&mut Connection, &Seen, &mut Vec<u8>);

fn silent(_: &mut Connection, _: &Seen, _: &mut Vec<u8>) {}

/// Done with every stream at once, as a server whose work is cheap.
fn forgets(connection: &mut Connection, seen: &Seen, out: &mut Vec<u8>) {
    if let Seen::Reset(id, ..) | Seen::Bad(id, ..) = *seen {
        connection.forget(id, out);
    }
}

/// Answers, so that a reset comes too late to be early.
fn answers(connection: &mut Connection, seen: &Seen, out: &mut Vec<u8>) {
    if let Seen::Request(id, ..) = *seen {
        let mut head = connection.head(id, out);
        head.status(200);
        head.finish(false);
    }
    forgets(connection, seen, out);
}

struct Attack {
    connection: Connection,
    act: Act,
    out: Vec<u8>,
}

impl Attack {
    fn new(config: &Config, act: Act) -> Self {
        let mut out = Vec::new();
        let connection = Connection::new(Role::Server, config, &mut out);
        let mut attack = Self {
            connection,
            act,
            out,
        };
        assert_eq!(attack.send(&client_start()), None);
        attack
    }

    /// Sends bytes; the send queue is taken every time, as by a peer that reads.
    fn send(&mut self, bytes: &[u8]) -> Option<Cause> {
        self.out.clear();
        self.push(bytes)
    }

    /// Sends bytes and takes nothing.
    fn push(&mut self, bytes: &[u8]) -> Option<Cause> {
        let seen = read(&mut self.connection, &mut self.out, [bytes], self.act);
        match seen.last() {
            Some(Seen::Closed(closing)) => Some(closing.cause),
            _ => None,
        }
    }

    /// Repeats a step with growing stream ids until the connection is closed.
    fn repeat(&mut self, step: impl Fn(u32) -> Vec<u8>) -> (u32, Cause) {
        for count in 0..1_000_000 {
            if let Some(cause) = self.send(&step(1 + 2 * count)) {
                return (count, cause);
            }
        }
        panic!("never closed");
    }
}

fn attack(act: Act, step: impl Fn(u32) -> Vec<u8>) -> (u32, Cause) {
    Attack::new(&Config::DEFAULT, act).repeat(step)
}

fn on_one_stream(act: Act, step: &[u8]) -> (u32, Cause) {
    let mut attack = Attack::new(&Config::DEFAULT, act);
    assert_eq!(attack.send(&headers(1, 0, POST)), None);
    attack.repeat(|_| step.to_vec())
}

#[test]
#[rustfmt::skip]
fn each_attack_has_its_cause() {
    let post = |id| headers(id, 0, POST);
    let with = |id, frame: Vec<u8>| [post(id), frame].concat();
    let ping = frame(PING, 0, 0, &[0; 8]);
    let priority = |on: u32| [&on.to_be_bytes()[..], &[0]].concat();
    for (name, (count, cause), expected) in [
        ("rapid reset", attack(forgets, |id| with(id, reset(id, 8))), (100, Cause::RapidReset)),
        ("made: WINDOW_UPDATE 0", attack(forgets, |id| with(id, window_update(id, 0))),
            (100, Cause::MadeYouReset)),
        ("made: WINDOW_UPDATE overflow",
            attack(forgets, |id| with(id, window_update(id, 0x7fff_ffff))),
            (100, Cause::MadeYouReset)),
        ("made: PRIORITY length", attack(forgets, |id| with(id, frame(PRIORITY, 0, id, b"x"))),
            (100, Cause::MadeYouReset)),
        ("made: PRIORITY on itself",
            attack(forgets, |id| with(id, frame(PRIORITY, 0, id, &priority(id)))),
            (100, Cause::MadeYouReset)),
        ("made: DATA behind the end",
            attack(forgets, |id| [headers(id, END, GET), data(id, 0, b"x")].concat()),
            (100, Cause::MadeYouReset)),
        ("made: HEADERS behind the end",
            attack(forgets, |id| [headers(id, END, GET), headers(id, END, GET)].concat()),
            (100, Cause::MadeYouReset)),
        ("made: malformed", attack(forgets, |id| headers(id, END, &[(":path", "x")])),
            (100, Cause::MadeYouReset)),
        ("made: content-length", attack(forgets, |id| [
            headers_with(id, 0, POST, &[("content-length", "1")]), data(id, END, b"")].concat()),
            (100, Cause::MadeYouReset)),
        ("PING", attack(silent, |_| ping.clone()), (199, Cause::PingFlood)),
        ("SETTINGS", attack(silent, |_| settings(&[])), (199, Cause::SettingsFlood)),
        ("empty DATA", on_one_stream(silent, &data(1, 0, b"")), (10, Cause::EmptyFrames)),
        ("empty DATA with padding", on_one_stream(silent, &data(1, PADDED, b"\x01\0")),
            (10, Cause::EmptyFrames)),
        ("window updates", on_one_stream(silent, &window_update(1, 1)),
            (5 + 2, Cause::WindowUpdates)),
        ("priorities", attack(silent, |id| frame(PRIORITY, 0, id, &priority(0))),
            (100, Cause::Priority)),
        ("priority updates",
            attack(silent, |_| frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1")),
            (100, Cause::Priority)),
        ("unknown frames", attack(silent, |_| frame(0xfe, 0, 0, b"")), (1_000, Cause::Glitches)),
        ("ACKs of nothing", attack(silent, |_| frame(SETTINGS, ACK, 0, b"")),
            (1_000, Cause::Glitches)),
        ("refused streams", attack(silent, |id| headers(id, END, GET)),
            (1_100, Cause::Glitches)),
        ("resets of nothing", on_one_stream(forgets, &[reset(1, 8), vec![]].concat()),
            (8 * 1_048_576 / 13 + 5, Cause::Overhead)),
    ] {
        assert_eq!(cause, expected.1, "{name}");
        if cause == Cause::Overhead {
            assert!(count.abs_diff(expected.0) < 200, "{name}: {count}");
        } else {
            assert_eq!(count, expected.0, "{name}");
        }
    }
}

#[test]
fn a_block_has_few_pieces_and_little_time() {
    let mut attack = Attack::new(&Config::DEFAULT, silent);
    assert_eq!(attack.send(&frame(HEADERS, 0, 1, &block(GET))), None);
    let (count, cause) = attack.repeat(|_| frame(CONTINUATION, 0, 1, b""));
    assert_eq!((count, cause), (8, Cause::Continuation));
    // Longer than the list may be, in pieces that are few enough.
    let mut attack = Attack::new(&Config::DEFAULT, silent);
    let filler = block(&[("x", &"v".repeat(16_000))]);
    assert_eq!(attack.send(&frame(HEADERS, 0, 1, &filler)), None);
    let (count, cause) = attack.repeat(|_| frame(CONTINUATION, 0, 1, &filler));
    assert_eq!((count, cause), (3, Cause::Continuation));
    // Byte by byte over more than five seconds; the caller's timer sees it, too.
    let slow = frame(HEADERS, END | WHOLE, 1, &block(GET));
    for sweep in [false, true] {
        let mut attack = Attack::new(&Config::DEFAULT, silent);
        attack.connection.begin(SECOND);
        assert_eq!(attack.send(&slow[..20]), None);
        assert_eq!(attack.connection.head_since_ns(), Some(SECOND));
        attack.connection.begin(6 * SECOND);
        assert_eq!(attack.send(&slow[20..21]), None);
        attack.connection.begin(6 * SECOND + 1);
        let cause = if sweep {
            let swept = attack.connection.sweep(&mut attack.out);
            swept.err().map(|closing| closing.cause)
        } else {
            attack.send(&slow[21..22])
        };
        assert_eq!(cause, Some(Cause::Continuation));
    }
}

#[test]
fn a_header_bomb_ends_the_connection() {
    // One entry of 4,000 bytes in the table, then a reference of one byte to it, again and again.
    let value = "v".repeat(3_900);
    let mut bomb = block(GET);
    bomb.extend([0x40, 1, b'x', 0x7f]);
    let mut rest = value.len() - 127;
    while rest >= 128 {
        bomb.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    bomb.push(rest as u8);
    bomb.extend(value.bytes());
    let times = |count: usize| [&bomb[..], &vec![0xbe; count]].concat();
    let mut attack = Attack::new(&Config::DEFAULT, silent);
    // Some of it is a head too large, which can be answered; much of it is none.
    assert_eq!(
        attack.send(&frame(HEADERS, END | WHOLE, 1, &times(20))),
        None
    );
    let mut attack = Attack::new(&Config::DEFAULT, silent);
    let cause = attack.send(&frame(HEADERS, END | WHOLE, 1, &times(10_000)));
    assert_eq!(cause, Some(Cause::HeaderBomb));
}

#[test]
fn heads_of_all_streams_are_bounded_together() {
    // Each head decodes to 60 KiB from some 30 bytes; the fifth is refused.
    let mut attack = Attack::new(&Config::DEFAULT, silent);
    let value = "v".repeat(3_900);
    let mut first = block(GET);
    first.extend([0x40, 1, b'x', 0x7f]);
    let mut rest = value.len() - 127;
    while rest >= 128 {
        first.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    first.push(rest as u8);
    first.extend(value.bytes());
    assert_eq!(attack.send(&frame(HEADERS, END | WHOLE, 1, &first)), None);
    let next = [block(GET), vec![0xbe; 15]].concat();
    let mut refused = Vec::new();
    for id in [3, 5, 7, 9, 11, 13, 15] {
        assert_eq!(attack.send(&frame(HEADERS, END | WHOLE, id, &next)), None);
        refused.extend(resets(&attack.out));
    }
    assert_eq!(refused, [(11, 7), (13, 7), (15, 7)]);
    attack.connection.forget(3, &mut attack.out);
    assert_eq!(attack.send(&frame(HEADERS, END | WHOLE, 17, &next)), None);
    assert_eq!(resets(&attack.out), []);
    // Each of those refused was as odd as four small ones.
    let more = |at: u32| frame(HEADERS, END | WHOLE, 19 + at, &next);
    let (count, cause) = attack.repeat(|id| more(id - 1));
    assert_eq!(cause, Cause::Glitches);
    assert!((245..=252).contains(&count), "{count}");
}

#[test]
fn heads_beyond_what_was_sent_are_lent() {
    // 2,400 bytes in a field of the table, said again and again in a byte.
    let mut first = block(GET);
    first.extend([0x40, 1, b'x', 0x7f, 0xe1, 0x11]);
    first.extend([b'v'; 2_400]);
    let next = [block(GET), vec![0xbe; 8]].concat();
    let sent = |lent: u64| {
        let mut attack = Attack::new(&Config::DEFAULT, silent);
        attack.connection.lend_heads(lent);
        assert_eq!(attack.send(&frame(HEADERS, END | WHOLE, 1, &first)), None);
        let taken = (3..200).step_by(2).take_while(|&id| {
            assert_eq!(attack.send(&frame(HEADERS, END | WHOLE, id, &next)), None);
            resets(&attack.out).is_empty()
        });
        (taken.count() as u64, attack.connection.heads_lent())
    };
    // Eight times what was sent is nobody's loan.
    assert_eq!(sent(0), (0, 0));
    let (taken, lent) = sent(50_000);
    assert_eq!(taken, 3);
    assert!((20_000..=50_000).contains(&lent), "{lent}");
}

#[test]
fn a_peer_that_never_knows_the_limit_is_closed_all_the_same() {
    let mut out = Vec::new();
    let mut attack = Attack {
        connection: Connection::new(Role::Server, &Config::DEFAULT, &mut out),
        act: silent,
        out,
    };
    assert_eq!(attack.send(&[PREFACE, &settings(&[])].concat()), None);
    let (count, cause) = attack.repeat(|id| headers(id, 0, POST));
    // 100 have a place, 1,000 may be ignorance, 1,000 are oddities.
    assert_eq!((count, cause), (2_100, Cause::Glitches));
}

#[test]
fn replies_that_are_not_taken_are_bounded() {
    // Within the PING budget by their rate, but the peer reads nothing.
    let mut attack = Attack::new(&Config::DEFAULT, silent);
    let ping = frame(PING, 0, 0, &[0; 8]);
    let mut now = 0;
    for count in 0..2_000 {
        now += SECOND / 10;
        attack.connection.begin(now);
        if let Some(cause) = attack.push(&ping) {
            assert_eq!((count, cause), (999, Cause::ControlQueue));
            return;
        }
    }
    panic!("never closed");
}

#[test]
fn honest_peers_are_not_closed() {
    // 20,000 tiny tokens, with a PING and a window update now and then, cost nothing.
    let mut attack = Attack::new(&Config::DEFAULT, answers);
    assert_eq!(attack.send(&headers(1, 0, POST)), None);
    for count in 0_u64..20_000 {
        attack.connection.begin(count * 20_000_000);
        assert_eq!(attack.send(&data(1, 0, b"x")), None);
        let Attack {
            connection, out, ..
        } = &mut attack;
        connection.consumed(1, 1, out);
        connection.data(1, b"y", false, out);
        if count % 100 == 0 {
            assert_eq!(attack.send(&frame(PING, 0, 0, &[0; 8])), None);
            let updates = [window_update(0, 100), window_update(1, 100)].concat();
            assert_eq!(attack.send(&updates), None);
        }
    }
    // Streams that are cancelled when they were answered are the clients' good right.
    let mut attack = Attack::new(&Config::DEFAULT, answers);
    for id in (1..20_000).step_by(2) {
        let step = [headers(id, END, GET), reset(id, 8)].concat();
        assert_eq!(attack.send(&step), None);
    }
    // Early ones are, too, at a modest rate.
    let mut attack = Attack::new(&Config::DEFAULT, forgets);
    for id in (1..20_000).step_by(2) {
        attack.connection.begin(u64::from(id) * SECOND / 40);
        let step = [headers(id, END, GET), reset(id, 8)].concat();
        assert_eq!(attack.send(&step), None);
    }
}

#[test]
fn a_browser_may_widen_every_window_before_any_answer() {
    // As Firefox begins: one update of the connection, then HEADERS and an update, stream by
    // stream; and a client that updates both windows with each stream.
    let widen = |id| window_update(id, 12_451_840);
    for each in [1, 2] {
        let mut attack = Attack::new(&Config::DEFAULT, silent);
        assert_eq!(attack.send(&widen(0)), None);
        let opening = (0..100).flat_map(|at| {
            let id = 1 + 2 * at;
            let both = [headers(id, END, GET), widen(id), window_update(0, 65_535)];
            both.into_iter().take(1 + each).flatten()
        });
        assert_eq!(attack.send(&opening.collect::<Vec<_>>()), None);
        assert_eq!(attack.connection.streams(), 100);
        // The bound is still there: 5, and two for each stream.
        let left = 5 + 2 * 100 - (1 + 100 * each as u32);
        let (count, cause) = attack.repeat(|_| window_update(0, 1));
        assert_eq!((count, cause), (left, Cause::WindowUpdates));
    }
}

#[test]
fn budgets_widen_for_a_gateway() {
    let config = Config {
        widened: 4,
        ..Config::DEFAULT
    };
    let mut attack = Attack::new(&config, forgets);
    let step = |id| [headers(id, 0, POST), reset(id, 8)].concat();
    assert_eq!(attack.repeat(step), (400, Cause::RapidReset));
}

#[test]
fn oddities_make_a_peer_leave_before_it_is_closed() {
    let mut attack = Attack::new(&Config::DEFAULT, silent);
    let odd = frame(0xfe, 0, 0, b"");
    for _ in 0..750 {
        assert_eq!(attack.send(&odd), None);
    }
    assert!(!attack.connection.going());
    assert_eq!(attack.send(&odd), None);
    assert!(attack.connection.going());
    let goaway = &sent(&attack.out)[0];
    assert_eq!((goaway.kind, goaway.word()), (GOAWAY, 0x7fff_ffff));
    assert_eq!(
        goaway.payload[4..],
        ErrorCode::NoError.number().to_be_bytes()
    );
    // It is asked once, and what it opened meanwhile is served.
    assert_eq!(attack.send(&odd), None);
    assert_eq!(attack.out, b"");
    assert_eq!(attack.send(&headers(1, END, GET)), None);
    assert_eq!(attack.connection.streams(), 1);
    attack.connection.press(true);
    assert_eq!(attack.send(&odd), Some(Cause::Glitches));
}

#[test]
fn a_closing_is_final() {
    let mut out = Vec::new();
    let mut connection = Connection::new(Role::Server, &Config::DEFAULT, &mut out);
    let mut input = &b"GET / HTTP/1.1\r\n"[..];
    let closing = connection
        .next(&mut input, &mut Heads::default(), &mut out)
        .expect_err("no preface");
    let len = out.len();
    let again: Result<Option<Event<'_>>, _> =
        connection.next(&mut input, &mut Heads::default(), &mut out);
    assert_eq!(again, Err(closing));
    assert_eq!(connection.sweep(&mut out), Err(closing));
    assert_eq!(out.len(), len, "GOAWAY is said once");
}
