//! The loop of the engine: accepts, reads, lets `Core` decide, writes.
//!
//! One thread, edge-triggered, nothing read after a short read. HTTP/1.1 has one write a token or a
//! batch of pipelined answers, HTTP/2 one write for all that a turn or a step has for a connection.
//! A client that leaves frees its slot in the turn that tells of it.

use std::{
    cmp::Reverse,
    io,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use mio::{Events, Poll, Token, Waker};

use wire::h2::Heads;

use super::{
    connection::{Connection, Fate, Speech},
    core::Core,
    exchange::{Exchange, Step},
    http1,
    http2::{self, Http2, PREFACE_BEGIN},
    reply::Home,
    stats::add,
};
use crate::{
    Address, Error,
    alarm::Alarm,
    clock,
    error::system,
    slab::{Key, Slab},
    socket::Listener,
    tls::Identity,
};

const SCRATCH_BYTES: usize = 256 * 1024;
const EVENTS_PER_TURN: usize = 1024;
/// How often the CPU counter is brought up to date, at most.
const CPU_EVERY_NS: u64 = 100_000_000;
const WAKER: Token = Token(usize::MAX);
const ALARM: Token = Token(usize::MAX - 1);
/// Listeners count down from here, connections up from 0.
const LISTENER_LAST: usize = usize::MAX - 2;

pub(crate) struct Server {
    poll: Poll,
    alarm: Alarm,
    listeners: Vec<Listener>,
    identity: Option<Identity>,
    connections: Slab<Connection>,
    core: Core,
    scratch: Vec<u8>,
    heads: Heads,
    /// HTTP/2 connections with something to send.
    dirty: Vec<Key>,
    next_sweep_ns: u64,
    next_cpu_ns: u64,
}

/// What an event says about the ends of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    /// The client sends no more: a FIN may have to be read.
    ended: bool,
    /// The client does not wait for an answer any more.
    left: bool,
}

/// What the handle needs of a server that is about to run.
pub(crate) struct Opened {
    pub(crate) server: Server,
    pub(crate) addresses: Vec<Address>,
    pub(crate) waker: Waker,
}

impl Server {
    pub(crate) fn open(core: Core) -> Result<Opened, Error> {
        let poll = Poll::new().map_err(system("creating a poller"))?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(system("creating a waker"))?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        let identity = core.options.tls.as_ref().map(Identity::new).transpose()?;
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for (index, address) in core.options.addresses()?.iter().enumerate() {
            let token = Token(LISTENER_LAST - index);
            let (listener, bound) = Listener::open(address, poll.registry(), token)?;
            listeners.push(listener);
            addresses.push(bound);
        }
        let server = Self {
            poll,
            alarm,
            listeners,
            identity,
            connections: Slab::new(),
            core,
            scratch: vec![0; SCRATCH_BYTES],
            heads: Heads::default(),
            dirty: Vec::new(),
            next_sweep_ns: 0,
            next_cpu_ns: 0,
        };
        Ok(Opened {
            server,
            addresses,
            waker,
        })
    }

    /// Runs until it is told to stop or `die_after_requests` strikes.
    pub(crate) fn run(mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !stop.load(Relaxed) && !self.core.dead {
            let now_ns = clock::now_ns();
            let timeout = self.alarm.timeout(now_ns, self.next_due());
            if let Err(error) = self.poll.poll(&mut events, timeout) {
                if error.kind() != io::ErrorKind::Interrupted {
                    break;
                }
                continue;
            }
            let now_ns = clock::now_ns();
            for event in &events {
                let Token(token) = event.token();
                if event.token() == WAKER || event.token() == ALARM {
                    continue;
                }
                if token > LISTENER_LAST - self.listeners.len() {
                    self.accept(LISTENER_LAST - token, now_ns);
                    continue;
                }
                let ended = event.is_read_closed();
                let gone = event.is_error() || event.is_write_closed();
                if event.is_writable() {
                    self.writable(token, now_ns);
                }
                if event.is_readable() || ended || gone {
                    let left = gone || (ended && !self.core.options.half_close_allowed);
                    self.readable(token, Ends { ended, left }, now_ns);
                }
            }
            self.timers(now_ns);
        }
        self.core
            .counters
            .cpu_ns
            .store(clock::thread_cpu_ns(), Relaxed);
        for index in 0..self.connections.bound() {
            if let Some(connection) = self.connections.at(index) {
                connection.fate = Fate::Reset;
                self.close(index);
            }
        }
    }

    fn next_due(&self) -> Option<u64> {
        let timer = self.core.timers.peek().map(|Reverse((due_ns, _))| *due_ns);
        let step = (!self.core.aligned.is_empty()).then_some(self.core.step_due_ns);
        let sweep = (self.core.options.keepalive_idle_ms > 0).then_some(self.next_sweep_ns);
        [timer, step, sweep].into_iter().flatten().min()
    }

