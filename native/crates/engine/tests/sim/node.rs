//! Drives an engine exactly by the contract: turns, drains, flushes.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use engine::clock::{MS, Now, SECOND};
use engine::ids::{AskId, ConnId, ListenerId, WorkerId};
use engine::input::{Accepted, Answer, Closed, Connected, DialError, Input, Mail};
use engine::limits::{QUEUE_BYTES_HIGH, READ_BYTES, TURN_INPUTS_MAX};
use engine::output::{Dial, How, Output};
use engine::shared::Shared;
use engine::snapshot::Snapshot;
use engine::{Engine, Options};

use crate::link::{Peer, Way};
use crate::oracle::Tap;
use crate::plan;
use crate::world::{Event, World};

/// What waits for a turn besides readable connections.
pub(crate) enum Inbound {
    Mail(Mail),
    Accept(usize),
    Secured(usize),
    Connected(ConnId, Result<Connected, DialError>),
}

/// One worker.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) inbox: VecDeque<Inbound>,
    ready: VecDeque<usize>,
    dirty: Vec<usize>,
    by_conn: BTreeMap<ConnId, usize>,
    /// Whether nothing but HTTP/2 was offered there.
    dialing: BTreeMap<ConnId, bool>,
    pub(crate) turn_at: Option<u64>,
    pub(crate) stopped: bool,
}

/// Bytes queued towards one peer at most: the high mark, one more read or tail, and the framing.
const OUT_BYTES_MAX: usize = 2 * QUEUE_BYTES_HIGH + 2 * READ_BYTES + 16 * 1024;

impl Node {
    pub(crate) fn new(
        worker: u16,
        seed: u64,
        shared: &Arc<Shared>,
        snapshot: &Arc<Snapshot>,
        now_ns: u64,
    ) -> Self {
        let options = Options {
            worker: WorkerId(worker),
            workers: 2,
            seed: seed ^ u64::from(worker) << 32,
        };
        let engine = Engine::new(
            options,
            Arc::clone(shared),
            Arc::clone(snapshot),
            at(now_ns),
        );
        Self {
            engine,
            inbox: VecDeque::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            by_conn: BTreeMap::new(),
            dialing: BTreeMap::new(),
            turn_at: None,
            stopped: false,
        }
    }
}

fn at(now_ns: u64) -> Now {
    Now {
        mono_ns: now_ns,
        wall_ms: 1_700_000_000_000 + now_ns / MS,
    }
}

impl World {
    pub(crate) fn post(&mut self, w: usize, inbound: Inbound) {
        if self.nodes[w].stopped {
            match inbound {
                Inbound::Mail(mail @ Mail::Grant { .. }) => {
                    self.nodes[w].engine.begin(at(self.now));
                    self.nodes[w].engine.undelivered(mail);
                    self.nodes[w].engine.end();
                    self.settle(w);
                }
                Inbound::Accept(l) => self.refuse(l),
                _ => {}
            }
            return;
        }
        self.nodes[w].inbox.push_back(inbound);
        self.wake(w, 0);
    }

    /// Makes sure that a turn comes.
    pub(crate) fn wake(&mut self, w: usize, least_ns: u64) {
        let delay = least_ns.max(1) + self.random.below(20_000);
        let at = self.now + delay;
        let node = &mut self.nodes[w];
        if node.turn_at.is_none_or(|t| t > at) {
            node.turn_at = Some(at);
            self.after(delay, Event::Turn(w));
        }
    }

    /// A connection may have something to read.
    pub(crate) fn list(&mut self, l: usize) {
        let link = &mut self.links[l];
        if link.conn.is_some() && link.readable() && !link.listed {
            link.listed = true;
            let w = link.worker;
            self.nodes[w].ready.push_back(l);
            self.wake(w, 0);
        }
    }

    pub(crate) fn writable(&mut self, l: usize) {
        let link = &mut self.links[l];
        if link.closing.is_some() {
            return self.pump_closing(l);
        }
        if std::mem::replace(&mut link.blocked, false) && link.conn.is_some() && !link.dirty {
            link.dirty = true;
            let w = link.worker;
            self.nodes[w].dirty.push(l);
            self.wake(w, 0);
        }
    }

