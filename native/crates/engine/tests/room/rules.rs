//! The rules, one test each.

use engine::clock::{MS, SECOND};
use engine::ids::WorkerId;
use engine::random::Random;
use engine::shared::{Ask, Entered, Grant, Outcome, Refusal, RefusalReason, Room, Ticket, Wake};

use super::{ask, config, room};

fn granted(entered: Entered) -> Grant {
    match entered {
        Entered::Granted(grant) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

fn queued(entered: Entered) -> Ticket {
    match entered {
        Entered::Queued { ticket, .. } => ticket,
        other => panic!("not queued: {other:?}"),
    }
}

fn refused(entered: Entered) -> Refusal {
    match entered {
        Entered::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn one(wake: Wake) -> (u32, Grant) {
    assert_eq!(wake.len(), 1);
    let woken = wake.into_iter().next().expect("one");
    (woken.exchange.index, woken.grant)
}

#[test]
fn a_permit_goes_to_the_head_and_newcomers_queue_behind() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[1], 2));
    let first = granted(room.enter(&ask(0, 0), &mut random));
    let _second = queued(room.enter(&ask(1, 0), &mut random));
    let third = queued(room.enter(&ask(2, 0), &mut random));
    let refusal = refused(room.enter(&ask(3, 0), &mut random));
    assert_eq!(refusal.reason, RefusalReason::Full);
    assert_eq!((refusal.depth, refusal.capacity), (2, 2));
    assert!(
        (800..=2_400).contains(&refusal.retry_after_ms),
        "{}",
        refusal.retry_after_ms
    );

    let (next, grant) = one(room.leave(first, Outcome::Success, 7 * MS, &mut random));
    assert_eq!((next, grant.waited_ns), (1, 7 * MS));
    assert!(room.abandon(third, 0));
    assert!(
        room.leave(grant, Outcome::Success, 8 * MS, &mut random)
            .is_empty()
    );
    assert!(room.quiet());
}

#[test]
fn a_ticket_whose_grant_is_on_its_way_cannot_be_abandoned() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[1], 2));
    let first = granted(room.enter(&ask(0, 0), &mut random));
    let ticket = queued(room.enter(&ask(1, 0), &mut random));
    let (_, grant) = one(room.leave(first, Outcome::Neutral, 0, &mut random));
    assert!(!room.abandon(ticket, 0));
    // The grant arrives at nobody: it is returned through the room that it names.
    let home = grant.room().expect("the room lives");
    assert!(
        home.leave(grant, Outcome::Neutral, 0, &mut random)
            .is_empty()
    );
    assert!(room.quiet());
}

#[test]
fn classes_overtake_but_not_their_equals() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[1], 8));
    let mut grant = granted(room.enter(&ask(0, 0), &mut random));
    let classes = [(1, 2), (2, 1), (3, 0), (4, 1), (5, 0)];
    let _tickets: Vec<_> = classes
        .iter()
        .map(|&(n, class)| queued(room.enter(&Ask { class, ..ask(n, 0) }, &mut random)))
        .collect();
    for want in [3, 5, 2, 4, 1] {
        let (next, given) = one(room.leave(grant, Outcome::Success, 0, &mut random));
        assert_eq!(next, want);
        grant = given;
    }
    assert!(
        room.leave(grant, Outcome::Success, 0, &mut random)
            .is_empty()
    );
}

#[test]
fn an_endpoint_permit_goes_to_the_first_that_may_use_it() {
    let mut random = Random::new(1);
    let (room, endpoints) = room(&config(&[1, 1], 8));
    let grants = [0, 1].map(|n| granted(room.enter(&ask(n, 0), &mut random)));
    let [a, b] = grants;
    let (a, b) = if a.endpoint.slot == 0 { (a, b) } else { (b, a) };
    assert_eq!(
        (a.endpoint.slot, b.endpoint.slot, endpoints.len()),
        (0, 1, 2)
    );
    let _t2 = queued(room.enter(
        &Ask {
            excluded: &[0],
            ..ask(2, 0)
        },
        &mut random,
    ));
    let _t3 = queued(room.enter(&ask(3, 0), &mut random));
    // Slot 0 comes free: the head excluded it, the next one takes it.
    let (next, a) = one(room.leave(a, Outcome::Success, 0, &mut random));
    assert_eq!((next, a.endpoint.slot), (3, 0));
    // It comes free again: the only waiter cannot use it, so a newcomer may.
    assert!(room.leave(a, Outcome::Success, 0, &mut random).is_empty());
    let newcomer = granted(room.enter(&ask(4, 0), &mut random));
    let (next, b) = one(room.leave(b, Outcome::Success, 0, &mut random));
    assert_eq!((next, b.endpoint.slot), (2, 1));
    let refusal = refused(room.enter(
        &Ask {
            excluded: &[0, 1],
            ..ask(5, 0)
        },
        &mut random,
    ));
    assert_eq!(refusal.reason, RefusalReason::NoEndpoint);
    drop((newcomer, b));
    assert!(room.quiet());
}

