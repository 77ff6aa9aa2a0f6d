//! What all workers of one host share: the ways to each other, the acceptor, the control plane and
//! the recorder.
//!
//! **Worker ids.** The first `workers` ids are the workers that were asked for. A worker that had
//! a bug is retired: it gets no more sockets and drains; its replacement gets the next free id of
//! `limits::SPARE_WORKERS`. An id is never used twice, so that mail for an exchange of the retired
//! worker cannot meet an exchange of the new one. When the spares are used up, a worker that has a
//! bug goes on as it is.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::clock::Now;
use engine::exchange::log::Record;
use engine::ids::WorkerId;
use engine::input::{Accepted, Drain, Mail};
use mio::Waker;
use socket2::Socket;

use crate::acceptor::{Order, Orders};
use crate::adopt::Adoption;
use crate::asks::Asks;
use crate::limits::{KEYRINGS_MAX, MAILBOX_SOCKETS_MAX};
use crate::mailbox::{Mailbox, Wake};
use crate::recorder::Recorder;
use crate::socket::SocketOptions;
use crate::tls::Keyring;

/// How the reactor works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads; 0 = one driver inline under the caller's event loop.
    pub workers: u16,
    /// Handed to every machine.
    pub seed: u64,
    /// Options of TCP connections.
    pub sockets: SocketOptions,
    /// Permission bits of unix listeners.
    pub unix_mode: u32,
    /// Descriptors we may use; `None` asks the system.
    pub descriptors_max: Option<u64>,
    /// Listening sockets of a predecessor.
    pub adoption: Adoption,
    /// TLS of the first listeners and endpoints.
    pub tls: Keyring,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            seed: 0,
            sockets: SocketOptions::default(),
            unix_mode: 0o660,
            descriptors_max: None,
            adoption: Adoption::default(),
            tls: Keyring::default(),
        }
    }
}

/// What a new machine is told.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// Its worker. May be beyond `workers`: see `limits::SPARE_WORKERS`.
    pub worker: WorkerId,
    /// Workers that take sockets at a time.
    pub workers: u16,
    /// `Options::seed`.
    pub seed: u64,
    /// The time.
    pub now: Now,
}

/// Makes the machine of a worker, on that worker's thread.
pub type Factory<M> = Arc<dyn Fn(Birth) -> M + Send + Sync>;

/// What a worker's mailbox holds.
pub(crate) enum Letter {
    Mail(Mail),
    Socket(Socket, Accepted),
    Listen(Orders),
    /// That worker has ended and left this mail unread.
    Ended(WorkerId, Vec<Mail>),
    Stop,
}

/// A worker as the others see it. On a line of its own: `live` is written every turn.
#[repr(align(128))]
pub(crate) struct Slot {
    pub(crate) mailbox: Mailbox<Letter, Wake>,
    /// Live exchanges, as of the worker's last turn.
    pub(crate) live: AtomicUsize,
    /// Sockets in the mailbox, those of the turn that goes on included.
    pub(crate) queued: AtomicUsize,
    /// Clients that have sent nothing yet, as of the worker's last turn.
    pub(crate) silent: AtomicUsize,
    /// It may be given sockets.
    pub(crate) accepts: AtomicBool,
    /// Told to drain, and has done so.
    pub(crate) drained: AtomicBool,
}

impl Slot {
    fn new(waker: Arc<Waker>) -> Self {
        Self {
            mailbox: mailbox(waker),
            live: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            silent: AtomicUsize::new(0),
            accepts: AtomicBool::new(true),
            drained: AtomicBool::new(false),
        }
    }

    /// Exchanges that it has or is about to have. A client whose first byte is still on its way,
    /// or whose handshake is, counts as one: many that come at once would else all go to the
    /// worker that is the first to have none of them left in its mailbox.
    fn load(&self) -> usize {
        let parts = [&self.live, &self.silent, &self.queued];
        parts.map(|part| part.load(Ordering::Relaxed)).iter().sum()
    }
}

/// Who holds the listeners.
enum Holder {
    Nobody,
    Thread,
    Worker(WorkerId),
}

