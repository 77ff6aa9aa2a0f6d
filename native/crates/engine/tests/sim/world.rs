//! Everything there is in a run, and the order in which it happens.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use engine::clock::{MS, SECOND};
use engine::ids::{AskId, ConnId};
use engine::input::{Closed, Connected, DialError, Drain, Mail};
use engine::random::Random;
use engine::shared::Shared;
use engine::snapshot::Snapshot;

use crate::client::Client;
use crate::link::{Link, Peer, Way};
use crate::node::{Inbound, Node};
use crate::oracle::{Tap, Track};
use crate::plan::{self, Mood};
use crate::spec::Spec;
use crate::trace::Trace;
use crate::upstream::Server;

/// Something that will happen.
pub(crate) enum Event {
    Turn(usize),
    Arrive(usize, Way, usize),
    ArriveFin(usize, Way),
    ArriveRst(usize, Way),
    Writable(usize),
    Mail(usize, Mail),
    Connected(usize, ConnId, usize, Result<Connected, DialError>),
    Answer(usize, AskId),
    Lingered(usize),
    Handshake(usize, usize, Option<Closed>),
    Accept(usize),
    ClientConnect(usize),
    ClientSend(usize, usize),
    ClientRead(usize, usize),
    ClientLeave(usize, usize, u8),
    CallRest(usize, usize),
    CallStep(usize, usize, u32),
    CallCredit(usize, usize, u32),
    CallReset(usize, usize, u32),
    ServerRead(usize),
    ServerStep(usize, u64),
    ServerIdle(usize, u32),
    StreamStep(usize, u32),
    StreamCredit(usize, u32),
    Reload,
    Drain,
    Stop,
    Calm,
}

struct Entry(u64, u64, Event);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Quiet,
    Drain,
    Stop,
}

/// Faults of one run, in percent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) upstream: u64,
    pub(crate) dial: u64,
    pub(crate) leave: u64,
    pub(crate) slow: u64,
    pub(crate) reload: bool,
}

/// One run.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    events: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) mood: Mood,
    pub(crate) faults: Faults,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
    pub(crate) taps: Vec<Tap>,
    pub(crate) servers: Vec<Option<Box<Server>>>,
    pub(crate) clients: Vec<Client>,
    pub(crate) specs: Vec<Spec>,
    pub(crate) tracks: Vec<Track>,
    pub(crate) generation: u64,
    pub(crate) ending: Ending,
    /// A drain or a stop was said.
    pub(crate) closing_down: bool,
    /// From when on connections are cut.
    pub(crate) cut_ns: u64,
    pub(crate) calm: bool,
    pub(crate) turns: u64,
    /// Requests whose client is known to be gone since this turn began.
    pub(crate) gone: Vec<u64>,
    /// Requests whose end threw earlier answers of their client away.
    pub(crate) cuts: Vec<Option<u64>>,
    pub(crate) scratch: Vec<u8>,
    /// Handshakes of clients that began.
    pub(crate) handshakes: u64,
    /// How often a connection of HTTP/2 was found at rest: with a client, with an upstream.
    pub(crate) rests: (Cell<u64>, Cell<u64>),
    /// What kinds of things happened, and how often.
    pub(crate) seen: Seen,
}

/// How often a kind of thing happened.
pub(crate) type Seen = BTreeMap<&'static str, u64>;

/// When faults and new work stop.
const CALM_NS: u64 = 12 * SECOND;
/// By when everything must have ended after that.
const PATIENCE_NS: u64 = 200 * SECOND;
const TURNS_MAX: u64 = 400_000;

