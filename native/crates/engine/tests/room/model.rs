//! The waiting room against a model that is too simple to be wrong.
//!
//! The model keeps who holds a permit of which endpoint and who waits, in a list. After every step
//! both must agree on who runs; the room's own invariants are asserted inside (debug builds).

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::clock::SECOND;
use engine::random::Random;
use engine::shared::{Ask, Entered, Grant, Outcome, Room, Ticket, Wake};
use proptest::prelude::*;

use super::{ask, config, room};

#[derive(Clone, Debug)]
enum Step {
    Enter {
        class: u8,
        excluded: Vec<u32>,
        again: bool,
    },
    /// The n-th of those who hold a permit leaves.
    Leave(usize, u8),
    /// The n-th waiter gives up.
    Abandon(usize),
    /// The n-th grant that is on its way meets a dead exchange.
    Lose(usize),
    Pass(u64),
    Resize(Vec<u32>),
}

fn step() -> impl Strategy<Value = Step> {
    let excluded = prop::collection::vec(0..3_u32, 0..3);
    prop_oneof![
        6 => (0..3_u8, prop_oneof![3 => Just(vec![]), 1 => excluded], any::<bool>())
            .prop_map(|(class, excluded, again)| Step::Enter { class, excluded, again }),
        5 => (any::<usize>(), 0..4_u8).prop_map(|(n, outcome)| Step::Leave(n, outcome)),
        2 => any::<usize>().prop_map(Step::Abandon),
        1 => any::<usize>().prop_map(Step::Lose),
        1 => (0..3 * SECOND).prop_map(Step::Pass),
        1 => prop::collection::vec(0..4_u32, 3).prop_map(Step::Resize),
    ]
}

struct Waiting {
    order: (u8, u64),
    excluded: Vec<u32>,
    ticket: Ticket,
}

/// Who runs and who waits, by exchange.
struct Model {
    room: Arc<Room>,
    concurrency: Vec<u32>,
    running: BTreeMap<u32, (Grant, u8)>,
    waiting: BTreeMap<u32, Waiting>,
    random: Random,
    now_ns: u64,
    next: u32,
    last_sequence: Option<u64>,
    ended: u32,
}

impl Model {
    fn enter(&mut self, class: u8, excluded: Vec<u32>, again: bool) {
        let index = self.next;
        self.next += 1;
        let sequence = self.last_sequence.take().filter(|_| again);
        let asked = Ask {
            class,
            excluded: &excluded,
            sequence,
            ..ask(index, self.now_ns)
        };
        match self.room.enter(&asked, &mut self.random) {
            Entered::Granted(grant) => {
                // No waiter of the same or a higher class that came before could have had it.
                let order = (class, sequence.unwrap_or(u64::MAX));
                let slot = grant.endpoint.slot;
                let mut queue: Vec<_> = self.waiting.values().collect();
                queue.sort_by_key(|waiting| waiting.order);
                let head = queue.into_iter().take(16).take_while(|w| w.order < order);
                for waiting in head {
                    assert!(waiting.excluded.contains(&slot), "overtook");
                }
                self.run(index, class, grant);
            }
            Entered::Queued {
                ticket,
                sequence,
                pump,
                depth,
            } => {
                let order = (class, sequence);
                self.waiting.insert(
                    index,
                    Waiting {
                        order,
                        excluded,
                        ticket,
                    },
                );
                assert_eq!(depth as usize, self.waiting.len());
                if pump {
                    let wake = self.room.pump(self.now_ns, &mut self.random);
                    assert!(!wake.is_empty());
                    self.wake(wake);
                }
            }
            Entered::Refused(refusal) => {
                assert!((1..=120_000).contains(&refusal.retry_after_ms));
                assert_eq!(refusal.depth as usize, self.waiting.len());
                self.ended += 1;
            }
        }
    }

    fn run(&mut self, index: u32, class: u8, grant: Grant) {
        assert!(
            self.running.insert(index, (grant, class)).is_none(),
            "granted twice"
        );
    }