pub(crate) struct Fleet {
    pub(crate) options: Options,
    pub(crate) asks: Asks,
    pub(crate) recorder: Recorder<Record>,
    slots: Vec<OnceLock<Arc<Slot>>>,
    /// TLS by generation of the configuration, the newest last; never empty.
    keyrings: Mutex<Vec<(u64, Keyring)>>,
    started: Mutex<u16>,
    acceptor: OnceLock<Mailbox<Letter, Wake>>,
    holder: Mutex<Holder>,
    bugs: AtomicU64,
    rotation: AtomicUsize,
    /// The drain that was ordered: of workers that start later, too.
    drain: Mutex<Option<Drain>>,
    running: Mutex<usize>,
    ended: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Fleet {
    pub(crate) fn new(options: Options, asks: Asks, recorder: Recorder<Record>) -> Self {
        let slots = usize::from(crate::host::worker_ids(options.workers));
        let keyrings = Mutex::new(vec![(0, options.tls.clone())]);
        Self {
            keyrings,
            options,
            asks,
            recorder,
            slots: (0..slots).map(|_| OnceLock::new()).collect(),
            started: Mutex::new(0),
            acceptor: OnceLock::new(),
            holder: Mutex::new(Holder::Nobody),
            bugs: AtomicU64::new(0),
            rotation: AtomicUsize::new(0),
            drain: Mutex::new(None),
            running: Mutex::new(0),
            ended: Condvar::new(),
            threads: Mutex::new(Vec::new()),
        }
    }

    /// Workers that take sockets at a time.
    pub(crate) fn workers(&self) -> u16 {
        self.options.workers.max(1)
    }

    /// TLS of a configuration that workers are about to be told of.
    pub(crate) fn put_keyring(&self, generation: u64, keyring: Keyring) {
        let mut keyrings = lock(&self.keyrings);
        keyrings.push((generation, keyring));
        if keyrings.len() > KEYRINGS_MAX {
            keyrings.remove(0);
        }
    }

    /// TLS of that generation, else the newest.
    pub(crate) fn keyring(&self, generation: u64) -> Keyring {
        let keyrings = lock(&self.keyrings);
        let found = keyrings.iter().find(|(of, _)| *of == generation);
        let (_, keyring) = found.or(keyrings.last()).expect("never empty");
        keyring.clone()
    }

    /// Opens the mailbox of a new worker; `None` when all ids are used up.
    pub(crate) fn enroll(&self, waker: Arc<Waker>) -> Option<(WorkerId, Arc<Slot>)> {
        let mut started = lock(&self.started);
        let cell = self.slots.get(usize::from(*started))?;
        let slot = Arc::clone(cell.get_or_init(|| Arc::new(Slot::new(waker))));
        let id = WorkerId(*started);
        *started += 1;
        drop(started);
        if let Some(drain) = *lock(&self.drain) {
            let _ = slot.mailbox.send(Letter::Mail(Mail::Drain(drain)));
        }
        Some((id, slot))
    }

    /// All workers that were ever started, ended ones included.
    pub(crate) fn enrolled(&self) -> impl Iterator<Item = (WorkerId, &Arc<Slot>)> {
        let slots = self.slots.iter().map_while(OnceLock::get);
        slots
            .enumerate()
            .map(|(index, slot)| (WorkerId(index as u16), slot))
    }

    /// Delivers a letter, or gives it back when that worker has ended.
    pub(crate) fn post(&self, to: WorkerId, letter: Letter) -> Result<(), Letter> {
        match self.slots.get(usize::from(to.0)).and_then(OnceLock::get) {
            Some(slot) => slot.mailbox.send(letter),
            None => Err(letter),
        }
    }

    /// Gives a socket to the worker with the fewest exchanges, had or to come; ties go round.
    pub(crate) fn place(&self, socket: Socket, accepted: Accepted) {
        let first = self.rotation.fetch_add(1, Ordering::Relaxed);
        let slots: Vec<&Arc<Slot>> = self.open_slots().collect();
        let turned = (0..slots.len()).map(|step| slots[(first + step) % slots.len()]);
        // Without a worker the socket is closed: the process is about to end.
        if let Some(slot) = turned.min_by_key(|slot| slot.load()) {
            slot.queued.fetch_add(1, Ordering::Relaxed);
            let _ = slot.mailbox.send(Letter::Socket(socket, accepted));
        }
    }

    /// Some mailbox may take another socket.
    pub(crate) fn has_room(&self) -> bool {
        self.open_slots()
            .any(|slot| slot.queued.load(Ordering::Relaxed) < MAILBOX_SOCKETS_MAX)
    }

    fn open_slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        let open = |slot: &&Arc<Slot>| slot.accepts.load(Ordering::Relaxed);
        self.enrolled().map(|(_, slot)| slot).filter(open)
    }

