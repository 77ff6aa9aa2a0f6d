//! What the engine's parts cost, each by itself: `cargo run --release -p engine --example
//! parts_speed`. Medians of eleven rounds, on whatever machine this is.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and prints"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use engine::clock::MS;
use engine::ids::{ConnId, ExchangeId, WorkerId};
use engine::metrics::{Metric, Registry, Scope};
use engine::random::Random;
use engine::scan::BodyScan;
use engine::shared::{Ask, Entered, Grant, Outcome, Room, RoomConfig};
use engine::snapshot::plan::{Address, Balance, ChannelPlan, EjectPlan, EndpointPlan, RetryPlan};
use engine::timer::{TimerKey, TimerSlot, Timers};

const ROUNDS: usize = 11;

/// Prints the median cost of one call in nanoseconds.
fn measure(what: &str, calls: u64, mut body: impl FnMut(u64)) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            (0..calls).for_each(&mut body);
            begin.elapsed().as_nanos() as f64 / calls as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{what:<56} {:>10.1} ns", rounds[ROUNDS / 2]);
}

fn config(balance: Balance, endpoints: usize, concurrency: u32) -> RoomConfig {
    let endpoint = |n: usize| EndpointPlan {
        http2: engine::snapshot::Http2::default(),
        name: format!("http://e{n}"),
        address: Address::Tcp(([127, 0, 0, 1], 80).into()),
        authority: format!("e{n}"),
        path_prefix: String::new(),
        weight: 1 + n as u32 % 3,
        concurrency,
        tls: None,
    };
    RoomConfig {
        balance,
        endpoints: (0..endpoints).map(endpoint).collect(),
        channel: ChannelPlan {
            capacity: 128,
            bytes_max: 1 << 30,
            max_wait_ms: 100_000,
        },
        retry: RetryPlan {
            attempts_max: 2,
            budget_ratio: 0.2,
            budget_min_per_s: 3,
            statuses: Vec::new(),
        },
        eject: EjectPlan {
            consecutive: 5,
            base_ms: 1_000,
            max_ms: 30_000,
            max_percent: 50,
        },
    }
}

fn ask(now_ns: u64) -> Ask<'static> {
    Ask {
        class: 1,
        excluded: &[],
        worker: WorkerId(0),
        exchange: ExchangeId {
            index: 1,
            generation: 1,
        },
        held_bytes: 0,
        now_ns,
        sequence: None,
    }
}

fn rooms() {
    let mut random = Random::new(1);
    for (balance, endpoints) in [
        (Balance::LeastLoaded, 2),
        (Balance::LeastLoaded, 16),
        (Balance::Weighted, 16),
        (Balance::PeakEwma, 16),
        (Balance::LeastLoaded, 10_000),
    ] {
        let room = Arc::new(Room::new("pool"));
        room.configure(&config(balance, endpoints, 256), 0);
        for slot in 0..endpoints as u32 {
            room.first_token(slot, 100 * MS, 0);
        }
        measure(
            &format!("enter + leave, {balance:?}, {endpoints} endpoints"),
            200_000,
            |n| {
                if let Entered::Granted(grant) = room.enter(&ask(n * 1_000), &mut random) {
                    drop(black_box(room.leave(
                        grant,
                        Outcome::Success,
                        n * 1_000,
                        &mut random,
                    )));
                }
            },
        );
    }
    let room = Arc::new(Room::new("pool"));
    room.configure(&config(Balance::LeastLoaded, 4, 16), 0);
    let mut running = Vec::<Grant>::new();
    while let Entered::Granted(grant) = room.enter(&ask(0), &mut random) {
        running.push(grant);
    }
    measure("queue + leave + hand over, saturated", 200_000, |n| {
        let entered = room.enter(&ask(n * 1_000), &mut random);
        let grant = running.swap_remove(0);
        for woken in room.leave(grant, Outcome::Success, n * 1_000, &mut random) {
            running.push(woken.grant);
        }
        drop(black_box(entered));
    });
    while !matches!(room.enter(&ask(0), &mut random), Entered::Refused(_)) {}
    measure("refuse, channel full", 200_000, |n| {
        drop(black_box(room.enter(&ask(n), &mut random)));
    });
}

fn cells() {
    let registry = Registry::new(2);
    let label = |name: &'static str| (name, "x".to_owned());
    let pool = registry.block(
        WorkerId(0),
        Scope::Pool,
        &[label("pool"), label("modality")],
    );
    measure("inc", 10_000_000, |_| black_box(&pool).inc(Metric::Tokens));
    measure("observe", 10_000_000, |n| {
        black_box(&pool).observe(Metric::InterToken, black_box(n * 7 % 100 * MS));
    });
}

fn timers() {
    let mut timers = Timers::new(0);
    let key = |n: u64| {
        TimerKey::Conn(ConnId {
            index: n as u32,
            generation: 0,
        })
    };
    let mut slots: Vec<TimerSlot> = (0..10_000).map(|_| TimerSlot::default()).collect();
    for (n, slot) in slots.iter_mut().enumerate() {
        timers.arm(slot, key(n as u64), (1 + n as u64 % 60_000) * 1_000 * MS);
    }
    measure("timer: lazy re-arm among 10,000", 10_000_000, |n| {
        let slot = &mut slots[(n % 10_000) as usize];
        timers.arm(black_box(slot), key(n), 1 << 50);
    });
    let mut slot = TimerSlot::default();
    measure("timer: arm + cancel among 10,000", 5_000_000, |n| {
        timers.arm(black_box(&mut slot), key(0), (n % 5_000 + 1) * MS);
        timers.cancel(&mut slot);
    });
    measure("timer: next", 10_000_000, |_| {
        black_box(timers.next());
    });
    let mut wheel = Timers::new(0);
    let mut now_ns = 0;
    measure("timer: arm + fire, 1 ms to 1 s ahead", 2_000_000, |n| {
        wheel.arm(
            &mut slots[(n % 500) as usize],
            key(n),
            now_ns + (n * 7_919 % 1_000 + 1) * MS,
        );
        now_ns += 2 * MS;
        while wheel.expired(now_ns).is_some() {}
    });
}

fn scans() {
    let mut scan = BodyScan::new();
    for (what, text) in [
        (
            "prose without escapes",
            "The quick brown fox jumps over the lazy dog. ".repeat(364),
        ),
        (
            "a newline every 60 bytes",
            format!("{}\\n", "x".repeat(58)).repeat(273),
        ),
    ] {
        let head = r#"{"model":"llama-3-8b","stream":true,"messages":[{"role":"user","content":""#;
        let body = format!("{head}{text}\"}}],\"max_tokens\":64}}");
        let kib = body.len() as f64 / 1_024.0;
        measure(&format!("scan {kib:.0} KiB, {what}"), 20_000, |_| {
            scan.clear();
            scan.feed(black_box(body.as_bytes()));
            assert!(scan.finished());
        });
    }
    let body =
        br#"{"model":"llama-3-8b","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
    measure("scan 80 bytes", 1_000_000, |_| {
        scan.clear();
        scan.feed(black_box(body));
    });
}

fn main() {
    rooms();
    cells();
    timers();
    scans();
}
