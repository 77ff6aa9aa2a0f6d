//! Deadlines, each in the units of its work.

use serde_json::{Value, json};

use crate::bench::{Bench, EVENTS, Ended, chat, chunk, ok, post, status, stream};

fn once(p: &mut Value) {
    p["pools"][0]["retry"]["attempts_max"] = json!(1);
}

#[test]
fn a_dial_has_two_seconds_per_endpoint() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let (first, a) = t.dial().expect("a dial");
    t.after_ms(2010);
    assert_eq!(t.ended(first), Some(Ended::Now));
    let (_, b) = t.dial().expect("a dial elsewhere");
    assert_ne!(a, b);
    t.after_ms(2010);
    assert_eq!(status(&t.got(client)), 504);
    assert_eq!(t.record().flag, "CT");
    assert!(t.is_quiet());
}

#[test]
fn a_stream_has_so_long_for_its_first_event_and_for_each_byte() {
    let mut t = Bench::new(once);
    let client = t.client();
    t.send(client, stream());
    let upstream = t.upstream();
    t.send(upstream, EVENTS);
    t.after_ms(19_900);
    assert_eq!(t.got(client), "");
    t.after_ms(200);
    assert_eq!((status(&t.got(client)), t.record().flag), (504, "FT"));
    assert_eq!(t.ended(upstream), Some(Ended::Now));

    let client = t.client();
    t.send(client, stream());
    let upstream = t.upstream();
    t.send(upstream, EVENTS);
    for _ in 0..10 {
        t.send(upstream, chunk("data: x\n\n"));
        t.after_ms(9_900);
    }
    t.after_ms(200);
    let answer = t.got(client);
    assert_eq!(answer.matches("data: x").count(), 10);
    assert!(
        answer.contains("\"error\"") && !answer.ends_with("0\r\n\r\n"),
        "{answer}"
    );
    assert_eq!(t.record().flag, "IT");
    assert!(t.is_quiet());
}

#[test]
fn a_first_token_that_is_late_is_asked_for_elsewhere() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, stream());
    let first = t.upstream();
    t.send(first, EVENTS);
    t.after_ms(20_100);
    assert_eq!(t.ended(first), Some(Ended::Now));
    let second = t.upstream();
    t.send(second, EVENTS);
    t.send(second, chunk("data: x\n\n"));
    assert!(t.got(client).contains("data: x"));
}

#[test]
fn heads_and_whole_answers_have_their_deadlines() {
    let mut t = Bench::new(|p| {
        once(p);
        p["pools"][0]["timeouts"]["head_ms"] = json!(3000);
    });
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    t.upstream();
    t.after_ms(3100);
    assert_eq!((status(&t.got(client)), t.record().flag), (504, "UH"));

    let mut t = Bench::new(once);
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let upstream = t.upstream();
    t.send(upstream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n");
    for _ in 0..8 {
        t.send(upstream, "x");
        t.after_ms(8000);
    }
    assert_eq!(t.record().flag, "TT");
    assert_eq!(t.ended(client), Some(Ended::Fin));
    assert!(t.is_quiet());
}

#[test]
fn heads_and_bodies_of_requests_must_move() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, "GET / HT");
    t.after_ms(10_100);
    assert_eq!(status(&t.got(client)), 408);
    assert_eq!(t.ended(client), Some(Ended::Fin));

    let client = t.client();
    let request = chat("llama-3", r#","pad":"0123456789""#);
    t.send(client, &request[..request.len() - 10]);
    let upstream = t.upstream();
    t.after_ms(10_200);
    assert_eq!(status(&t.got(client)), 408);
    assert!(t.ended(upstream).is_some());
    assert!(t.is_quiet());

    // A silent connection is simply closed.
    let client = t.client();
    t.send(client, get_ok());
    t.got(client);
    t.after_ms(59_000);
    assert_eq!(t.ended(client), None);
    t.after_ms(2_000);
    assert_eq!(
        (t.ended(client), t.got(client)),
        (Some(Ended::Fin), String::new())
    );
}