impl World {
    pub(crate) fn new(seed: u64, print: bool) -> Self {
        let mut random = Random::new(seed);
        let shared = Arc::new(Shared::new(2));
        shared.set_ready(true);
        let mood = Mood::draw(&mut random);
        let level = random.below(4);
        let faults = Faults {
            upstream: [0, 5, 15, 40][level as usize],
            dial: [0, 2, 10, 30][random.below(4) as usize],
            leave: [0, 10, 30, 60][random.below(4) as usize],
            slow: [0, 0, 5, 20][random.below(4) as usize],
            reload: random.below(3) == 0,
        };
        let ending =
            [Ending::Quiet, Ending::Quiet, Ending::Drain, Ending::Stop][random.below(4) as usize];
        let plan = plan::draw(&mood, &mut random);
        let now = SECOND;
        let snapshot = Arc::new(Snapshot::compile(&plan, &shared, 2, 1, now).expect("a plan"));
        let nodes = (0..2)
            .map(|w| Node::new(w, seed, &shared, &snapshot, now))
            .collect();
        let mut world = Self {
            now,
            random,
            trace: Trace::new(print),
            events: BinaryHeap::new(),
            sequence: 0,
            shared,
            mood,
            faults,
            nodes,
            links: Vec::new(),
            taps: Vec::new(),
            servers: Vec::new(),
            clients: Vec::new(),
            specs: Vec::new(),
            tracks: Vec::new(),
            generation: 1,
            ending,
            closing_down: false,
            cut_ns: u64::MAX,
            calm: false,
            turns: 0,
            gone: Vec::new(),
            cuts: Vec::new(),
            scratch: Vec::new(),
            handshakes: 0,
            rests: (Cell::new(0), Cell::new(0)),
            seen: Seen::new(),
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let clients = 2 + self.random.below(8) as usize;
        for c in 0..clients {
            let connections = 1 + self.random.below(4) as usize;
            self.clients.push(Client::new(connections));
            let at = self.random.below(2000) * MS;
            self.after(at, Event::ClientConnect(c));
        }
        self.after(CALM_NS, Event::Calm);
        if self.faults.reload {
            for _ in 0..=self.random.below(4) {
                let at = self.random.below(8000) * MS;
                self.after(at, Event::Reload);
            }
        }
        let at = 500 * MS + self.random.below(6000) * MS;
        match self.ending {
            Ending::Quiet => {}
            Ending::Drain => self.after(at, Event::Drain),
            Ending::Stop => self.after(at, Event::Stop),
        }
    }

    /// Files an event.
    pub(crate) fn after(&mut self, delay_ns: u64, event: Event) {
        self.sequence += 1;
        self.events
            .push(Reverse(Entry(self.now + delay_ns, self.sequence, event)));
    }

    /// A short delay, sometimes not so short.
    pub(crate) fn delay(&mut self) -> u64 {
        match self.random.below(10) {
            0..4 => self.random.below(50_000),
            4..9 => self.random.below(2 * MS),
            _ => self.random.below(40 * MS),
        }
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    /// Runs to the end and gives the hash of what happened.
    pub(crate) fn run(&mut self) -> u64 {
        while let Some(Reverse(Entry(at, _, event))) = self.events.pop() {
            assert!(at >= self.now, "time goes forward");
            self.now = at;
            if at > SECOND + CALM_NS + PATIENCE_NS {
                // Turns that were planned for timers which are gone.
                assert!(self.at_rest(), "alive too long: {}", self.who_is_left());
                break;
            }
            self.trace.note(at);
            self.happen(event);
        }
        self.judge();
        self.trace.hash()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn(w) => {
                if self.nodes[w].turn_at == Some(self.now) {
                    self.turns += 1;
                    assert!(self.turns < TURNS_MAX, "spinning");
                    self.turn(w);
                }
            }
            Event::Arrive(l, way, count) => self.arrive(l, way, count),
            Event::ArriveFin(l, way) => self.arrive_fin(l, way),
            Event::ArriveRst(l, way) => self.arrive_rst(l, way),
            Event::Writable(l) => self.writable(l),
            Event::Mail(w, mail) => self.post(w, Inbound::Mail(mail)),
            Event::Connected(w, conn, upstream, result) => {
                self.dialled(w, conn, upstream, result);
            }
            Event::Answer(w, id) => self.answer(w, id),
            Event::Lingered(l) => self.lingered(l),
            Event::Handshake(c, l, closed) => self.handshake(c, l, closed),
            Event::Accept(l) => {
                let w = self.links[l].worker;
                self.post(w, Inbound::Accept(l));
            }
            Event::ClientConnect(c) => self.client_connect(c),
            Event::ClientSend(c, l) => self.client_send(c, l),
            Event::ClientRead(c, l) => self.client_read(c, l),
            Event::ClientLeave(c, l, how) => self.client_leave(c, l, how),
            Event::CallRest(c, l) => self.call_rest(c, l),
            Event::CallStep(c, l, stream) => self.call_step(c, l, stream),
            Event::CallCredit(c, l, stream) => self.call_credit(c, l, stream),
            Event::CallReset(c, l, stream) => self.call_reset(c, l, stream),
            Event::ServerRead(l) => self.server_read(l),
            Event::ServerStep(l, epoch) => self.server_step(l, epoch),
            Event::ServerIdle(l, served) => self.server_idle(l, served),
            Event::StreamStep(l, stream) => self.stream_step(l, stream),
            Event::StreamCredit(l, stream) => self.stream_credit(l, stream),
            Event::Reload => self.reload(),
            Event::Drain => {
                self.closing_down = true;
                let drain = Drain {
                    deadline_ns: self.now + self.random.below(3000) * MS,
                    idle_ns: self.random.below(3) * 500 * MS,
                    admin: self.random.below(2) == 0,
                };
                self.cut_ns = drain.deadline_ns;
                self.trace.line(self.now, || format!("{drain:?}"));
                for w in 0..2 {
                    self.post(w, Inbound::Mail(Mail::Drain(drain)));
                }
            }
            Event::Stop => {
                self.closing_down = true;
                self.cut_ns = self.now;
                self.trace.line(self.now, || "stop".to_owned());
                for w in 0..2 {
                    let delay = self.delay();
                    self.after(delay, Event::Mail(w, Mail::Stop));
                }
            }
            Event::Calm => self.calm = true,
        }
    }

    fn reload(&mut self) {
        if self.closing_down {
            return;
        }
        self.generation += 1;
        let plan = plan::draw(&self.mood, &mut self.random);
        let snapshot = Snapshot::compile(&plan, &self.shared, 2, self.generation, self.now);
        let snapshot = Arc::new(snapshot.expect("a plan"));
        self.trace.line(self.now, || "reload".to_owned());
        for w in 0..2 {
            let delay = self.delay();
            self.after(delay, Event::Mail(w, Mail::Snapshot(Arc::clone(&snapshot))));
        }
    }

    // ---- links -------------------------------------------------------------------------------

    /// A new connection; nothing has arrived on it yet.
    pub(crate) fn link(&mut self, worker: usize, peer: Peer, listener: u32, tap: Tap) -> usize {
        let capacity = |random: &mut Random| match random.below(6) {
            0 => 100 + random.below(300) as usize,
            1 => 4096,
            _ => 64 * 1024,
        };
        let capacity = (capacity(&mut self.random), capacity(&mut self.random));
        self.links.push(Link::new(worker, peer, listener, capacity));
        self.taps.push(tap);
        self.servers.push(None);
        self.links.len() - 1
    }

    fn pipe(&mut self, l: usize, way: Way) -> &mut crate::link::Pipe {
        match way {
            Way::ToProxy => &mut self.links[l].to_proxy,
            Way::ToPeer => &mut self.links[l].to_peer,
        }
    }

    fn when(&mut self, l: usize, way: Way) -> u64 {
        let at = self.now + 1 + self.delay();
        let pipe = self.pipe(l, way);
        pipe.last_arrival_ns = pipe.last_arrival_ns.max(at);
        pipe.last_arrival_ns - self.now
    }

    /// Puts bytes on the wire, in one to three pieces.
    pub(crate) fn transmit(&mut self, l: usize, way: Way, bytes: &[u8]) {
        self.pipe(l, way).bytes.extend(bytes);
        let mut left = bytes.len();
        while left > 0 {
            let piece = match self.random.below(4) {
                0 => 1 + self.random.below(left as u64) as usize,
                _ => left,
            };
            let delay = self.when(l, way);
            self.after(delay, Event::Arrive(l, way, piece));
            left -= piece;
        }
    }

    pub(crate) fn send_fin(&mut self, l: usize, way: Way) {
        if !std::mem::replace(&mut self.pipe(l, way).fin_sent, true) {
            let delay = self.when(l, way);
            self.after(delay, Event::ArriveFin(l, way));
        }
    }

    pub(crate) fn send_rst(&mut self, l: usize, way: Way) {
        let pipe = self.pipe(l, way);
        if !pipe.fin_sent {
            // Bytes before a FIN arrive before it.
            pipe.lose();
            if way == Way::ToProxy {
                self.links[l].peer_out.clear();
                self.links[l].peer_fin = false;
            }
        }
        let delay = self.when(l, way);
        self.after(delay, Event::ArriveRst(l, way));
    }

    /// The peer's program writes: what does not fit waits in its own memory.
    pub(crate) fn peer_write(&mut self, l: usize, bytes: &[u8]) {
        self.links[l].peer_out.extend(bytes);
        self.peer_pump(l);
    }

    pub(crate) fn peer_pump(&mut self, l: usize) {
        let link = &mut self.links[l];
        let count = link.to_proxy.room().min(link.peer_out.len());
        if count > 0 {
            let bytes: Vec<u8> = link.peer_out.drain(..count).collect();
            self.transmit(l, Way::ToProxy, &bytes);
        }
        let link = &self.links[l];
        if link.peer_fin && link.peer_out.is_empty() {
            self.send_fin(l, Way::ToProxy);
        }
    }

    fn arrive(&mut self, l: usize, way: Way, count: usize) {
        let pipe = self.pipe(l, way);
        pipe.arrived = (pipe.arrived + count).min(pipe.bytes.len());
        let link = &mut self.links[l];
        match way {
            Way::ToProxy if link.proxy_gone => {
                link.to_proxy.bytes.clear();
                link.to_proxy.arrived = 0;
                if !link.peer_gone {
                    self.send_rst(l, Way::ToPeer);
                }
            }
            Way::ToProxy if link.closing.is_some() => {
                let arrived = std::mem::take(&mut link.to_proxy.arrived);
                link.to_proxy.bytes.drain(..arrived);
                self.peer_pump(l);
            }
            Way::ToProxy => self.list(l),
            Way::ToPeer if link.peer_gone => {
                link.to_peer.bytes.clear();
                link.to_peer.arrived = 0;
                if !link.proxy_gone && link.rst.is_none() {
                    self.send_rst(l, Way::ToProxy);
                }
            }
            Way::ToPeer => self.peer_readable(l),
        }
    }

    fn arrive_fin(&mut self, l: usize, way: Way) {
        self.pipe(l, way).fin_arrived = true;
        match way {
            Way::ToProxy => self.list(l),
            Way::ToPeer => self.peer_readable(l),
        }
    }

    fn arrive_rst(&mut self, l: usize, way: Way) {
        match way {
            Way::ToProxy => {
                let lost = self.chance(50);
                let death = self.death(l);
                let link = &mut self.links[l];
                if link.rst.is_some() || link.proxy_gone {
                    return;
                }
                link.rst = Some(death);
                link.to_proxy.lose();
                if lost {
                    link.to_proxy.bytes.clear();
                    link.to_proxy.arrived = 0;
                }
                if link.closing.take().is_some() {
                    link.proxy_gone = true;
                }
                self.list(l);
            }
            Way::ToPeer => {
                if !std::mem::replace(&mut self.links[l].peer_gone, true) {
                    match self.links[l].peer {
                        Peer::Client(c) => self.client_ended(c, l, true),
                        Peer::Upstream(_) => self.server_ended(l),
                    }
                }
            }
        }
    }

    fn peer_readable(&mut self, l: usize) {
        match self.links[l].peer {
            Peer::Client(c) => self.client_readable(c, l),
            Peer::Upstream(_) => self.server_readable(l),
        }
    }

    /// The peer's program read: there is room for what the proxy could not send.
    pub(crate) fn peer_took(&mut self, l: usize) {
        let link = &self.links[l];
        if link.blocked || link.closing.is_some() {
            let delay = self.random.below(MS);
            self.after(delay, Event::Writable(l));
        }
    }

    fn at_rest(&self) -> bool {
        let idle = |node: &Node| {
            let census = node.engine.census();
            (census.exchanges, census.clients, census.upstreams_busy) == (0, 0, 0)
        };
        self.clients.iter().all(Client::done) && self.nodes.iter().all(idle)
    }

    fn who_is_left(&self) -> String {
        let clients: Vec<_> = (0..self.clients.len())
            .filter(|&c| !self.clients[c].done())
            .map(|c| format!("client {c}: {}", self.clients[c].state()))
            .collect();
        let nodes: Vec<_> = self.nodes.iter().map(|n| n.engine.census()).collect();
        format!("{clients:?} {nodes:?}")
    }
}
