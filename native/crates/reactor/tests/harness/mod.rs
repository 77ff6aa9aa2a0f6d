//! A small machine for the tests: a table of connections with bytes to send, and a [`Behaviour`]
//! that says what happens on them.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses a part of it"
)]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use engine::clock::Now;
use engine::ids::{ConnId, WorkerId};
use engine::input::{Accepted, Closed, Connected, DialError, Drain, Input, Mail, Secured};
use engine::output::{Dial, How, Output};
use engine::shared::Target;
use engine::snapshot::plan::ClientTlsPlan;
use engine::snapshot::{Address, ListenerKind};
use reactor::{Birth, Factory, Host, Listen, Machine, Options, clock};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a scripted machine does.
pub trait Behaviour: 'static {
    fn opened(&mut self, _at: &mut Table, _id: ConnId, _accepted: &Accepted) -> bool {
        true
    }
    fn read(&mut self, _at: &mut Table, _id: ConnId, _bytes: &[u8]) {}
    fn closed(&mut self, at: &mut Table, id: ConnId, _closed: Closed) {
        at.close(id, How::Now);
    }
    fn connected(&mut self, _at: &mut Table, _id: ConnId, _outcome: Result<Connected, DialError>) {}
    fn secured(&mut self, _at: &mut Table, _id: ConnId, _secured: &Secured) {}
    fn mail(&mut self, _at: &mut Table, _mail: Mail) {}
    fn wrote(&mut self, _at: &mut Table, _id: ConnId, _bytes: usize) {}
    fn fin_ahead(&mut self, _at: &mut Table, _id: ConnId) {}
    fn ended(&mut self, _at: &mut Table) {}
    fn live(&self, at: &Table) -> usize {
        at.open()
    }
    fn undelivered(&mut self, _worker: WorkerId, _mail: Mail) {}
    fn outlived(&mut self, _worker: WorkerId) {}
}

#[derive(Default)]
struct Slot {
    generation: u32,
    open: bool,
    out: Vec<u8>,
    sent: usize,
}

/// Connections and outputs of a scripted machine.
pub struct Table {
    pub birth: Birth,
    pub now: Now,
    pub deadline_ns: Option<u64>,
    pub draining: bool,
    pub turns: u64,
    slots: Vec<Slot>,
    pub outputs: VecDeque<Output>,
}

impl Table {
    pub fn allocate(&mut self) -> ConnId {
        let index = self
            .slots
            .iter()
            .position(|slot| !slot.open)
            .unwrap_or_else(|| {
                self.slots.push(Slot::default());
                self.slots.len() - 1
            });
        let slot = &mut self.slots[index];
        slot.open = true;
        slot.generation += 1;
        slot.out.clear();
        slot.sent = 0;
        ConnId {
            index: index as u32,
            generation: slot.generation,
        }
    }

    pub fn is_open(&self, id: ConnId) -> bool {
        let slot = &self.slots[id.index as usize];
        slot.open && slot.generation == id.generation
    }

    pub fn write(&mut self, id: ConnId, bytes: &[u8]) {
        assert!(self.is_open(id), "the script writes to an open connection");
        self.slots[id.index as usize].out.extend_from_slice(bytes);
        self.outputs.push_back(Output::Write(id));
    }

    pub fn unsent(&self, id: ConnId) -> usize {
        let slot = &self.slots[id.index as usize];
        slot.out.len() - slot.sent
    }

    pub fn take_unsent(&mut self, id: ConnId) -> Vec<u8> {
        let slot = &mut self.slots[id.index as usize];
        let rest = slot.out.split_off(slot.sent);
        slot.out.clear();
        slot.sent = 0;
        rest
    }

    pub fn close(&mut self, id: ConnId, how: How) {
        if self.is_open(id) {
            self.slots[id.index as usize].open = false;
            self.outputs.push_back(Output::Close(id, how));
        }
    }

