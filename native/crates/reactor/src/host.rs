//! The life of the data plane: start, reload, drain, stop. Called by the control plane, on one
//! thread; nothing here runs per request.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::ids::{AskId, ListenerId, WorkerId};
use engine::input::{Answer, Drain, Mail};
use engine::snapshot::plan::{Address, ListenerKind};
use socket2::Socket;

use crate::acceptor::{self, Acceptor, Order, Orders};
use crate::asks::Asks;
use crate::fleet::{Factory, Fleet, Letter, Options};
use crate::limits::SPARE_WORKERS;
use crate::listener::{self, Listen, ListenError};
use crate::machine::Machine;
use crate::poller::Poller;
use crate::process::{Forked, Pid};
use crate::recorder::{Counts, Opened, Recorder, Target};
use crate::tls::Keyring;
use crate::worker::{self, Inline};

/// Why the data plane did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address could not be bound.
    Listen(ListenError),
    /// The access log could not be opened.
    Log(String, io::Error),
    /// The system refused a thread, a poller or a descriptor.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(f),
            Self::Log(path, error) => write!(f, "cannot open the access log {path}: {error}"),
            Self::System(what, error) => write!(f, "cannot make {what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ListenError> for StartError {
    fn from(error: ListenError) -> Self {
        Self::Listen(error)
    }
}

#[derive(Clone)]
struct Bound {
    serial: u32,
    listen: Listen,
    /// With the port the system chose.
    address: Address,
    socket: Arc<Socket>,
    /// Of a unix socket: whether its file goes with it.
    owns_file: Option<Arc<AtomicBool>>,
}

/// A listening socket for a successor.
#[derive(Debug)]
pub struct Offered {
    /// The listener's name.
    pub name: String,
    /// What it serves.
    pub kind: ListenerKind,
    /// Where it is bound.
    pub address: Address,
    /// The same socket under a descriptor of its own.
    pub socket: OwnedFd,
}

/// Worker ids that a machine may meet: those asked for, and spares for replaced workers.
pub fn worker_ids(workers: u16) -> u16 {
    workers.max(1) + SPARE_WORKERS
}

/// A running data plane. Dropping it stops it, without waiting.
pub struct Host<M: Machine> {
    fleet: Arc<Fleet>,
    factory: Factory<M>,
    bound: Mutex<Vec<Bound>>,
    /// Of `workers: 0`, until `inline` takes it.
    inline: Mutex<Option<(Poller, Enrolled)>>,
    pid: Pid,
}

type Enrolled = (WorkerId, Arc<crate::fleet::Slot>);

