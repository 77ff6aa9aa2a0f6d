//! Simulated clients: they ask, and leave when they like.

use std::collections::VecDeque;

use engine::clock::{MS, SECOND};
use wire::h1::{ResponseReader, encode};
use wire::{Limits, ResponseHead};

use crate::answer::Got;
use crate::client_h2::Caller;
use crate::link::{Peer, Way};
use crate::oracle::{Tap, Track};
use crate::plan;
use crate::spec::{Framed, Spec};
use crate::world::{Event, World};

/// One client: a few connections, one after the other.
pub(crate) struct Client {
    pub(crate) left: usize,
    pub(crate) link: Option<usize>,
    /// Not yet begun to be sent.
    pub(crate) to_send: VecDeque<u64>,
    pub(crate) outgoing: VecDeque<(u64, Vec<u8>)>,
    /// The rest of a request, kept until 100 Continue.
    pub(crate) reserve: Option<(u64, Vec<u8>)>,
    /// Begun to be sent; the first is answered next.
    pub(crate) sent: VecDeque<u64>,
    pub(crate) pipelines: bool,
    pub(crate) sending: bool,
    pub(crate) reader: ResponseReader,
    pub(crate) head: ResponseHead,
    pub(crate) got: Option<Got>,
    pub(crate) served: u32,
    pub(crate) last_keeps: bool,
    pub(crate) slow: Option<(usize, u64)>,
    pub(crate) reading: bool,
    /// It left, or half of it.
    pub(crate) gone: bool,
    pub(crate) tunnel: Option<Tunnel>,
    /// It speaks HTTP/2 on this connection.
    pub(crate) caller: Option<Box<Caller>>,
}

pub(crate) struct Tunnel {
    pub(crate) id: u64,
    pub(crate) asked: Vec<u8>,
    pub(crate) heard: usize,
}

impl Client {
    pub(crate) fn new(connections: usize) -> Self {
        Self {
            left: connections,
            link: None,
            to_send: VecDeque::new(),
            outgoing: VecDeque::new(),
            reserve: None,
            sent: VecDeque::new(),
            pipelines: false,
            sending: false,
            reader: ResponseReader::new(Limits::default()),
            head: ResponseHead::new(),
            got: None,
            served: 0,
            last_keeps: true,
            slow: None,
            reading: false,
            gone: false,
            tunnel: None,
            caller: None,
        }
    }

    pub(crate) fn done(&self) -> bool {
        self.left == 0 && self.link.is_none()
    }

    pub(crate) fn state(&self) -> String {
        let calls = self.caller.as_ref().map(|caller| caller.state());
        format!(
            "link {:?} left {} calls {calls:?} sent {:?} answering {:?} to send {:?}",
            self.link,
            self.left,
            self.sent,
            self.got.as_ref().map(|g| g.id),
            self.to_send
        )
    }
}

impl World {
    pub(crate) fn client_connect(&mut self, c: usize) {
        if self.clients[c].left == 0 {
            return;
        }
        self.clients[c].left -= 1;
        if self.calm || (self.closing_down && self.chance(50)) {
            self.clients[c].left = 0;
            return;
        }
        let worker = self.random.below(2) as usize;
        let listener = plan::listener_drawn(&mut self.random);
        let h2 = self.chance(50);
        let tap = if h2 { Tap::caller() } else { Tap::client() };
        let l = self.link(worker, Peer::Client(c), listener, tap);
        let mut fresh = Client::new(self.clients[c].left);
        fresh.link = Some(l);
        fresh.pipelines = self.chance(25);
        if self.chance(self.faults.slow) {
            let bytes = 1 + self.random.below(4000) as usize;
            let stops = self.chance(15);
            let interval = if stops {
                6 * SECOND
            } else {
                self.random.below(80) * MS
            };
            fresh.slow = Some((bytes, interval));
        }
        if h2 {
            fresh.caller = Some(self.caller());
        }
        for _ in 0..=self.random.below(if h2 { 12 } else { 5 }) {
            let id = self.specs.len() as u64;
            let spec = if h2 {
                Spec::draw_h2(id, &mut self.random)
            } else {
                Spec::draw(id, &mut self.random)
            };
            let last = !h2 && (spec.websocket() || spec.garbage || !spec.keep);
            self.specs.push(spec);
            self.tracks.push(Track::default());
            fresh.to_send.push_back(id);
            if last {
                break;
            }
        }
        if plan::proxied(listener) {
            let line = plan::PROXY_LINE;
            fresh.outgoing.push_back((0, line.to_vec()));
            if let Some(caller) = &mut fresh.caller {
                caller.said_bytes += line.len() as u64;
            }
        }
        self.clients[c] = fresh;
        self.client_secures(c, l, h2);
        let delay = self.delay();
        self.after(delay, Event::Accept(l));
        self.client_go_on(c, l);
        if self.chance(self.faults.leave) {
            let at = match self.random.below(3) {
                0 => self.random.below(20 * MS),
                1 => self.random.below(300 * MS),
                _ => self.random.below(2 * SECOND),
            };
            let how = self.random.below(3) as u8;
            self.after(at, Event::ClientLeave(c, l, how));
        }
    }

