//! The load generator against the engine: every kind of request, and every way it can end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::{
    io::{Read, Write},
    net::TcpListener,
};

use bench::load::{self, Options};
use harness::{engine, load};

const STREAM: &str = r#""body":{"kind":"model","stream":true,"tokens":5,"bytes":300}"#;

fn outcome(fault: &str, stream: bool) -> bench::report::Report {
    let engine = engine("{}");
    let json = format!(
        r#"{{"mode":{{"kind":"concurrency","connections":2}},"requests_max":6,"duration_s":5,
        "timeout_ms":150,"headers":[["x-sim-fault","{fault}"]],
        "body":{{"kind":"model","stream":{stream},"tokens":5}}}}"#
    );
    load(&engine.addresses()[0], &json)
}

#[test]
fn each_fault_has_its_outcome() {
    let expected = [
        ("refuse", true, "reset"),
        ("reset:2", true, "reset"),
        ("eof:2", true, "truncated"),
        ("stall:2", true, "timeout"),
        ("error:2", true, "stream_error"),
        ("malformed:2", true, "malformed"),
        ("split", true, "ok"),
        ("slow", true, "ok"),
        ("status:500", true, "http_error"),
        ("status:503", true, "http_error"),
        ("status:429", true, "shed"),
        ("reset:0", false, "reset"),
        ("eof:0", false, "truncated"),
        ("malformed:0", false, "malformed"),
        ("error:0", false, "http_error"),
        ("stall:0", false, "timeout"),
    ];
    for (fault, stream, outcome_name) in expected {
        let report = outcome(fault, stream);
        assert_eq!(
            report.total.outcomes[outcome_name], 6,
            "{fault} stream={stream}: {:?}",
            report.total.outcomes
        );
    }
}

#[test]
fn sheds_are_apart_and_say_whether_they_came_with_a_time() {
    let report = outcome("status:429", false);
    assert_eq!(report.total.shed, 6);
    assert_eq!(report.total.failed, 0);
    assert_eq!(report.total.shed_with_retry_after, 6);
    assert_eq!(report.total.shed_latency.count, 6);
    assert_eq!(report.total.latency.count, 0);
}

#[test]
fn a_truncated_stream_is_told_from_one_that_looks_complete() {
    for (fault, looks_complete) in [("eof:2", 0), ("cut:2", 6)] {
        let total = outcome(fault, true).total;
        assert_eq!(total.outcomes["truncated"], 6);
        assert_eq!(total.truncated_looks_complete, looks_complete);
    }
}

#[test]
fn nobody_listening_is_a_connect_error() {
    let json = r#"{"mode":{"kind":"concurrency","connections":2},"requests_max":4}"#;
    let address = { engine("{}").addresses()[0].clone() };
    let report = load(&address, json);
    assert_eq!(report.total.outcomes["connect_error"], 4);
}

#[test]
fn an_engine_that_dies_resets_what_it_was_doing() {
    let engine = engine(r#"{"die_after_requests":4,"gap_us":20000}"#);
    let json =
        format!(r#"{{"mode":{{"kind":"concurrency","connections":4}},"requests_max":4,{STREAM}}}"#);
    let report = load(&engine.addresses()[0], &json);
    assert_eq!(report.total.outcomes["ok"], 0);
    assert_eq!(report.total.failed, 4);
}

#[test]
fn streams_bring_every_token_with_its_delay() {
    let engine = engine("{}");
    let json = format!(
        r#"{{"mode":{{"kind":"streams","streams":8,"tokens":30,"spread_ms":10}},"requests_max":8,
        {STREAM}}}"#
    );
    let total = load(&engine.addresses()[0], &json).total;
    assert_eq!(
        (total.good, total.tokens, total.stamped_tokens),
        (8, 240, 240)
    );
    assert_eq!(total.token_gap.count, 8 * 29);
    assert_eq!(total.first_token.count, 8);
    assert!(total.token_delay.p50_us > 0.0);
}

/// A server that closes each connection when its second request comes, without an answer.
fn forgetful() -> bench::Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            // A client that has ended leaves nothing to read.
            if stream.read(&mut request).unwrap_or(0) > 0 {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .unwrap();
                let _ = stream.read(&mut request);
            }
        }
    });
    bench::Address::Tcp(address)
}

#[test]
fn a_stale_connection_is_tried_once_more_only_when_asked_for() {
    let address = forgetful();
    for (retry, good, retries) in [(true, 10, 9), (false, 5, 0)] {
        let json = format!(
            r#"{{"mode":{{"kind":"concurrency","connections":1}},"requests_max":10,
            "retry_stale":{retry},"body":{{"kind":"model"}}}}"#
        );
        let total = load(&address, &json).total;
        assert_eq!((total.good, total.stale_retries), (good, retries));
        assert_eq!(total.closed_before_head, 10 - good);
    }
}

