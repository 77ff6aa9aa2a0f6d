//! The body of the fuzz target `engine_ops`, shared with the test that replays the committed seeds.
//!
//! Arbitrary bytes are read as a list of operations on one engine: peers that connect, speak, stop
//! reading and leave; dials that succeed or do not; time; reloads. It panics if a promise is
//! broken. Not a part of the interface.

mod h2;
mod plan;
mod tls;
mod witness;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::clock::{MS, Now, SECOND};
use crate::ids::{AskId, ConnId, ListenerId, WorkerId};
use crate::input::{Accepted, Answer, Closed, DialError, Drain, Input, Mail};
use crate::limits::{QUEUE_BYTES_HIGH, READ_BYTES};
use crate::output::{Dial, How, Output};
use crate::shared::Shared;
use crate::snapshot::{Plan, Snapshot};
use crate::{Engine, Options};
use h2::Peer;
use plan::plan;
use wire::h2::Role;
use witness::Witness;

/// Bytes queued towards one peer at most, with room for framing and a held event.
const OUT_BYTES_MAX: usize = 3 * QUEUE_BYTES_HIGH + 2 * READ_BYTES;

/// Operations from here on are those of peers that speak HTTP/2.
const H2_OPS: u8 = 196;

const REQUESTS: [&[u8]; 10] = [
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 30\r\n\r\n\
      {\"model\":\"m\",\"stream\":true}   ",
    b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
      d\r\n{\"model\":\"m\"}\r\n0\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /x HTTP/1.0\r\n\r\n",
    b"HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
      sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    b"POST /v1/files HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    b"hello",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
      content-length: 13\r\n\r\n{\"model\":\"n\"}",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 3 4\r\n",
];

const RESPONSES: [&[u8]; 10] = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    b"9\r\ndata: x\n\n\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"5\r\ndata:\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
];

/// One run over arbitrary bytes.
pub fn engine_ops(data: &[u8]) {
    let Some((&variant, mut ops)) = data.split_first() else {
        return;
    };
    let mut driver = Driver::new(variant);
    let mut count = 0;
    while let Some(op) = take(&mut ops) {
        driver.operate(op, &mut ops);
        count += 1;
        if count == 400 || driver.stopped {
            break;
        }
    }
    driver.finish();
}

fn take(ops: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = ops.split_first()?;
    *ops = rest;
    Some(first)
}

struct Driver {
    engine: Engine,
    shared: Arc<Shared>,
    now_ns: u64,
    clients: Vec<ConnId>,
    upstreams: Vec<ConnId>,
    dials: VecDeque<(ConnId, Dial)>,
    asks: VecDeque<AskId>,
    paused: Vec<ConnId>,
    blocked: Vec<ConnId>,
    half_closed: Vec<ConnId>,
    /// Clients whose handshake is under way.
    handshaking: Vec<ConnId>,
    /// Connections of either side whose handshake is complete.
    secured: BTreeSet<ConnId>,
    /// An upstream's end was not announced, in this turn: no answer that ends with it is whole.
    truncated: bool,
    witnesses: BTreeMap<ConnId, Witness>,
    /// Those that speak HTTP/2.
    peers: BTreeMap<ConnId, Peer>,
    generation: u64,
    stopped: bool,
}

impl Driver {
    fn new(variant: u8) -> Self {
        let shared = Arc::new(Shared::new(1));
        shared.set_ready(true);
        let now_ns = SECOND;
        let snapshot = compile(&plan(variant), &shared, 1, now_ns);
        let options = Options {
            worker: WorkerId(0),
            workers: 1,
            seed: u64::from(variant),
        };
        Self {
            engine: Engine::new(options, Arc::clone(&shared), snapshot, at(now_ns)),
            shared,
            now_ns,
            clients: Vec::new(),
            upstreams: Vec::new(),
            dials: VecDeque::new(),
            asks: VecDeque::new(),
            paused: Vec::new(),
            blocked: Vec::new(),
            half_closed: Vec::new(),
            handshaking: Vec::new(),
            secured: BTreeSet::new(),
            truncated: false,
            witnesses: BTreeMap::new(),
            peers: BTreeMap::new(),
            generation: 1,
            stopped: false,
        }
    }

    fn operate(&mut self, op: u8, ops: &mut &[u8]) {
        let argument = take(ops).unwrap_or(0);
        if op >= H2_OPS {
            return self.say(op - H2_OPS, argument);
        }
        match op % 14 {
            0 => self.accept(argument),
            1 | 2 => self.read(false, argument, REQUESTS[usize::from(argument >> 4) % 10]),
            3 | 4 => self.read(true, argument, RESPONSES[usize::from(argument >> 4) % 10]),
            5 => {
                let length = usize::from(take(ops).unwrap_or(0)).min(ops.len());
                let (bytes, rest) = ops.split_at(length);
                *ops = rest;
                self.read(argument & 128 != 0, argument & 15, bytes);
            }
            6 => self.close(argument),
            7 => self.connected(argument),
            8 => self.pass(u64::from(argument & 63) << (argument >> 6 << 2)),
            9 => self.block(argument),
            10 => {
                self.generation += 1;
                let snapshot = compile(&plan(argument), &self.shared, self.generation, self.now_ns);
                self.turn(Input::Mail(Mail::Snapshot(snapshot)));
            }
            11 => self.answer(argument),
            12 if argument < 4 => {
                self.turn(Input::Mail(Mail::Drain(Drain {
                    deadline_ns: self.now_ns + u64::from(argument) * SECOND,
                    idle_ns: u64::from(argument >> 1) * SECOND,
                    admin: argument & 1 == 1,
                })));
            }
            13 if argument == 7 => {
                self.turn(Input::Mail(Mail::Stop));
                self.stopped = true;
            }
            13 if argument >= 128 => self.shake(argument),
            _ => self.long(argument),
        }
    }

    fn pick(of: &[ConnId], at: u8) -> Option<ConnId> {
        if of.is_empty() {
            return None;
        }
        of.get(usize::from(at) % of.len()).copied()
    }

    fn accept(&mut self, argument: u8) {
        if self.clients.len() > 20 {
            return;
        }
        let listener = if argument & 128 == 0 {
            u32::from(argument) % 3
        } else {
            tls::LISTENER
        };
        self.engine.begin(at(self.now_ns));
        let conn = self.engine.accepted(Accepted {
            listener: ListenerId(listener),
            peer: Some(SocketAddr::from((Ipv4Addr::new(10, 0, 0, argument), 1))),
            local: None,
        });
        self.engine.end();
        self.clients.extend(conn);
        if listener == tls::LISTENER {
            self.handshaking.extend(conn);
            return self.settle();
        }
        self.settle();
        if let Some(conn) = conn
            && argument & 64 != 0
        {
            let peer = Peer::new(Role::Client, argument & 32 != 0);
            self.peers.insert(conn, peer);
            self.speak();
        }
    }

    fn read(&mut self, upstream: bool, argument: u8, bytes: &[u8]) {
        let peers = if upstream {
            &self.upstreams
        } else {
            &self.clients
        };
        let Some(conn) = Self::pick(peers, argument & 15) else {
            return;
        };
        if bytes.is_empty() || self.paused.contains(&conn) || self.half_closed.contains(&conn) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.wild = true;
        }
        self.turn(Input::Read(conn, bytes));
    }

    /// Many bytes at once.
    fn long(&mut self, argument: u8) {
        let upstream = argument & 1 == 1;
        let bytes = vec![b'a' + (argument & 7); READ_BYTES / 2];
        self.read(upstream, argument >> 4, &bytes);
    }

    fn close(&mut self, argument: u8) {
        let upstream = argument & 128 != 0;
        let peers = if upstream {
            &self.upstreams
        } else {
            &self.clients
        };
        let Some(conn) = Self::pick(peers, argument & 15) else {
            return;
        };
        let closed = match argument >> 4 & 3 {
            0 => Closed::Reset,
            1 => Closed::TimedOut,
            _ if self.half_closed.contains(&conn) => return,
            _ if self.paused.contains(&conn) => {
                self.engine.begin(at(self.now_ns));
                self.engine.fin_ahead(conn);
                self.engine.end();
                return self.settle();
            }
            _ => {
                self.half_closed.push(conn);
                Closed::Eof
            }
        };
        let closed = if argument & 64 == 0 {
            closed
        } else {
            self.unannounced(conn, closed)
        };
        self.truncated = upstream && closed == Closed::Truncated;
        self.turn(Input::Closed(conn, closed));
        self.truncated = false;
        let kept = self.clients.contains(&conn) || self.upstreams.contains(&conn);
        let half = matches!(closed, Closed::Eof | Closed::Truncated);
        assert!(!kept || half, "a dead connection was kept");
    }

    fn connected(&mut self, argument: u8) {
        let Some((conn, dial)) = self.dials.pop_front() else {
            return;
        };
        let result = match argument % 6 {
            0 => Err(DialError::Refused),
            1 => Err(DialError::TimedOut),
            _ => Self::reached(&dial, argument),
        };
        if let Ok(connected) = result {
            if connected.tls.is_some() {
                self.secured.insert(conn);
            }
            self.upstreams.push(conn);
            self.witnesses.insert(conn, Witness::new());
        }
        self.turn(Input::Connected(conn, result));
    }

    fn block(&mut self, argument: u8) {
        let upstream = argument & 128 != 0;
        let peers = if upstream {
            &self.upstreams
        } else {
            &self.clients
        };
        let Some(conn) = Self::pick(peers, argument & 15) else {
            return;
        };
        if self.blocked.contains(&conn) {
            self.blocked.retain(|c| *c != conn);
            self.engine.begin(at(self.now_ns));
            self.flush(conn, usize::from(argument >> 4 & 7) * 1000 + 1);
            self.engine.end();
            self.settle();
        } else {
            self.blocked.push(conn);
        }
    }

    fn answer(&mut self, argument: u8) {
        let Some(id) = self.asks.pop_front() else {
            return;
        };
        let answer = Answer {
            status: if argument == 0 { 0 } else { 200 },
            fields: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: b"{}".to_vec(),
        };
        self.turn(Input::Mail(Mail::Answer(id, answer)));
    }

    fn pass(&mut self, ms: u64) {
        let until_ns = self.now_ns + ms * MS;
        while self.now_ns < until_ns {
            let next_ns = match self.engine.poll() {
                Output::Wait(Some(at_ns)) => at_ns.max(self.now_ns + 1).min(until_ns),
                _ => until_ns,
            };
            self.now_ns = next_ns;
            self.turn(Input::Tick);
        }
    }

    fn turn(&mut self, input: Input<'_>) {
        self.engine.begin(at(self.now_ns));
        self.engine.handle(input);
        self.engine.end();
        self.settle();
    }

    fn settle(&mut self) {
        let mut rounds = 0;
        loop {
            rounds += 1;
            assert!(rounds < 100_000, "a turn without end");
            match self.engine.poll() {
                Output::Wait(_) => break,
                Output::Write(conn) if self.blocked.contains(&conn) => {
                    assert!(
                        self.engine.pending(conn).len() <= OUT_BYTES_MAX,
                        "too much is queued"
                    );
                }
                Output::Write(conn) => self.flush(conn, usize::MAX),
                Output::PauseRead(conn) => self.paused.push(conn),
                Output::ResumeRead(conn) => self.paused.retain(|c| *c != conn),
                Output::Dial(conn, dial) => self.dials.push_back((conn, dial)),
                Output::Close(conn, how) => {
                    if let How::Flush(rest) = &how {
                        assert!(rest.len() <= OUT_BYTES_MAX, "too much is left");
                        self.witness(conn, rest);
                    }
                    self.forget(conn);
                }
                Output::Mail(..) => unreachable!("there is one worker"),
                Output::Ask(id, _) => self.asks.push_back(id),
                Output::Record(record) => {
                    assert!(record.flag.len() <= 2);
                    assert!(record.tls.is_some() || record.principal.is_none());
                    let whole = record.flag.is_empty();
                    assert!(!(whole && self.truncated), "a cut answer looks whole");
                }
            }
        }
        let census = self.engine.census();
        assert_eq!(
            (census.grants, census.resumed),
            (0, 0),
            "left between turns"
        );
        assert!(
            census.stash_bytes_max <= 2 * READ_BYTES + 1024,
            "a long stash"
        );
        assert_eq!(census.clients, self.clients.len());
        for conn in &self.handshaking {
            assert!(self.engine.pending(*conn).is_empty(), "in clear");
        }
        for conn in self.clients.iter().chain(&self.upstreams) {
            if let Some(codec) = self.engine.codec(*conn) {
                wire::fuzzing::h2::audit(codec);
            }
        }
    }

    fn flush(&mut self, conn: ConnId, most: usize) {
        let pending = self.engine.pending(conn);
        let bytes = pending[..pending.len().min(most)].to_vec();
        self.witness(conn, &bytes);
        self.engine.wrote(conn, bytes.len(), self.now_ns + 1);
    }

    fn forget(&mut self, conn: ConnId) {
        for list in [
            &mut self.clients,
            &mut self.upstreams,
            &mut self.paused,
            &mut self.blocked,
            &mut self.half_closed,
            &mut self.handshaking,
        ] {
            list.retain(|c| *c != conn);
        }
        self.dials.retain(|(c, _)| *c != conn);
        self.secured.remove(&conn);
        self.witnesses.remove(&conn);
        self.peers.remove(&conn);
    }

    /// Everybody leaves: nothing may remain.
    fn finish(&mut self) {
        while let Some(conn) = self.clients.first().copied() {
            self.turn(Input::Closed(conn, Closed::Reset));
            assert_ne!(self.clients.first(), Some(&conn), "a dead client was kept");
        }
        self.pass(600_000);
        let census = self.engine.census();
        let left = (
            census.exchanges,
            census.upstreams_busy,
            census.upstreams_idle,
            census.sources,
        );
        assert_eq!(left, (0, 0, 0, 0), "{census:?}");
        assert!(self.upstreams.is_empty() && self.dials.is_empty());
        assert!(
            matches!(self.engine.poll(), Output::Wait(None)),
            "a timer is left"
        );
        assert_eq!(
            self.shared.held_bytes.held(),
            0,
            "held bytes were not returned"
        );
        for room in self.shared.rooms() {
            assert!(room.quiet(), "permits were not returned");
            assert_eq!(room.snapshot(self.now_ns).permits_lost_total, 0);
        }
    }
}

fn at(now_ns: u64) -> Now {
    Now {
        mono_ns: now_ns,
        wall_ms: now_ns / MS,
    }
}

fn compile(plan: &Plan, shared: &Shared, generation: u64, now_ns: u64) -> Arc<Snapshot> {
    let snapshot = Snapshot::compile(plan, shared, 1, generation, now_ns);
    Arc::new(snapshot.expect("a sound plan"))
}
