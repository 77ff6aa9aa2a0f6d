//! Who turns the driver: a thread, or an outer event loop. And what happens after a panic.
//!
//! A panic means a bug. On a thread the connection it happened on is closed, the worker is retired
//! and drains, and another worker takes its place under a new id. Inline there is no second driver
//! to drain beside: the machine is replaced and its connections are reset.

use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine::input::{Closed, Drain, Mail};
use mio::Waker;

use crate::acceptor::Acceptor;
use crate::clock;
use crate::fleet::{Birth, Factory, Fleet, Letter};
use crate::limits::{INLINE_TURNS_MAX, PANICS_MAX, RETIRED_DRAIN_NS, RETIRED_IDLE_NS};
use crate::machine::Machine;
use crate::poller::Poller;
use crate::socket;
use crate::timer::Timer;
use crate::turn::{Driver, Due};

/// Starts a worker on a thread of its own; `Ok(None)` when all worker ids are used up.
pub(crate) fn start<M: Machine + 'static>(
    fleet: &Arc<Fleet>,
    factory: &Factory<M>,
) -> io::Result<Option<engine::ids::WorkerId>> {
    let poller = Poller::new()?;
    let Some((id, slot)) = fleet.enroll(poller.waker()) else {
        return Ok(None);
    };
    let (ours, factory) = (Arc::clone(fleet), Arc::clone(factory));
    let mailbox = Arc::clone(&slot);
    let accepts = fleet.options.workers == 1;
    let started = fleet.spawn(format!("fastproxy-w{}", id.0), move || {
        let fleet = Arc::clone(&ours);
        let whole = catch_unwind(AssertUnwindSafe(|| {
            let machine = factory(birth(&fleet, id));
            let acceptor = accepts.then(|| Acceptor::new(fleet.options.descriptors_max));
            run(
                Driver::new(machine, (id, Arc::clone(&slot)), fleet, poller, acceptor),
                &factory,
            );
        }));
        // The machine is gone by now, and with it the permits that it had.
        ours.bury(id, &slot);
        if whole.is_err() {
            ours.count_bug();
        }
    });
    if let Err(error) = started {
        fleet.bury(id, &mailbox);
        return Err(error);
    }
    Ok(Some(id))
}

/// Asks the kernel to keep this thread's deadlines closely. Without it gathers only last longer.
fn sharpen() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(
        crate::limits::TIMER_SLACK_NS,
    ));
}

fn birth(fleet: &Fleet, worker: engine::ids::WorkerId) -> Birth {
    Birth {
        worker,
        workers: fleet.workers(),
        seed: fleet.options.seed,
        now: clock::now(),
    }
}

fn run<M: Machine + 'static>(mut driver: Driver<M>, factory: &Factory<M>) {
    let mut panics = 0;
    sharpen();
    loop {
        if driver.stopped || (driver.retired && driver.drained()) {
            return;
        }
        if matches!(
            catch_unwind(AssertUnwindSafe(|| driver.turn(true))),
            Ok(Ok(()))
        ) {
            continue;
        }
        driver.fleet.count_bug();
        panics += 1;
        if panics >= PANICS_MAX && driver.retired {
            return;
        }
        driver.fell();
        driver.retire(factory);
    }
}

impl<M: Machine + 'static> Driver<M> {
    /// Closes the connection that the machine panicked on, and tells the machine so: the exchange
    /// must let go of its permit.
    fn fell(&mut self) {
        let Some(id) = self.current.take() else {
            return;
        };
        self.dues.retain(|due| due.conn() != Some(id));
        if let Some(conn) = self.connections.remove(id) {
            socket::reset(conn.socket);
            self.dues.push_back(Due::Closed(id, Closed::Reset));
        }
    }

    /// Hands the listeners to a replacement and begins to drain.
    fn retire(&mut self, factory: &Factory<M>) {
        if self.retired {
            return;
        }
        // Without a thread or a descriptor for a replacement a suspect worker is better than none.
        let Ok(Some(successor)) = start(&self.fleet, factory) else {
            return;
        };
        self.retired = true;
        self.slot.accepts.store(false, Ordering::Relaxed);
        if let Some(mut acceptor) = self.acceptor.take() {
            let listeners = acceptor.surrender(&self.poller);
            self.fleet.accept_by_worker(successor, Some(listeners));
        }
        let drain = Drain {
            deadline_ns: clock::mono_ns() + RETIRED_DRAIN_NS,
            idle_ns: RETIRED_IDLE_NS,
            admin: true,
        };
        self.inbox.push_back(Letter::Mail(Mail::Drain(drain)));
    }
}

