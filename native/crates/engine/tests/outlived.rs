//! A worker that is gone keeps nobody waiting: its waiters leave the room, its permits go on, and
//! its gauges show nothing.

use std::sync::Arc;

use engine::clock::Now;
use engine::ids::{ExchangeId, WorkerId};
use engine::input::Mail;
use engine::metrics::{Metric, Scope, Value};
use engine::output::Output;
use engine::random::Random;
use engine::shared::{Ask, Entered, Room, Shared};
use engine::snapshot::{Plan, Snapshot};
use engine::{Engine, Options};

const PLAN: &str = r#"{
    "via": "fastproxy",
    "listeners": [],
    "pools": [{
        "name": "pool", "modality": "chat", "balance": "least_loaded",
        "endpoints": [{"name": "one", "address": {"tcp": "127.0.0.1:9"},
            "authority": "one", "weight": 1, "concurrency": 1}],
        "channel": {"capacity": 8, "bytes_max": 1000000, "max_wait_ms": 1000},
        "timeouts": {"connect_ms": 2000, "head_ms": 0, "first_token_ms": 0,
            "inter_token_ms": 0, "unary_total_ms": 0, "stream_total_ms": 0,
            "client_stall_ms": 0},
        "retry": {"attempts_max": 1, "budget_ratio": 0.2, "budget_min_per_s": 1, "statuses": []},
        "eject": {"consecutive": 0, "base_ms": 1000, "max_ms": 1000, "max_percent": 50},
        "host": "endpoint", "connections_max": 10, "idle_ms": 3000, "commit": "head"
    }],
    "routes": [],
    "default_pool": 0,
    "held_bytes_max": 1000000,
    "held_body_bytes_max": 1000000,
    "access_log": null
}"#;
const NOW: Now = Now {
    mono_ns: 1_000_000_000,
    wall_ms: 0,
};

fn enter(room: &Room, worker: u16, index: u32) -> Entered {
    let exchange = ExchangeId {
        index,
        generation: 1,
    };
    let ask = Ask {
        class: 1,
        excluded: &[],
        worker: WorkerId(worker),
        exchange,
        held_bytes: 0,
        now_ns: NOW.mono_ns,
        sequence: None,
    };
    room.enter(&ask, &mut Random::new(1))
}

#[test]
fn a_prepared_plan_changes_nothing_until_it_is_committed() {
    let plan: Plan = serde_json::from_str(PLAN).expect("a plan");
    let shared = Shared::new(1);
    let prepared = Snapshot::prepare(&plan).expect("a good plan");
    assert!(shared.rooms().is_empty() && shared.held_bytes.max() == 0);
    let snapshot = prepared.commit(&shared, 1, 1, NOW.mono_ns);
    assert_eq!(
        shared.rooms()[0].snapshot(NOW.mono_ns).capacity,
        snapshot.pools[0].room.snapshot(NOW.mono_ns).capacity
    );
    assert_eq!(shared.held_bytes.max(), 1_000_000);
}

#[test]
fn an_ended_worker_keeps_nobody_waiting() {
    let plan: Plan = serde_json::from_str(PLAN).expect("a plan");
    let shared = Arc::new(Shared::new(3));
    let snapshot = Snapshot::compile(&plan, &shared, 3, 1, NOW.mono_ns).expect("a good plan");
    let room = shared.room("pool");
    let options = Options {
        worker: WorkerId(0),
        workers: 3,
        seed: 1,
    };
    let mut engine = Engine::new(options, Arc::clone(&shared), Arc::new(snapshot), NOW);

    // Worker 1 has the only permit and two waiters; one of worker 2 stands behind them.
    let Entered::Granted(grant) = enter(&room, 1, 1) else {
        panic!("a permit is free")
    };
    for (worker, index) in [(1, 2), (1, 3), (2, 4)] {
        assert!(matches!(
            enter(&room, worker, index),
            Entered::Queued { .. }
        ));
    }
    let cells = shared.metrics.block(WorkerId(1), Scope::Worker, &[]);
    cells.add(Metric::Exchanges, 3);
    drop(grant);

    engine.outlived(WorkerId(1));
    let Output::Mail(worker, Mail::Grant { exchange, grant }) = engine.poll() else {
        panic!("the permit goes on")
    };
    assert_eq!((worker, exchange.index), (WorkerId(2), 4));
    assert_eq!(room.snapshot(NOW.mono_ns).depth, 0);
    let families = shared.collect(NOW.mono_ns);
    let exchanges = &families[Metric::Exchanges as usize].samples[0].value;
    assert_eq!(*exchanges, Value::Number(0.0));

    // Worker 2 has ended too: its permit comes back as mail and is free again.
    engine.outlived(WorkerId(2));
    engine.undelivered(Mail::Grant { exchange, grant });
    assert!(matches!(engine.poll(), Output::Wait(None)));
    assert_eq!(room.snapshot(NOW.mono_ns).permits_free, 1);
    assert_eq!(room.snapshot(NOW.mono_ns).permits_lost_total, 1);
}