    pub(crate) fn turn(&mut self, w: usize) {
        self.nodes[w].turn_at = None;
        if self.nodes[w].stopped {
            return;
        }
        self.nodes[w].engine.begin(at(self.now));
        self.gone.clear();
        let mut inputs = 0;
        while inputs < TURN_INPUTS_MAX
            && !self.nodes[w].stopped
            && let Some(inbound) = self.nodes[w].inbox.pop_front()
        {
            inputs += 1;
            self.take(w, inbound);
        }
        let listed = self.nodes[w].ready.len();
        for _ in 0..listed.min(TURN_INPUTS_MAX - inputs) {
            if let Some(l) = self.nodes[w].ready.pop_front() {
                self.links[l].listed = false;
                self.read(w, l);
            }
        }
        self.nodes[w].engine.end();
        let deadline = self.settle(w);
        self.watch(w);
        if self.nodes[w].stopped {
            for inbound in std::mem::take(&mut self.nodes[w].inbox) {
                self.post(w, inbound);
            }
            return;
        }
        let node = &self.nodes[w];
        if !node.inbox.is_empty() || !node.ready.is_empty() || !node.dirty.is_empty() {
            self.wake(w, 0);
        } else if let Some(deadline_ns) = deadline {
            self.wake(w, deadline_ns.saturating_sub(self.now));
        }
    }

    fn take(&mut self, w: usize, inbound: Inbound) {
        match inbound {
            Inbound::Mail(mail) => {
                let stop = matches!(mail, Mail::Stop);
                self.nodes[w].engine.handle(Input::Mail(mail));
                self.nodes[w].stopped |= stop;
            }
            Inbound::Accept(l) => {
                let Peer::Client(c) = self.links[l].peer else {
                    unreachable!()
                };
                let accepted = Accepted {
                    listener: ListenerId(self.links[l].listener),
                    peer: Some(SocketAddr::from((Ipv4Addr::new(10, 0, 0, c as u8), 1234))),
                    local: None,
                };
                if let Some(conn) = self.nodes[w].engine.accepted(accepted) {
                    self.links[l].conn = Some(conn);
                    self.nodes[w].by_conn.insert(conn, l);
                    self.list(l);
                } else {
                    assert!(self.closing_down, "a socket was refused");
                    self.refuse(l);
                }
            }
            Inbound::Secured(l) => self.secure(w, l),
            Inbound::Connected(conn, result) => {
                self.nodes[w].engine.handle(Input::Connected(conn, result));
            }
        }
    }

    fn refuse(&mut self, l: usize) {
        self.links[l].proxy_gone = true;
        self.send_rst(l, Way::ToPeer);
    }

    fn read(&mut self, w: usize, l: usize) {
        let most = match self.random.below(8) {
            0 => 1 + self.random.below(40) as usize,
            1 => 1 + self.random.below(2000) as usize,
            _ => READ_BYTES,
        };
        let link = &mut self.links[l];
        let Some(conn) = link.conn else { return };
        let most = most.min(link.shaking().unwrap_or(usize::MAX));
        if link.to_proxy.arrived > 0 && !link.paused && most > 0 {
            let mut bytes = std::mem::take(&mut self.scratch);
            link.to_proxy.take(most, &mut bytes);
            self.trace.note(bytes.len() as u64);
            self.trace.line(self.now, || {
                format!("worker {w} reads {} of link {l}", bytes.len())
            });
            self.links[l].read_bytes += bytes.len() as u64;
            self.links[l].read_ahead(bytes.len());
            self.nodes[w].engine.handle(Input::Read(conn, &bytes));
            self.scratch = bytes;
            self.note_heard(l);
            self.peer_pump(l);
            return self.list(l);
        }
        let fin = link.to_proxy.fin_arrived && !link.eof_told;
        if let Some(closed) = link.rst {
            self.trace
                .line(self.now, || format!("worker {w}: link {l} {closed:?}"));
            self.note_gone(l, true);
            self.nodes[w].engine.handle(Input::Closed(conn, closed));
        } else if fin && link.to_proxy.bytes.is_empty() {
            link.eof_told = true;
            let closed = self.fin_means(l);
            self.trace
                .line(self.now, || format!("worker {w}: link {l} FIN: {closed:?}"));
            self.note_gone(l, closed != Closed::Eof);
            self.nodes[w].engine.handle(Input::Closed(conn, closed));
        } else if fin && link.paused && !link.fin_ahead_told && matches!(link.peer, Peer::Client(_))
        {
            link.fin_ahead_told = true;
            self.trace
                .line(self.now, || format!("worker {w}: link {l} FIN ahead"));
            self.nodes[w].engine.fin_ahead(conn);
        }
    }