    /// Sends what is to be sent next.
    pub(crate) fn client_go_on(&mut self, c: usize, l: usize) {
        if self.clients[c].caller.is_some() {
            return self.caller_go_on(c, l);
        }
        let client = &mut self.clients[c];
        if client.outgoing.is_empty() && client.reserve.is_none() {
            let waits = !client.sent.is_empty() || client.got.is_some() || client.tunnel.is_some();
            // Nothing is pipelined behind what closes the connection.
            let asked = client.got.iter().map(|g| &g.id).chain(&client.sent);
            let ends = asked.copied().any(|id| self.specs[id as usize].http10);
            if waits && (!client.pipelines || ends) || client.sent.len() > 3 {
                return;
            }
            let Some(id) = client.to_send.pop_front() else {
                return;
            };
            client.sent.push_back(id);
            if let Tap::Client(tap) = &mut self.taps[l] {
                tap.asked.push_back(id);
            }
            self.tracks[id as usize].link = Some(l);
            self.client_write_request(c, id);
        }
        self.client_push(c, l);
    }

    /// Sees to it that what waits goes out.
    pub(crate) fn client_push(&mut self, c: usize, l: usize) {
        if self.clients[c].outgoing.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.clients[c].sending, true) {
            let delay = self.clients[c]
                .outgoing
                .front()
                .map_or(0, |(delay, _)| *delay);
            self.after(delay, Event::ClientSend(c, l));
        }
    }

    fn client_write_request(&mut self, c: usize, id: u64) {
        let spec = self.specs[id as usize].clone();
        self.trace
            .line(self.now, || format!("client {c} asks {spec:?}"));
        let body = spec.body();
        let mut framed = Vec::with_capacity(body.len() + 40);
        if spec.framed == Some(Framed::Chunked) {
            let cut = self.random.below(body.len() as u64 + 1) as usize;
            encode::chunk(&mut framed, &body[..cut]);
            encode::chunk(&mut framed, &body[cut..]);
            encode::last_chunk(&mut framed, None);
        } else {
            framed = body;
        }
        let mut bytes = spec.head();
        if spec.expect {
            self.clients[c].reserve = Some((id, framed));
        } else {
            bytes.extend_from_slice(&framed);
        }
        let patient = spec.verb != crate::spec::Verb::Head;
        self.client_cut(c, &bytes, patient);
        if spec.garbage {
            self.clients[c].reserve = None;
        } else if spec.websocket() && self.faults.upstream == 0 && self.chance(20) {
            // Too early: the 101 is not there yet.
            self.clients[c].outgoing.push_back((0, b"early".to_vec()));
            self.specs[id as usize].pad = 5;
        } else if spec.websocket() {
            self.specs[id as usize].pad = 0;
        }
    }

    pub(crate) fn client_cut(&mut self, c: usize, mut bytes: &[u8], stalls: bool) {
        let style = self.random.below(8);
        let mut pieces = 0;
        while !bytes.is_empty() {
            let most = bytes.len() as u64;
            let len = match style {
                0 if pieces < 200 => 1,
                1 | 2 => 1 + self.random.below(most),
                3 => 1 + self.random.below(most.min(500)),
                _ => most,
            } as usize;
            let delay = match self.random.below(30) {
                0 => self.random.below(100 * MS),
                1 if stalls
                    && pieces > 0
                    && self.faults.slow > 0
                    && bytes.len() < 5000
                    && !self.calm =>
                {
                    if self.chance(10) {
                        12 * SECOND
                    } else {
                        SECOND
                    }
                }
                2..16 => self.random.below(100_000),
                _ => 0,
            };
            let (piece, rest) = bytes.split_at(len);
            self.clients[c].outgoing.push_back((delay, piece.to_vec()));
            bytes = rest;
            pieces += 1;
        }
    }

    pub(crate) fn client_send(&mut self, c: usize, l: usize) {
        if self.clients[c].link != Some(l) {
            return;
        }
        self.clients[c].sending = false;
        if self.clients[c].gone {
            return;
        }
        if let Some((_, piece)) = self.clients[c].outgoing.pop_front() {
            self.peer_write(l, &piece);
        }
        self.client_go_on(c, l);
    }

    /// How: 0 RST, 1 closes, 2 closes its sending side only.
    pub(crate) fn client_leave(&mut self, c: usize, l: usize, how: u8) {
        let client = &mut self.clients[c];
        if client.link != Some(l) || client.gone {
            return;
        }
        client.gone = true;
        self.trace.line(self.now, || {
            format!("client {c} leaves link {l} in way {how}")
        });
        let client = &self.clients[c];
        for id in client.sent.iter().chain(client.got.iter().map(|g| &g.id)) {
            self.tracks[*id as usize].gone = true;
        }
        if let Some(tunnel) = &client.tunnel {
            self.tracks[tunnel.id as usize].gone = true;
        }
        for call in client.caller.iter().flat_map(|c| c.calls.values()) {
            self.tracks[call.id as usize].gone = true;
        }
        match how {
            0 => {
                self.links[l].peer_gone = true;
                self.links[l].peer_out.clear();
                self.send_rst(l, Way::ToProxy);
                self.client_next(c);
            }
            1 => {
                self.links[l].peer_gone = true;
                self.links[l].peer_fin = true;
                self.peer_pump(l);
                self.client_next(c);
            }
            _ => {
                self.links[l].peer_fin = true;
                self.peer_pump(l);
            }
        }
    }

    /// This connection is over for the client.
    pub(crate) fn client_next(&mut self, c: usize) {
        self.clients[c].link = None;
        let think = self.random.below(500) * MS;
        self.after(think, Event::ClientConnect(c));
    }

    pub(crate) fn client_hang_up(&mut self, c: usize, l: usize) {
        self.links[l].peer_gone = true;
        self.links[l].peer_fin = true;
        self.peer_pump(l);
        self.client_next(c);
    }
}
