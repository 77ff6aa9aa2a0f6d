//! The byte relay changes nothing, at any speed of its ends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use harness::{engine, load, relay};

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8) ^ seed)
        .collect()
}

fn send(mut stream: TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Reads everything, with a pause at first so that all buffers on the way fill.
fn receive_slowly(mut stream: TcpStream) -> Vec<u8> {
    thread::sleep(Duration::from_millis(100));
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn eight_mebibytes_go_both_ways_past_slow_readers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = vec![listener.local_addr().unwrap().to_string()];
    let options = bench::relay::Options {
        upstream,
        ..bench::relay::Options::default()
    };
    let relay = bench::relay::start(&options).unwrap();
    let (up, down) = (pattern(8 << 20, 1), pattern(8 << 20, 2));
    let client = TcpStream::connect(relay.addresses()[0].to_string()).unwrap();
    let (server, _) = listener.accept().unwrap();
    thread::scope(|scope| {
        let (sender, answerer) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        scope.spawn(|| send(sender, &up));
        scope.spawn(|| send(answerer, &down));
        let received = scope.spawn(|| receive_slowly(server));
        assert!(receive_slowly(client) == down);
        assert!(received.join().unwrap() == up);
    });
    assert_eq!(relay.stats().bytes, 16 << 20);
}

#[test]
fn a_load_sees_the_same_through_it() {
    let engine = engine("{}");
    let relay = relay(&engine);
    let json = r#"{"mode":{"kind":"streams","streams":10,"tokens":20},"requests_max":20,
        "body":{"kind":"model","stream":true,"bytes":1000}}"#;
    let total = load(&relay.addresses()[0], json).total;
    assert_eq!((total.good, total.tokens), (20, 400));
    assert_eq!(relay.stats().pairs_total, 10);
}

#[test]
fn a_client_that_leaves_is_passed_on() {
    let engine = engine(r#"{"gap_us":5000}"#);
    let relay = relay(&engine);
    let json = r#"{"mode":{"kind":"concurrency","connections":3},"requests_max":9,
        "body":{"kind":"model","stream":true,"tokens":1000},
        "client_abort":{"ratio":1,"phases":["mid_event"],"kinds":["rst","fin","half_close"]}}"#;
    assert_eq!(
        load(&relay.addresses()[0], json).total.outcomes["aborted"],
        9
    );
    let begun = std::time::Instant::now();
    while engine.stats().cancelled < 9 && begun.elapsed() < Duration::from_secs(3) {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(engine.stats().cancelled, 9);
    assert_eq!(engine.stats().running, 0);
}

#[test]
fn connections_opened_ahead_are_used_first() {
    let engine = engine(r#"{"unary_us":0}"#);
    let options = bench::relay::Options {
        upstream: vec![engine.addresses()[0].to_string()],
        preconnect: 3,
        ..bench::relay::Options::default()
    };
    let relay = bench::relay::start(&options).unwrap();
    let begun = std::time::Instant::now();
    while engine.stats().connections_total < 3 && begun.elapsed() < Duration::from_secs(3) {
        thread::sleep(Duration::from_millis(5));
    }
    let json = r#"{"mode":{"kind":"concurrency","connections":3},"requests_max":30,
        "body":{"kind":"model"}}"#;
    assert_eq!(load(&relay.addresses()[0], json).total.good, 30);
    assert_eq!(engine.stats().connections_total, 3);
}