    /// Drains and flushes until nothing changes.
    fn settle(&mut self, w: usize) -> Option<u64> {
        for _ in 0..10_000 {
            let deadline = self.drain(w);
            if self.nodes[w].dirty.is_empty() {
                return deadline;
            }
            let dirty = std::mem::take(&mut self.nodes[w].dirty);
            for l in dirty {
                self.flush(w, l);
            }
        }
        panic!("a turn without end");
    }

    fn drain(&mut self, w: usize) -> Option<u64> {
        loop {
            match self.nodes[w].engine.poll() {
                Output::Wait(deadline_ns) => return deadline_ns,
                Output::Write(conn) => {
                    if let Some(&l) = self.nodes[w].by_conn.get(&conn)
                        && !self.links[l].dirty
                    {
                        self.links[l].dirty = true;
                        self.nodes[w].dirty.push(l);
                    }
                }
                Output::PauseRead(conn) => self.set_paused(w, conn, true),
                Output::ResumeRead(conn) => self.set_paused(w, conn, false),
                Output::Dial(conn, to) => self.dial(w, conn, &to),
                Output::Close(conn, how) => self.close(w, conn, how),
                Output::Mail(to, mail) => {
                    assert_ne!(usize::from(to.0), w, "mail to itself");
                    if matches!(mail, Mail::Trim(_)) {
                        *self.seen.entry("connection asked for").or_default() += 1;
                    }
                    let delay = self.delay();
                    self.after(delay, Event::Mail(usize::from(to.0), mail));
                }
                Output::Ask(id, _) => {
                    let delay = if self.chance(90) {
                        self.delay()
                    } else {
                        11 * SECOND
                    };
                    self.after(delay, Event::Answer(w, id));
                }
                Output::Record(record) => self.record(&record),
            }
        }
    }

    fn set_paused(&mut self, w: usize, conn: ConnId, paused: bool) {
        if let Some(&l) = self.nodes[w].by_conn.get(&conn) {
            self.links[l].paused = paused;
            self.list(l);
        }
    }

    pub(crate) fn answer(&mut self, w: usize, id: AskId) {
        let answer = Answer {
            status: 200,
            fields: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: b"{\"object\":\"list\"}".to_vec(),
        };
        self.post(w, Inbound::Mail(Mail::Answer(id, answer)));
    }

    fn dial(&mut self, w: usize, conn: ConnId, to: &Dial) {
        let upstream = plan::upstream_of(to.target.address());
        let offers = to.tls.as_ref().map_or(&[][..], |tls| &tls.alpn);
        let wants_h2 = offers.len() == 1 && offers[0] == "h2";
        self.nodes[w].dialing.insert(conn, wants_h2);
        let percent = if self.calm { 0 } else { self.faults.dial };
        let mut delay = self.delay();
        let result = if self.chance(percent) {
            match self.random.below(5) {
                0 => {
                    delay = 500 * MS;
                    self.upstream_secures(upstream, to)
                }
                1 => Err(DialError::Unreachable),
                2 => Err(DialError::Exhausted),
                3 => Err(DialError::TimedOut),
                _ => Err(DialError::Refused),
            }
        } else {
            self.upstream_secures(upstream, to)
        };
        self.trace.line(self.now, || {
            format!("worker {w} dials upstream {upstream} as {conn:?}: {result:?}")
        });
        self.after(delay, Event::Connected(w, conn, upstream, result));
    }

    pub(crate) fn dialled(
        &mut self,
        w: usize,
        conn: ConnId,
        upstream: usize,
        result: Result<Connected, DialError>,
    ) {
        let Some(wants_h2) = self.nodes[w].dialing.remove(&conn) else {
            return;
        };
        if let Ok(connected) = result {
            let l = self.link(w, Peer::Upstream(upstream), 0, Tap::upstream());
            self.links[l].conn = Some(conn);
            self.nodes[w].by_conn.insert(conn, l);
            self.upstream_secured(l, connected, wants_h2);
            self.server_start(l);
        }
        self.post(w, Inbound::Connected(conn, result));
    }