#[test]
fn a_retry_keeps_its_place() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[1, 1], 8));
    let a = granted(room.enter(&ask(0, 0), &mut random));
    let b = granted(room.enter(&ask(1, 0), &mut random));
    let _t2 = queued(room.enter(&ask(2, 0), &mut random));
    // Request 0 fails and asks again, before request 2, which came later.
    let (sequence, excluded) = (a.sequence, [a.endpoint.slot]);
    let (next, a) = one(room.leave(a, Outcome::Failure, 0, &mut random));
    assert_eq!(next, 2);
    let _t3 = queued(room.enter(&ask(3, 0), &mut random));
    let again = Ask {
        excluded: &excluded,
        sequence: Some(sequence),
        ..ask(0, 0)
    };
    let _t0 = queued(room.enter(&again, &mut random));
    let (next, b) = one(room.leave(b, Outcome::Success, 0, &mut random));
    assert_eq!((next, b.sequence), (0, sequence));
    drop((a, b));
}

#[test]
fn dropped_grants_come_back_and_are_counted() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[1], 8));
    let grant = granted(room.enter(&ask(0, 0), &mut random));
    let _t1 = queued(room.enter(
        &Ask {
            worker: WorkerId(1),
            ..ask(1, 0)
        },
        &mut random,
    ));
    let _t2 = queued(room.enter(&ask(2, 0), &mut random));
    drop(grant);
    assert_eq!(room.snapshot(0).permits_lost_total, 1);
    // Nobody was told yet; the next newcomer sees it and asks for a pump.
    let entered = room.enter(&ask(3, 0), &mut random);
    assert!(matches!(entered, Entered::Queued { pump: true, .. }));
    // Worker 1 died: its waiter is skipped.
    let (next, grant) = one(room.forget_worker(WorkerId(1), 0, &mut random));
    assert_eq!(next, 2);
    let (next, grant) = one(room.leave(grant, Outcome::Success, 0, &mut random));
    assert_eq!(next, 3);
    drop(grant);
    drop(entered);
    assert!(room.quiet());
}

#[test]
fn more_capacity_lets_waiters_go_on_and_less_keeps_them() {
    let mut random = Random::new(1);
    let (room, before) = room(&config(&[1], 8));
    let grant = granted(room.enter(&ask(0, 0), &mut random));
    let _tickets: Vec<_> = (1..5)
        .map(|n| queued(room.enter(&ask(n, 0), &mut random)))
        .collect();
    let after = room.configure(&config(&[2, 1], 1), 0);
    assert_eq!((before[0].slot, after[0].slot, after[1].slot), (0, 0, 1));
    let woken: Vec<_> = room.pump(0, &mut random).into_iter().collect();
    assert_eq!(
        woken.iter().map(|w| w.exchange.index).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(room.snapshot(0).depth, 2);
    assert_eq!(
        refused(room.enter(&ask(9, 0), &mut random)).reason,
        RefusalReason::Full
    );
    // The first endpoint goes: what runs there finishes, its permits are not given again.
    let mut second_only = config(&[2, 1], 8);
    second_only.endpoints.remove(0);
    let after = room.configure(&second_only, 0);
    assert_eq!((after.len(), after[0].slot), (1, 1));
    let view = room.snapshot(0);
    assert_eq!((view.endpoints.len(), view.endpoints[0].active), (2, false));
    let (on_first, on_second): (Vec<_>, Vec<_>) = woken
        .into_iter()
        .map(|w| w.grant)
        .partition(|g| g.endpoint.slot == 0);
    for grant in on_first.into_iter().chain([grant]) {
        assert!(
            room.leave(grant, Outcome::Success, 0, &mut random)
                .is_empty()
        );
    }
    let mut wakes = on_second
        .into_iter()
        .map(|g| room.leave(g, Outcome::Success, 0, &mut random));
    let (next, grant) = one(wakes.next().expect("one ran there"));
    assert_eq!((next, grant.endpoint.slot), (3, 1));
    drop(grant);
}

#[test]
fn slots_are_reused_only_when_nobody_refers_to_them() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[1], 8));
    let grant = granted(room.enter(&ask(0, 0), &mut random));
    let renamed = |name: &str| {
        let mut config = config(&[1], 8);
        config.endpoints[0].name = name.to_owned();
        config
    };
    assert_eq!(room.configure(&renamed("http://x"), 0)[0].slot, 1);
    assert!(
        room.leave(grant, Outcome::Success, 0, &mut random)
            .is_empty()
    );
    assert_eq!(room.configure(&renamed("http://y"), 0)[0].slot, 0);
    let view = room.snapshot(0);
    assert_eq!(
        (view.endpoints.len(), view.endpoints[0].requests_total),
        (1, 0)
    );
}

