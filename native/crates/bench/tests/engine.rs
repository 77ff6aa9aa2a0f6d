//! The simulated engine, seen by a client that writes its own bytes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use harness::{engine, load};

/// Sends bytes and reads until the engine closes.
fn talk(engine: &bench::Running<bench::engine::Stats>, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(engine.addresses()[0].to_string()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(bytes).unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

fn post(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn every_dialect_is_spoken() {
    let engine = engine(r#"{"models":["a","b/c"]}"#);
    let ask = r#"{"model":"b/c","max_tokens":3,"stream":true,
        "stream_options":{"include_usage":true}}"#;
    let chat = talk(&engine, &post("/v1/chat/completions", ask));
    assert_eq!(chat.matches("\"t\":").count(), 3);
    assert!(chat.contains("\"completion_tokens\":3"), "{chat}");
    assert!(chat.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{chat}");
    let completion = talk(&engine, &post("/v1/completions", ask));
    assert!(completion.contains("\"object\":\"text_completion\""));
    let message = talk(&engine, &post("/v1/messages", ask));
    assert!(message.contains("event: message_start\n"));
    assert!(message.contains("event: message_stop\n"));
    let ask = r#"{"model":"a","input":["x","y"],"max_tokens":2}"#;
    assert!(talk(&engine, &post("/v1/embeddings", ask)).contains("\"index\":1"));
    let unary = talk(&engine, &post("/v1/chat/completions", ask));
    assert!(unary.contains("\"object\":\"chat.completion\""));
    let models = "GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n";
    assert!(talk(&engine, models.as_bytes()).contains("b/c"));
    let metrics = "GET /metrics HTTP/1.0\r\n\r\n";
    assert!(talk(&engine, metrics.as_bytes()).contains("vllm:num_requests_running"));
    assert_eq!(engine.stats().completed, 5);
}

#[test]
fn a_unary_answer_is_padded_to_the_length_that_was_asked_for() {
    let engine = engine(r#"{"response_bytes":1024,"unary_us":0}"#);
    let text = talk(&engine, &post("/v1/chat/completions", r#"{"model":"m"}"#));
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 1024"));
    assert_eq!(body.len(), 1024);
    assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let engine = engine(r#"{"unary_us":3000}"#);
    let mut bytes = Vec::new();
    for tokens in 1..=3 {
        let body = format!(r#"{{"model":"m","max_tokens":{tokens}}}"#);
        let close = if tokens == 3 {
            "connection: close\r\n"
        } else {
            ""
        };
        write!(
            bytes,
            "POST /v1/completions HTTP/1.1\r\n{close}content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
    }
    let text = talk(&engine, &bytes);
    let at: Vec<_> = (1..=3)
        .map(|n| text.find(&format!("\"completion_tokens\":{n},")).unwrap())
        .collect();
    assert!(at[0] < at[1] && at[1] < at[2]);
}

#[test]
fn pipelined_streams_keep_to_the_common_step() {
    let engine = engine(r#"{"first_token_us":1000,"gap_us":5000}"#);
    let body = r#"{"model":"m","stream":true,"max_tokens":3}"#;
    let length = body.len();
    let kept = format!("POST /v1/completions HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{body}");
    let mut bytes = kept.repeat(3).into_bytes();
    bytes.extend(post("/v1/completions", body));
    let text = talk(&engine, &bytes);
    assert_eq!(text.matches("\"t\":").count(), 12);
    assert_eq!(text.matches("[DONE]").count(), 4);
}

#[test]
fn a_client_that_asks_and_does_not_read_is_held_back() {
    let engine = engine("{}");
    let mut stream = TcpStream::connect(engine.addresses()[0].to_string()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let body = "x".repeat(1 << 20);
    let request = format!(
        "POST /echo HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    std::thread::scope(|scope| {
        let mut writer = stream.try_clone().unwrap();
        scope.spawn(move || {
            for _ in 0..24 {
                writer.write_all(request.as_bytes()).unwrap();
            }
        });
        std::thread::sleep(Duration::from_millis(100));
        // Both socket buffers and the bound are full before all of it is taken.
        assert!(engine.stats().requests < 24);
        let mut received = 0;
        let mut part = vec![0; 1 << 16];
        while received < 24 << 20 {
            received += stream.read(&mut part).unwrap();
        }
    });
    assert_eq!(engine.stats().requests, 24);
}

#[test]
fn a_body_may_be_chunked_and_waits_for_100_continue() {
    let engine = engine("{}");
    let text = talk(
        &engine,
        b"POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
        5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    );
    assert!(text.ends_with("\r\n\r\nhello world"), "{text}");
    let mut stream = TcpStream::connect(engine.addresses()[0].to_string()).unwrap();
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn broken_requests_are_refused_and_long_bodies_too() {
    let engine = engine(r#"{"body_bytes_max":10,"models_strict":true}"#);
    assert!(talk(&engine, b"nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    let long = post("/echo", "more than ten bytes");
    assert!(talk(&engine, &long).starts_with("HTTP/1.1 413"));
    assert!(talk(&engine, &post("/v1/completions", "{")).starts_with("HTTP/1.1 400"));
    assert!(talk(&engine, &post("/v1/completions", "{}")).starts_with("HTTP/1.1 404"));
    let fault = b"GET /health HTTP/1.1\r\nx-sim-fault: rest:2\r\n\r\n";
    assert!(talk(&engine, fault).starts_with("HTTP/1.1 400"));
    assert!(talk(&engine, &post("/nowhere", "{}")).starts_with("HTTP/1.1 404"));
}

#[test]
fn the_headers_of_a_request_override_the_plan() {
    let engine = engine(r#"{"gap_us":1000000,"first_token_us":1000000}"#);
    let begun = Instant::now();
    let body = r#"{"model":"m","stream":true}"#;
    let text = talk(
        &engine,
        format!(
            "POST /v1/completions HTTP/1.1\r\nx-sim-tokens: 4\r\nx-sim-gap-us: 1000\r\n\
            x-sim-first-token-us: 1000\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    assert_eq!(text.matches("\"t\":").count(), 4);
    assert!(begun.elapsed() < Duration::from_millis(900));
}

/// Send times of the tokens of several streams, each list in order.
fn stamps(steps: &str) -> Vec<Vec<u64>> {
    let engine = engine(&format!(
        r#"{{"steps":"{steps}","gap_us":10000,"first_token_us":1000}}"#
    ));
    let ask = r#"{"model":"m","stream":true,"max_tokens":6}"#;
    std::thread::scope(|scope| {
        let streams: Vec<_> = (0..4)
            .map(|index| {
                let engine = &engine;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_micros(2500 * index));
                    talk(engine, &post("/v1/completions", ask))
                })
            })
            .collect();
        let number = |part: &str| part.split('}').next().unwrap().parse().unwrap();
        let read = |text: String| text.split("\"t\":").skip(1).map(number).collect();
        streams
            .into_iter()
            .map(|stream| read(stream.join().unwrap()))
            .collect()
    })
}

/// Of all tokens, how many were sent within 2 ms of one of another stream.
fn together(streams: &[Vec<u64>]) -> usize {
    let mut all: Vec<u64> = streams.iter().flatten().copied().collect();
    all.sort_unstable();
    all.windows(2)
        .filter(|pair| pair[1] - pair[0] < 1_500_000)
        .count()
}

#[test]
fn aligned_streams_emit_together_and_staggered_ones_do_not() {
    // A busy machine may push anything together or apart, so one clear run of three is enough.
    let clear = (0..3).any(|_| {
        let aligned = together(&stamps("aligned"));
        aligned >= 12 && aligned > together(&stamps("staggered"))
    });
    assert!(clear);
}

#[test]
fn slots_bound_what_runs_and_the_queue_what_waits() {
    let engine = engine(r#"{"slots":2,"queue_max":3,"unary_us":100000}"#);
    let json = r#"{"mode":{"kind":"concurrency","connections":10},"requests_max":10,
        "body":{"kind":"model"}}"#;
    let total = load(&engine.addresses()[0], json).total;
    assert_eq!((total.good, total.shed), (5, 5), "{:?}", total.outcomes);
    assert_eq!(engine.stats().running_max, 2);
    assert_eq!(engine.stats().shed, 5);
    // Two, two and one: three rounds of 100 ms.
    assert!(total.latency.max_us > 290_000.0);
}

#[test]
fn an_idle_connection_is_closed_when_asked_for() {
    let engine = engine(r#"{"keepalive_idle_ms":30}"#);
    let mut stream = TcpStream::connect(engine.addresses()[0].to_string()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    assert!(text.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_half_closed_client_is_gone_unless_allowed() {
    for (allowed, completed) in [(false, 0), (true, 1)] {
        let engine = engine(&format!(
            r#"{{"half_close_allowed":{allowed},"first_token_us":30000}}"#
        ));
        let mut stream = TcpStream::connect(engine.addresses()[0].to_string()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let ask = r#"{"model":"m","stream":true,"max_tokens":2}"#;
        let request = format!(
            "POST /v1/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n{ask}",
            ask.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        assert_eq!(engine.stats().completed, completed);
        assert_eq!(engine.stats().cancelled, 1 - completed);
    }
}

#[test]
fn a_unix_socket_serves_as_well() {
    let path = std::env::temp_dir().join(format!("bench-engine-{}.sock", std::process::id()));
    let engine = engine(&format!(
        r#"{{"listen":["127.0.0.1:0","unix:{}"],"unary_us":0}}"#,
        path.display()
    ));
    let json = r#"{"mode":{"kind":"concurrency","connections":4},"requests_max":100,
        "body":{"kind":"model","bytes":1000}}"#;
    assert_eq!(load(&engine.addresses()[1], json).total.good, 100);
    drop(engine);
    assert!(!path.exists());
}
