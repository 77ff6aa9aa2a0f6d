//! Dials by name that are under way: several sockets, of which the first that connects becomes the
//! connection, and the others are closed.
//!
//! An attempt is no connection yet and has a key of its own in the poller. **Invariants:** an id is
//! in the table from its dial until the engine is told how it ended, or closes it; each attempt
//! belongs to one of them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::SocketAddr;

use engine::ids::ConnId;
use engine::input::DialError;
use socket2::Socket;

use crate::poller::{GENERATION_MASK, Key, Poller, Want};
use crate::race::Race;
use crate::tls::session::Session;

struct Attempt {
    generation: u32,
    dial: ConnId,
    socket: Socket,
    address: SocketAddr,
}

/// A dial by name.
pub(crate) struct Dial {
    race: Race,
    /// TLS of the connection that will be; `None` = cleartext.
    pub(crate) session: Option<Box<Session>>,
    /// Slots of its attempts.
    attempts: Vec<u32>,
    /// Its entry in the heap, if it has one.
    due_ns: Option<u64>,
}

/// The table of them. Deadlines in the heap may be out of date: only the one that its dial knows
/// counts.
#[derive(Default)]
pub(crate) struct Races {
    dials: HashMap<ConnId, Dial>,
    slots: Vec<Option<Attempt>>,
    free: Vec<u32>,
    generation: u32,
    deadlines: BinaryHeap<Reverse<(u64, ConnId)>>,
    /// Attempts of which the poller said something: slot and generation.
    ready: Vec<(u32, u32)>,
}

impl Races {
    pub(crate) fn is_empty(&self) -> bool {
        self.dials.is_empty()
    }

    pub(crate) fn begin(&mut self, id: ConnId, race: Race, session: Option<Box<Session>>) {
        let dial = Dial {
            race,
            session,
            attempts: Vec::with_capacity(2),
            due_ns: None,
        };
        self.dials.insert(id, dial);
    }

    /// The address that `id` should try now, if there is one; else it is noted when there will be.
    pub(crate) fn next(&mut self, id: ConnId, now_ns: u64) -> Option<SocketAddr> {
        let dial = self.dials.get_mut(&id)?;
        let address = dial.race.next(now_ns);
        if address.is_none()
            && let Some(at_ns) = dial.race.deadline_ns()
            && dial.due_ns != Some(at_ns)
        {
            dial.due_ns = Some(at_ns);
            self.deadlines.push(Reverse((at_ns, id)));
        }
        address
    }

    /// Watches an attempt that is under way.
    pub(crate) fn watch(
        &mut self,
        id: ConnId,
        socket: Socket,
        address: SocketAddr,
        poller: &Poller,
    ) -> io::Result<()> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        // Never 0: see `Key::Attempt`.
        self.generation = (self.generation + 1) & GENERATION_MASK;
        self.generation = self.generation.max(1);
        let key = Key::Attempt(index, self.generation);
        if let Err(error) = poller.add(&socket, key, Want::ReadWrite) {
            self.free.push(index);
            return Err(error);
        }
        self.slots[index as usize] = Some(Attempt {
            generation: self.generation,
            dial: id,
            socket,
            address,
        });
        if let Some(dial) = self.dials.get_mut(&id) {
            dial.attempts.push(index);
        }
        Ok(())
    }

    /// The poller has something to say about an attempt.
    pub(crate) fn note(&mut self, index: u32, generation: u32) {
        if !self.dials.is_empty() {
            self.ready.push((index, generation));
        }
    }

    /// An attempt that came to an end, one way or the other.
    pub(crate) fn ended(&mut self) -> Option<(ConnId, Socket, SocketAddr)> {
        while let Some((index, generation)) = self.ready.pop() {
            let Some(slot) = self.slots.get_mut(index as usize) else {
                continue;
            };
            let Some(attempt) = slot.take_if(|attempt| attempt.generation == generation) else {
                continue;
            };
            self.free.push(index);
            if let Some(dial) = self.dials.get_mut(&attempt.dial) {
                dial.attempts.retain(|&own| own != index);
            }
            return Some((attempt.dial, attempt.socket, attempt.address));
        }
        None
    }

    /// An attempt of `id` failed. The answer is given when nothing is left to try: then the dial is
    /// over.
    pub(crate) fn failed(
        &mut self,
        id: ConnId,
        error: DialError,
        now_ns: u64,
    ) -> Option<DialError> {
        let lost = self.dials.get_mut(&id)?.race.failed(error, now_ns);
        if lost.is_some() {
            self.end(id);
        }
        lost
    }

    /// A dial for which the time of another address has come.
    pub(crate) fn expired(&mut self, now_ns: u64) -> Option<ConnId> {
        while let Some(&Reverse((at_ns, id))) = self.deadlines.peek()
            && at_ns <= now_ns
        {
            self.deadlines.pop();
            let dial = self.dials.get_mut(&id);
            if dial.is_some_and(|dial| dial.due_ns.take_if(|due| *due == at_ns).is_some()) {
                return Some(id);
            }
        }
        None
    }

    /// When `expired` is next worth asking.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.deadlines.peek().map(|Reverse((at_ns, _))| *at_ns)
    }

    /// Ends a dial, won, lost or given up: the sockets of its attempts are closed. `None`: there is
    /// none of that id.
    pub(crate) fn end(&mut self, id: ConnId) -> Option<Dial> {
        let mut dial = self.dials.remove(&id)?;
        for index in dial.attempts.drain(..) {
            self.slots[index as usize] = None;
            self.free.push(index);
        }
        if self.dials.is_empty() {
            self.deadlines.clear();
        }
        Some(dial)
    }

    /// Gives everything up: the worker ends.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
