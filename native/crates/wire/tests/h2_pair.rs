//! Two of our ends talk to each other in memory: what one says the other hears, and at rest every
//! window and every counter is where it began.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use wire::fuzzing::h2::{assert_at_rest, audit, held_bytes, windows};
use wire::h2::{Config, Connection, ErrorCode, Event, Heads, Role};
use wire::{Fields, Name};

/// One stream, as one end has it.
#[derive(Debug, Default)]
struct Stream {
    /// Bytes of body that were handed to the connection, and to be handed.
    said: usize,
    left: usize,
    /// Whether a trailer section is to end it.
    trailers: bool,
    /// Whether the end was said.
    ended: bool,
    heard: usize,
    heard_end: bool,
    heard_trailers: bool,
    /// Whether it was reset, by whomever.
    reset: bool,
}

/// One end, with the bytes that are on their way from it.
struct End {
    connection: Connection,
    out: Vec<u8>,
    streams: BTreeMap<u32, Stream>,
    credits: Vec<(u32, u32)>,
}

fn octet(id: u32, at: usize) -> u8 {
    (id as usize * 7 + at) as u8
}

impl End {
    fn new(role: Role, config: &Config) -> Self {
        let mut out = Vec::new();
        let connection = Connection::new(role, config, &mut out);
        Self {
            connection,
            out,
            streams: BTreeMap::new(),
            credits: Vec::new(),
        }
    }

    /// Takes bytes from the other end and does what its caller would.
    fn take(&mut self, mut bytes: &[u8]) {
        let mut heads = Heads::default();
        loop {
            let event = self.connection.next(&mut bytes, &mut heads, &mut self.out);
            let Some(event) = event.expect("our ends make no mistakes") else {
                break;
            };
            match event {
                Event::Head { id, end, .. } => {
                    if heads.response.status == 0 {
                        self.answer(id, &heads);
                    }
                    self.stream(id).heard_end |= end;
                }
                Event::Data {
                    id,
                    bytes,
                    credit,
                    end,
                    ..
                } => {
                    let stream = self.stream(id);
                    for (at, byte) in bytes.iter().enumerate() {
                        assert_eq!(*byte, octet(id, stream.heard + at), "in order and whole");
                    }
                    stream.heard += bytes.len();
                    stream.heard_end |= end;
                    self.credits.push((id, credit));
                }
                Event::Trailers { id, fields, .. } => {
                    assert_eq!(fields.find_str("x-end"), Some(&b"1"[..]));
                    let stream = self.stream(id);
                    (stream.heard_end, stream.heard_trailers) = (true, true);
                }
                Event::End { id, .. } => self.stream(id).heard_end = true,
                Event::Reset { id, by_us, .. } => {
                    assert_eq!(by_us, None, "our ends make no mistakes");
                    self.stream(id).reset = true;
                }
                Event::Interim { .. } | Event::Settings => {}
                Event::Bad { .. } | Event::Goaway { .. } => panic!("{event:?}"),
            }
        }
        audit(&self.connection);
    }

    fn stream(&mut self, id: u32) -> &mut Stream {
        self.streams.entry(id).or_default()
    }

    /// The server's answer: as long as the path says, with trailers if the query says so.
    fn answer(&mut self, id: u32, heads: &Heads) {
        let path = std::str::from_utf8(heads.request.path()).expect("a path of ours");
        let left = path[1..].parse().expect("a length");
        let mut head = self.connection.head(id, &mut self.out);
        head.status(103);
        head.finish(false);
        let mut head = self.connection.head(id, &mut self.out);
        head.status(200);
        head.field(Name::ContentType, b"content-type", b"text/plain");
        head.finish(false);
        let trailers = heads.request.query().is_some();
        let stream = self.stream(id);
        (stream.left, stream.trailers) = (left, trailers);
    }

    fn ask(&mut self, request: usize, response: usize, trailers: bool) {
        let Some(id) = self.connection.open() else {
            return;
        };
        let query = if trailers { "?t" } else { "" };
        let target = format!("/{response}{query}");
        let mut head = self.connection.head(id, &mut self.out);
        head.request(b"POST", b"http", b"a", target.as_bytes(), None);
        head.finish(false);
        let stream = self.stream(id);
        (stream.left, stream.trailers) = (request, trailers);
    }

