//! The data plane as one object.
//!
//! The plan is kept here only to see what a reload changes, and its snapshot to be looked at.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::os::fd::IntoRawFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::Engine;
use engine::clock::MS;
use engine::input::{Answer, Drain};
use engine::shared::Shared;
use engine::snapshot::{ListenerKind, Plan, Snapshot};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use reactor::process::Pid;
use reactor::recorder::{Opened, Target};
use reactor::tls::{Keyring, Tickets};
use reactor::{Adopted, Adoption, Inline, Options, Proxy, clock, worker_ids};

use crate::ask::Ask;
use crate::descriptor::{address, duplicate};
use crate::guard::{guarded, lock, plan_error, start_error, state_error, value_error};
use crate::{explain, view};

/// How long `stop` waits for the threads.
const STOP: Duration = Duration::from_secs(5);

/// What is in force.
struct Current {
    plan: Plan,
    snapshot: Arc<Snapshot>,
    keyring: Keyring,
}

/// The data plane: listeners, workers, recorder.
#[pyclass(frozen, module = "fastproxy._native")]
pub(crate) struct Core {
    pid: Pid,
    workers: u16,
    seed: u64,
    shared: Arc<Shared>,
    tickets: Arc<Tickets>,
    current: Mutex<Current>,
    host: Mutex<Option<Arc<Proxy>>>,
    inline: Mutex<Option<Inline<Engine>>>,
    adoption: Mutex<Adoption>,
}

impl Core {
    /// Fails in a child made by fork.
    fn check(&self) -> PyResult<()> {
        self.pid.check().map_err(state_error)
    }

    fn host(&self) -> PyResult<Arc<Proxy>> {
        self.check()?;
        let host = lock(&self.host);
        host.clone()
            .ok_or_else(|| state_error("the data plane is not running"))
    }

    /// The driver's own counts, for the metrics.
    fn note_driver(&self, host: &Proxy) {
        self.shared
            .note_driver(host.bugs(), host.log_counts().dropped);
    }

