//! The driver of one machine and its turn: wait, inputs, drain, flush.
//!
//! It runs on a worker's thread or inline. **Invariant:** what a bounded turn leaves behind is in
//! the inbox, the ready list, the dirty list or the dues; `has_work` then makes the next turn
//! start without waiting.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine::clock::Now;
use engine::exchange::log::Record;
use engine::ids::{AskId, ConnId, WorkerId};
use engine::input::{Accepted, Answer, Closed, Connected, DialError, Input, Mail};
use engine::limits::{READ_BYTES, TURN_INPUTS_MAX, TURN_NS_MAX};
use engine::output::{Output, Question};
use socket2::Socket;

use crate::acceptor::{Acceptor, Orders};
use crate::clock;
use crate::closing::Closing;
use crate::connections::Connections;
use crate::fleet::{Fleet, Letter, Slot};
use crate::limits::{INPUTS_PER_CLOCK, ROUNDS_MAX};
use crate::machine::Machine;
use crate::poller::{Key, Poller};
use crate::races::Races;
use crate::tls::Keyring;

/// An input that arose while outputs were carried out; told in the same turn.
pub(crate) enum Due {
    Connected(ConnId, Result<Connected, DialError>),
    Closed(ConnId, Closed),
    Mail(Mail),
}

impl Due {
    pub(crate) fn conn(&self) -> Option<ConnId> {
        match self {
            Self::Connected(id, _) | Self::Closed(id, _) => Some(*id),
            Self::Mail(_) => None,
        }
    }
}

/// How much of a turn is left.
pub(crate) struct Budget {
    pub(crate) inputs: usize,
    start_ns: u64,
    late: bool,
}

impl Budget {
    fn new(now: Now) -> Self {
        Self {
            inputs: 0,
            start_ns: now.mono_ns,
            late: false,
        }
    }

    pub(crate) fn count(&mut self) {
        self.inputs += 1;
        if self.inputs.is_multiple_of(INPUTS_PER_CLOCK) {
            self.look();
        }
    }

    /// An input took long, as handshakes do: the clock is looked at behind it.
    pub(crate) fn look(&mut self) {
        self.late = clock::mono_ns() - self.start_ns >= TURN_NS_MAX;
    }

    pub(crate) fn spent(&self) -> bool {
        self.late || self.inputs >= TURN_INPUTS_MAX
    }
}

/// One machine and all it needs of the system.
pub(crate) struct Driver<M> {
    pub(crate) machine: M,
    pub(crate) id: WorkerId,
    pub(crate) slot: Arc<Slot>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) poller: Poller,
    pub(crate) connections: Connections,
    pub(crate) closing: Closing,
    pub(crate) races: Races,
    /// Only one driver of a host has one, or none when a thread accepts.
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) inbox: VecDeque<Letter>,
    pub(crate) dues: VecDeque<Due>,
    pub(crate) scratch: Box<[u8]>,
    /// Decrypted bytes on their way to the machine; made for the first secured connection.
    pub(crate) plain: Vec<u8>,
    /// TLS of the machine's snapshot.
    pub(crate) keyring: Keyring,
    /// TLS of the one before, for exchanges that hold its endpoints.
    pub(crate) keyring_before: Keyring,
    pub(crate) flushing: Vec<ConnId>,
    fresh: Vec<(Socket, Accepted)>,
    #[expect(
        clippy::vec_box,
        reason = "the machine makes boxes: a batch moves pointers only"
    )]
    records: Vec<Box<Record>>,
    /// Whose input the machine works on: it is closed if the machine panics.
    pub(crate) current: Option<ConnId>,
    deadline_ns: Option<u64>,
    draining: bool,
    /// Sockets taken from the mailbox in this turn.
    taken: usize,
    /// It had a bug: no more sockets.
    pub(crate) retired: bool,
    pub(crate) stopped: bool,
}

