use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn key(n: u32) -> TimerKey {
    TimerKey::Conn(ConnId {
        index: n,
        generation: 0,
    })
}

fn fire_all(timers: &mut Timers, now_ns: u64) -> Vec<TimerKey> {
    std::iter::from_fn(|| timers.expired(now_ns)).collect()
}

#[test]
fn never_early_and_at_most_a_tick_late() {
    let mut timers = Timers::new(0);
    let mut slot = TimerSlot::default();
    timers.arm(&mut slot, key(1), 10 * MS + 1);
    assert_eq!(timers.expired(10 * MS + 1), None);
    assert_eq!(timers.expired(11 * MS - 1), None);
    assert_eq!(timers.expired(11 * MS), Some(key(1)));
    assert!(!timers.is_armed(&slot) && timers.is_empty());
    assert_eq!(timers.next(), None);
}

#[test]
fn a_later_deadline_is_lazy_and_an_earlier_one_moves() {
    let mut timers = Timers::new(0);
    let mut slot = TimerSlot::default();
    timers.arm(&mut slot, key(1), 50 * MS);
    timers.arm(&mut slot, key(1), 500 * MS);
    assert_eq!((timers.len(), timers.next()), (1, Some(50 * MS)));
    timers.arm(&mut slot, key(1), 20 * MS);
    assert_eq!(fire_all(&mut timers, 20 * MS), [key(1)]);
    // Fired: the owner arms for its true deadline.
    timers.arm(&mut slot, key(1), 500 * MS);
    assert_eq!(fire_all(&mut timers, 499 * MS), []);
    assert_eq!(fire_all(&mut timers, 500 * MS), [key(1)]);
}

#[test]
fn a_stale_slot_does_not_cancel_the_next_tenant() {
    let mut timers = Timers::new(0);
    let (mut old, mut new) = (TimerSlot::default(), TimerSlot::default());
    timers.arm(&mut old, key(1), MS);
    assert_eq!(fire_all(&mut timers, MS), [key(1)]);
    timers.arm(&mut new, key(2), 5 * MS);
    timers.cancel(&mut old);
    assert!(timers.is_armed(&new));
    timers.cancel(&mut new);
    timers.cancel(&mut new);
    assert!(timers.is_empty());
}

#[test]
fn what_is_already_due_fires_at_once() {
    let mut timers = Timers::new(1_000 * MS);
    let mut slot = TimerSlot::default();
    timers.arm(&mut slot, key(1), 0);
    assert_eq!(timers.next(), Some(1_000 * MS));
    assert_eq!(timers.expired(1_000 * MS), Some(key(1)));
}

#[test]
fn deadlines_beyond_the_wheel_do_not_fire_early() {
    let mut timers = Timers::new(5 * MS);
    let mut slot = TimerSlot::default();
    let far_ns = (3 * SPAN_TICKS + 17) * MS;
    timers.arm(&mut slot, key(1), far_ns);
    let mut wakes = 0;
    while let Some(at_ns) = timers.next().filter(|&at| at < far_ns) {
        assert_eq!(timers.expired(at_ns), None);
        timers.invariants();
        wakes += 1;
        assert!(wakes < 100);
    }
    assert_eq!(timers.expired(far_ns - 1), None);
    assert_eq!(timers.expired(far_ns), Some(key(1)));
    timers.arm(&mut slot, key(1), u64::MAX);
    assert_eq!(timers.expired(far_ns + 1), None);
    timers.cancel(&mut slot);
}

#[derive(Clone, Debug)]
enum Step {
    Arm(usize, u64),
    Cancel(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let span_ns = prop_oneof![0..200 * MS, 0..10_000 * MS, 0..10_000_000 * MS];
    prop_oneof![
        4 => (0..24_usize, span_ns.clone()).prop_map(|(owner, ns)| Step::Arm(owner, ns)),
        1 => (0..24_usize).prop_map(Step::Cancel),
        3 => span_ns.prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The model: a map from owner to the tick at which it fires.
    #[test]
    fn agrees_with_a_sorted_map(
        start in 0..u64::from(u32::MAX),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut now_ns = start;
        let mut timers = Timers::new(now_ns);
        let mut slots: Vec<_> = (0..24).map(|_| TimerSlot::default()).collect();
        let mut model: BTreeMap<usize, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Arm(owner, after_ns) => {
                    let deadline_ns = now_ns + after_ns;
                    timers.arm(&mut slots[owner], key(owner as u32), deadline_ns);
                    let tick = deadline_ns.div_ceil(MS);
                    let due = model.entry(owner).or_insert(tick);
                    *due = tick.min(*due);
                }
                Step::Cancel(owner) => {
                    timers.cancel(&mut slots[owner]);
                    model.remove(&owner);
                }
                Step::Pass(ns) => {
                    let earliest = model.values().min().copied();
                    match (timers.next(), earliest) {
                        (Some(next), Some(tick)) => prop_assert!(next <= (tick * MS).max(now_ns)),
                        (next, tick) => prop_assert_eq!(next.is_some(), tick.is_some()),
                    }
                    now_ns += ns;
                    let mut fired = fire_all(&mut timers, now_ns);
                    fired.sort_unstable();
                    let due = |_: &usize, tick: &mut u64| *tick <= now_ns / MS;
                    let want = model.extract_if(.., due).map(|(owner, _)| key(owner as u32));
                    let want: Vec<_> = want.collect();
                    prop_assert_eq!(fired, want);
                }
            }
            timers.invariants();
            prop_assert_eq!(timers.len(), model.len());
            for (owner, slot) in slots.iter().enumerate() {
                prop_assert_eq!(timers.is_armed(slot), model.contains_key(&owner));
            }
        }
    }
}