    fn replace(&self, proxy: &Proxy, plan: Plan) -> PyResult<u64> {
        let mut current = lock(&self.current);
        let generation = current.snapshot.generation + 1;
        // What can fail comes first; `commit` runs once the listeners are bound.
        let prepared = Snapshot::prepare(&plan).map_err(plan_error)?;
        let keyring = Keyring::load(&plan, &self.tickets, &current.keyring).map_err(plan_error)?;
        let log = (plan.access_log != current.plan.access_log)
            .then(|| Opened::new(plan.access_log.as_deref().map(Target::parse)))
            .transpose()
            .map_err(start_error)?;
        let mut snapshot = Arc::clone(&current.snapshot);
        let commit = || {
            let (workers, now_ns) = (self.workers.max(1), clock::mono_ns());
            snapshot = Arc::new(prepared.commit(&self.shared, workers, generation, now_ns));
            Arc::clone(&snapshot)
        };
        proxy
            .apply(&plan.listeners, keyring.clone(), commit)
            .map_err(start_error)?;
        if let Some(opened) = log {
            proxy.set_log(opened);
        }
        self.shared.set_certificates(keyring.certificates());
        *current = Current {
            plan,
            snapshot,
            keyring,
        };
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
            let shared = Arc::new(Shared::new(worker_ids(workers)));
            let snapshot = Snapshot::compile(&plan, &shared, workers.max(1), 1, clock::mono_ns())
                .map(Arc::new)
                .map_err(plan_error)?;
            shared.set_generation(1);
            let tickets = Arc::new(Tickets::new());
            let keyring =
                Keyring::load(&plan, &tickets, &Keyring::default()).map_err(plan_error)?;
            shared.set_certificates(keyring.certificates());
            Ok(Self {
                pid: Pid::this(),
                workers,
                seed,
                shared,
                tickets,
                current: Mutex::new(Current {
                    plan,
                    snapshot,
                    keyring,
                }),
                host: Mutex::new(None),
                inline: Mutex::new(None),
                adoption: Mutex::default(),
            })
        })
    }

    #[pyo3(signature = (adopted = Vec::new()))]
    fn start(&self, py: Python<'_>, adopted: Vec<(String, String, i32)>) -> PyResult<()> {
        guarded(|| {
            self.check()?;
            let adopted: PyResult<Vec<_>> = adopted.into_iter().map(adopt).collect();
            let adoption = Adoption::new(adopted?);
            let mut started = lock(&self.host);
            if started.is_some() {
                return Err(state_error("the data plane was started already"));
            }
            let current = lock(&self.current);
            let listeners = &current.plan.listeners;
            let log = current.plan.access_log.as_deref().map(Target::parse);
            let options = Options {
                workers: self.workers,
                seed: self.seed,
                adoption: adoption.clone(),
                tls: current.keyring.clone(),
                ..Options::default()
            };
            let (shared, snapshot) = (Arc::clone(&self.shared), Arc::clone(&current.snapshot));
            let launch = || Proxy::start(options, shared, snapshot, listeners, log.as_ref());
            let host = py.detach(launch).map_err(start_error)?;
            if let Some(inline) = host.inline() {
                *lock(&self.inline) = Some(inline.map_err(start_error)?);
            }
            *started = Some(Arc::new(host));
            *lock(&self.adoption) = adoption;
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
            let kind_of = |name: &str| {
                let listener = current.plan.listeners.iter().find(|l| l.name == name);
                kind(listener.map_or(ListenerKind::Data, |l| l.kind))
            };
            let bound = host.addresses().into_iter();
            Ok(bound
                .map(|(name, at)| {
                    let kind = kind_of(&name);
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

    #[expect(clippy::needless_pass_by_value, reason = "what PyO3 makes of a list")]
    fn resolve(&self, host: &str, addresses: Vec<String>) -> PyResult<()> {
        guarded(|| {
            self.check()?;
            let parsed = addresses.iter().map(|text| text.parse());
            let addresses: Vec<IpAddr> = parsed.collect::<Result<_, _>>().map_err(value_error)?;
            self.shared.resolve(host, &addresses);
            Ok(())
        })
    }

    #[pyo3(signature = (*, ready))]
    fn ready(&self, ready: bool) -> PyResult<()> {
        self.check()?;
        self.shared.set_ready(ready);
        Ok(())
    }

    fn drain(&self, deadline_ms: u64, idle_ms: u64) -> PyResult<()> {
        guarded(|| {
            let host = self.host()?;
            self.shared.set_draining();
            host.drain(Drain {
                deadline_ns: after_ms(deadline_ms),
                idle_ns: idle_ms.saturating_mul(MS),
                admin: false,
            });
            Ok(())
        })
    }

    fn offer(&self) -> PyResult<Vec<(String, &'static str, String, i32)>> {
        guarded(|| {
            let offered = self.host()?.offer().map_err(start_error)?.into_iter();
            Ok(offered
                .map(|offered| {
                    let kind = kind(offered.kind);
                    let address = view::address(&offered.address);
                    (offered.name, kind, address, offered.socket.into_raw_fd())
                })
                .collect())
        })
    }

    fn hand_over(&self, adopted: Vec<String>, deadline_ms: u64) -> PyResult<()> {
        guarded(|| {
            let host = self.host()?;
            let adopted = adopted.into_iter().filter_map(|a| address(&a));
            let addresses: Vec<_> = adopted.collect();
            let drain = Drain {
                deadline_ns: after_ms(deadline_ms),
                // The listeners' own idle times hold: there is no hurry.
                idle_ns: u64::MAX,
                admin: true,
            };
            host.hand_over(&addresses, drain);
            Ok(())
        })
    }

    fn inherit(&self) -> PyResult<()> {
        self.check()?;
        lock(&self.adoption).confirm();
        Ok(())
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

    fn export_ticket_keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guarded(|| {
            self.check()?;
            Ok(PyBytes::new(py, &self.tickets.export()))
        })
    }

    fn import_ticket_keys(&self, exported: &[u8]) -> PyResult<()> {
        guarded(|| {
            self.check()?;
            self.tickets.import(exported).map_err(value_error)
        })
    }

    fn reopen_log(&self) -> PyResult<()> {
        guarded(|| self.host()?.reopen_log().map_err(start_error))
    }
}

fn kind(kind: ListenerKind) -> &'static str {
    match kind {
        ListenerKind::Admin => "admin",
        ListenerKind::Data => "data",
    }
}

fn after_ms(ms: u64) -> u64 {
    clock::mono_ns().saturating_add(ms.saturating_mul(MS))
}

/// Name, address and descriptor of a socket that was received.
fn adopt((name, at, number): (String, String, i32)) -> PyResult<Adopted> {
    let address = address(&at).ok_or_else(|| value_error(format!("{at}: no address")))?;
    let socket = duplicate(number).map_err(start_error)?;
    Ok(Adopted {
        name,
        address,
        socket,
    })
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