impl<M: Machine + 'static> Host<M> {
    /// As the function of that name.
    pub fn worker_ids(workers: u16) -> u16 {
        worker_ids(workers)
    }

    /// Binds all listeners, then starts the threads, then accepts. Nothing is left behind when it
    /// fails. Listener ids are positions in `listeners`.
    pub fn launch(
        options: Options,
        log: Option<&Target>,
        listeners: &[Listen],
        factory: Factory<M>,
    ) -> Result<Self, StartError> {
        let asks = Asks::new().map_err(|error| StartError::System("a socket pair", error))?;
        let recorder = Recorder::start(log.cloned()).map_err(|error| {
            let shown = match log {
                Some(Target::File(path)) => path.display().to_string(),
                _ => "-".into(),
            };
            StartError::Log(shown, error)
        })?;
        let fleet = Arc::new(Fleet::new(options, asks, recorder));
        let host = Self {
            fleet,
            factory,
            bound: Mutex::new(Vec::new()),
            inline: Mutex::new(None),
            pid: Pid::this(),
        };
        let mut bound = Vec::new();
        let orders = host.bind(listeners, &mut bound)?;
        host.fleet.options.adoption.close();
        host.start_workers()?;
        *lock(&host.bound) = bound;
        host.fleet.order(Orders {
            listeners: orders,
            then: Vec::new(),
        });
        Ok(host)
    }

    fn start_workers(&self) -> Result<(), StartError> {
        let thread = |error| StartError::System("a worker thread", error);
        let poller = |error| StartError::System("a poller", error);
        match self.fleet.options.workers {
            0 => {
                let own = Poller::new().map_err(poller)?;
                let enrolled = self
                    .fleet
                    .enroll(own.waker())
                    .expect("the first id is free");
                self.fleet.accept_by_worker(enrolled.0, None);
                *lock(&self.inline) = Some((own, enrolled));
            }
            1 => {
                let id = worker::start(&self.fleet, &self.factory).map_err(thread)?;
                self.fleet
                    .accept_by_worker(id.expect("the first id is free"), None);
            }
            workers => {
                for _ in 0..workers {
                    worker::start(&self.fleet, &self.factory).map_err(thread)?;
                }
                let own = Poller::new().map_err(poller)?;
                self.fleet.accept_by_thread(own.waker());
                let acceptor = Acceptor::new(self.fleet.options.descriptors_max);
                let fleet = Arc::clone(&self.fleet);
                let body = move || acceptor::run(own, &fleet, acceptor);
                self.fleet
                    .spawn("fastproxy-accept".into(), body)
                    .map_err(thread)?;
            }
        }
        Ok(())
    }

    /// The driver of `workers: 0`, once: it belongs to the thread that turns it.
    pub fn inline(&self) -> Option<io::Result<Inline<M>>> {
        let (poller, enrolled) = lock(&self.inline).take()?;
        Some(Inline::new(&self.fleet, &self.factory, poller, enrolled))
    }

    /// Binds what is new in `listeners`; `bound` becomes the new set.
    fn bind(
        &self,
        listeners: &[Listen],
        bound: &mut Vec<Bound>,
    ) -> Result<Vec<Order>, ListenError> {
        let old = std::mem::take(bound);
        let mut serial = old.iter().map(|bound| bound.serial + 1).max().unwrap_or(0);
        let mut old: Vec<Option<Bound>> = old.into_iter().map(Some).collect();
        let mut orders = Vec::with_capacity(listeners.len());
        for (position, listen) in listeners.iter().enumerate() {
            let id = ListenerId(position as u32);
            let kept = old.iter_mut().find(|bound| {
                bound.as_ref().is_some_and(|bound| {
                    bound.listen.address == listen.address
                        && bound.listen.kind == listen.kind
                        && (bound.listen.name == listen.name || !any_port(&listen.address))
                })
            });
            if let Some(mut kept) = kept.and_then(Option::take) {
                orders.push(Order::Keep {
                    serial: kept.serial,
                    id,
                });
                kept.listen = listen.clone();
                bound.push(kept);
                continue;
            }
            let options = &self.fleet.options;
            let (mode, adoption) = (options.unix_mode, &options.adoption);
            let (listening, address) =
                listener::bind(listen, id, &options.sockets, mode, adoption)?;
            bound.push(Bound {
                serial,
                listen: listen.clone(),
                address,
                socket: Arc::clone(&listening.socket),
                owns_file: listening.owns_file(),
            });
            orders.push(Order::Add { serial, listening });
            serial += 1;
        }
        Ok(orders)
    }

    /// Names and addresses in use.
    pub fn addresses(&self) -> Vec<(String, Address)> {
        let bound = lock(&self.bound);
        bound
            .iter()
            .map(|bound| (bound.listen.name.clone(), bound.address.clone()))
            .collect()
    }

    /// A new set of listeners, and mail that each worker gets after the last socket of the old set
    /// and before the first of the new one. When an address cannot be bound nothing changes, and
    /// `commit`, which gives the mail, is not called.
    pub fn rearrange<F: Fn(WorkerId) -> Option<Mail>>(
        &self,
        listeners: &[Listen],
        commit: impl FnOnce() -> F,
    ) -> Result<(), ListenError> {
        let mut bound = lock(&self.bound);
        let mut next = bound.clone();
        let orders = self.bind(listeners, &mut next)?;
        *bound = next;
        self.order(orders, commit());
        Ok(())
    }

    /// TLS of the configuration of that generation: before the mail that brings its snapshot.
    pub fn secure(&self, generation: u64, keyring: Keyring) {
        self.fleet.put_keyring(generation, keyring);
    }

    fn order(&self, listeners: Vec<Order>, mail: impl Fn(WorkerId) -> Option<Mail>) {
        let ids = self.fleet.enrolled().map(|(id, _)| id);
        let then = ids.filter_map(|id| Some((id, mail(id)?))).collect();
        self.fleet.order(Orders { listeners, then });
    }

    /// Questions of the workers.
    pub fn asks(&self) -> &Asks {
        &self.fleet.asks
    }

    /// Answers one. A worker that has ended needs no answer any more.
    pub fn answer(&self, id: AskId, answer: Answer) {
        let _ = self
            .fleet
            .post(id.worker, Letter::Mail(Mail::Answer(id, answer)));
    }

    /// The listening sockets, for a successor.
    pub fn offer(&self) -> io::Result<Vec<Offered>> {
        let offered = |bound: &Bound| {
            Ok(Offered {
                name: bound.listen.name.clone(),
                kind: bound.listen.kind,
                address: bound.address.clone(),
                socket: rustix::io::fcntl_dupfd_cloexec(&bound.socket, 0)?,
            })
        };
        lock(&self.bound).iter().map(offered).collect()
    }

    /// A successor accepts on the listeners at `adopted`: they and all others are closed here,
    /// their files are the successor's, and every worker finishes.
    pub fn hand_over(&self, adopted: &[Address], drain: Drain) {
        self.fleet.note_drain(drain);
        let bound = std::mem::take(&mut *lock(&self.bound));
        for bound in &bound {
            if let Some(ours) = &bound.owns_file
                && adopted.contains(&bound.address)
            {
                ours.store(false, Ordering::Release);
            }
        }
        drop(bound);
        self.order(Vec::new(), |_| Some(Mail::Drain(drain)));
    }

    /// Closes the listeners for data, then tells every worker to finish. Admin listeners stay until
    /// `stop`: a drain is watched. A later call replaces the drain.
    pub fn drain(&self, drain: Drain) {
        self.fleet.note_drain(drain);
        let mut bound = lock(&self.bound);
        let keep = |(position, bound): (usize, &Bound)| {
            let id = ListenerId(position as u32);
            let admin = bound.listen.kind == ListenerKind::Admin;
            admin.then_some(Order::Keep {
                serial: bound.serial,
                id,
            })
        };
        let orders = bound.iter().enumerate().filter_map(keep).collect();
        bound.retain(|bound| bound.listen.kind == ListenerKind::Admin);
        drop(bound);
        self.order(orders, |_| Some(Mail::Drain(drain)));
    }

    /// After `drain`: nothing is left to do.
    pub fn drained(&self) -> bool {
        self.fleet.drained()
    }

    /// Ends everything now. The inline driver ends in its next turn.
    pub fn stop(&self) {
        self.fleet.stop();
    }

    /// After `stop`: waits for the threads, then for the log. `false` when some are still there at
    /// the end of the time.
    pub fn join(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let workers = self.fleet.join(timeout);
        // The log gets a moment even when the workers used up all the time.
        let left = until
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(50));
        self.fleet.recorder.stop(left) && workers
    }

    /// Opens the access log anew, after a rotation.
    pub fn reopen_log(&self) -> io::Result<()> {
        self.fleet.recorder.reopen()
    }

    /// Sends the access log elsewhere.
    pub fn set_log(&self, opened: Opened) {
        self.fleet.recorder.switch(opened);
    }

    /// Lines written and lost.
    pub fn log_counts(&self) -> Counts {
        self.fleet.recorder.counts()
    }

    /// Panics caught so far, and other things that cannot happen.
    pub fn bugs(&self) -> u64 {
        self.fleet.bugs()
    }

    /// Live exchanges per worker, ended workers included, as of their last turns.
    pub fn live(&self) -> Vec<(WorkerId, usize)> {
        let live = |slot: &crate::fleet::Slot| slot.live.load(Ordering::Relaxed);
        self.fleet
            .enrolled()
            .map(|(id, slot)| (id, live(slot)))
            .collect()
    }

    /// Fails in a forked child, where none of our threads exist.
    pub fn check_pid(&self) -> Result<(), Forked> {
        self.pid.check()
    }
}

impl<M: Machine> Drop for Host<M> {
    fn drop(&mut self) {
        if self.pid.check().is_ok() {
            self.fleet.stop();
        }
    }
}

fn any_port(address: &Address) -> bool {
    matches!(address, Address::Tcp(tcp) if tcp.port() == 0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