    /// After a failed dial the id is gone without a close.
    pub fn forget(&mut self, id: ConnId) {
        self.slots[id.index as usize].open = false;
    }

    pub fn pause(&mut self, id: ConnId) {
        self.outputs.push_back(Output::PauseRead(id));
    }

    pub fn resume(&mut self, id: ConnId) {
        self.outputs.push_back(Output::ResumeRead(id));
    }

    pub fn dial(&mut self, address: Address) -> ConnId {
        let id = self.allocate();
        self.dial_with(id, address, None);
        id
    }

    pub fn dial_secured(&mut self, address: Address, tls: ClientTlsPlan) -> ConnId {
        let id = self.allocate();
        self.dial_with(id, address, Some(Arc::new(tls)));
        id
    }

    fn dial_with(&mut self, id: ConnId, address: Address, tls: Option<Arc<ClientTlsPlan>>) {
        let target = Arc::new(Target::new(address));
        self.outputs
            .push_back(Output::Dial(id, Dial { target, tls }));
    }

    pub fn open(&self) -> usize {
        self.slots.iter().filter(|slot| slot.open).count()
    }
}

/// The machine.
pub struct Scripted<B> {
    at: Table,
    behaviour: B,
}

impl<B: Behaviour> Machine for Scripted<B> {
    fn begin(&mut self, now: Now) {
        assert!(now.mono_ns >= self.at.now.mono_ns, "time goes forward");
        self.at.now = now;
    }

    fn accepted(&mut self, accepted: Accepted) -> Option<ConnId> {
        let id = self.at.allocate();
        if self.behaviour.opened(&mut self.at, id, &accepted) {
            return Some(id);
        }
        self.at.forget(id);
        None
    }

    fn handle(&mut self, input: Input<'_>) {
        let at = &mut self.at;
        match input {
            Input::Read(id, bytes) => {
                assert!(at.is_open(id), "no byte of a closed connection");
                self.behaviour.read(at, id, bytes);
            }
            Input::Secured(id, secured) => self.behaviour.secured(at, id, &secured),
            Input::Closed(id, closed) => self.behaviour.closed(at, id, closed),
            Input::Connected(id, outcome) => {
                if outcome.is_err() {
                    at.forget(id);
                }
                self.behaviour.connected(at, id, outcome);
            }
            Input::Mail(Mail::Drain(_)) => at.draining = true,
            Input::Tick | Input::Mail(Mail::Stop) => {}
            Input::Mail(mail) => self.behaviour.mail(at, mail),
        }
    }

    fn end(&mut self) {
        self.behaviour.ended(&mut self.at);
    }

    fn poll(&mut self) -> Output {
        self.at
            .outputs
            .pop_front()
            .unwrap_or(Output::Wait(self.at.deadline_ns))
    }

    fn pending(&self, conn: ConnId) -> &[u8] {
        let slot = &self.at.slots[conn.index as usize];
        &slot.out[slot.sent..]
    }

    fn wrote(&mut self, conn: ConnId, bytes: usize, after_ns: u64) {
        assert!(after_ns >= self.at.now.mono_ns, "read after the send");
        let slot = &mut self.at.slots[conn.index as usize];
        slot.sent += bytes;
        if slot.sent == slot.out.len() {
            slot.out.clear();
            slot.sent = 0;
        }
        self.behaviour.wrote(&mut self.at, conn, bytes);
    }

    fn live(&self) -> usize {
        self.behaviour.live(&self.at)
    }

    fn drained(&self) -> bool {
        self.at.draining && self.at.open() == 0
    }

    fn turned(&mut self, _elapsed_ns: u64, _inputs: usize) {
        self.at.turns += 1;
    }

    fn fin_ahead(&mut self, conn: ConnId) {
        self.behaviour.fin_ahead(&mut self.at, conn);
    }

    fn undelivered(&mut self, worker: WorkerId, mail: Mail) {
        self.behaviour.undelivered(worker, mail);
    }