/// The driver of `workers: 0`: no thread, one descriptor for somebody else's event loop.
///
/// Register `fileno` for reading and call `turn` when it is readable.
pub struct Inline<M: Machine> {
    driver: Driver<M>,
    timer: Timer,
    waker: Arc<Waker>,
    factory: Factory<M>,
}

impl<M: Machine + 'static> Inline<M> {
    pub(crate) fn new(
        fleet: &Arc<Fleet>,
        factory: &Factory<M>,
        poller: Poller,
        enrolled: (engine::ids::WorkerId, Arc<crate::fleet::Slot>),
    ) -> io::Result<Self> {
        let timer = Timer::new(&poller)?;
        let waker = poller.waker();
        // The first turn finds out about deadlines and listeners.
        waker.wake()?;
        let machine = factory(birth(fleet, enrolled.0));
        let acceptor = Some(Acceptor::new(fleet.options.descriptors_max));
        let driver = Driver::new(machine, enrolled, Arc::clone(fleet), poller, acceptor);
        Ok(Self {
            driver,
            timer,
            waker,
            factory: Arc::clone(factory),
        })
    }

    /// Readable when `turn` has something to do. It stays the same for the life of the driver.
    pub fn fileno(&self) -> RawFd {
        self.driver.poller.fileno()
    }

    /// The moment (`CLOCK_MONOTONIC`) at which `fileno` becomes readable by itself.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.driver.deadline_ns()
    }

    /// Does what there is to do, but never for long, and never waits. `false` after `Host::stop`:
    /// take `fileno` out of the event loop and drop the driver.
    pub fn turn(&mut self) -> bool {
        for _ in 0..INLINE_TURNS_MAX {
            let driver = &mut self.driver;
            if !matches!(
                catch_unwind(AssertUnwindSafe(|| driver.turn(false))),
                Ok(Ok(()))
            ) {
                self.replace();
            }
            if self.driver.stopped {
                self.driver.slot.drained.store(true, Ordering::Release);
                drop(self.driver.slot.mailbox.close());
                return false;
            }
            if !self.driver.has_work() {
                break;
            }
        }
        let armed = self.timer.arm(self.driver.deadline_ns(), clock::mono_ns());
        if self.driver.has_work() || armed.is_err() {
            // An eventfd can always be written to.
            let _ = self.waker.wake();
        }
        true
    }

    fn replace(&mut self) {
        let driver = &mut self.driver;
        driver.fleet.count_bug();
        let Some((id, slot)) = driver.fleet.enroll(Arc::clone(&self.waker)) else {
            // Ids are used up: the suspect machine goes on.
            return driver.fell();
        };
        driver.slot.accepts.store(false, Ordering::Relaxed);
        driver.slot.drained.store(true, Ordering::Release);
        driver.inbox.extend(driver.slot.mailbox.close());
        // Mail was for exchanges that are gone, but there may be permits in it; orders are for
        // whoever holds the listeners.
        let mut unread = Vec::new();
        for letter in std::mem::take(&mut driver.inbox) {
            match letter {
                Letter::Mail(mail) => unread.push(mail),
                letter => driver.inbox.push_back(letter),
            }
        }
        driver.inbox.push_back(Letter::Ended(driver.id, unread));
        driver.dues.clear();
        driver.current = None;
        driver.races.clear();
        for conn in driver.connections.clear() {
            socket::reset(conn.socket);
        }
        (driver.id, driver.slot) = (id, slot);
        driver.machine = (self.factory)(birth(&driver.fleet, id));
        driver.fleet.accept_by_worker(id, None);
    }
}
