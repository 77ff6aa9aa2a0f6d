//! The data plane as one object.
//!
//! Plans and snapshots are kept here only so that a reload that fails can be undone and a replaced
//! worker starts with what the others run.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use engine::clock::MS;
use engine::input::{Answer, Mail};
use engine::shared::Shared;
use engine::snapshot::{ListenerKind, Plan, Snapshot};
use engine::{Engine, Options as EngineOptions};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use reactor::process::Pid;
use reactor::recorder::Target;
use reactor::{Birth, Factory, Host, Inline, Listen, Options, clock};

use crate::ask::Ask;
use crate::guard::{guarded, lock, plan_error, start_error, state_error, value_error};
use crate::{explain, view};

/// How long `stop` waits for the threads.
const STOP: Duration = Duration::from_secs(5);

/// What is in force.
struct Current {
    plan: Plan,
    snapshot: Arc<Snapshot>,
}

/// The data plane: listeners, workers, recorder.
#[pyclass(frozen, module = "fastproxy._native")]
pub(crate) struct Core {
    pid: Pid,
    workers: u16,
    seed: u64,
    shared: Arc<Shared>,
    current: Mutex<Current>,
    /// For workers that start later, in place of one that had a bug.
    newest: Arc<RwLock<Arc<Snapshot>>>,
    host: Mutex<Option<Arc<Host<Engine>>>>,
    inline: Mutex<Option<Inline<Engine>>>,
}

impl Core {
    /// Fails in a child made by fork.
    fn check(&self) -> PyResult<()> {
        self.pid.check().map_err(state_error)
    }

    fn host(&self) -> PyResult<Arc<Host<Engine>>> {
        self.check()?;
        let host = lock(&self.host);
        host.clone()
            .ok_or_else(|| state_error("the data plane is not running"))
    }

    fn compile(&self, plan: &Plan, generation: u64) -> PyResult<Arc<Snapshot>> {
        let workers = self.workers.max(1);
        Snapshot::compile(plan, &self.shared, workers, generation, clock::mono_ns())
            .map(Arc::new)
            .map_err(plan_error)
    }

    fn factory(&self) -> Factory<Engine> {
        let shared = Arc::clone(&self.shared);
        let newest = Arc::clone(&self.newest);
        Arc::new(move |birth: Birth| {
            let options = EngineOptions {
                worker: birth.worker,
                workers: birth.workers,
                seed: birth.seed,
            };
            let snapshot = Arc::clone(&newest.read().unwrap_or_else(PoisonError::into_inner));
            Engine::new(options, Arc::clone(&shared), snapshot, birth.now)
        })
    }

    /// The driver's own counts, for the metrics.
    fn note_driver(&self, host: &Host<Engine>) {
        self.shared
            .note_driver(host.bugs(), host.log_counts().dropped);
    }

    fn publish(&self, snapshot: &Arc<Snapshot>) {
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(snapshot);
    }

    fn replace(&self, host: &Host<Engine>, plan: Plan) -> PyResult<u64> {
        let mut current = lock(&self.current);
        let generation = current.snapshot.generation + 1;
        let snapshot = self.compile(&plan, generation)?;
        let listeners: Vec<Listen> = plan.listeners.iter().map(Listen::from).collect();
        // First, so that a worker that is replaced right now begins with it.
        self.publish(&snapshot);
        let mail = |_| Some(Mail::Snapshot(Arc::clone(&snapshot)));
        if let Err(error) = host.rearrange(&listeners, mail) {
            // The rooms were configured by `compile`: back to what they were.
            let old = self.compile(&current.plan, current.snapshot.generation)?;
            self.publish(&old);
            current.snapshot = old;
            return Err(start_error(error));
        }
        if plan.access_log != current.plan.access_log {
            let target = plan.access_log.as_deref().map(Target::parse);
            host.set_log(target).map_err(start_error)?;
        }
        *current = Current { plan, snapshot };
        self.shared.set_generation(generation);
        self.shared.prune_rooms();
        Ok(generation)
    }
}

#[pymethods]
impl Core {
    #[new]
    fn new(plan: &[u8], options: &[u8]) -> PyResult<Self> {
        guarded(|| {
            let options: serde_json::Value =
                serde_json::from_slice(options).map_err(value_error)?;
            let plan: Plan = serde_json::from_slice(plan).map_err(plan_error)?;
            let workers = match options["workers"].as_u64() {
                Some(workers) => u16::try_from(workers).map_err(value_error)?,
                None => cpus(),
            };
            let seed = options["seed"].as_u64().unwrap_or_else(random_seed);
            let shared = Arc::new(Shared::new(Host::<Engine>::worker_ids(workers)));
            let snapshot = Snapshot::compile(&plan, &shared, workers.max(1), 1, clock::mono_ns())
                .map(Arc::new)
                .map_err(plan_error)?;
            shared.set_generation(1);
            Ok(Self {
                pid: Pid::this(),
                workers,
                seed,
                shared,
                newest: Arc::new(RwLock::new(Arc::clone(&snapshot))),
                current: Mutex::new(Current { plan, snapshot }),
                host: Mutex::new(None),
                inline: Mutex::new(None),
            })
        })
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        guarded(|| {
            self.check()?;
            let mut started = lock(&self.host);
            if started.is_some() {
                return Err(state_error("the data plane was started already"));
            }
            let current = lock(&self.current);
            let listeners: Vec<Listen> = current.plan.listeners.iter().map(Listen::from).collect();
            let log = current.plan.access_log.as_deref().map(Target::parse);
            let options = Options {
                workers: self.workers,
                seed: self.seed,
                ..Options::default()
            };
            let launch = || Host::launch(options, log.as_ref(), &listeners, self.factory());
            let host = py.detach(launch).map_err(start_error)?;
            if let Some(inline) = host.inline() {
                *lock(&self.inline) = Some(inline.map_err(start_error)?);
            }
            *started = Some(Arc::new(host));
            Ok(())
        })
    }

