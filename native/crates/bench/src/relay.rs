//! A byte relay: the least that anything between a client and an engine can cost.
//!
//! One thread, one poller, edge-triggered; every client connection has an upstream connection of
//! its own; what is read is written at once. It knows no HTTP. The floor that proxies are compared
//! with. Invariant: at most `buffer_bytes` of a direction are held, and while any are held that
//! direction is not read.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use mio::{Events, Poll, Token, Waker, event::Event};
use serde::{Deserialize, Serialize};

use crate::{
    Address, Error, Running, clock,
    error::system,
    running::Counted,
    slab::Slab,
    socket::{Listener, Stream},
};

const EVENTS_PER_TURN: usize = 1024;
const CPU_EVERY_NS: u64 = 100_000_000;
const WAKER: Token = Token(usize::MAX);
const LISTENER_LAST: usize = usize::MAX - 1;

/// Options of a relay.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Addresses to listen on: `HOST:PORT` (port 0 picks one) or `unix:/PATH`.
    pub listen: Vec<String>,
    /// Where to connect: `HOST:PORT` or `unix:/PATH`; taken in turn.
    pub upstream: Vec<String>,
    /// Upstream connections opened ahead of their clients.
    pub preconnect: u32,
    /// Bytes read at a time, and held at most in each direction.
    pub buffer_bytes: usize,
    /// Pairs open at the same time; further clients are closed at once.
    pub pairs_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:0".to_owned()],
            upstream: Vec::new(),
            preconnect: 0,
            buffer_bytes: 64 * 1024,
            pairs_max: 32_768,
        }
    }
}

impl Options {
    /// Reads options from JSON; fields left out have their defaults.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        Ok(serde_json::from_str(text)?)
    }
}

/// Counters of a relay at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Pairs opened.
    pub pairs_total: u64,
    /// Pairs open now.
    pub pairs: u64,
    /// Bytes read, both directions.
    pub bytes: u64,
    /// CPU time of the relay's thread, nanoseconds, ten times a second.
    pub cpu_ns: u64,
}

#[derive(Debug, Default)]
struct Counters {
    pairs_total: AtomicU64,
    pairs: AtomicU64,
    bytes: AtomicU64,
    cpu_ns: AtomicU64,
}

impl Counted<Stats> for Counters {
    fn read(&self) -> Stats {
        let Self {
            pairs_total,
            pairs,
            bytes,
            cpu_ns,
        } = self;
        Stats {
            pairs_total: pairs_total.load(Relaxed),
            pairs: pairs.load(Relaxed),
            bytes: bytes.load(Relaxed),
            cpu_ns: cpu_ns.load(Relaxed),
        }
    }
}

/// Opens the listeners and starts the relay's thread. Stopping it closes all connections.
pub fn start(options: &Options) -> Result<Running<Stats>, Error> {
    let counters = Arc::new(Counters::default());
    let (relay, addresses, waker) = Relay::open(options, Arc::clone(&counters))?;
    Running::start("byte-relay", addresses, counters, waker, move |stop| {
        relay.run(stop);
    })
}

/// One end of a pair. `held` are bytes read from the other end and not yet written to this one.
#[derive(Debug)]
struct End {
    stream: Stream,
    held: Vec<u8>,
    held_at: usize,
    connected: bool,
    /// There may be more to read, although no event will say so.
    readable: bool,
    /// Its FIN is on the way: read on until it comes.
    closing: bool,
    /// Its FIN was read.
    ended: bool,
    /// We have sent FIN to it.
    shut: bool,
}

impl End {
    fn new(stream: Stream, connected: bool) -> Self {
        let held = Vec::new();
        let (readable, closing, ended, shut) = (false, false, false, false);
        Self {
            stream,
            held,
            held_at: 0,
            connected,
            readable,
            closing,
            ended,
            shut,
        }
    }

    fn clear(&self) -> bool {
        self.held_at == self.held.len()
    }

