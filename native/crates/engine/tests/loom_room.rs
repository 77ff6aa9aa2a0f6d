//! Every interleaving of two workers at one waiting room, with loom.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p engine --test loom_room --release`. What is shown: a
//! permit is never lost and never doubled, whoever abandons, dies or comes anew meanwhile. The
//! mailbox is a model of the reactor's: a locked queue and a flag that both sides swap.
#![cfg(loom)]
#![allow(missing_docs)]

use std::collections::VecDeque;
use std::sync::Arc;

use engine::ids::{ExchangeId, WorkerId};
use engine::random::Random;
use engine::shared::{Ask, Entered, Grant, Outcome, Room, RoomConfig, Ticket, Wake, Woken};
use engine::snapshot::plan::{Address, Balance, ChannelPlan, EjectPlan, EndpointPlan, RetryPlan};
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// One endpoint, one permit.
fn room() -> Arc<Room> {
    let config = RoomConfig {
        balance: Balance::LeastLoaded,
        endpoints: vec![EndpointPlan {
            http2: engine::snapshot::Http2::default(),
            name: "http://e".to_owned(),
            address: Address::Tcp(([127, 0, 0, 1], 80).into()),
            authority: "e".to_owned(),
            path_prefix: String::new(),
            weight: 1,
            concurrency: 1,
            tls: None,
        }],
        channel: ChannelPlan {
            capacity: 4,
            bytes_max: 0,
            max_wait_ms: 1_000,
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
    let room = Arc::new(Room::new("pool"));
    room.configure(&config, 0);
    room
}

fn enter(room: &Room, worker: u16, index: u32) -> Entered {
    let ask = Ask {
        class: 1,
        excluded: &[],
        worker: WorkerId(worker),
        exchange: ExchangeId {
            index,
            generation: 0,
        },
        held_bytes: 0,
        now_ns: 0,
        sequence: None,
    };
    room.enter(&ask, &mut Random::new(1))
}

fn granted(entered: Entered) -> Grant {
    match entered {
        Entered::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

fn queued(entered: Entered) -> Ticket {
    match entered {
        Entered::Queued { ticket, .. } => ticket,
        other => panic!("{other:?}"),
    }
}

fn leave(room: &Room, grant: Grant) -> Wake {
    room.leave(grant, Outcome::Neutral, 0, &mut Random::new(1))
}

/// A worker's mailbox, and whether its poller was woken.
struct Mailbox {
    letters: Mutex<Option<VecDeque<Woken>>>,
    signalled: AtomicBool,
    woken: AtomicBool,
}

impl Mailbox {
    fn new() -> Self {
        Self {
            letters: Mutex::new(Some(VecDeque::new())),
            signalled: AtomicBool::new(false),
            woken: AtomicBool::new(false),
        }
    }

    /// To a closed mailbox the letter is dropped: the net returns its permit.
    fn send(&self, letter: Woken) {
        let undelivered = match &mut *self.letters.lock().unwrap() {
            Some(letters) => {
                letters.push_back(letter);
                None
            }
            None => Some(letter),
        };
        let closed = undelivered.is_some();
        drop(undelivered);
        if !closed && !self.signalled.swap(true, Ordering::AcqRel) {
            self.woken.store(true, Ordering::Release);
        }
    }

    fn take(&self) -> VecDeque<Woken> {
        if !self.signalled.swap(false, Ordering::AcqRel) {
            return VecDeque::new();
        }
        self.letters
            .lock()
            .unwrap()
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn close(&self) -> Option<VecDeque<Woken>> {
        self.letters.lock().unwrap().take()
    }
}

/// The permit is there, once.
fn check_one_permit(room: &Room) {
    assert!(room.quiet(), "a permit or a waiter was left behind");
    let grant = granted(enter(room, 0, 90));
    let ticket = queued(enter(room, 0, 91));
    assert!(room.abandon(ticket, 0));
    assert!(leave(room, grant).is_empty());
}

/// The owner leaves while the waiter gives up: exactly one of them has the permit last.
#[test]
fn leave_against_abandon() {
    loom::model(|| {
        let room = room();
        let grant = granted(enter(&room, 0, 0));
        let ticket = queued(enter(&room, 1, 1));
        let owner = {
            let room = Arc::clone(&room);
            thread::spawn(move || leave(&room, grant))
        };
        let gone = room.abandon(ticket, 0);
        let woken: Vec<_> = owner.join().unwrap().into_iter().collect();
        assert_eq!(
            woken.len(),
            usize::from(!gone),
            "a grant for a waiter that left, or none"
        );
        for woken in woken {
            assert!(leave(&room, woken.grant).is_empty());
        }
        check_one_permit(&room);
    });
}

/// The owner leaves while a newcomer enters: it runs, or it is woken; never neither.
#[test]
fn leave_against_enter() {
    loom::model(|| {
        let room = room();
        let grant = granted(enter(&room, 0, 0));
        let owner = {
            let room = Arc::clone(&room);
            thread::spawn(move || leave(&room, grant))
        };
        let entered = enter(&room, 1, 1);
        let mut wake = owner.join().unwrap().into_iter();
        let own = match entered {
            Entered::Granted(grant) => {
                assert!(wake.next().is_none(), "doubled");
                grant
            }
            Entered::Queued { pump, .. } => {
                assert!(!pump);
                wake.next().expect("lost").grant
            }
            Entered::Refused(refusal) => panic!("{refusal:?}"),
        };
        assert!(leave(&room, own).is_empty());
        check_one_permit(&room);
    });
}

/// The whole hand-over: worker 0 leaves and posts the permit to worker 1, which abandons its
/// waiter, then reads its mail and returns what it cannot use.
#[test]
fn hand_over_by_mail_to_a_waiter_that_gave_up() {
    loom::model(|| {
        let room = room();
        let mailbox = Arc::new(Mailbox::new());
        let grant = granted(enter(&room, 0, 0));
        let ticket = queued(enter(&room, 1, 1));
        let worker_0 = {
            let (room, mailbox) = (Arc::clone(&room), Arc::clone(&mailbox));
            thread::spawn(move || {
                leave(&room, grant)
                    .into_iter()
                    .for_each(|w| mailbox.send(w))
            })
        };
        let gone = room.abandon(ticket, 0);
        let mut returned = 0;
        for woken in mailbox.take() {
            returned += 1;
            assert!(leave(&room, woken.grant).is_empty());
        }
        worker_0.join().unwrap();
        // The poller looks again because it was woken.
        if mailbox.woken.load(Ordering::Acquire) {
            for woken in mailbox.take() {
                returned += 1;
                assert!(leave(&room, woken.grant).is_empty());
            }
        }
        assert_eq!(returned, usize::from(!gone));
        check_one_permit(&room);
    });
}

/// Worker 1 dies with a waiter in the queue: its mailbox closes, letters are dropped, its waiters
/// are forgotten. The other waiter, of worker 0, gets the permit in the end.
#[test]
fn a_worker_dies_while_its_waiter_is_granted() {
    loom::model(|| {
        let room = room();
        let mailbox = Arc::new(Mailbox::new());
        let grant = granted(enter(&room, 0, 0));
        let _dead = queued(enter(&room, 1, 1));
        let _alive = queued(enter(&room, 0, 2));
        let death = {
            let (room, mailbox) = (Arc::clone(&room), Arc::clone(&mailbox));
            thread::spawn(move || {
                drop(mailbox.close());
                room.forget_worker(WorkerId(1), 0, &mut Random::new(1))
            })
        };
        let mut got = Vec::new();
        let mut deliver = |woken: Woken, mailbox: &Mailbox| match woken.worker {
            WorkerId(0) => got.push(woken.grant),
            _ => mailbox.send(woken),
        };
        leave(&room, grant)
            .into_iter()
            .for_each(|woken| deliver(woken, &mailbox));
        death
            .join()
            .unwrap()
            .into_iter()
            .for_each(|woken| deliver(woken, &mailbox));
        // The net cannot wake anybody; the next look at the room does.
        room.pump(0, &mut Random::new(1))
            .into_iter()
            .for_each(|woken| deliver(woken, &mailbox));
        assert_eq!(got.len(), 1, "the permit was lost or doubled");
        got.into_iter()
            .for_each(|grant| assert!(leave(&room, grant).is_empty()));
        check_one_permit(&room);
    });
}

/// Two owners come and go, each with what the other left it: conservation over two rounds.
#[test]
fn two_workers_in_turn() {
    loom::model(|| {
        let room = room();
        let mailboxes = Arc::new([Mailbox::new(), Mailbox::new()]);
        let run = |room: &Room, mailboxes: &[Mailbox; 2], worker: u16| {
            let post = |wake: Wake| {
                for woken in wake {
                    mailboxes[usize::from(woken.worker.0)].send(woken);
                }
            };
            match enter(room, worker, u32::from(worker)) {
                Entered::Granted(grant) => post(leave(room, grant)),
                Entered::Queued { .. } => {
                    for woken in mailboxes[usize::from(worker)].take() {
                        post(leave(room, woken.grant));
                    }
                }
                Entered::Refused(refusal) => panic!("{refusal:?}"),
            }
        };
        let other = {
            let (room, mailboxes) = (Arc::clone(&room), Arc::clone(&mailboxes));
            thread::spawn(move || run(&room, &mailboxes, 1))
        };
        run(&room, &mailboxes, 0);
        other.join().unwrap();
        for mailbox in mailboxes.iter() {
            let letters = mailbox.take();
            assert!(
                letters.is_empty() || mailbox.woken.load(Ordering::Acquire),
                "nobody looks"
            );
            for woken in letters {
                assert!(leave(&room, woken.grant).is_empty());
            }
        }
        check_one_permit(&room);
    });
}