#[test]
fn bytes_bound_the_queue_too() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[1], 8));
    let grant = granted(room.enter(
        &Ask {
            held_bytes: 5_000,
            ..ask(0, 0)
        },
        &mut random,
    ));
    let _t1 = queued(room.enter(
        &Ask {
            held_bytes: 900,
            ..ask(1, 0)
        },
        &mut random,
    ));
    let full = refused(room.enter(
        &Ask {
            held_bytes: 200,
            ..ask(2, 0)
        },
        &mut random,
    ));
    assert_eq!(full.reason, RefusalReason::Full);
    drop(grant);
}

#[test]
fn the_drain_rate_predicts_and_refuses() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[10], 128));
    let mut now_ns = 0;
    let mut running: Vec<Grant> = (0..10)
        .map(|n| granted(room.enter(&ask(n, 0), &mut random)))
        .collect();
    // Nothing is known yet: whoever comes may wait while there is room.
    let mut tickets: Vec<_> = (10..70)
        .map(|n| queued(room.enter(&ask(n, now_ns), &mut random)))
        .collect();
    // Ten a second leave: 100 ms each.
    for n in 0..60 {
        now_ns += 100 * MS;
        let (_, next) = one(room.leave(running.remove(0), Outcome::Success, now_ns, &mut random));
        running.push(next);
        tickets.push(queued(room.enter(
            &Ask {
                sequence: Some(n),
                ..ask(n as u32, now_ns)
            },
            &mut random,
        )));
    }
    let view = room.snapshot(now_ns);
    let rate = view.drain_per_s.expect("known by now");
    assert!((9.0..11.0).contains(&rate), "{rate}");
    // 60 waiters at ten a second are six seconds; `max_wait` is two.
    let refusal = refused(room.enter(&ask(1_000, now_ns), &mut random));
    assert_eq!(refusal.reason, RefusalReason::Hopeless);
    assert!(
        (5_500..6_700).contains(&refusal.wait_estimate_ms),
        "{refusal:?}"
    );
    assert!(
        (4_400..8_000).contains(&refusal.retry_after_ms),
        "{refusal:?}"
    );
    let rate = room.rate(now_ns);
    assert_eq!((rate.limit, rate.remaining), (128, 68));
    assert!((6..=7).contains(&rate.reset_s));
    // A high class has nobody before it; a retry is never hopeless.
    let _high = queued(room.enter(
        &Ask {
            class: 0,
            ..ask(1_001, now_ns)
        },
        &mut random,
    ));
    let retry = Ask {
        sequence: Some(3),
        ..ask(1_002, now_ns)
    };
    let _retry = queued(room.enter(&retry, &mut random));
    drop(running);
}

#[test]
fn a_slow_hour_does_not_look_like_a_slow_pool() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[2], 128));
    let mut now_ns = 0;
    // One request a second, never saturated: that says nothing about what the pool can do.
    for n in 0..3_600 {
        let grant = granted(room.enter(&ask(n, now_ns), &mut random));
        now_ns += SECOND;
        assert!(
            room.leave(grant, Outcome::Success, now_ns, &mut random)
                .is_empty()
        );
    }
    assert_eq!(room.snapshot(now_ns).drain_per_s, None);
    let running: Vec<_> = (0..2)
        .map(|n| granted(room.enter(&ask(n, now_ns), &mut random)))
        .collect();
    let _tickets: Vec<_> = (0..128)
        .map(|n| queued(room.enter(&ask(n, now_ns), &mut random)))
        .collect();
    drop(running);
}

#[test]
fn a_stalled_pool_becomes_hopeless_and_its_delay_is_bounded() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[1], 128));
    let running = granted(room.enter(&ask(0, 0), &mut random));
    let _tickets: Vec<_> = (1..9)
        .map(|n| queued(room.enter(&ask(n, 0), &mut random)))
        .collect();
    for now_ns in [3 * SECOND, 600 * SECOND, 1 << 60, u64::MAX] {
        let refusal = refused(room.enter(&ask(10, now_ns), &mut random));
        assert_eq!(refusal.reason, RefusalReason::Hopeless);
        assert!((1..=120_000).contains(&refusal.retry_after_ms));
        assert!((1..=120_000).contains(&room.retry_after_ms(now_ns, &mut random)));
    }
    drop(running);
}