    /// Says a piece of every body that may be said.
    fn say(&mut self, piece: usize) {
        for (&id, stream) in &mut self.streams {
            if stream.ended || stream.reset || self.connection.full(id) {
                continue;
            }
            let len = stream.left.min(piece);
            let bytes: Vec<u8> = (0..len).map(|at| octet(id, stream.said + at)).collect();
            stream.said += len;
            stream.left -= len;
            stream.ended = stream.left == 0;
            let end = stream.ended && !stream.trailers;
            self.connection.data(id, &bytes, end, &mut self.out);
            if stream.ended && stream.trailers {
                let mut fields = Fields::new();
                fields.push(b"x-end", b"1");
                self.connection.trailers(id, &fields, &mut self.out);
            }
        }
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.credits.len());
        for (id, credit) in self.credits.drain(..count) {
            self.connection.consumed(id, credit, &mut self.out);
        }
    }

    fn reset(&mut self, at: usize) {
        let ids: Vec<_> = self.streams.keys().copied().collect();
        if let Some(&id) = ids.get(at % ids.len().max(1)) {
            self.connection.reset(id, ErrorCode::Cancel, &mut self.out);
            self.stream(id).reset = true;
        }
    }

    /// Forgets what is over, as far as this end knows; with `all`, everything.
    fn forget(&mut self, all: bool) {
        for (&id, stream) in &self.streams {
            if all || stream.reset || (stream.ended && stream.heard_end) {
                self.connection.forget(id, &mut self.out);
            }
        }
    }
}

/// What may happen next.
#[derive(Debug, Clone)]
enum Step {
    Ask(usize, usize, bool),
    Say(bool, usize),
    Deliver(bool, usize),
    Consume(bool, usize),
    Flush(bool),
    Reset(bool, usize),
    Forget(bool),
    Ping(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![0..20_usize, 0..2_000_usize, 0..200_000_usize];
    prop_oneof![
        3 => (size(), size(), any::<bool>()).prop_map(|(a, b, c)| Step::Ask(a, b, c)),
        6 => (any::<bool>(), 1..40_000_usize).prop_map(|(a, b)| Step::Say(a, b)),
        6 => (any::<bool>(), size()).prop_map(|(a, b)| Step::Deliver(a, b)),
        3 => (any::<bool>(), 1..10_usize).prop_map(|(a, b)| Step::Consume(a, b)),
        3 => any::<bool>().prop_map(Step::Flush),
        1 => (any::<bool>(), 0..50_usize).prop_map(|(a, b)| Step::Reset(a, b)),
        1 => any::<bool>().prop_map(Step::Forget),
        1 => any::<bool>().prop_map(Step::Ping),
    ]
}

struct Pair {
    client: End,
    server: End,
}

impl Pair {
    fn new(client: &Config, server: &Config) -> Self {
        Self {
            client: End::new(Role::Client, client),
            server: End::new(Role::Server, server),
        }
    }

    fn end(&mut self, client: bool) -> &mut End {
        if client {
            &mut self.client
        } else {
            &mut self.server
        }
    }

    fn deliver(&mut self, from_client: bool, count: usize) {
        let from = self.end(from_client);
        let count = count.min(from.out.len());
        let bytes: Vec<u8> = from.out.drain(..count).collect();
        self.end(!from_client).take(&bytes);
    }

    fn act(&mut self, step: &Step) {
        match *step {
            Step::Ask(request, response, trailers) => self.client.ask(request, response, trailers),
            Step::Say(client, piece) => self.end(client).say(piece),
            Step::Deliver(client, count) => self.deliver(client, count),
            Step::Consume(client, count) => self.end(client).consume(count),
            Step::Flush(client) => {
                let end = self.end(client);
                end.connection.flush(&mut end.out);
            }
            Step::Reset(client, at) => self.end(client).reset(at),
            Step::Forget(client) => self.end(client).forget(false),
            Step::Ping(client) => {
                let end = self.end(client);
                end.connection.ping(&mut end.out);
            }
        }
    }

