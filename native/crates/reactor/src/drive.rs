//! The production machine: `engine::Engine` under this reactor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::clock::Now;
use engine::ids::{ConnId, WorkerId};
use engine::input::{Accepted, Input, Mail};
use engine::metrics::DialFamily;
use engine::output::Output;
use engine::shared::Shared;
use engine::snapshot::Snapshot;
use engine::snapshot::plan::ListenerPlan;
use engine::{Engine, Options as EngineOptions};

use crate::fleet::{Birth, Options};
use crate::host::{Host, StartError};
use crate::listener::{Listen, ListenError};
use crate::machine::Machine;
use crate::recorder::Target;
use crate::tls::Keyring;

impl Machine for Engine {
    fn begin(&mut self, now: Now) {
        Self::begin(self, now);
    }

    fn accepted(&mut self, accepted: Accepted) -> Option<ConnId> {
        Self::accepted(self, accepted)
    }

    fn handle(&mut self, input: Input<'_>) {
        Self::handle(self, input);
    }

    fn end(&mut self) {
        Self::end(self);
    }

    fn poll(&mut self) -> Output {
        Self::poll(self)
    }

    fn pending(&self, conn: ConnId) -> &[u8] {
        Self::pending(self, conn)
    }

    fn wrote(&mut self, conn: ConnId, bytes: usize, after_ns: u64) {
        Self::wrote(self, conn, bytes, after_ns);
    }

    fn live(&self) -> usize {
        Self::live(self)
    }

    fn drained(&self) -> bool {
        Self::drained(self)
    }

    fn turned(&mut self, elapsed_ns: u64, inputs: usize) {
        Self::turned(self, elapsed_ns, inputs);
    }

    fn attempting(&mut self, conn: ConnId, family: DialFamily) {
        Self::attempting(self, conn, family);
    }

    fn fin_ahead(&mut self, conn: ConnId) {
        Self::fin_ahead(self, conn);
    }

    fn undelivered(&mut self, _worker: WorkerId, mail: Mail) {
        Self::undelivered(self, mail);
    }

    fn outlived(&mut self, worker: WorkerId) {
        Self::outlived(self, worker);
    }
}

/// The data plane of a process, and the configuration that its next worker is born with.
pub struct Proxy {
    host: Host<Engine>,
    latest: Arc<Mutex<Arc<Snapshot>>>,
}

impl Proxy {
    /// Starts the workers. `shared` must know `worker_ids(options.workers)` workers: ids go
    /// beyond `options.workers` when a worker is replaced.
    pub fn start(
        options: Options,
        shared: Arc<Shared>,
        snapshot: Arc<Snapshot>,
        listeners: &[ListenerPlan],
        log: Option<&Target>,
    ) -> Result<Self, StartError> {
        let latest = Arc::new(Mutex::new(snapshot));
        let source = Arc::clone(&latest);
        let factory = move |birth: Birth| {
            let Birth {
                worker,
                workers,
                seed,
                now,
            } = birth;
            // Every worker has a sequence of its own.
            let seed = seed ^ u64::from(worker.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let snapshot = Arc::clone(&lock(&source));
            Engine::new(
                EngineOptions {
                    worker,
                    workers,
                    seed,
                },
                Arc::clone(&shared),
                snapshot,
                now,
            )
        };
        let listens: Vec<Listen> = listeners.iter().map(Listen::from).collect();
        let host = Host::launch(options, log, &listens, Arc::new(factory))?;
        Ok(Self { host, latest })
    }

    /// A new set of listeners, and TLS, with the configuration that `commit` puts in force. When an
    /// address cannot be bound, `commit` is not called and all is as it was.
    pub fn apply(
        &self,
        listeners: &[ListenerPlan],
        tls: Keyring,
        commit: impl FnOnce() -> Arc<Snapshot>,
    ) -> Result<(), ListenError> {
        let listens: Vec<Listen> = listeners.iter().map(Listen::from).collect();
        self.host.rearrange(&listens, || {
            let snapshot = commit();
            self.host.secure(snapshot.generation, tls);
            // Before the mail: a worker that starts in between is born with it.
            *lock(&self.latest) = Arc::clone(&snapshot);
            move |_: WorkerId| Some(Mail::Snapshot(Arc::clone(&snapshot)))
        })
    }
}

impl std::ops::Deref for Proxy {
    type Target = Host<Engine>;

    fn deref(&self) -> &Host<Engine> {
        &self.host
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