    /// Writes what is held.
    fn flush(&mut self) -> io::Result<()> {
        while !self.clear() {
            match self.stream.write(&self.held[self.held_at..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.held_at += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.held = Vec::new();
        self.held_at = 0;
        Ok(())
    }

    /// Writes new bytes; what the kernel does not take is held.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while self.connected && sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    sent += length;
                    if sent < bytes.len() {
                        // The socket is full: its next event tells when it is not.
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if sent < bytes.len() {
            self.held.extend_from_slice(&bytes[sent..]);
        }
        Ok(())
    }
}

/// Client first, upstream second.
#[derive(Debug)]
struct Pair([Option<End>; 2]);

struct Relay {
    poll: Poll,
    listeners: Vec<Listener>,
    upstream: Vec<Address>,
    next_upstream: usize,
    pairs: Slab<Pair>,
    /// Pairs whose upstream end is there and whose client is not.
    ready: Vec<usize>,
    scratch: Vec<u8>,
    pairs_max: usize,
    counters: Arc<Counters>,
}

/// The pair or the connection is beyond use.
struct Broken;

impl Relay {
    fn open(
        options: &Options,
        counters: Arc<Counters>,
    ) -> Result<(Self, Vec<Address>, Waker), Error> {
        let wrong = |name, why: &str| Error::Option {
            name,
            why: why.to_owned(),
        };
        if options.upstream.is_empty() || options.listen.is_empty() {
            return Err(wrong(
                "upstream",
                "listen and upstream need at least one address each",
            ));
        }
        if options.buffer_bytes == 0 {
            return Err(wrong("buffer_bytes", "must be at least 1"));
        }
        let upstream = options.upstream.iter().map(|text| text.parse());
        let poll = Poll::new().map_err(system("creating a poller"))?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(system("creating a waker"))?;
        let mut relay = Self {
            listeners: Vec::new(),
            upstream: upstream.collect::<Result<_, Error>>()?,
            next_upstream: 0,
            pairs: Slab::new(),
            ready: Vec::new(),
            scratch: vec![0; options.buffer_bytes],
            pairs_max: options.pairs_max as usize,
            counters,
            poll,
        };
        let mut addresses = Vec::new();
        for (index, text) in options.listen.iter().enumerate() {
            let token = Token(LISTENER_LAST - index);
            let (listener, bound) = Listener::open(&text.parse()?, relay.poll.registry(), token)?;
            relay.listeners.push(listener);
            addresses.push(bound);
        }
        for _ in 0..options.preconnect {
            let dialled = relay.dial();
            if let Some(index) = dialled {
                relay.ready.push(index);
            }
        }
        Ok((relay, addresses, waker))
    }

    fn run(mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut next_cpu_ns = 0;
        while !stop.load(Relaxed) {
            match self.poll.poll(&mut events, None) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            for event in &events {
                let Token(token) = event.token();
                if event.token() == WAKER {
                    continue;
                }
                if token > LISTENER_LAST - self.listeners.len() {
                    self.accept(LISTENER_LAST - token);
                } else if self.event(token / 2, token % 2, event).is_err() {
                    self.drop_pair(token / 2);
                }
            }
            let now_ns = clock::now_ns();
            if next_cpu_ns <= now_ns {
                next_cpu_ns = now_ns + CPU_EVERY_NS;
                self.counters.cpu_ns.store(clock::thread_cpu_ns(), Relaxed);
            }
        }
        self.counters.cpu_ns.store(clock::thread_cpu_ns(), Relaxed);
    }

    /// Opens an upstream connection as half of a new pair.
    fn dial(&mut self) -> Option<usize> {
        let target = &self.upstream[self.next_upstream % self.upstream.len()];
        self.next_upstream += 1;
        let mut stream = Stream::connect(target, None).ok()?;
        let index = self.pairs.next_index();
        stream
            .register(self.poll.registry(), Token(index * 2 + 1))
            .ok()?;
        self.pairs
            .insert(Pair([None, Some(End::new(stream, false))]));
        Some(index)
    }

    fn accept(&mut self, listener: usize) {
        while let Some(listener) = self.listeners.get(listener) {
            let Ok(mut stream) = listener.accept() else {
                return;
            };
            if self.pairs.len() >= self.pairs_max + self.ready.len() {
                continue;
            }
            let ready = std::iter::from_fn(|| self.ready.pop()).find(|index| {
                self.pairs
                    .at(*index)
                    .is_some_and(|pair| pair.0[0].is_none())
            });
            let Some(index) = ready.or_else(|| self.dial()) else {
                continue;
            };
            self.counters.pairs_total.fetch_add(1, Relaxed);
            self.counters.pairs.fetch_add(1, Relaxed);
            let registered = stream.register(self.poll.registry(), Token(index * 2));
            if let Some(pair) = self.pairs.at(index) {
                pair.0[0] = Some(End::new(stream, true));
            }
            if registered.is_err() {
                self.drop_pair(index);
            }
        }
    }

    fn drop_pair(&mut self, index: usize) {
        if self
            .pairs
            .remove(index)
            .is_some_and(|pair| pair.0[0].is_some())
        {
            let pairs = self.counters.pairs.load(Relaxed);
            self.counters.pairs.store(pairs.saturating_sub(1), Relaxed);
        }
    }

    fn event(&mut self, index: usize, side: usize, event: &Event) -> Result<(), Broken> {
        let Some(pair) = self.pairs.at(index) else {
            return Ok(());
        };
        let Some(end) = pair.0[side].as_mut() else {
            return Ok(());
        };
        if !end.connected {
            match end.stream.finish_connect() {
                Ok(true) => end.connected = true,
                Ok(false) => return Ok(()),
                Err(_) => return Err(Broken),
            }
        }
        let ended = event.is_read_closed();
        if event.is_writable() && !end.clear() {
            end.flush().map_err(|_| Broken)?;
            if end.clear() {
                // What held the other end back is gone.
                self.copy(index, 1 - side)?;
            }
        }
        if event.is_readable() || ended || event.is_error() {
            if let Some(end) = self.pairs.at(index).and_then(|pair| pair.0[side].as_mut()) {
                end.readable = true;
                end.closing |= ended;
            }
            self.copy(index, side)?;
        }
        self.close_ended(index)
    }

    /// Copies from one end to the other until there is nothing, or the other is full.
    fn copy(&mut self, index: usize, from: usize) -> Result<(), Broken> {
        let Some(pair) = self.pairs.at(index) else {
            return Ok(());
        };
        let [Some(client), Some(upstream)] = &mut pair.0 else {
            // An upstream connection opened ahead waits for its client, unless it has gone.
            let gone = pair.0.iter().flatten().any(|end| end.closing);
            return if gone { Err(Broken) } else { Ok(()) };
        };
        let (source, sink) = if from == 0 {
            (client, upstream)
        } else {
            (upstream, client)
        };
        // After a short read there is nothing more, unless a FIN is behind it.
        while source.readable && !source.ended && sink.clear() {
            match source.stream.read(&mut self.scratch) {
                Ok(0) => source.ended = true,
                Ok(length) => {
                    source.readable = source.closing || length == self.scratch.len();
                    let bytes = self.counters.bytes.load(Relaxed);
                    self.counters.bytes.store(bytes + length as u64, Relaxed);
                    sink.pass(&self.scratch[..length]).map_err(|_| Broken)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => source.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken),
            }
        }
        Ok(())
    }

    /// Hands on a FIN once everything before it is written; ends the pair after both.
    fn close_ended(&mut self, index: usize) -> Result<(), Broken> {
        let Some(Pair([Some(client), Some(upstream)])) = self.pairs.at(index) else {
            return Ok(());
        };
        if client.ended && upstream.connected && upstream.clear() && !upstream.shut {
            upstream.shut = true;
            upstream.stream.shutdown_write();
        }
        if upstream.ended && client.clear() && !client.shut {
            client.shut = true;
            client.stream.shutdown_write();
        }
        if client.shut && upstream.shut {
            Err(Broken)
        } else {
            Ok(())
        }
    }
}