    fn wake(&mut self, wake: Wake) {
        for woken in wake {
            let index = woken.exchange.index;
            let waiting = self
                .waiting
                .remove(&index)
                .expect("woke somebody who waits");
            let slot = woken.grant.endpoint.slot;
            assert!(
                !waiting.excluded.contains(&slot),
                "granted what was excluded"
            );
            let mut before: Vec<_> = self
                .waiting
                .values()
                .filter(|w| w.order < waiting.order)
                .collect();
            before.sort_by_key(|w| w.order);
            assert!(before.len() < 16 && before.iter().all(|w| w.excluded.contains(&slot)));
            self.run(index, waiting.order.0, woken.grant);
        }
    }

    fn leave(&mut self, n: usize, outcome: u8) {
        let Some(index) = nth(&self.running, n) else {
            return;
        };
        let (grant, _) = self.running.remove(&index).expect("runs");
        let outcome = [
            Outcome::Success,
            Outcome::Failure,
            Outcome::ConnectError,
            Outcome::Neutral,
        ][usize::from(outcome)];
        self.last_sequence = Some(grant.sequence);
        let wake = self
            .room
            .leave(grant, outcome, self.now_ns, &mut self.random);
        self.ended += 1;
        self.wake(wake);
    }

    fn abandon(&mut self, n: usize) {
        let Some(index) = nth(&self.waiting, n) else {
            return;
        };
        let waiting = self.waiting.remove(&index).expect("waits");
        assert!(
            self.room.abandon(waiting.ticket, self.now_ns),
            "it was still there"
        );
        self.ended += 1;
    }

    fn lose(&mut self, n: usize) {
        let Some(index) = nth(&self.running, n) else {
            return;
        };
        drop(self.running.remove(&index));
        self.ended += 1;
        let wake = self.room.pump(self.now_ns, &mut self.random);
        self.wake(wake);
    }

    fn resize(&mut self, concurrency: Vec<u32>) {
        let endpoints = self.room.configure(&config(&concurrency, 6), self.now_ns);
        assert!(
            endpoints
                .iter()
                .enumerate()
                .all(|(at, e)| e.slot as usize == at)
        );
        self.concurrency = concurrency;
        let wake = self.room.pump(self.now_ns, &mut self.random);
        self.wake(wake);
    }

    fn check(&self, grew: bool) {
        let view = self.room.snapshot(self.now_ns);
        assert_eq!(view.depth as usize, self.waiting.len());
        for endpoint in &view.endpoints {
            let held = self
                .running
                .values()
                .filter(|(g, _)| g.endpoint.slot == endpoint.slot);
            assert_eq!(
                held.count() as u32,
                endpoint.in_flight,
                "permits are conserved"
            );
            let most = self.concurrency[endpoint.slot as usize];
            assert!(
                !grew || endpoint.in_flight <= most,
                "beyond its concurrency"
            );
        }
        let alive = self.running.len() + self.waiting.len();
        assert_eq!(
            alive as u32 + self.ended,
            self.next,
            "every request ends exactly once"
        );
    }
}

fn nth<V>(map: &BTreeMap<u32, V>, n: usize) -> Option<u32> {
    let at = n.checked_rem(map.len())?;
    map.keys().nth(at).copied()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn agrees_with_the_model(seed in any::<u64>(), steps in prop::collection::vec(step(), 1..100)) {
        let concurrency = vec![2, 1, 3];
        let (room, _) = room(&config(&concurrency, 6));
        let mut model = Model {
            room,
            concurrency,
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
            random: Random::new(seed),
            now_ns: 0,
            next: 0,
            last_sequence: None,
            ended: 0,
        };
        let mut shrunk = false;
        for step in steps {
            match step {
                Step::Enter { class, excluded, again } => model.enter(class, excluded, again),
                Step::Leave(n, outcome) => model.leave(n, outcome),
                Step::Abandon(n) => model.abandon(n),
                Step::Lose(n) => model.lose(n),
                Step::Pass(ns) => model.now_ns += ns,
                Step::Resize(concurrency) => {
                    shrunk = true;
                    model.resize(concurrency);
                }
            }
            model.check(!shrunk);
        }
        // Everybody leaves: whoever waited and could go went, and nothing is left behind.
        for n in 0..model.waiting.len() {
            model.abandon(n);
            model.abandon(0);
        }
        while !model.running.is_empty() {
            model.leave(0, 3);
        }
        while !model.waiting.is_empty() {
            model.abandon(0);
        }
        prop_assert!(model.room.quiet());
        model.check(true);
    }
}