    /// A thread of its own holds the listeners.
    pub(crate) fn accept_by_thread(&self, waker: Arc<Waker>) {
        self.acceptor.get_or_init(|| mailbox(waker));
        *lock(&self.holder) = Holder::Thread;
    }

    /// A worker holds the listeners from now on, and is given these if it has not got them.
    pub(crate) fn accept_by_worker(&self, id: WorkerId, listeners: Option<Vec<Order>>) {
        let mut holder = lock(&self.holder);
        *holder = Holder::Worker(id);
        // Under the lock: no later orders may overtake the listeners they are about.
        if let Some(listeners) = listeners {
            let orders = Orders {
                listeners,
                then: Vec::new(),
            };
            let _ = self.post(id, Letter::Listen(orders));
        }
    }

    pub(crate) fn acceptor_mailbox(&self) -> &Mailbox<Letter, Wake> {
        self.acceptor
            .get()
            .expect("set before the acceptor's thread starts")
    }

    /// Sends orders to whoever holds the listeners. Without a holder their mail is delivered.
    pub(crate) fn order(&self, orders: Orders) {
        let holder = lock(&self.holder);
        let returned = match *holder {
            Holder::Thread => self.acceptor_mailbox().send(Letter::Listen(orders)),
            Holder::Worker(id) => self.post(id, Letter::Listen(orders)),
            Holder::Nobody => Err(Letter::Listen(orders)),
        };
        drop(holder);
        if let Err(Letter::Listen(orders)) = returned {
            for (worker, mail) in orders.then {
                let _ = self.post(worker, Letter::Mail(mail));
            }
        }
    }

    /// A worker has ended: whoever lives sees to what it leaves behind.
    pub(crate) fn bury(&self, id: WorkerId, slot: &Slot) {
        slot.accepts.store(false, Ordering::Relaxed);
        slot.drained.store(true, Ordering::Release);
        let mut unread = Vec::new();
        for letter in slot.mailbox.close() {
            match letter {
                Letter::Mail(mail) => unread.push(mail),
                Letter::Socket(socket, accepted) => self.place(socket, accepted),
                Letter::Listen(orders) => self.order(orders),
                Letter::Ended(..) => self.tell_the_living(letter),
                Letter::Stop => {}
            }
        }
        self.tell_the_living(Letter::Ended(id, unread));
    }

    /// To any worker that has not ended; the latest is the most likely not to.
    fn tell_the_living(&self, letter: Letter) {
        let enrolled: Vec<_> = self.enrolled().map(|(_, slot)| slot).collect();
        let mut letter = letter;
        for slot in enrolled.into_iter().rev() {
            match slot.mailbox.send(letter) {
                Ok(()) => return,
                Err(returned) => letter = returned,
            }
        }
    }

    pub(crate) fn note_drain(&self, drain: Drain) {
        *lock(&self.drain) = Some(drain);
    }

    /// Every worker and the acceptor end now.
    pub(crate) fn stop(&self) {
        if let Some(mailbox) = self.acceptor.get() {
            let _ = mailbox.send(Letter::Stop);
        }
        for (_, slot) in self.enrolled() {
            slot.accepts.store(false, Ordering::Relaxed);
            let _ = slot.mailbox.send(Letter::Stop);
        }
    }

    pub(crate) fn drained(&self) -> bool {
        self.enrolled()
            .all(|(_, slot)| slot.drained.load(Ordering::Acquire))
    }

    pub(crate) fn count_bug(&self) {
        self.bugs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn bugs(&self) -> u64 {
        self.bugs.load(Ordering::Relaxed)
    }

    /// Starts a thread that `join` waits for.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: String,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let running = Running(Arc::clone(self));
        *lock(&self.running) += 1;
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _running = running;
            body();
        })?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// Waits for all threads; `false` when some still run at the end of the time.
    pub(crate) fn join(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut running = lock(&self.running);
        while *running > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            running = self
                .ended
                .wait_timeout(running, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        drop(running);
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A panic was counted where it was caught.
            let _ = thread.join();
        }
        true
    }
}

/// Counts a thread as running for as long as it lives.
struct Running(Arc<Fleet>);

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.0.running) -= 1;
        self.0.ended.notify_all();
    }
}

fn mailbox(waker: Arc<Waker>) -> Mailbox<Letter, Wake> {
    // An eventfd can always be written to; a worker that has ended needs no wake.
    Mailbox::new(Box::new(move || {
        let _ = waker.wake();
    }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