impl<M: Machine> Driver<M> {
    pub(crate) fn new(
        machine: M,
        (id, slot): (WorkerId, Arc<Slot>),
        fleet: Arc<Fleet>,
        poller: Poller,
        acceptor: Option<Acceptor>,
    ) -> Self {
        let keyring = fleet.keyring(u64::MAX);
        Self {
            machine,
            id,
            slot,
            fleet,
            poller,
            connections: Connections::default(),
            closing: Closing::default(),
            races: Races::default(),
            acceptor,
            inbox: VecDeque::new(),
            dues: VecDeque::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            plain: Vec::new(),
            keyring,
            keyring_before: Keyring::default(),
            flushing: Vec::new(),
            fresh: Vec::new(),
            records: Vec::new(),
            current: None,
            deadline_ns: Some(0),
            draining: false,
            taken: 0,
            retired: false,
            stopped: false,
        }
    }

    /// One turn; waits for something to do first, if `wait` is set.
    pub(crate) fn turn(&mut self, wait: bool) -> io::Result<()> {
        let timeout_ns = if wait && !self.has_work() {
            let now_ns = clock::mono_ns();
            self.deadline_ns().map(|at_ns| at_ns.saturating_sub(now_ns))
        } else {
            Some(0)
        };
        self.poller.wait(timeout_ns)?;
        let now = clock::now();
        self.note_events();
        self.machine.begin(now);
        let mut budget = Budget::new(now);
        self.take_letters(&mut budget);
        self.take_sockets(&mut budget, now);
        self.take_ready(&mut budget);
        self.run_races();
        self.machine.end();
        self.settle();
        self.closing.expire(now.mono_ns);
        self.publish();
        self.machine
            .turned(clock::mono_ns() - now.mono_ns, budget.inputs);
        Ok(())
    }

    /// Something can be done without waiting.
    pub(crate) fn has_work(&self) -> bool {
        !self.connections.ready.is_empty()
            || !self.connections.dirty.is_empty()
            || !self.dues.is_empty()
            || !self.inbox.is_empty()
            || self.acceptor.as_ref().is_some_and(Acceptor::ready)
    }