#[test]
fn new_connections_and_kept_ones_are_mixed_as_asked() {
    let engine = engine(r#"{"unary_us":0}"#);
    let json = r#"{"mode":{"kind":"concurrency","connections":4},"requests_max":400,
        "new_connection_ratio":0.5,"body":{"kind":"model","bytes":500}}"#;
    let total = load(&engine.addresses()[0], json).total;
    assert_eq!(total.good, 400);
    assert!(
        (150..=254).contains(&total.connections_opened),
        "{}",
        total.connections_opened
    );
}

#[test]
fn a_stopped_engine_shows_in_every_request_that_was_due_meanwhile() {
    // One request in about two hundred stops the engine for half a second; the schedule goes on.
    let engine = engine(r#"{"unary_us":0,"faults":[{"fault":"freeze:500","ratio":0.004}]}"#);
    let json = r#"{"mode":{"kind":"rate","per_second":200,"arrivals":"constant"},
        "duration_s":2,"body":{"kind":"model"},"seed":3}"#;
    let total = load(&engine.addresses()[0], json).total;
    assert_eq!(total.good, 399);
    // In a closed loop one request would be slow. Here half a second of arrivals is.
    assert!(
        total.latency.p90_us > 100_000.0,
        "{:?}",
        total.latency.p90_us
    );
    assert!(total.latency.max_us >= 450_000.0);
}

#[test]
fn requests_wait_when_there_are_no_more_connections() {
    let engine = engine(r#"{"unary_us":20000}"#);
    let json = r#"{"mode":{"kind":"rate","per_second":200,"arrivals":"constant"},
        "duration_s":0.3,"connections_max":2,"body":{"kind":"model"}}"#;
    let total = load(&engine.addresses()[0], json).total;
    assert_eq!(total.good, total.offered);
    assert!(total.connections_opened <= 2);
    assert!(total.latency.max_us > 100_000.0);
}

#[test]
fn clients_leave_in_every_way_and_the_engine_frees_their_slots() {
    let engine = engine(r#"{"slots":4,"gap_us":2000,"first_token_us":10000}"#);
    let json = r#"{"mode":{"kind":"concurrency","connections":8},"requests_max":90,
        "body":{"kind":"model","stream":true,"tokens":20,"bytes":2000},
        "client_abort":{"ratio":1,"delay_ms":3,
        "phases":["head","body","queue","before_token","mid_event"],
        "kinds":["rst","fin","half_close"]}}"#;
    let total = load(&engine.addresses()[0], json).total;
    assert_eq!(total.outcomes["aborted"], 90, "{:?}", total.outcomes);
    let begun = std::time::Instant::now();
    while engine.stats().running + engine.stats().waiting > 0 && begun.elapsed().as_secs() < 3 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let stats = engine.stats();
    assert_eq!((stats.running, stats.waiting), (0, 0));
    assert_eq!(stats.cancelled + stats.completed, stats.accepted);
    assert!(stats.cancelled > 0);
}

#[test]
fn parts_are_reported_apart_and_the_warm_up_not_at_all() {
    let engine = engine(r#"{"unary_us":0}"#);
    let json = r#"{"mode":{"kind":"rate","per_second":100,"arrivals":"constant"},"warmup_s":0.2,
        "phases":[{"name":"high","duration_s":0.3,"per_second":1000},
        {"name":"low","duration_s":0.3}],"body":{"kind":"model"}}"#;
    let report = load(&engine.addresses()[0], json);
    let names: Vec<_> = report.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["warmup", "high", "low"]);
    let offered: Vec<_> = report.parts.iter().map(|part| part.offered).collect();
    assert!(
        offered[0] >= 199 && offered[1] >= 298 && offered[2] >= 28,
        "{offered:?}"
    );
    assert_eq!(report.total.offered, offered[1] + offered[2]);
}

#[test]
fn a_watched_process_has_cpu_and_memory() {
    let engine = engine(r#"{"unary_us":0}"#);
    let json = format!(
        r#"{{"mode":{{"kind":"concurrency","connections":8}},"duration_s":0.3,
        "body":{{"kind":"model","bytes":1024}},"pids":[{}]}}"#,
        std::process::id()
    );
    let total = load(&engine.addresses()[0], &json).total;
    assert!(total.processes[0].rss_end_bytes > 0);
    assert!(total.cpu_us_per_answer > 0.0);
    assert!(total.generator_cpu_us_per_answer > 0.0);
}

#[test]
fn progress_may_stop_a_run() {
    let engine = engine(r#"{"unary_us":0}"#);
    let options = Options {
        targets: vec![engine.addresses()[0].to_string()],
        duration_s: 60.0,
        mode: load::Mode::Rate {
            per_second: 10.0,
            arrivals: load::Arrivals::Constant,
        },
        ..Options::default()
    };
    let report = load::run(&options, &mut |_| false).unwrap();
    assert!(report.stopped);
    assert!(report.total.duration_s < 10.0);
}

#[test]
fn wrong_options_say_what_is_allowed() {
    let text = Options::from_json(r#"{"duration":1}"#)
        .unwrap_err()
        .to_string();
    assert!(text.contains("unknown field `duration`"), "{text}");
    let text = load::run(&Options::default(), &mut |_| true)
        .unwrap_err()
        .to_string();
    assert!(text.contains("targets"), "{text}");
}