    fn outlived(&mut self, worker: WorkerId) {
        self.behaviour.outlived(worker);
    }
}

/// A factory from a function that makes the behaviour of a worker.
pub fn factory<B: Behaviour>(
    make: impl Fn(Birth) -> B + Send + Sync + 'static,
) -> Factory<Scripted<B>> {
    Arc::new(move |birth: Birth| {
        let at = Table {
            birth,
            now: birth.now,
            deadline_ns: None,
            draining: false,
            turns: 0,
            slots: Vec::new(),
            outputs: VecDeque::new(),
        };
        Scripted {
            at,
            behaviour: make(birth),
        }
    })
}

/// Sends everything back; reading is paused while too much waits.
#[derive(Clone, Copy, Default)]
pub struct Echo {
    pub high: usize,
}

impl Echo {
    pub fn bounded() -> Self {
        Self { high: 64 * 1024 }
    }
}

impl Behaviour for Echo {
    fn read(&mut self, at: &mut Table, id: ConnId, bytes: &[u8]) {
        at.write(id, bytes);
        if self.high > 0 && at.unsent(id) >= self.high {
            assert!(
                at.unsent(id) <= self.high + engine::limits::READ_BYTES,
                "one read at most"
            );
            at.pause(id);
        }
    }

    fn wrote(&mut self, at: &mut Table, id: ConnId, _bytes: usize) {
        if self.high > 0 && at.unsent(id) <= self.high / 2 {
            at.resume(id);
        }
    }

    fn closed(&mut self, at: &mut Table, id: ConnId, closed: Closed) {
        let how = match closed {
            Closed::Eof => How::Flush(at.take_unsent(id)),
            _ => How::Now,
        };
        at.close(id, how);
    }
}

pub fn tcp() -> Listen {
    let address = Address::Tcp("127.0.0.1:0".parse().unwrap());
    Listen {
        name: "tcp".into(),
        address,
        kind: ListenerKind::Data,
    }
}

static PATHS: AtomicU32 = AtomicU32::new(0);

/// A path that no other test uses.
pub fn path(name: &str) -> PathBuf {
    let n = PATHS.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("reactor-{}-{n}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

pub fn unix(path: &std::path::Path) -> Listen {
    let address = Address::Unix(path.to_owned());
    Listen {
        name: "unix".into(),
        address,
        kind: ListenerKind::Data,
    }
}

pub fn workers(workers: u16) -> Options {
    Options {
        workers,
        ..Options::default()
    }
}

pub fn launch<B: Behaviour>(
    options: Options,
    listeners: &[Listen],
    make: impl Fn(Birth) -> B + Send + Sync + 'static,
) -> Host<Scripted<B>> {
    Host::launch(options, None, listeners, factory(make)).expect("it starts")
}

/// A drain that closes silent connections at once.
pub fn drain(deadline_ms: u64) -> Drain {
    Drain {
        deadline_ns: clock::mono_ns() + deadline_ms * 1_000_000,
        idle_ns: 0,
        admin: false,
    }
}

pub fn port<M: Machine + 'static>(host: &Host<M>) -> SocketAddr {
    host.addresses()
        .into_iter()
        .find_map(|(_, address)| match address {
            Address::Tcp(tcp) => Some(tcp),
            Address::Unix(_) | Address::Name { .. } => None,
        })
        .expect("a TCP listener")
}

pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends and expects the same bytes back.
pub fn exchange(stream: &mut (impl Read + Write), bytes: &[u8]) {
    stream.write_all(bytes).expect("sent");
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).expect("echoed");
    assert!(back == bytes, "the same bytes");
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn end<M: Machine + 'static>(host: &Host<M>) {
    assert_eq!(host.bugs(), 0);
    host.stop();
    assert!(host.join(PATIENCE), "all threads end");
}

pub fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect()
}