    /// When the next turn must be, if nothing happens before.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        let accepting = self.acceptor.as_ref().and_then(Acceptor::deadline_ns);
        let (closing, races) = (self.closing.deadline_ns(), self.races.deadline_ns());
        [self.deadline_ns, closing, races, accepting]
            .into_iter()
            .flatten()
            .min()
    }

    fn note_events(&mut self) {
        for event in &self.poller.events {
            match Key::of(event.token()) {
                Key::Conn(index, generation) => self.connections.note(index, generation, event),
                Key::Closing(index, generation) => {
                    self.closing.event(index, generation, &mut self.scratch);
                }
                Key::Listener(serial) => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.note(serial);
                    }
                }
                Key::Attempt(index, generation) => self.races.note(index, generation),
                Key::Waker | Key::Timer => {}
            }
        }
    }

    fn take_letters(&mut self, budget: &mut Budget) {
        self.slot.mailbox.take(&mut self.inbox);
        while !budget.spent() {
            match self.inbox.pop_front() {
                None => return,
                Some(Letter::Mail(mail)) => {
                    self.draining |= matches!(mail, Mail::Drain(_));
                    if let Mail::Snapshot(snapshot) = &mail {
                        let keyring = self.fleet.keyring(snapshot.generation);
                        self.keyring_before = std::mem::replace(&mut self.keyring, keyring);
                    }
                    self.machine.handle(Input::Mail(mail));
                }
                Some(Letter::Socket(socket, accepted)) => {
                    self.taken += 1;
                    if self.retired {
                        self.fleet.place(socket, accepted);
                    } else {
                        self.adopt(socket, accepted);
                    }
                }
                Some(Letter::Listen(orders)) => self.rearrange(orders),
                Some(Letter::Ended(worker, unread)) => {
                    self.machine.outlived(worker);
                    for mail in unread {
                        self.machine.undelivered(worker, mail);
                    }
                }
                Some(Letter::Stop) => {
                    self.stopped = true;
                    self.machine.handle(Input::Mail(Mail::Stop));
                }
            }
            budget.count();
        }
    }

    fn rearrange(&mut self, orders: Orders) {
        let Some(acceptor) = &mut self.acceptor else {
            // The listeners went to our replacement.
            return self.fleet.order(orders);
        };
        let fresh = &mut self.fresh;
        let give = |socket, accepted| fresh.push((socket, accepted));
        if acceptor
            .rearrange(orders.listeners, &self.poller, give)
            .is_err()
        {
            self.fleet.count_bug();
        }
        self.adopt_fresh();
        for (worker, mail) in orders.then.into_iter().rev() {
            if worker == self.id {
                // Before any socket of the new set of listeners.
                self.inbox.push_front(Letter::Mail(mail));
            } else {
                let _ = self.fleet.post(worker, Letter::Mail(mail));
            }
        }
    }

    /// Accepts, if this driver holds the listeners; after all mail, which may be about them.
    fn take_sockets(&mut self, budget: &mut Budget, now: Now) {
        let Some(acceptor) = &mut self.acceptor else {
            return;
        };
        if !self.inbox.is_empty() {
            return;
        }
        let fresh = &mut self.fresh;
        budget.inputs += acceptor.accept(now.mono_ns, |socket, accepted| {
            fresh.push((socket, accepted));
        });
        self.adopt_fresh();
    }

    fn adopt_fresh(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh);
        for (socket, accepted) in fresh.drain(..) {
            self.adopt(socket, accepted);
        }
        self.fresh = fresh;
    }

    /// Drains and flushes until nothing changes: what a write sets free may produce more.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.drain();
            if !self.dues.is_empty() {
                self.machine.begin(clock::now());
                while let Some(due) = self.dues.pop_front() {
                    self.current = due.conn();
                    self.machine.handle(match due {
                        Due::Connected(id, outcome) => Input::Connected(id, outcome),
                        Due::Closed(id, closed) => Input::Closed(id, closed),
                        Due::Mail(mail) => Input::Mail(mail),
                    });
                    self.current = None;
                }
                self.machine.end();
            } else if self.connections.dirty.is_empty() {
                return;
            } else {
                self.flush();
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.machine.poll() {
                Output::Wait(deadline_ns) => {
                    self.deadline_ns = deadline_ns;
                    return;
                }
                Output::Write(id) => self.connections.mark(id),
                Output::PauseRead(id) => self.connections.pause(id),
                Output::ResumeRead(id) => self.connections.resume(id),
                Output::Dial(id, dial) => self.dial(id, &dial),
                Output::Close(id, how) => self.close(id, how),
                Output::Mail(worker, mail) => {
                    let letter = Letter::Mail(mail);
                    if let Err(Letter::Mail(mail)) = self.fleet.post(worker, letter) {
                        self.machine.undelivered(worker, mail);
                    }
                }
                Output::Ask(id, question) => self.ask(id, question),
                Output::Record(record) => self.records.push(record),
            }
        }
    }

    fn ask(&mut self, id: AskId, question: Question) {
        if !self.fleet.asks.put(id, question) {
            let answer = Answer {
                status: 503,
                fields: Vec::new(),
                body: Vec::new(),
            };
            self.dues.push_back(Due::Mail(Mail::Answer(id, answer)));
        }
    }

    fn publish(&mut self) {
        if !self.records.is_empty() {
            self.fleet.recorder.submit(&mut self.records);
        }
        let (live, silent) = (self.machine.live(), self.connections.silent);
        self.slot.live.store(live, Ordering::Relaxed);
        self.slot.silent.store(silent, Ordering::Relaxed);
        if self.taken > 0 {
            let taken = std::mem::take(&mut self.taken);
            self.slot.queued.fetch_sub(taken, Ordering::Relaxed);
        }
        if self.draining {
            self.slot.drained.store(self.drained(), Ordering::Release);
        }
    }

    /// Told to drain, and nothing is left to do.
    pub(crate) fn drained(&self) -> bool {
        self.draining && !self.has_work() && self.closing.is_empty() && self.machine.drained()
    }
}
