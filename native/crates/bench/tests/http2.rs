//! The load generator against the engine over HTTP/2: many streams on few connections, and every
//! way in which one can end without the others.

mod harness;

use harness::{engine, load, relay};

/// A load of HTTP/2; `json` begins with its mode.
fn over(target: &bench::Address, json: &str) -> bench::report::Report {
    load(target, &format!(r#"{{"protocol":"http2",{json}}}"#))
}

/// Waits until the engine knows that everybody has left.
fn at_rest(engine: &bench::Running<bench::engine::Stats>) {
    let begun = std::time::Instant::now();
    while engine.stats().running + engine.stats().waiting > 0 {
        assert!(begun.elapsed().as_secs() < 3, "{:?}", engine.stats());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn each_fault_has_its_outcome() {
    let expected = [
        ("refuse", true, "reset"),
        ("reset:2", true, "reset"),
        ("eof:2", true, "truncated"),
        ("cut:2", true, "truncated"),
        ("stall:2", true, "timeout"),
        ("error:2", true, "stream_error"),
        ("malformed:2", true, "malformed"),
        ("split", true, "ok"),
        ("slow", true, "ok"),
        ("status:500", true, "http_error"),
        ("status:429", true, "shed"),
        ("reset:0", false, "reset"),
        ("eof:0", false, "truncated"),
        ("malformed:0", false, "malformed"),
        ("error:0", false, "http_error"),
        ("stall:0", false, "timeout"),
    ];
    for (fault, stream, outcome) in expected {
        let engine = engine("{}");
        // One stream a connection: some faults end the connection.
        let json = format!(
            r#""mode":{{"kind":"concurrency","connections":2}},"requests_max":6,"duration_s":5,
            "streams_per_connection":1,"timeout_ms":150,"headers":[["x-sim-fault","{fault}"]],
            "body":{{"kind":"model","stream":{stream},"tokens":5}}"#
        );
        let total = over(&engine.addresses()[0], &json).total;
        let found = total.outcomes[outcome];
        assert_eq!(found, 6, "{fault} stream={stream}: {:?}", total.outcomes);
        at_rest(&engine);
    }
}

#[test]
fn streams_share_connections_as_asked_and_bring_every_token() {
    for steps in ["aligned", "staggered"] {
        let engine = engine(&format!(r#"{{"steps":"{steps}"}}"#));
        let json = r#""mode":{"kind":"streams","streams":50,"tokens":30},"requests_max":50,
            "streams_per_connection":25,"body":{"kind":"model","stream":true,"bytes":300}"#;
        let total = over(&engine.addresses()[0], json).total;
        assert_eq!(
            (total.good, total.tokens, total.stamped_tokens),
            (50, 1500, 1500)
        );
        assert_eq!(total.connections_opened, 2);
        assert_eq!(total.token_gap.count, 50 * 29);
        assert!(total.token_delay.p50_us > 0.0);
        assert!(total.bytes_received > total.tokens * 100);
        assert_eq!(engine.stats().connections_total, 2);
    }
}

#[test]
fn bodies_longer_than_every_window_go_both_ways() {
    let engine = engine("{}");
    let json = r#""mode":{"kind":"concurrency","connections":4},"requests_max":8,"path":"/echo",
        "body":{"kind":"bytes","bytes":3000000}"#;
    let total = over(&engine.addresses()[0], json).total;
    assert_eq!(total.good, 8, "{:?}", total.outcomes);
    assert!(total.bytes_received > 8 * 3_000_000);
    assert_eq!(total.connections_opened, 1);
}

#[test]
fn requests_wait_when_there_are_no_more_streams() {
    let engine = engine(r#"{"unary_us":20000}"#);
    let json = r#""mode":{"kind":"rate","per_second":200,"arrivals":"constant"},
        "duration_s":0.3,"connections_max":1,"streams_per_connection":2,
        "body":{"kind":"model"}"#;
    let total = over(&engine.addresses()[0], json).total;
    assert_eq!(total.good, total.offered);
    assert_eq!(total.connections_opened, 1);
    assert!(total.latency.max_us > 100_000.0);
}

#[test]
fn the_limit_of_the_engine_opens_another_connection() {
    let engine = engine(r#"{"http2_streams_max":3,"unary_us":20000}"#);
    let json = r#""mode":{"kind":"concurrency","connections":6},"requests_max":60,
        "body":{"kind":"model"}"#;
    let total = over(&engine.addresses()[0], json).total;
    // The first requests go out before the limit is known, and some are refused.
    assert!(total.good >= 57, "{:?}", total.outcomes);
    assert!(total.connections_opened >= 2);
}

#[test]
fn clients_leave_in_every_way_and_the_engine_frees_their_slots() {
    let engine = engine(r#"{"slots":4,"gap_us":2000,"first_token_us":10000}"#);
    for kind in ["rst", "fin", "half_close", "stream", "goodbye"] {
        let cancelled = engine.stats().cancelled;
        let json = format!(
            r#""mode":{{"kind":"concurrency","connections":8}},"requests_max":50,
            "streams_per_connection":2,
            "body":{{"kind":"model","stream":true,"tokens":20,"bytes":2000}},
            "client_abort":{{"ratio":1,"delay_ms":3,"kinds":["{kind}"],
            "phases":["head","body","queue","before_token","mid_event"]}}"#
        );
        let total = over(&engine.addresses()[0], &json).total;
        assert_eq!(
            total.outcomes["aborted"], 50,
            "{kind}: {:?}",
            total.outcomes
        );
        // A connection that is left takes its other request along.
        let connections = total.connections_opened;
        assert!(
            kind == "stream" && connections <= 5 || connections >= 25,
            "{kind}: {connections}"
        );
        at_rest(&engine);
        let stats = engine.stats();
        assert_eq!(stats.cancelled + stats.completed, stats.accepted, "{kind}");
        assert!(stats.cancelled > cancelled, "{kind}");
    }
}

#[test]
fn nobody_listening_is_a_connect_error() {
    let address = { engine("{}").addresses()[0].clone() };
    let json = r#""mode":{"kind":"concurrency","connections":2},"requests_max":4"#;
    assert_eq!(over(&address, json).total.outcomes["connect_error"], 4);
}

#[test]
fn an_engine_that_dies_takes_its_streams_along() {
    let engine = engine(r#"{"die_after_requests":4,"gap_us":20000}"#);
    let json = r#""mode":{"kind":"concurrency","connections":4},"requests_max":4,
        "body":{"kind":"model","stream":true,"tokens":5}"#;
    let report = over(&engine.addresses()[0], json);
    assert_eq!(report.total.failed, 4);
}

#[test]
fn both_versions_are_spoken_on_one_port_and_through_a_relay() {
    let engine = engine(r#"{"unary_us":0}"#);
    let relay = relay(&engine);
    for target in [&engine.addresses()[0], &relay.addresses()[0]] {
        for protocol in ["http1", "http2"] {
            let json = format!(
                r#"{{"protocol":"{protocol}","mode":{{"kind":"concurrency","connections":4}},
                "requests_max":100,"body":{{"kind":"model","bytes":1000}}}}"#
            );
            assert_eq!(load(target, &json).total.good, 100);
        }
    }
}

#[test]
fn a_request_has_a_connection_of_its_own_when_it_is_to() {
    let engine = engine(r#"{"unary_us":0}"#);
    let load = |ratio: f64| {
        let json = format!(
            r#""mode":{{"kind":"concurrency","connections":4}},"requests_max":100,
            "new_connection_ratio":{ratio},"body":{{"kind":"model"}}"#
        );
        let total = over(&engine.addresses()[0], &json).total;
        assert_eq!(total.good, 100);
        total.connections_opened
    };
    assert_eq!(load(1.0), 100);
    assert!((20..=80).contains(&load(0.5)));
    assert_eq!(load(0.0), 1);
}