fn fail(room: &Room, times: u32, now_ns: u64, random: &mut Random) -> bool {
    let mut ejected = false;
    for n in 0..times {
        let grant = granted(room.enter(
            &Ask {
                excluded: &[1],
                ..ask(n, now_ns)
            },
            random,
        ));
        assert_eq!(grant.endpoint.slot, 0);
        ejected |= room.leave(grant, Outcome::Failure, now_ns, random).ejected;
    }
    ejected
}

#[test]
fn failures_in_a_row_eject_and_one_trial_at_a_time_brings_back() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[4, 4], 8));
    let on_first = |now_ns| Ask {
        excluded: &[1],
        ..ask(9, now_ns)
    };
    assert!(!fail(&room, 2, 0, &mut random));
    let good = granted(room.enter(&on_first(0), &mut random));
    assert!(!room.leave(good, Outcome::Success, 0, &mut random).ejected);
    let old = granted(room.enter(&on_first(0), &mut random));
    assert!(!fail(&room, 2, 0, &mut random) && fail(&room, 1, 5, &mut random));
    // Out for a second: a retry that excluded the other has nowhere to go.
    let refusal = refused(room.enter(&on_first(6), &mut random));
    assert_eq!(refusal.reason, RefusalReason::NoEndpoint);
    assert!((800..=1_200).contains(&refusal.retry_after_ms));
    assert_eq!(room.snapshot(6).endpoints[0].ejected_ms_left, 1_000);
    // What was sent there before the ejection proves nothing.
    let _ = room.leave(old, Outcome::Success, 7, &mut random);
    assert!(room.snapshot(7).endpoints[0].ejected_ms_left > 0);
    // Half open: one trial; a second one waits for it.
    let after = SECOND + 5;
    let trial = granted(room.enter(&on_first(after), &mut random));
    let ticket = queued(room.enter(&on_first(after), &mut random));
    assert!(room.abandon(ticket, after));
    assert!(
        room.leave(trial, Outcome::ConnectError, after, &mut random)
            .ejected
    );
    assert_eq!(room.snapshot(after).endpoints[0].ejected_ms_left, 2_000);
    // A trial whose client left leaves it half open; a success brings it back.
    let after = after + 2 * SECOND;
    let trial = granted(room.enter(&on_first(after), &mut random));
    assert!(
        room.leave(trial, Outcome::Neutral, after, &mut random)
            .is_empty()
    );
    assert!(room.snapshot(after).endpoints[0].on_trial);
    let trial = granted(room.enter(&on_first(after), &mut random));
    assert!(
        !room
            .leave(trial, Outcome::Success, after, &mut random)
            .ejected
    );
    let all: Vec<_> = (0..4)
        .map(|_| granted(room.enter(&on_first(after), &mut random)))
        .collect();
    drop(all);
}

#[test]
fn the_floor_keeps_half_of_the_pool() {
    let mut random = Random::new(1);
    for (count, most) in [(1, 0), (2, 1), (3, 1), (5, 2)] {
        let (room, _) = room(&config(&vec![8; count], 8));
        let mut ejected = 0;
        for _ in 0..20 * count {
            let grant = granted(room.enter(&ask(0, 0), &mut random));
            ejected += usize::from(
                room.leave(grant, Outcome::ConnectError, 0, &mut random)
                    .ejected,
            );
        }
        assert_eq!(ejected, most, "of {count}");
    }
}

#[test]
fn an_ended_ejection_is_seen_by_the_next_newcomer_who_does_not_overtake() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[1, 1], 8));
    assert!(fail(&room, 3, 0, &mut random));
    let busy = granted(room.enter(&ask(0, 0), &mut random));
    assert_eq!(busy.endpoint.slot, 1);
    let _t1 = queued(room.enter(&ask(1, 0), &mut random));
    let entered = room.enter(&ask(2, SECOND), &mut random);
    assert!(matches!(entered, Entered::Queued { pump: true, .. }));
    let (next, trial) = one(room.pump(SECOND, &mut random));
    assert_eq!((next, trial.endpoint.slot), (1, 0));
    drop((busy, trial, entered));
}

#[test]
fn the_retry_budget_is_a_share_and_a_minimum() {
    let mut random = Random::new(1);
    let (room, _) = room(&config(&[1_000], 8));
    // A minimum of one a second: ten in the window.
    assert_eq!((0..50).filter(|_| room.retry_permitted(0)).count(), 10);
    let grants: Vec<_> = (0..100)
        .map(|n| granted(room.enter(&ask(n, 0), &mut random)))
        .collect();
    assert_eq!((0..50).filter(|_| room.retry_permitted(SECOND)).count(), 20);
    // Ten seconds later all of it is forgotten.
    assert_eq!(
        (0..50)
            .filter(|_| room.retry_permitted(20 * SECOND))
            .count(),
        10
    );
    drop(grants);
}
