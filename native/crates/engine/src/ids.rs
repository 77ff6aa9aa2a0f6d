//! Identities that cross the border between the engine and its driver.
//!
//! **Invariant:** an id with a stale generation is refused everywhere (no ABA).

/// A connection of this worker, client side or upstream side. Both live in one index space, so
/// that the driver can keep its sockets in a table of the same shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Slot in the table.
    pub index: u32,
    /// Generation of the slot: differs for each tenant of the same slot.
    pub generation: u32,
}

/// An exchange of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId {
    /// Slot in the worker's table of exchanges.
    pub index: u32,
    /// Generation of the slot.
    pub generation: u32,
}

/// A worker of this process: 0 for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// Position of a listener in `Plan::listeners`. Stable for the life of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u32);

/// A question put to the control plane (rare path: admin pages, merged model lists).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AskId {
    /// The worker that asks.
    pub worker: WorkerId,
    /// The exchange that waits for the answer.
    pub exchange: ExchangeId,
}