    fn fileno(&self) -> PyResult<i32> {
        self.check()?;
        Ok(lock(&self.inline).as_ref().map_or(-1, Inline::fileno))
    }

    fn turn(&self) -> PyResult<()> {
        guarded(|| {
            self.check()?;
            let mut inline = lock(&self.inline);
            if inline.as_mut().is_some_and(|driver| !driver.turn()) {
                *inline = None;
            }
            Ok(())
        })
    }

    fn addresses(&self) -> PyResult<Vec<(String, &'static str, String)>> {
        guarded(|| {
            let host = self.host()?;
            let current = lock(&self.current);
            let kind = |name: &str| {
                let listener = current.plan.listeners.iter().find(|l| l.name == name);
                match listener.map(|l| l.kind) {
                    Some(ListenerKind::Admin) => "admin",
                    Some(ListenerKind::Data) | None => "data",
                }
            };
            let bound = host.addresses().into_iter();
            Ok(bound
                .map(|(name, at)| {
                    let kind = kind(&name);
                    (name, kind, view::address(&at))
                })
                .collect())
        })
    }

    fn apply(&self, py: Python<'_>, plan: &[u8]) -> PyResult<u64> {
        guarded(|| {
            let host = self.host()?;
            let plan: Plan = serde_json::from_slice(plan).map_err(plan_error)?;
            py.detach(|| self.replace(&host, plan))
        })
    }

    fn asks_fileno(&self) -> PyResult<i32> {
        Ok(self.host()?.asks().fileno())
    }

    fn asks(&self) -> PyResult<Vec<Ask>> {
        guarded(|| {
            let asks = self.host()?.asks().drain();
            Ok(asks
                .into_iter()
                .map(|(id, question)| Ask::new(id, question))
                .collect())
        })
    }

    fn answer(
        &self,
        ask: &Ask,
        status: u16,
        fields: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> PyResult<()> {
        guarded(|| {
            self.host()?.answer(
                ask.id,
                Answer {
                    status,
                    fields,
                    body,
                },
            );
            Ok(())
        })
    }

    #[pyo3(signature = (*, ready))]
    fn ready(&self, ready: bool) -> PyResult<()> {
        self.check()?;
        self.shared.set_ready(ready);
        Ok(())
    }

    fn drain(&self, deadline_ms: u64) -> PyResult<()> {
        guarded(|| {
            let host = self.host()?;
            self.shared.set_draining();
            host.drain(clock::mono_ns().saturating_add(deadline_ms.saturating_mul(MS)));
            Ok(())
        })
    }

    fn drained(&self) -> PyResult<bool> {
        Ok(self.host()?.drained())
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        guarded(|| {
            self.check()?;
            let Some(host) = lock(&self.host).take() else {
                return Ok(());
            };
            let inline = lock(&self.inline).take();
            py.detach(move || {
                host.stop();
                if let Some(mut driver) = inline {
                    // It closes its sockets in a last turn.
                    driver.turn();
                }
                host.join(STOP);
                self.note_driver(&host);
            });
            Ok(())
        })
    }

    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guarded(|| {
            self.check()?;
            if let Some(host) = lock(&self.host).as_deref() {
                self.note_driver(host);
            }
            let families = self.shared.collect(clock::mono_ns());
            Ok(PyBytes::new(py, &view::metrics(&families)))
        })
    }

    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guarded(|| {
            let host = self.host()?;
            let live = host.live();
            let snapshot = Arc::clone(&lock(&self.current).snapshot);
            let body = view::state(&self.shared, &snapshot, &live, clock::mono_ns());
            Ok(PyBytes::new(py, &body))
        })
    }

    fn explain<'py>(&self, py: Python<'py>, request: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        guarded(|| {
            self.check()?;
            let snapshot = Arc::clone(&lock(&self.current).snapshot);
            let answer = explain::explain(&snapshot, request, clock::mono_ns());
            Ok(PyBytes::new(py, &answer.map_err(value_error)?))
        })
    }

    fn reopen_log(&self) -> PyResult<()> {
        guarded(|| self.host()?.reopen_log().map_err(start_error))
    }
}

/// Another one for each process, from what the standard library seeds its hash tables with.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// CPUs under affinity and cgroup quota, at least 1.
fn cpus() -> u16 {
    let found = std::thread::available_parallelism();
    found.map_or(1, |n| u16::try_from(n.get()).unwrap_or(u16::MAX / 2))
}

#[pyfunction]
pub(crate) fn raise_nofile_limit() -> (u64, u64) {
    reactor::process::raise_nofile_limit()
}

#[pyfunction]
pub(crate) fn usable_cpus() -> u16 {
    cpus()
}
