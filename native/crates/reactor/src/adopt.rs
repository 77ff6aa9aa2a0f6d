//! Listening sockets that a predecessor hands over (RFD 0011), until a listener claims them.
//!
//! **Invariant:** a socket that nobody has claimed when the host has started is closed: clients
//! would queue on it and nobody would accept. **Invariant:** the file of an adopted unix socket is
//! the predecessor's until [`Adoption::confirm`]; before that we never remove it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use engine::snapshot::plan::Address;

use crate::listener::Listen;

/// A listening socket of the predecessor.
#[derive(Debug)]
pub struct Adopted {
    /// The listener's name there.
    pub name: String,
    /// Where it is bound.
    pub address: Address,
    /// The socket.
    pub socket: OwnedFd,
}

/// What a host may adopt. Clones are the same set.
#[derive(Clone, Debug, Default)]
pub struct Adoption {
    offered: Arc<Mutex<Vec<Adopted>>>,
    confirmed: Arc<AtomicBool>,
}

impl Adoption {
    /// Of sockets that were received.
    pub fn new(offered: Vec<Adopted>) -> Self {
        Self {
            offered: Arc::new(Mutex::new(offered)),
            confirmed: Arc::default(),
        }
    }

    /// The predecessor has let go: the files of adopted unix sockets are ours.
    pub fn confirm(&self) {
        self.confirmed.store(true, Ordering::Release);
    }

    /// Whether `confirm` was called; changes with it.
    pub(crate) fn confirmed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.confirmed)
    }

    /// The socket for a listener. Where the system chose the port the name decides.
    pub(crate) fn take(&self, listen: &Listen) -> Option<OwnedFd> {
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |adopted: &Adopted| match (&adopted.address, &listen.address) {
            (Address::Tcp(theirs), Address::Tcp(ours)) if ours.port() == 0 => {
                theirs.ip() == ours.ip() && adopted.name == listen.name
            }
            (theirs, ours) => theirs == ours,
        };
        let at = offered.iter().position(fits)?;
        Some(offered.swap_remove(at).socket)
    }

    /// Closes what nobody claimed.
    pub(crate) fn close(&self) {
        self.offered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