    fn accept(&mut self, listener: usize, now_ns: u64) {
        while let Some(listener) = self.listeners.get(listener) {
            let stream = match listener.accept() {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The connection died in the queue, or there is no descriptor: the next
                // connection brings the next event.
                Err(_) => return,
            };
            if self.connections.len() >= self.core.options.connections_max as usize {
                continue;
            }
            let Ok(mut stream) = stream.under(self.identity.as_ref()) else {
                continue;
            };
            add(&self.core.counters.connections_total, 1);
            add(&self.core.counters.connections, 1);
            let token = Token(self.connections.next_index());
            // The first event of a registration tells whether there is input already.
            let registered = stream.register(self.poll.registry(), token);
            let key = self.connections.insert(Connection::new(stream, now_ns));
            if registered.is_err() {
                self.close(key.index);
            }
        }
    }

    /// Reads what there is, unless a request is being answered.
    fn readable(&mut self, index: usize, ends: Ends, now_ns: u64) {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.read(index, ends, now_ns, &mut scratch);
        self.scratch = scratch;
    }

    fn read(&mut self, index: usize, ends: Ends, now_ns: u64, scratch: &mut [u8]) {
        loop {
            let Some(connection) = self.connections.at(index) else {
                return;
            };
            connection.ended |= ends.ended;
            if connection.held_back() {
                // Nobody reads while an answer is under way: an end now is a client that left.
                connection.readable = true;
                if ends.left {
                    self.close(index);
                }
                return;
            }
            match connection.stream.read(scratch) {
                Ok(0) => return self.close(index),
                Ok(length) => {
                    let more = connection.ended || length == scratch.len();
                    connection.readable = more;
                    self.feed(index, &scratch[..length], now_ns);
                    if !more {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.readable = false;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.close(index),
            }
        }
    }

    /// Takes requests from the bytes until one has to wait; sends what was answered.
    fn feed(&mut self, index: usize, bytes: &[u8], now_ns: u64) {
        let Some(key) = self.connections.key(index) else {
            return;
        };
        let Some(connection) = self.connections.at(index) else {
            return;
        };
        let mut joined = match &mut connection.speech {
            Speech::Http1(http1) => std::mem::take(&mut http1.input),
            Speech::Http2(_) => Vec::new(),
        };
        let bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            joined.as_slice()
        };
        if let Speech::Http1(http1) = &mut connection.speech
            && !http1.begun
            && bytes.starts_with(PREFACE_BEGIN)
        {
            let streams_max = self.core.options.http2_streams_max;
            let http2 = Http2::new(streams_max, &mut connection.output);
            connection.speech = Speech::Http2(Box::new(http2));
        }
        let core = &mut self.core;
        if matches!(connection.speech, Speech::Http1(_)) {
            http1::take(core, connection, key, bytes, now_ns);
        } else if !http2::take(core, connection, key, bytes, &mut self.heads, now_ns) {
            connection.fate = Fate::Close;
        }
        connection.idle_since_ns = now_ns;
        self.settle(index);
        self.start_waiting(now_ns);
    }

    /// Sends what had to wait, and reads what was held back by it.
    fn writable(&mut self, index: usize, now_ns: u64) {
        let Some(connection) = self.connections.at(index) else {
            return;
        };
        connection.stream.push();
        if connection.unsent() == 0 {
            return;
        }
        self.settle(index);
        self.resume(index, now_ns);
    }

    /// Goes on with what a client has sent behind its last request, if that is out of the way.
    fn resume(&mut self, index: usize, now_ns: u64) {
        let Some(connection) = self.connections.at(index) else {
            return;
        };
        let waits = matches!(&connection.speech, Speech::Http1(http1) if !http1.input.is_empty());
        if waits && connection.takes_requests() {
            self.feed(index, &[], now_ns);
        }
        let reads = |connection: &mut Connection| connection.readable && !connection.held_back();
        if self.connections.at(index).is_some_and(reads) {
            self.readable(index, Ends::default(), now_ns);
        }
    }

    /// Sends, and closes if that is what comes after.
    fn settle(&mut self, index: usize) {
        let Some(connection) = self.connections.at(index) else {
            return;
        };
        let sent = if connection.fate == Fate::Reset {
            Ok(())
        } else {
            connection.flush()
        };
        let end = match connection.fate {
            Fate::Keep => false,
            Fate::Close => connection.unsent() == 0,
            Fate::Reset => true,
        };
        if end || sent.is_err() {
            self.close(index);
        }
    }

    fn close(&mut self, index: usize) {
        let Some(mut connection) = self.connections.remove(index) else {
            return;
        };
        self.core.connection_closed();
        for exchange in connection.exchanges() {
            self.core.cancel(exchange);
        }
        match connection.fate {
            Fate::Reset => connection.stream.reset(),
            Fate::Close => connection.stream.goodbye(),
            Fate::Keep => {}
        }
    }

    /// Gives free slots to those that wait, in order.
    fn start_waiting(&mut self, now_ns: u64) {
        while self.core.may_start() {
            let Some(key) = self.core.queue.pop_front() else {
                return;
            };
            let waiting = self.core.exchanges.find(key);
            let Some(home) = waiting.filter(|one| one.waits()).map(|one| one.home) else {
                continue;
            };
            if let Some(connection) = self.connections.find(home.connection) {
                let mut reply = connection.reply(home.lane);
                if self.core.unqueue(key, &mut reply, now_ns) {
                    connection.release(home.lane, now_ns);
                }
                self.after_step(home.connection, now_ns);
            }
        }
    }

    /// Lets an exchange that is due go on.
    fn advance(&mut self, key: Key, home: Home, now_ns: u64) -> Step {
        let Some(connection) = self.connections.find(home.connection) else {
            return Step::Done;
        };
        let mut reply = connection.reply(home.lane);
        let step = self.core.advance(key, &mut reply, now_ns);
        if step.over() {
            connection.release(home.lane, now_ns);
        }
        self.after_step(home.connection, now_ns);
        step
    }

    fn timers(&mut self, now_ns: u64) {
        while let Some(Reverse((due_ns, key))) = self.core.timers.peek().copied() {
            if due_ns > now_ns {
                break;
            }
            self.core.timers.pop();
            let due = |one: &&mut Exchange| one.due_ns == due_ns;
            if let Some(home) = self
                .core
                .exchanges
                .find(key)
                .filter(due)
                .map(|one| one.home)
            {
                self.advance(key, home, now_ns);
            }
        }
        if !self.core.aligned.is_empty() && self.core.step_due_ns <= now_ns {
            self.step(now_ns);
        }
        self.start_waiting(now_ns);
        self.send_dirty();
        let idle_ns = self.core.options.keepalive_idle_ms * 1_000_000;
        if idle_ns > 0 && self.next_sweep_ns <= now_ns {
            self.next_sweep_ns = now_ns + idle_ns / 8 + 1;
            self.sweep(now_ns, idle_ns);
        }
        if self.next_cpu_ns <= now_ns {
            self.next_cpu_ns = now_ns + CPU_EVERY_NS;
            self.core
                .counters
                .cpu_ns
                .store(clock::thread_cpu_ns(), Relaxed);
        }
    }

    /// One step of the model: a token for every running stream whose first one is due.
    fn step(&mut self, now_ns: u64) {
        let gap_ns = self.core.options.gap_us * 1000;
        // A step that took longer than the gap delays the next ones, as in a real engine.
        self.core.step_due_ns = (self.core.step_due_ns + gap_ns).max(now_ns);
        let mut batch = std::mem::take(&mut self.core.aligned);
        // The streams of a connection come together, so that one write takes them all. All but
        // the newest are in order already.
        batch.sort_by_key(|(connection, _)| *connection);
        self.core.stepping = true;
        batch.retain(|(connection, key)| {
            if self.dirty.last().is_some_and(|last| last != connection) {
                self.send_dirty();
            }
            let Some(exchange) = self.core.exchanges.find(*key) else {
                return false;
            };
            if exchange.due_ns > now_ns {
                return true;
            }
            let home = exchange.home;
            self.advance(*key, home, now_ns) == Step::More
        });
        self.send_dirty();
        // Those that started meanwhile come behind.
        batch.append(&mut self.core.aligned);
        self.core.aligned = batch;
        self.core.stepping = false;
    }

    /// After an exchange moved on: sends; and when it has ended, goes on with what was pipelined.
    /// What HTTP/2 has to send waits for the other streams of its connection.
    fn after_step(&mut self, key: Key, now_ns: u64) {
        let Some(connection) = self.connections.find(key) else {
            return;
        };
        if matches!(connection.speech, Speech::Http2(_)) && connection.fate != Fate::Reset {
            if !std::mem::replace(&mut connection.dirty, true) {
                self.dirty.push(key);
            }
            return;
        }
        self.settle(key.index);
        let goes_on = |connection: &mut Connection| connection.takes_requests();
        if self.connections.find(key).is_some_and(goes_on) {
            self.resume(key.index, now_ns);
        }
    }

    /// Sends what HTTP/2 connections have gathered.
    fn send_dirty(&mut self) {
        while let Some(key) = self.dirty.pop() {
            if let Some(connection) = self.connections.find(key) {
                connection.dirty = false;
                self.settle(key.index);
            }
        }
    }

    fn sweep(&mut self, now_ns: u64, idle_ns: u64) {
        for index in 0..self.connections.bound() {
            let Some(connection) = self.connections.at(index) else {
                continue;
            };
            if connection.idle() && connection.idle_since_ns + idle_ns <= now_ns {
                self.close(index);
            }
        }
    }
}