fn get_ok() -> &'static str {
    "GET /none HTTP/1.1\r\nhost: x\r\n\r\n"
}

#[test]
fn an_upstream_that_reads_slowly_is_no_fault_of_the_client() {
    let mut t = Bench::new(|p| p["held_body_bytes_max"] = json!(50_000));
    let client = t.client();
    let text = format!(r#"{{"model":"llama-3","pad":"{}"}}"#, "x".repeat(300_000));
    let request = post("/v1/chat/completions", "", &text);
    t.send(client, &request[..1000]);
    let upstream = t.upstream();
    t.block(upstream, true);
    let mut at = 1000;
    while !t.paused.contains(&client) {
        t.send(client, &request[at..at + 30_000]);
        at += 30_000;
    }
    // Far longer than the client's own time for what it has sent.
    for _ in 0..5 {
        t.after_ms(10_000);
    }
    for _ in 0..40 {
        t.block(upstream, false);
        t.block(upstream, true);
        t.after_ms(10);
    }
    t.block(upstream, false);
    assert!(!t.paused.contains(&client));
    t.after_ms(100);
    assert_eq!(t.got(client), "");
    t.send(client, &request[at..]);
    t.send(upstream, ok("x"));
    assert_eq!(status(&t.got(client)), 200);
}

#[test]
fn a_client_that_stops_reading_is_reset_and_one_that_reads_slowly_is_not() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, stream());
    let upstream = t.upstream();
    t.send(upstream, EVENTS);
    t.block(client, true);
    let event = format!("data: {}\n\n", "x".repeat(20_000));
    for _ in 0..4 {
        t.send(upstream, chunk(&event));
    }
    assert!(t.paused.contains(&upstream), "held back");
    assert!(t.engine.pending(client).len() < 64 * 1024 + 32 * 1024);
    t.after_ms(5100);
    assert_eq!(t.ended(client), Some(Ended::Reset));
    assert_eq!(t.ended(upstream), Some(Ended::Now));
    assert_eq!(t.record().flag, "CS");
    assert!(t.is_quiet());

    let client = t.client();
    t.send(client, stream());
    let upstream = t.upstream();
    t.send(upstream, EVENTS);
    for _ in 0..10 {
        t.block(client, true);
        for _ in 0..4 {
            t.send(upstream, chunk(&event));
        }
        t.after_ms(4000);
        t.block(client, false);
        assert!(!t.paused.contains(&upstream));
    }
    assert_eq!(t.got(client).matches("data: ").count(), 40);
}

#[test]
fn a_kept_client_that_was_silent_is_not_stalled_when_its_answer_begins() {
    let mut t = Bench::new(|p| p["listeners"][0]["idle_ms"] = json!(600_000));
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let upstream = t.upstream();
    t.send(upstream, ok("1"));
    t.got(client);
    t.after_ms(300_000);
    t.send(client, stream());
    let upstream = t.upstream();
    t.block(client, true);
    t.send(upstream, EVENTS);
    t.send(upstream, chunk("data: x\n\n"));
    t.after_ms(4_900);
    assert_eq!(t.ended(client), None);
    t.after_ms(15_000);
    assert_eq!(t.ended(client), Some(Ended::Reset));
}

#[test]
fn an_answer_that_is_read_slowly_is_not_cut_by_the_idle_timer() {
    let mut t = Bench::new(|p| p["listeners"][0]["idle_ms"] = json!(2000));
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let upstream = t.upstream();
    t.block(client, true);
    t.send(upstream, ok(&"x".repeat(30_000)));
    t.after_ms(1500);
    t.block(client, false);
    t.after_ms(1500);
    assert_eq!(
        t.ended(client),
        None,
        "it took bytes a second and a half ago"
    );
    t.after_ms(600);
    assert_eq!(t.ended(client), Some(Ended::Fin));
}

#[test]
fn the_control_plane_has_ten_seconds() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n");
    t.after_ms(10_100);
    assert_eq!(status(&t.got(client)), 504);
    t.answer(200, b"late");
    assert_eq!(t.got(client), "");
    assert!(t.is_quiet());
}