    /// Lets everything come to its end.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            for client in [true, false] {
                let end = self.end(client);
                end.say(50_000);
                end.consume(usize::MAX);
                end.connection.flush(&mut end.out);
                self.deliver(client, usize::MAX);
            }
            let ends = [&self.client, &self.server];
            if ends
                .iter()
                .all(|end| end.out.is_empty() && end.connection.queued_bytes() == 0)
            {
                return;
            }
        }
        panic!("never at rest");
    }

    fn check(&mut self) {
        for (id, asked) in &self.client.streams {
            let Some(answered) = self.server.streams.get(id) else {
                assert!(asked.reset, "a request that nobody heard");
                continue;
            };
            if asked.reset || answered.reset {
                continue;
            }
            for (said, heard) in [(asked, answered), (answered, asked)] {
                assert!(said.ended && heard.heard_end, "{id}: ends come through");
                assert_eq!(said.said, heard.heard, "{id}: all bytes come through");
                assert_eq!(said.trailers, heard.heard_trailers);
            }
        }
        self.client.forget(true);
        self.server.forget(true);
        for client in [true, false] {
            self.deliver(client, usize::MAX);
        }
        for (one, other) in [(&self.client, &self.server), (&self.server, &self.client)] {
            assert_at_rest(&one.connection);
            let (left, owed, _) = windows(&one.connection);
            let (_, _, allowed) = windows(&other.connection);
            assert_eq!(left as usize, allowed, "both count the same window");
            assert!(owed <= left + owed);
        }
    }
}

/// Windows so small that everything has to wait.
fn narrow() -> Config {
    Config {
        stream_window: 50,
        connection_window: 0,
        streams_max: 5,
        ..Config::DEFAULT
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_one_says_the_other_hears(
        steps in vec(step(), 1..120),
        narrow_client in any::<bool>(),
        narrow_server in any::<bool>(),
    ) {
        let config = |is_narrow| if is_narrow { narrow() } else { Config::DEFAULT };
        let mut pair = Pair::new(&config(narrow_client), &config(narrow_server));
        for step in &steps {
            pair.act(step);
        }
        pair.settle();
        pair.check();
    }
}

#[test]
fn an_idle_connection_is_small() {
    let mut pair = Pair::new(&Config::DEFAULT, &Config::DEFAULT);
    for _ in 0..3 {
        for _ in 0..100 {
            pair.client.ask(10_000, 10_000, true);
        }
        pair.settle();
        pair.client.forget(true);
        pair.server.forget(true);
        pair.settle();
    }
    assert_eq!(pair.server.connection.accepted(), 300);
    for end in [&pair.client, &pair.server] {
        assert_at_rest(&end.connection);
        let held = held_bytes(&end.connection);
        assert!(held < 4 * 1024, "{held} bytes");
    }
}

#[test]
fn a_stopped_reader_stalls_nobody_else() {
    let mut pair = Pair::new(&Config::DEFAULT, &Config::DEFAULT);
    // 100 answers of 1 MiB of which nobody consumes a byte: each fills its own window, and the
    // connection's never runs out.
    for _ in 0..99 {
        pair.client.ask(0, 1 << 20, false);
    }
    for _ in 0..500 {
        pair.server.say(16_384);
        let end = &mut pair.server;
        end.connection.flush(&mut end.out);
        pair.deliver(true, usize::MAX);
        pair.deliver(false, usize::MAX);
    }
    let filled = pair.client.streams.values().all(|one| one.heard == 65_536);
    assert!(filled, "each has its window");
    // Once a megabyte waits, no stream gets more than the one piece that makes it wait as well.
    let queued = pair.server.connection.queued_bytes();
    assert!(queued <= (1 << 20) + 99 * 16_384, "{queued} bytes queued");
    pair.client.ask(0, 1_000, false);
    pair.settle_one(199);
}

impl Pair {
    /// One stream ends while all others stand still.
    fn settle_one(&mut self, id: u32) {
        for _ in 0..10 {
            self.server.say(1_000);
            let end = &mut self.server;
            end.connection.flush(&mut end.out);
            self.deliver(true, usize::MAX);
            self.deliver(false, usize::MAX);
        }
        assert!(self.client.streams[&id].heard_end);
    }
}
