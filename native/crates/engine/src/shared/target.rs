//! Where an endpoint is: an address, or a name whose addresses come and go.
//!
//! The control plane looks names up and tells the newest answer; a dial takes what is known at that
//! moment. **Invariants:** an answer is replaced by a newer one only, never by none, so that an
//! endpoint stays within reach when DNS is gone; `open` counts the connections of all workers.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use super::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::limits::ADDRESSES_MAX;
use crate::snapshot::plan::Address;

/// An endpoint's place. What is known of it outlives a reload that leaves it where it is.
#[derive(Debug)]
pub struct Target {
    address: Address,
    known: Arc<Known>,
}

/// What workers and the control plane know of one target.
#[derive(Debug)]
struct Known {
    answer: Mutex<Answer>,
    /// Answers so far: who holds an address need not look for it again before there is another.
    answers: AtomicU64,
    /// Connections from their dial to their close.
    open: AtomicU64,
}

/// A connection that counts as open until this is dropped.
#[derive(Debug)]
pub struct Open(Arc<Known>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The address of a name that a connection goes to.
#[derive(Clone, Debug)]
pub struct Peer {
    address: SocketAddr,
    /// The answer that was last seen to have it; 0 = none.
    answer: Cell<u64>,
}

/// The addresses of a name, best first; empty for a target that is no name.
#[derive(Debug, Default)]
struct Answer {
    addresses: Arc<[SocketAddr]>,
    /// The one that took a connection last.
    worked: Option<SocketAddr>,
}

/// What an answer meant for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing.
    None,
    /// It has an address at last.
    First,
    /// It has other addresses.
    Changed,
}

/// What a dial may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidates<'a> {
    /// One address.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(&'a Path),
    /// The addresses of a name, in the order of preference; none while it never resolved. The dial
    /// begins with the one at `first`, which took a connection last.
    Name {
        /// At most `limits::ADDRESSES_MAX`.
        addresses: Arc<[SocketAddr]>,
        /// Position of the one to begin with; 0 when there is none.
        first: usize,
    },
}

impl Target {
    /// A target of which nothing is known but what `address` says.
    pub fn new(address: Address) -> Self {
        let known = Arc::new(Known {
            answer: Mutex::new(Answer::default()),
            answers: AtomicU64::new(0),
            open: AtomicU64::new(0),
        });
        let target = Self { address, known };
        target.take_planned();
        target
    }

    /// The same target after a reload: what is known stays, if it is still the same place.
    pub(super) fn renewed(&self, address: Address) -> Self {
        if !same_place(&self.address, &address) {
            return Self::new(address);
        }
        let known = Arc::clone(&self.known);
        let target = Self { address, known };
        // What the plan says may be older than what is known.
        if target.addresses().is_some_and(|known| known.is_empty()) {
            target.take_planned();
        }
        target
    }

    /// As it is configured.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether both are at the same place, whatever is known of it.
    pub fn same_place(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.known, &other.known) || same_place(&self.address, &other.address)
    }

    /// What a dial may connect to now.
    pub fn candidates(&self) -> Candidates<'_> {
        match &self.address {
            Address::Tcp(address) => Candidates::Tcp(*address),
            Address::Unix(path) => Candidates::Unix(path),
            Address::Name { .. } => {
                let answer = lock(&self.known.answer);
                let worked = answer.worked;
                let first = answer.addresses.iter().position(|a| Some(*a) == worked);
                Candidates::Name {
                    addresses: Arc::clone(&answer.addresses),
                    first: first.unwrap_or(0),
                }
            }
        }
    }

    /// The addresses of a name as of the newest answer; `None` for other targets.
    pub fn addresses(&self) -> Option<Arc<[SocketAddr]>> {
        matches!(self.address, Address::Name { .. })
            .then(|| Arc::clone(&lock(&self.known.answer).addresses))
    }

    /// Notes the address of a name that took a connection: the next dial begins there.
    pub fn worked(&self, address: SocketAddr) -> Peer {
        lock(&self.known.answer).worked = Some(address);
        let answer = Cell::new(self.answer_with(address));
        Peer { address, answer }
    }

    /// Whether a connection to `peer` may still be used: an address that left the answer gets no
    /// new requests. Costs a lock only when there is another answer than the last time.
    pub fn is_current(&self, peer: &Peer) -> bool {
        if peer.answer.get() != self.known.answers.load(Ordering::Relaxed) {
            peer.answer.set(self.answer_with(peer.address));
        }
        peer.answer.get() > 0
    }

    /// The number of the present answer if it has that address, else 0.
    fn answer_with(&self, address: SocketAddr) -> u64 {
        let answer = lock(&self.known.answer);
        let named = answer.addresses.contains(&address);
        if named {
            self.known.answers.load(Ordering::Relaxed)
        } else {
            0
        }
    }

    /// Counts one more connection of this process.
    pub fn opened(&self) -> Open {
        self.known.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.known))
    }

    /// Connections of all workers, those being dialled included.
    pub fn open(&self) -> u64 {
        self.known.open.load(Ordering::Relaxed)
    }

    /// Takes a newer answer for `host` in, best first. The same addresses in another order are no
    /// news: many servers turn them round each time.
    pub(super) fn resolved(&self, host: &str, addresses: &[IpAddr]) -> News {
        let Address::Name {
            host: own, port, ..
        } = &self.address
        else {
            return News::None;
        };
        if own != host || addresses.is_empty() {
            return News::None;
        }
        let newer = addresses.iter().take(ADDRESSES_MAX);
        let newer: Arc<[_]> = newer.map(|ip| SocketAddr::new(*ip, *port)).collect();
        let mut answer = lock(&self.known.answer);
        let known = &answer.addresses;
        if known.len() == newer.len() && newer.iter().all(|address| known.contains(address)) {
            return News::None;
        }
        let first = known.is_empty();
        answer.addresses = newer;
        // Under the lock, as it is read there.
        self.known.answers.fetch_add(1, Ordering::Relaxed);
        if first { News::First } else { News::Changed }
    }

    fn take_planned(&self) {
        if let Address::Name {
            host, addresses, ..
        } = &self.address
        {
            self.resolved(host, addresses);
        }
    }
}

