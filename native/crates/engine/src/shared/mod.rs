//! What workers share: waiting rooms, metric cells, held bytes, flags. The only folder of the
//! engine with a lock or an atomic in it.
//!
//! Keyed by name, so that it outlives a snapshot. It never knows which requests there are.
//! **Invariant:** no lock is held while another is taken, but for that of a target, under which
//! nothing is taken.

mod budget;
pub mod cells;
mod drain;
mod eject;
mod grant;
mod held;
mod room;
mod state;
mod sync;
mod target;
mod view;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

pub use grant::{
    Ask, Endpoint, Entered, Grant, Outcome, Refusal, RefusalReason, Ticket, Wake, Woken,
};
pub use held::{Charge, HeldBytes};
pub use room::{Room, RoomConfig};
pub use target::{Candidates, Open, Peer, Target};
pub use view::{CertificateView, EndpointView, RateView, RoomView};

use crate::ids::WorkerId;
use crate::metrics::{Family, Metric, RESOLUTIONS, Registry, Resolution};
use crate::random::Random;
use sync::{AtomicBool, AtomicU64, Mutex, Ordering, lock};

/// Rooms at most; those beyond are made for their caller but not found again.
const ROOMS_MAX: usize = 10_000;

/// Everything that more than one worker touches.
#[derive(Debug)]
pub struct Shared {
    rooms: Mutex<BTreeMap<String, Arc<Room>>>,
    /// Metric cells of all workers.
    pub metrics: Registry,
    /// Body bytes held in the whole process.
    pub held_bytes: Arc<HeldBytes>,
    workers: u16,
    /// By `metrics::Resolution`.
    resolutions: [AtomicU64; RESOLUTIONS.len()],
    ready: AtomicBool,
    draining: AtomicBool,
    generation: AtomicU64,
    bugs: AtomicU64,
    records_dropped: AtomicU64,
    certificates: Mutex<Vec<CertificateView>>,
}

impl Shared {
    /// The shared state of `workers` workers. Not ready, not draining, and no bytes may be held
    /// until `held_bytes.set_max`.
    pub fn new(workers: u16) -> Self {
        Self {
            rooms: Mutex::new(BTreeMap::new()),
            metrics: Registry::new(workers),
            held_bytes: Arc::new(HeldBytes::new(0)),
            workers: workers.max(1),
            resolutions: std::array::from_fn(|_| AtomicU64::new(0)),
            ready: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            bugs: AtomicU64::new(0),
            records_dropped: AtomicU64::new(0),
            certificates: Mutex::new(Vec::new()),
        }
    }

    /// Ids that a worker may have: those below it.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// Takes in what looking a name up came to, best first, for every endpoint that has it. Nothing
    /// found changes nothing: what is known stays.
    pub fn resolve(&self, host: &str, addresses: &[IpAddr]) {
        let mut changed = false;
        for room in self.rooms() {
            changed |= room.resolve(host, addresses);
        }
        let outcome = match (addresses.is_empty(), changed) {
            (true, _) => Resolution::Failed,
            (false, true) => Resolution::Changed,
            (false, false) => Resolution::Same,
        };
        self.resolutions[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The room of a pool: the same one for the same name, over reloads.
    pub fn room(&self, pool_name: &str) -> Arc<Room> {
        let mut rooms = lock(&self.rooms);
        if let Some(room) = rooms.get(pool_name) {
            return Arc::clone(room);
        }
        let room = Arc::new(Room::new(pool_name));
        if rooms.len() < ROOMS_MAX {
            rooms.insert(pool_name.to_owned(), Arc::clone(&room));
        }
        room
    }

    /// All rooms, by name.
    pub fn rooms(&self) -> Vec<Arc<Room>> {
        lock(&self.rooms).values().map(Arc::clone).collect()
    }

    /// Forgets rooms that nobody else refers to and that are quiet.
    pub fn prune_rooms(&self) {
        lock(&self.rooms).retain(|_, room| Arc::strong_count(room) > 1 || !room.quiet());
    }

    /// Takes a dead worker's waiters out of every room, and what it counted as being there now out
    /// of the metrics; deliver what it answers.
    pub fn forget_worker(&self, worker: WorkerId, now_ns: u64, random: &mut Random) -> Vec<Wake> {
        self.metrics.forget_worker(worker);
        self.rooms()
            .iter()
            .map(|room| room.forget_worker(worker, now_ns, random))
            .collect()
    }

    /// Whether new traffic is wanted (`/readyz`).
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.draining()
    }

    /// Says that configuration and listeners are in place (or not).
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Whether the process is on its way out.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Says that the process is on its way out. There is no way back.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The generation of the configuration that was applied last.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Notes the generation that was applied.
    pub fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    /// Notes what only the driver counts: panics caught, and access log records dropped, since its
    /// start.
    pub fn note_driver(&self, bugs: u64, records_dropped: u64) {
        self.bugs.fetch_max(bugs, Ordering::Relaxed);
        self.records_dropped
            .fetch_max(records_dropped, Ordering::Relaxed);
    }

    /// Notes the certificates that listeners offer now.
    pub fn set_certificates(&self, certificates: Vec<CertificateView>) {
        *lock(&self.certificates) = certificates;
    }

    /// All metrics, merged over workers, with what only the shared state knows.
    pub fn collect(&self, now_ns: u64) -> Vec<Family> {
        let mut families = self.metrics.collect();
        let mut put = |metric: Metric, labels: &[(&'static str, String)], value: f64| {
            metric.family(&mut families).push(labels, value);
        };
        put(Metric::HeldBytes, &[], self.held_bytes.held() as f64);
        put(Metric::HeldBytesMax, &[], self.held_bytes.max() as f64);
        put(Metric::Generation, &[], self.generation() as f64);
        let count = |cell: &AtomicU64| cell.load(Ordering::Relaxed) as f64;
        put(Metric::Bugs, &[], count(&self.bugs));
        put(Metric::LogRecordsDropped, &[], count(&self.records_dropped));
        for (outcome, cell) in RESOLUTIONS.iter().zip(&self.resolutions) {
            let labels = [("outcome", (*outcome).to_owned())];
            put(Metric::Resolutions, &labels, count(cell));
        }
        for certificate in lock(&self.certificates).iter() {
            let labels = [
                ("listener", certificate.listener.clone()),
                ("name", certificate.name.clone()),
            ];
            let at_s = certificate.expires_s as f64;
            put(Metric::TlsCertificateExpiry, &labels, at_s);
        }
        for room in self.rooms() {
            let view = room.snapshot(now_ns);
            let pool = ("pool", view.name.clone());
            put(
                Metric::ChannelWaiters,
                std::slice::from_ref(&pool),
                f64::from(view.depth),
            );
            put(
                Metric::ChannelCapacity,
                std::slice::from_ref(&pool),
                f64::from(view.capacity),
            );
            put(
                Metric::PermitsLost,
                std::slice::from_ref(&pool),
                view.permits_lost_total as f64,
            );
            for endpoint in view.endpoints.into_iter().filter(|e| e.active) {
                let labels = [pool.clone(), ("endpoint", endpoint.name)];
                put(
                    Metric::EndpointInFlight,
                    &labels,
                    f64::from(endpoint.in_flight),
                );
                let up = endpoint.ejected_ms_left == 0;
                put(Metric::EndpointUp, &labels, f64::from(u8::from(up)));
                put(Metric::EndpointWeight, &labels, f64::from(endpoint.weight));
                let addresses = endpoint.addresses.map_or(1, |known| known.len());
                put(Metric::EndpointAddresses, &labels, addresses as f64);
            }
        }
        families
    }
}
