//! The waiting room under open-loop load, in virtual time: does it keep the pool busy, refuse at
//! once what it must refuse, and recover when the load falls?
#![cfg(not(loom))]
#![allow(missing_docs)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use engine::clock::{MS, SECOND};
use engine::ids::{ExchangeId, WorkerId};
use engine::random::Random;
use engine::shared::{Ask, Entered, Grant, Outcome, Room, RoomConfig, Ticket};
use engine::snapshot::plan::{Address, Balance, ChannelPlan, EjectPlan, EndpointPlan, RetryPlan};

/// What a pool's engine can do: `slots` requests at a time, each of `service_ns` on average.
struct Pool {
    slots: u32,
    service_ns: u64,
    concurrency: u32,
    capacity: u32,
    max_wait_ns: u64,
}

impl Pool {
    fn per_s(&self) -> f64 {
        f64::from(self.slots) * SECOND as f64 / self.service_ns as f64
    }

    fn room(&self) -> Arc<Room> {
        let room = Arc::new(Room::new("pool"));
        let config = RoomConfig {
            balance: Balance::LeastLoaded,
            endpoints: vec![EndpointPlan {
                http2: engine::snapshot::Http2::default(),
                name: "http://e".to_owned(),
                address: Address::Tcp(([127, 0, 0, 1], 80).into()),
                authority: "e".to_owned(),
                path_prefix: String::new(),
                weight: 1,
                concurrency: self.concurrency,
                tls: None,
            }],
            channel: ChannelPlan {
                capacity: self.capacity,
                bytes_max: u64::MAX,
                max_wait_ms: self.max_wait_ns / MS,
            },
            retry: RetryPlan {
                attempts_max: 1,
                budget_ratio: 0.0,
                budget_min_per_s: 0,
                statuses: Vec::new(),
            },
            eject: EjectPlan {
                consecutive: 0,
                base_ms: 1,
                max_ms: 1,
                max_percent: 0,
            },
        };
        room.configure(&config, 0);
        room
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    /// The engine is done with a request.
    Finish(u32),
    /// `max_wait` of a waiter passed.
    Expire(u32),
}

#[derive(Default, Debug)]
struct Tally {
    offered: u32,
    good: u32,
    shed: u32,
    expired: u32,
    wait_ns_max: u64,
}

/// One pool, one load generator, one clock.
struct Run {
    pool: Pool,
    room: Arc<Room>,
    random: Random,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    now_ns: u64,
    next: u32,
    running: BTreeMap<u32, Grant>,
    waiting: BTreeMap<u32, Ticket>,
    /// Requests inside of the engine that wait for one of its slots.
    backlog: std::collections::VecDeque<u32>,
    busy: u32,
    tally: Tally,
}

impl Run {
    fn new(pool: Pool) -> Self {
        let room = pool.room();
        Self {
            pool,
            room,
            random: Random::new(11),
            events: BinaryHeap::new(),
            now_ns: 0,
            next: 0,
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
            backlog: std::collections::VecDeque::new(),
            busy: 0,
            tally: Tally::default(),
        }
    }

    /// Offers `times` the capacity for `seconds`, as a Poisson process, and counts that time.
    fn offer(&mut self, times: f64, seconds: u64) -> Tally {
        let mean_ns = SECOND as f64 / (self.pool.per_s() * times);
        let until_ns = self.now_ns + seconds * SECOND;
        self.events
            .retain(|Reverse((_, event))| *event != Event::Arrive);
        self.events.push(Reverse((self.now_ns, Event::Arrive)));
        self.tally = Tally::default();
        while let Some(&Reverse((at_ns, event))) = self.events.peek() {
            if at_ns >= until_ns {
                break;
            }
            self.events.pop();
            self.now_ns = at_ns;
            match event {
                Event::Arrive => {
                    self.arrive();
                    let gap_ns = -(1.0 - self.random.unit_f64()).ln() * mean_ns;
                    self.events
                        .push(Reverse((at_ns + gap_ns as u64, Event::Arrive)));
                }
                Event::Finish(index) => self.finish(index),
                Event::Expire(index) => {
                    if let Some(ticket) = self.waiting.remove(&index) {
                        assert!(self.room.abandon(ticket, at_ns));
                        self.tally.expired += 1;
                    }
                }
            }
        }
        self.now_ns = until_ns;
        std::mem::take(&mut self.tally)
    }