    fn flush(&mut self, w: usize, l: usize) {
        self.links[l].dirty = false;
        for _ in 0..4 {
            let link = &self.links[l];
            let Some(conn) = link.conn else { return };
            if link.blocked || link.rst.is_some() {
                return;
            }
            let pending = self.nodes[w].engine.pending(conn);
            if pending.is_empty() {
                return;
            }
            assert!(
                pending.len() <= OUT_BYTES_MAX,
                "{} bytes queued",
                pending.len()
            );
            let short = self.random.below(20) == 0;
            let room = if short {
                link.to_peer.room().min(7)
            } else {
                link.to_peer.room()
            };
            let count = room.min(pending.len());
            let bytes = pending[..count].to_vec();
            let all = count == pending.len();
            if count > 0 {
                self.trace.note(count as u64);
                self.trace
                    .line(self.now, || format!("worker {w} sends {count} to link {l}"));
                self.tap(l, &bytes);
                self.transmit(l, Way::ToPeer, &bytes);
                let after_ns = self.now + self.random.below(20_000);
                self.nodes[w].engine.wrote(conn, count, after_ns);
            }
            if !all {
                self.links[l].blocked = true;
                if short {
                    let delay = self.delay();
                    self.after(delay, Event::Writable(l));
                }
                return;
            }
        }
    }

    fn close(&mut self, w: usize, conn: ConnId, how: How) {
        if self.nodes[w].dialing.remove(&conn).is_some() {
            return;
        }
        // A dial that succeeded and was not yet told has a link already.
        let Some(l) = self.nodes[w].by_conn.remove(&conn) else {
            return;
        };
        self.trace.note(conn.index.into());
        self.trace.line(self.now, || match &how {
            How::Flush(rest) => format!("worker {w} closes link {l} after {} bytes", rest.len()),
            How::Reset => format!("worker {w} resets link {l}"),
            How::Now => format!("worker {w} closes link {l} now"),
        });
        let link = &mut self.links[l];
        link.conn = None;
        if link.rst.is_some() {
            link.proxy_gone = true;
            return;
        }
        if !matches!(how, How::Flush(_)) {
            self.note_cut(l);
        }
        let link = &mut self.links[l];
        match how {
            How::Flush(rest) => {
                assert!(rest.len() <= OUT_BYTES_MAX, "{} bytes flushed", rest.len());
                let arrived = std::mem::take(&mut link.to_proxy.arrived);
                link.to_proxy.bytes.drain(..arrived);
                link.closing = Some((rest, 0));
                let rest = link.closing.as_ref().map(|(rest, _)| rest.clone());
                self.tap(l, &rest.unwrap_or_default());
                self.linger(l, 5 * SECOND);
                self.peer_pump(l);
                self.pump_closing(l);
            }
            How::Reset => {
                link.proxy_gone = true;
                self.send_rst(l, Way::ToPeer);
            }
            How::Now => {
                link.proxy_gone = true;
                if link.to_proxy.bytes.is_empty() {
                    self.send_fin(l, Way::ToPeer);
                } else {
                    self.send_rst(l, Way::ToPeer);
                }
            }
        }
    }

    fn pump_closing(&mut self, l: usize) {
        let link = &mut self.links[l];
        let Some((rest, sent)) = &mut link.closing else {
            return;
        };
        let count = link.to_peer.room().min(rest.len() - *sent);
        let bytes = rest[*sent..*sent + count].to_vec();
        *sent += count;
        let whole = *sent == rest.len();
        if count > 0 {
            self.transmit(l, Way::ToPeer, &bytes);
            self.linger(l, 5 * SECOND);
        }
        if whole && !self.links[l].to_peer.fin_sent {
            self.send_fin(l, Way::ToPeer);
            self.linger(l, SECOND);
        }
    }

    fn linger(&mut self, l: usize, length_ns: u64) {
        self.links[l].linger_until_ns = self.now + length_ns;
        self.after(length_ns, Event::Lingered(l));
    }

    pub(crate) fn lingered(&mut self, l: usize) {
        let link = &mut self.links[l];
        if self.now >= link.linger_until_ns
            && let Some((rest, sent)) = link.closing.take()
        {
            link.proxy_gone = true;
            let unread = !link.to_proxy.bytes.is_empty() || sent < rest.len();
            if unread && !link.peer_gone {
                self.send_rst(l, Way::ToPeer);
            }
        }
    }
}
