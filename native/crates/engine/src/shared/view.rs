//! What can be seen of the shared state from outside: plain values for admin pages and headers.
//!
//! **Invariant:** a view is a copy; nobody decides on one.

use std::net::SocketAddr;
use std::sync::Arc;

/// A waiting room at one moment.
#[derive(Clone, Debug)]
pub struct RoomView {
    /// The pool.
    pub name: String,
    /// Waiters.
    pub depth: u32,
    /// Waiters at most.
    pub capacity: u32,
    /// Body bytes that waiters hold.
    pub bytes: u64,
    /// The greatest depth there has been.
    pub high_water: u32,
    /// Releases per second while saturated; `None` while not known.
    pub drain_per_s: Option<f64>,
    /// Permits that nobody has.
    pub permits_free: u64,
    /// Permits that came back through the net (each is a bug or a dead worker).
    pub permits_lost_total: u64,
    /// Active endpoints and those that finish what they have, by slot.
    pub endpoints: Vec<EndpointView>,
}

/// An endpoint at one moment.
#[derive(Clone, Debug)]
pub struct EndpointView {
    /// Its name.
    pub name: String,
    /// Its position in the room.
    pub slot: u32,
    /// Whether the present configuration names it.
    pub active: bool,
    /// Relative share.
    pub weight: u32,
    /// Requests at a time.
    pub concurrency: u32,
    /// Requests now.
    pub in_flight: u32,
    /// Milliseconds until it is tried again; 0 = not ejected or on trial.
    pub ejected_ms_left: u64,
    /// Its ejection ended and it has not proved itself yet.
    pub on_trial: bool,
    /// Failures since the last success.
    pub failures_in_row: u32,
    /// Peak EWMA of the time to the first token; 0 = not known.
    pub ewma_ms: f64,
    /// Permits given in all.
    pub requests_total: u64,
    /// Failures in all.
    pub failures_total: u64,
    /// What the policy compares: the lowest is chosen.
    pub score: f64,
    /// What its name means now, best first; `None` when it has no name.
    pub addresses: Option<Arc<[SocketAddr]>>,
    /// Connections to it, of all workers.
    pub connections: u64,
}

/// A certificate that a listener offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateView {
    /// The listener.
    pub listener: String,
    /// Its first name, else its file: from the configuration, so their number is bounded.
    pub name: String,
    /// When it expires, in seconds since the Unix epoch.
    pub expires_s: i64,
}

/// For the `RateLimit` header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateView {
    /// Places in the channel.
    pub limit: u32,
    /// Free ones.
    pub remaining: u32,
    /// Seconds until it is empty at the measured rate.
    pub reset_s: u32,
}
