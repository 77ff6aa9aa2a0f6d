//! The real engine under the real reactor: one request through, a reload, a drain.
#![allow(
    clippy::unwrap_used,
    reason = "test code outside of the test functions"
)]

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use engine::shared::Shared;
use engine::snapshot::{Plan, Snapshot};
use harness::{PATIENCE, connect, drain, eventually, path, port, workers};
use reactor::recorder::Target;
use reactor::tls::Keyring;
use reactor::{Proxy, clock};

fn plan(upstream: SocketAddr) -> Plan {
    let text = format!(
        r#"{{
        "via": "fastproxy",
        "listeners": [{{"name": "front", "address": {{"tcp": "127.0.0.1:0"}}, "kind": "data",
            "connections_max": 1000, "idle_ms": 60000, "head_ms": 10000}}],
        "pools": [{{
            "name": "pool", "modality": "chat", "balance": "least_loaded",
            "endpoints": [{{"name": "one", "address": {{"tcp": "{upstream}"}},
                "authority": "{upstream}", "weight": 1, "concurrency": 8}}],
            "channel": {{"capacity": 8, "bytes_max": 1000000, "max_wait_ms": 1000}},
            "timeouts": {{"connect_ms": 2000, "head_ms": 0, "first_token_ms": 0,
                "inter_token_ms": 0, "unary_total_ms": 0, "stream_total_ms": 0,
                "client_stall_ms": 0}},
            "retry": {{"attempts_max": 1, "budget_ratio": 0.2, "budget_min_per_s": 1,
                "statuses": []}},
            "eject": {{"consecutive": 0, "base_ms": 1000, "max_ms": 1000, "max_percent": 50}},
            "host": "endpoint", "connections_max": 10, "idle_ms": 3000, "commit": "head"
        }}],
        "routes": [],
        "default_pool": 0,
        "held_bytes_max": 1000000,
        "held_body_bytes_max": 1000000,
        "access_log": "-"
    }}"#
    );
    serde_json::from_str(&text).expect("a plan")
}

/// Answers every request on every connection with its connection's number.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                let mut piece = [0; 4096];
                while let Ok(1..) = stream.read(&mut piece).inspect(|&n| {
                    seen.extend_from_slice(&piece[..n]);
                }) {
                    if seen.ends_with(b"\r\n\r\n") {
                        seen.clear();
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        stream.write_all(answer).unwrap();
                    }
                }
            });
        }
    });
    address
}

fn get(stream: &mut (impl Read + Write)) -> String {
    stream
        .write_all(b"GET /v1/thing HTTP/1.1\r\nhost: here\r\n\r\n")
        .unwrap();
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    while !seen.ends_with(b"\r\n\r\nok") {
        let bytes = stream.read(&mut piece).unwrap();
        assert!(bytes > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..bytes]);
    }
    String::from_utf8(seen).unwrap()
}

#[test]
fn a_plan_whose_listener_cannot_be_bound_leaves_the_rooms_as_they_are() {
    let shared = Arc::new(Shared::new(reactor::worker_ids(1)));
    let compile = |plan: &Plan, generation| {
        let prepared = Snapshot::prepare(plan).expect("a good plan");
        Arc::new(prepared.commit(&shared, 1, generation, clock::mono_ns()))
    };
    let old = plan(upstream());
    let first = compile(&old, 1);
    let proxy =
        Proxy::start(workers(1), Arc::clone(&shared), first, &old.listeners, None).expect("starts");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut new = old.clone();
    new.pools[0].channel.capacity = 3;
    new.held_bytes_max = 7;
    new.listeners[0].name = "moved".to_owned();
    new.listeners[0].address = engine::snapshot::Address::Tcp(taken.local_addr().unwrap());
    let commit = || compile(&new, 2);
    assert!(
        proxy
            .apply(&new.listeners, Keyring::default(), commit)
            .is_err()
    );
    let seen = || {
        let room = shared.room("pool").snapshot(clock::mono_ns());
        (room.capacity, shared.held_bytes.max())
    };
    assert_eq!(seen(), (8, 1_000_000));
    assert!(get(&mut connect(port(&proxy))).starts_with("HTTP/1.1 200"));
    drop(taken);
    proxy
        .apply(&new.listeners, Keyring::default(), commit)
        .unwrap();
    assert_eq!(seen(), (3, 7));
    assert!(get(&mut connect(port(&proxy))).starts_with("HTTP/1.1 200"));
    proxy.stop();
    assert!(proxy.join(PATIENCE));
}

#[test]
fn requests_pass_reloads_apply_and_a_drain_ends() {
    for count in [1, 2] {
        let options = workers(count);
        let shared = Arc::new(Shared::new(reactor::worker_ids(count)));
        let plan = plan(upstream());
        let compile = |generation| {
            let now_ns = clock::mono_ns();
            Arc::new(
                Snapshot::compile(&plan, &shared, count, generation, now_ns).expect("compiles"),
            )
        };
        let log = path("access");
        let target = Target::File(log.clone());
        let listeners = &plan.listeners;
        let proxy = Proxy::start(
            options,
            Arc::clone(&shared),
            compile(1),
            listeners,
            Some(&target),
        )
        .expect("starts");
        let mut client = connect(port(&proxy));
        for _ in 0..10 {
            assert!(get(&mut client).starts_with("HTTP/1.1 200"));
        }
        proxy
            .apply(listeners, Keyring::default(), || compile(2))
            .unwrap();
        assert!(get(&mut client).starts_with("HTTP/1.1 200"));
        assert!(get(&mut connect(port(&proxy))).starts_with("HTTP/1.1 200"));
        proxy.drain(drain(1000));
        eventually("drained", || proxy.drained());
        assert_eq!(proxy.bugs(), 0);
        proxy.stop();
        assert!(proxy.join(PATIENCE));
        let lines = std::fs::read_to_string(log).unwrap();
        assert_eq!(lines.lines().count(), 12, "one line a request");
    }
}