    fn arrive(&mut self) {
        let index = self.next;
        self.next += 1;
        self.tally.offered += 1;
        let ask = Ask {
            class: 1,
            excluded: &[],
            worker: WorkerId(0),
            exchange: ExchangeId {
                index,
                generation: 0,
            },
            held_bytes: 0,
            now_ns: self.now_ns,
            sequence: None,
        };
        match self.room.enter(&ask, &mut self.random) {
            Entered::Granted(grant) => self.start(index, grant),
            Entered::Queued { ticket, .. } => {
                self.waiting.insert(index, ticket);
                let expiry_ns = self.now_ns + self.pool.max_wait_ns;
                self.events.push(Reverse((expiry_ns, Event::Expire(index))));
            }
            Entered::Refused(_) => self.tally.shed += 1,
        }
    }

    fn start(&mut self, index: u32, grant: Grant) {
        self.tally.wait_ns_max = self.tally.wait_ns_max.max(grant.waited_ns);
        self.running.insert(index, grant);
        if self.busy < self.pool.slots {
            self.busy += 1;
            self.serve(index);
        } else {
            self.backlog.push_back(index);
        }
    }

    fn serve(&mut self, index: u32) {
        let service_ns = self.random.jitter(self.pool.service_ns, 0.5);
        self.events
            .push(Reverse((self.now_ns + service_ns, Event::Finish(index))));
    }

    fn finish(&mut self, index: u32) {
        self.tally.good += 1;
        match self.backlog.pop_front() {
            Some(next) => self.serve(next),
            None => self.busy -= 1,
        }
        let grant = self.running.remove(&index).expect("runs");
        let wake = self
            .room
            .leave(grant, Outcome::Success, self.now_ns, &mut self.random);
        for woken in wake {
            let index = woken.exchange.index;
            drop(self.waiting.remove(&index).expect("waits"));
            self.start(index, woken.grant);
        }
    }
}

fn pools() -> [(&'static str, Pool); 4] {
    let pool = |slots, service_ms, concurrency, capacity, max_wait_ms| Pool {
        slots,
        service_ns: service_ms * MS,
        concurrency,
        capacity,
        max_wait_ns: max_wait_ms * MS,
    };
    [
        ("permits are the bound", pool(16, 40, 16, 128, 2_000)),
        ("the engine queues inside", pool(16, 40, 256, 128, 2_000)),
        (
            "the channel is deep, the wait short",
            pool(16, 40, 16, 4_000, 500),
        ),
        (
            "long streams, few a second",
            pool(64, 10_000, 64, 128, 2_000),
        ),
    ]
}

#[test]
fn goodput_holds_at_ten_times_the_capacity() {
    for times in [2.0, 5.0, 10.0] {
        for (what, pool) in pools() {
            let (capacity, max_wait_ns) = (pool.per_s(), pool.max_wait_ns);
            let mut run = Run::new(pool);
            run.offer(times, 30);
            let tally = run.offer(times, 60);
            let good = f64::from(tally.good) / 60.0 / capacity;
            assert!(good > 0.9, "{what} at {times}: {good:.3} {tally:?}");
            assert!(tally.wait_ns_max <= max_wait_ns, "{what} {tally:?}");
            // What is let in is served: few stand in vain.
            let vain = f64::from(tally.expired) / f64::from(tally.good);
            assert!(
                vain < 0.1 || what.starts_with("long"),
                "{what} at {times}: {vain:.3} {tally:?}"
            );
        }
    }
}

#[test]
fn nothing_is_shed_below_the_capacity_nor_soon_after_an_overload() {
    for (what, pool) in pools() {
        let settle_s = (pool.service_ns / SECOND) * 2 + 5;
        let mut run = Run::new(pool);
        let before = run.offer(0.5, 30);
        assert_eq!((before.shed, before.expired), (0, 0), "{what}");
        run.offer(10.0, 30);
        run.offer(0.5, settle_s);
        let after = run.offer(0.5, 30);
        assert_eq!((after.shed, after.expired), (0, 0), "{what}");
        assert!(after.good > after.offered / 2, "{what}");
    }
}