fn same_place(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (
            Address::Name { host, port, .. },
            Address::Name {
                host: other_host,
                port: other_port,
                ..
            },
        ) => host == other_host && port == other_port,
        _ => one == other,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn name(addresses: &[&str]) -> Address {
        Address::Name {
            host: "engine.test".into(),
            port: 8000,
            addresses: ips(addresses),
        }
    }

    fn ips(addresses: &[&str]) -> Vec<IpAddr> {
        addresses
            .iter()
            .map(|a| a.parse().expect("an address"))
            .collect()
    }

    fn socket(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().expect("an address"), 8000)
    }

    fn first_of(target: &Target) -> Option<SocketAddr> {
        match target.candidates() {
            Candidates::Name { addresses, first } => addresses.get(first).copied(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_good_answer_stays() {
        let target = Target::new(name(&[]));
        assert_eq!(first_of(&target), None);
        assert_eq!(target.resolved("other.test", &ips(&["::1"])), News::None);
        assert_eq!(
            target.resolved("engine.test", &ips(&["::1", "127.0.0.1"])),
            News::First
        );
        assert_eq!(target.resolved("engine.test", &[]), News::None);
        assert_eq!(target.addresses().unwrap().len(), 2);
        assert_eq!(
            target.resolved("engine.test", &ips(&["127.0.0.1"])),
            News::Changed
        );
        assert_eq!(first_of(&target), Some(socket("127.0.0.1")));
    }

    #[test]
    fn a_dial_begins_where_the_last_one_ended_while_that_is_named() {
        let target = Target::new(name(&["::1", "127.0.0.1"]));
        assert_eq!(first_of(&target), Some(socket("::1")));
        let peer = target.worked(socket("127.0.0.1"));
        assert_eq!(first_of(&target), Some(socket("127.0.0.1")));
        assert!(target.is_current(&peer));
        let turned = ips(&["127.0.0.1", "::1"]);
        assert_eq!(target.resolved("engine.test", &turned), News::None);
        assert!(target.is_current(&peer));
        target.resolved("engine.test", &ips(&["::1"]));
        assert_eq!(first_of(&target), Some(socket("::1")));
        assert!(!target.is_current(&peer));
        assert!(!target.is_current(&peer));
        // A dial that was under way when the answer changed.
        assert!(!target.is_current(&target.worked(socket("127.0.0.1"))));
        // It comes back to what it was when that is named again.
        target.resolved("engine.test", &ips(&["::1", "127.0.0.1"]));
        assert_eq!(first_of(&target), Some(socket("127.0.0.1")));
    }

    #[test]
    fn a_reload_keeps_what_is_known_of_the_same_place() {
        let target = Target::new(name(&["127.0.0.1"]));
        let same = target.renewed(name(&[]));
        assert!(same.same_place(&target));
        assert_eq!(first_of(&same), Some(socket("127.0.0.1")));
        same.resolved("engine.test", &ips(&["127.0.0.2"]));
        assert_eq!(first_of(&target), Some(socket("127.0.0.2")));
        let moved = target.renewed(Address::Tcp(socket("127.0.0.1")));
        assert!(!moved.same_place(&target));
        assert_eq!(moved.candidates(), Candidates::Tcp(socket("127.0.0.1")));
    }

    #[test]
    fn connections_are_counted_over_reloads() {
        let target = Target::new(name(&["127.0.0.1"]));
        let open = target.opened();
        let same = target.renewed(name(&[]));
        let more = same.opened();
        assert_eq!((target.open(), same.open()), (2, 2));
        drop(open);
        drop(more);
        assert_eq!(target.open(), 0);
    }

    #[test]
    fn an_answer_is_bounded() {
        let many: Vec<IpAddr> = (0..1000_u32)
            .map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()))
            .collect();
        let target = Target::new(name(&[]));
        target.resolved("engine.test", &many);
        assert_eq!(target.addresses().unwrap().len(), ADDRESSES_MAX);
    }
}
