//! What crosses the waiting room's border: questions, permits, refusals, wakes.
//!
//! **Invariant:** a [`Grant`] is one permit. It cannot be cloned; it ends in `Room::leave`, and if
//! it is dropped instead (a panicked worker), the net in its `Drop` returns the permit.

use std::sync::{Arc, Weak};

use super::{Room, Target};
use crate::ids::{ExchangeId, WorkerId};
use crate::output::Dial;
use crate::snapshot::plan::{ClientTlsPlan, Http2};

/// An endpoint as it was when its permit was given. Immutable.
#[derive(Debug)]
pub struct Endpoint {
    /// Identity over reloads and label of metrics: the configured URL.
    pub name: String,
    /// Where to dial.
    pub target: Arc<Target>,
    /// Whether HTTP/2 is spoken to it.
    pub http2: Http2,
    /// What connections to it are secured with; `None` = cleartext.
    pub tls: Option<Arc<ClientTlsPlan>>,
    /// The same, with nothing but HTTP/1.1 to agree on.
    pub tls_http1: Option<Arc<ClientTlsPlan>>,
    /// Its authority for `Host`.
    pub authority: String,
    /// Path prefix of the URL, without trailing slash; empty = none.
    pub path_prefix: String,
    /// Its position in its room: stable while it is configured or has a request.
    pub slot: u32,
    /// Where its permits go back to.
    pub(super) home: Weak<Room>,
}

impl Endpoint {
    /// Whether TLS is spoken to it.
    pub fn secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Where to connect to, and how. `http2`: the handshake may agree on it.
    pub fn dial(&self, http2: bool) -> Dial {
        let tls = if http2 { &self.tls } else { &self.tls_http1 };
        Dial {
            target: Arc::clone(&self.target),
            tls: tls.clone(),
        }
    }

    /// Whether a connection to `other` is one to this endpoint.
    pub fn same_door(&self, other: &Self) -> bool {
        self.target.same_place(&other.target) && self.tls == other.tls
    }

    /// The room that its permits belong to; `None` once the pool is gone.
    pub fn room(&self) -> Option<Arc<Room>> {
        self.home.upgrade()
    }
}

/// One permit for one endpoint.
#[derive(Debug)]
#[must_use = "a permit taken must come back through Room::leave"]
pub struct Grant {
    /// Whom it is for.
    pub endpoint: Arc<Endpoint>,
    /// When it was given.
    pub granted_ns: u64,
    /// How long its owner stood in the queue.
    pub waited_ns: u64,
    /// Its owner's place in the order: a retry asks with it.
    pub sequence: u64,
    /// Whether it tries out an endpoint whose ejection ended.
    pub(super) trial: bool,
    pub(super) settled: bool,
}

impl Grant {
    /// The room to return it to: for a grant that reaches an exchange which is gone.
    pub fn room(&self) -> Option<Arc<Room>> {
        self.endpoint.room()
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if !self.settled
            && let Some(room) = self.endpoint.room()
        {
            room.take_back(self);
        }
    }
}

/// A place in the queue. Ends by a grant or by `Room::abandon`, whichever is first.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a waiter that leaves must abandon its place"]
pub struct Ticket(u64);

const CLASS_SHIFT: u32 = 62;

impl Ticket {
    pub(super) fn new(place: crate::channel::Place) -> Self {
        debug_assert!(place.sequence < 1 << CLASS_SHIFT);
        Self(u64::from(place.class) << CLASS_SHIFT | place.sequence)
    }

    pub(super) fn place(&self) -> crate::channel::Place {
        crate::channel::Place {
            class: (self.0 >> CLASS_SHIFT) as u8,
            sequence: self.0 & ((1 << CLASS_SHIFT) - 1),
        }
    }
}

/// A request for a permit.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// 0 = high, 1 = normal, 2 = low.
    pub class: u8,
    /// Slots that are out of the question (tried already).
    pub excluded: &'a [u32],
    /// Who will be woken.
    pub worker: WorkerId,
    /// For whom.
    pub exchange: ExchangeId,
    /// Body bytes that it holds while it waits.
    pub held_bytes: u64,
    /// Monotonic time.
    pub now_ns: u64,
    /// A retry's earlier place; `None` for a new request.
    pub sequence: Option<u64>,
}

/// The answer to an [`Ask`].
#[derive(Debug)]
#[must_use = "it may hold a permit"]
pub enum Entered {
    /// Go on at once.
    Granted(Grant),
    /// Wait for `Mail::Grant`.
    Queued {
        /// To leave with.
        ticket: Ticket,
        /// Waiters in the channel, this one included.
        depth: u32,
        /// Its place in the order.
        sequence: u64,
        /// A permit is free for somebody in the queue (an ejection ended unseen): call
        /// `Room::pump` and deliver what it gives.
        pump: bool,
    },
    /// Not now.
    Refused(Refusal),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// The channel is at its capacity in items or bytes.
    Full,
    /// The predicted wait is above `max_wait`.
    Hopeless,
    /// Every endpoint is gone, excluded or ejected.
    NoEndpoint,
}

/// A refusal and when to come back.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// From the measured drain rate, jittered; 1 to 120,000.
    pub retry_after_ms: u64,
    /// Waiters in the channel.
    pub depth: u32,
    /// Waiters at most.
    pub capacity: u32,
    /// Predicted wait of a newcomer of this class; 0 while the rate is not known.
    pub wait_estimate_ms: u64,
    /// As in [`Entered::Queued`].
    pub pump: bool,
}

/// How an attempt ended, as the endpoint's health sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered as an engine that is well.
    Success,
    /// A gateway status, a reset, a timeout.
    Failure,
    /// It could not be dialled.
    ConnectError,
    /// Nothing can be said: the client left, a 4xx, a 429 (load is not failure).
    Neutral,
}

/// A waiter that got a permit. Send it to its worker as `Mail::Grant`.
#[derive(Debug)]
#[must_use = "it holds a permit"]
pub struct Woken {
    /// The worker to tell.
    pub worker: WorkerId,
    /// The waiter.
    pub exchange: ExchangeId,
    /// Its permit.
    pub grant: Grant,
}

/// Who goes on because of what just happened: one at most, except after a reload.
#[derive(Debug, Default)]
#[must_use = "it may hold permits of waiters"]
pub struct Wake {
    /// The endpoint was ejected by this.
    pub ejected: bool,
    first: Option<Woken>,
    rest: Vec<Woken>,
}

impl Wake {
    pub(super) fn push(&mut self, woken: Woken) {
        if self.first.is_none() {
            self.first = Some(woken);
        } else {
            self.rest.push(woken);
        }
    }

    /// Whether nobody is woken.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Waiters woken.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }
}

impl IntoIterator for Wake {
    type Item = Woken;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Woken>, std::vec::IntoIter<Woken>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}
