//! Peers of HTTP/2 for the operations: what they say is well formed, and what the proxy says to
//! them must be.

use std::collections::BTreeMap;

use super::Driver;
use crate::ids::ConnId;
use crate::input::Input;
use crate::limits::READ_BYTES;
use wire::h2::{Config, Connection, ErrorCode, Event, Heads, Role, StreamId};
use wire::{Fields, Name};

/// Streams that a peer still does something with.
const STREAMS_MAX: usize = 20;

/// The other end of one connection.
pub(super) struct Peer {
    role: Role,
    wire: Connection,
    heads: Heads,
    pub(super) out: Vec<u8>,
    streams: Vec<StreamId>,
    /// Bytes that it read and did not give back.
    owed: BTreeMap<StreamId, u32>,
    /// It said what no codec says: nothing is expected of the proxy any more.
    pub(super) wild: bool,
}

impl Peer {
    pub(super) fn new(role: Role, small: bool) -> Self {
        let config = Config {
            stream_window: if small { 100 } else { 65_536 },
            streams_max: if small { 2 } else { 100 },
            ..Config::default()
        };
        let mut out = Vec::new();
        Self {
            role,
            wire: Connection::new(role, &config, &mut out),
            heads: Heads::default(),
            out,
            streams: Vec::new(),
            owed: BTreeMap::new(),
            wild: false,
        }
    }

    /// Takes what the proxy wrote.
    pub(super) fn hear(&mut self, mut bytes: &[u8]) {
        while !self.wild {
            let event = self.wire.next(&mut bytes, &mut self.heads, &mut self.out);
            match event.unwrap_or_else(|closing| panic!("a peer would refuse it: {closing}")) {
                None => return,
                Some(Event::Head { id, .. }) if self.role == Role::Server => self.streams.push(id),
                Some(Event::Data { id, credit, .. }) => *self.owed.entry(id).or_default() += credit,
                Some(Event::Reset { id, by_us, .. }) => {
                    assert_eq!(by_us, None, "the proxy broke a rule");
                    self.forget(id);
                }
                Some(Event::Bad { violation, .. }) => {
                    panic!("an upstream would refuse it: {violation}")
                }
                Some(_) => {}
            }
        }
    }

    /// Says one thing: `argument` chooses the stream and the thing's kind.
    pub(super) fn say(&mut self, op: u8, argument: u8) {
        let at = usize::from(argument & 7).min(self.streams.len().saturating_sub(1));
        let kind = argument >> 3;
        if op == 0 {
            return self.head(at, kind);
        }
        if op == 1 {
            return self.steer(kind);
        }
        let Some(id) = self.streams.get(at).copied() else {
            return;
        };
        let out = &mut self.out;
        match op {
            2 | 3 => {
                let length = [0, 1, 9, 100, 1000, 5000, 20_000, 60_000][usize::from(kind & 7)];
                let bytes = b"data: x\n\n".iter().cycle().take(length);
                let bytes: Vec<u8> = bytes.copied().collect();
                if !self.wire.full(id) {
                    self.wire.data(id, &bytes, kind & 8 != 0, out);
                }
            }
            4 => {
                let mut fields = Fields::new();
                fields.push(b"grpc-status", if kind & 1 == 0 { b"0" } else { b"14" });
                self.wire.trailers(id, &fields, out);
            }
            5 => {
                let refused = self.role == Role::Server && kind & 1 == 1;
                let code = if refused {
                    ErrorCode::RefusedStream
                } else {
                    ErrorCode::Cancel
                };
                self.wire.reset(id, code, out);
                self.forget(id);
            }
            6 => {
                let owed = self.owed.remove(&id).unwrap_or_default();
                self.wire.consumed(id, owed, out);
            }
            _ => self.forget(id),
        }
    }

    /// What waited for a window or its turn goes out.
    pub(super) fn flush(&mut self) -> Vec<u8> {
        self.wire.flush(&mut self.out);
        std::mem::take(&mut self.out)
    }

    fn head(&mut self, at: usize, kind: u8) {
        let id = match self.role {
            Role::Client if self.streams.len() < STREAMS_MAX => self.wire.open(),
            Role::Client => None,
            Role::Server => self.streams.get(at).copied(),
        };
        let Some(id) = id else { return };
        let mut head = self.wire.head(id, &mut self.out);
        let mut end = kind & 16 != 0;
        if self.role == Role::Server {
            let status = [200, 200, 200, 503, 204, 103, 429, 200][usize::from(kind & 7)];
            let kinds = ["text/event-stream", "application/grpc", "application/json"];
            head.status(status);
            let name = Name::ContentType;
            let value = kinds[usize::from(kind & 3).min(2)].as_bytes();
            head.field(name, b"content-type", value);
            head.finish(end);
            return;
        }
        self.streams.push(id);
        let (method, path, protocol) = match kind & 7 {
            0 => ("GET", "/v1/models", None),
            1 => ("CONNECT", "/ws", Some(&b"websocket"[..])),
            2 => ("HEAD", "/x", None),
            _ => ("POST", "/v1/chat/completions", None),
        };
        end &= protocol.is_none();
        head.request(method.as_bytes(), b"http", b"a", path.as_bytes(), protocol);
        let mut field = |name: &str, value: &str| {
            let known = Name::from_bytes(name.as_bytes());
            head.field(known, name.as_bytes(), value.as_bytes());
        };
        match kind & 7 {
            1 => field("sec-websocket-version", "13"),
            3 => field("content-length", "9"),
            4 => field("expect", "100-continue"),
            5 => field("connection", "close"),
            6 => {
                field("content-type", "application/grpc");
                field("te", "trailers");
                field("grpc-timeout", "5S");
            }
            _ => {}
        }
        head.finish(end);
    }

    /// Frames of the connection.
    fn steer(&mut self, kind: u8) {
        let out = &mut self.out;
        match kind {
            0 => self.wire.goaway(ErrorCode::NoError, out),
            1 => self.wire.goaway_final(ErrorCode::NoError, out),
            2..8 => self.wire.ping(out),
            8..12 => out.extend_from_slice(b"\0\0\x02\x42\0\0\0\0\0hi"),
            12 => {
                // DATA on no stream.
                self.wild = true;
                out.extend_from_slice(&[0; 9]);
            }
            _ => {
                for (id, credit) in std::mem::take(&mut self.owed) {
                    self.wire.consumed(id, credit, out);
                }
            }
        }
    }

    fn forget(&mut self, id: StreamId) {
        self.streams.retain(|one| *one != id);
        self.owed.remove(&id);
        self.wire.forget(id, &mut self.out);
    }
}

impl Driver {
    /// A peer that speaks HTTP/2 says something well formed.
    pub(super) fn say(&mut self, op: u8, argument: u8) {
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        if let Some(conn) = Self::pick(&conns, op / 8)
            && let Some(peer) = self.peers.get_mut(&conn)
        {
            peer.say(op % 8, argument);
        }
        self.speak();
    }

    /// What the peers have to say goes to the engine, answers to what they heard included.
    pub(super) fn speak(&mut self) {
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            if self.half_closed.contains(&conn) {
                continue;
            }
            let bytes = self.peers.get_mut(&conn).map(Peer::flush);
            for piece in bytes.unwrap_or_default().chunks(READ_BYTES) {
                if self.peers.contains_key(&conn) {
                    self.turn(Input::Read(conn, piece));
                }
            }
        }
    }
}
