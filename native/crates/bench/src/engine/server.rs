//! The loop of the engine: accepts, reads, lets `Core` decide, writes.
//!
//! One thread, edge-triggered, nothing read after a short read, one write a token or a batch of
//! pipelined answers. A client that leaves frees its slot in the turn that tells of it.

use std::{
    cmp::Reverse,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use mio::{Events, Poll, Token, Waker};

use super::{
    answer,
    connection::{Connection, Fate, Pending},
    core::Core,
    request::Head,
    stats::add,
};
use crate::{
    Address, Error,
    alarm::Alarm,
    clock,
    error::system,
    http::{Framing, HEAD_BYTES_MAX, head_length},
    slab::{Key, Slab},
    socket::Listener,
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
    connections: Slab<Connection>,
    core: Core,
    scratch: Vec<u8>,
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
            connections: Slab::new(),
            core,
            scratch: vec![0; SCRATCH_BYTES],
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
    pub(crate) fn run(mut self, stop: &Arc<AtomicBool>) {
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
            let mut stream = match listener.accept() {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The connection died in the queue, or there is no descriptor: the next
                // connection brings the next event.
                Err(_) => return,
            };
            if self.connections.len() >= self.core.options.connections_max as usize {
                continue;
            }
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
        let mut joined = std::mem::take(&mut connection.input);
        let bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            joined.as_slice()
        };
        let mut at = 0;
        while at < bytes.len() && connection.takes_requests() {
            let used = take_request(&mut self.core, key, connection, &bytes[at..], now_ns);
            if used == 0 {
                break;
            }
            at += used;
        }
        connection.input.extend_from_slice(&bytes[at..]);
        connection.idle_since_ns = now_ns;
        self.settle(index);
        self.start_waiting(now_ns);
    }

    /// Sends what had to wait, and reads what was held back by it.
    fn writable(&mut self, index: usize, now_ns: u64) {
        let Some(connection) = self.connections.at(index) else {
            return;
        };
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
        if !connection.input.is_empty() && connection.takes_requests() {
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
        if let Some(exchange) = connection.exchange.take() {
            self.core.cancel(&exchange);
        }
        if connection.fate == Fate::Reset {
            connection.stream.reset();
        }
    }

    /// Gives free slots to those that wait, in order.
    fn start_waiting(&mut self, now_ns: u64) {
        while self.core.may_start() {
            let Some(key) = self.core.queue.pop_front() else {
                return;
            };
            let Some(connection) = self.connections.find(key) else {
                continue;
            };
            // The client may have come back with another request on the same connection: then
            // that one has a key of its own behind this one, and runs a little early.
            let waits = connection
                .exchange
                .as_ref()
                .is_some_and(super::exchange::Exchange::waits);
            if waits {
                self.core.unqueue(key, connection, now_ns);
                self.after_step(key, now_ns);
            }
        }
    }

    fn timers(&mut self, now_ns: u64) {
        while let Some(Reverse((due_ns, key))) = self.core.timers.peek().copied() {
            if due_ns > now_ns {
                break;
            }
            self.core.timers.pop();
            let Some(connection) = self.connections.find(key) else {
                continue;
            };
            if connection
                .exchange
                .as_ref()
                .is_some_and(|exchange| exchange.due_ns == due_ns)
            {
                self.core.advance(key, connection, now_ns);
                self.after_step(key, now_ns);
            }
        }
        if !self.core.aligned.is_empty() && self.core.step_due_ns <= now_ns {
            self.step(now_ns);
        }
        self.start_waiting(now_ns);
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
        self.core.stepping = true;
        batch.retain(|(key, id)| {
            let Some(connection) = self.connections.find(*key) else {
                return false;
            };
            let Some(exchange) = &connection.exchange else {
                return false;
            };
            if exchange.id == *id && exchange.due_ns <= now_ns {
                self.core.advance(*key, connection, now_ns);
                self.after_step(*key, now_ns);
            }
            let connection = self.connections.find(*key);
            let exchange = connection.and_then(|connection| connection.exchange.as_ref());
            exchange.is_some_and(|exchange| exchange.id == *id && !exchange.stalled)
        });
        // Those that started meanwhile come behind.
        batch.append(&mut self.core.aligned);
        self.core.aligned = batch;
        self.core.stepping = false;
    }

    /// After an exchange moved on: sends; and when it has ended, goes on with what was pipelined.
    fn after_step(&mut self, key: Key, now_ns: u64) {
        self.settle(key.index);
        let goes_on = |connection: &mut Connection| connection.takes_requests();
        if self.connections.find(key).is_some_and(goes_on) {
            self.resume(key.index, now_ns);
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

/// Uses bytes from the front of `bytes` for the current request; 0 when more are needed.
fn take_request(
    core: &mut Core,
    key: Key,
    connection: &mut Connection,
    bytes: &[u8],
    now_ns: u64,
) -> usize {
    if let Some(mut pending) = connection.pending.take() {
        let Pending { framing, body, .. } = &mut pending;
        let fed = framing.feed(bytes, |part| body.extend_from_slice(part));
        let Ok((used, done)) = fed else {
            refuse(connection, 400, "the body's framing is broken");
            return bytes.len();
        };
        if pending.body.len() as u64 > core.options.body_bytes_max {
            refuse(connection, 413, "the body is too long");
        } else if done {
            core.dispatch(key, connection, &pending.head, &pending.body, now_ns);
        } else {
            connection.pending = Some(pending);
        }
        return used;
    }
    let Some(length) = head_length(bytes) else {
        if bytes.len() > HEAD_BYTES_MAX {
            refuse(connection, 400, "the head is too long");
        }
        return 0;
    };
    let head = match Head::parse(&bytes[..length]) {
        Ok(head) => head,
        Err(malformed) => {
            refuse(connection, 400, malformed.0);
            return length;
        }
    };
    let Some(framing) = head.framing.clone() else {
        core.dispatch(key, connection, &head, &[], now_ns);
        return length;
    };
    let mut capacity = 0;
    if let Framing::Length(body_bytes) = framing {
        if body_bytes > core.options.body_bytes_max {
            refuse(connection, 413, "the body is too long");
            return length;
        }
        capacity = body_bytes as usize;
        if let Some(body) = bytes.get(length..length + capacity) {
            core.dispatch(key, connection, &head, body, now_ns);
            return length + capacity;
        }
    }
    if head.expect && bytes.len() == length {
        connection
            .output
            .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    connection.pending = Some(Pending {
        head,
        framing,
        body: Vec::with_capacity(capacity),
    });
    length
}

fn refuse(connection: &mut Connection, status: u16, why: &str) {
    answer::error(&mut connection.output, status, why, 0, true);
    connection.fate = Fate::Close;
}
