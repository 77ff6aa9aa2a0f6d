//! Which connection, and again?

use engine::input::Closed;
use serde_json::json;

use crate::bench::{Bench, EVENTS, Ended, body, chat, chunk, field, get, ok, post, status, stream};

#[test]
fn a_refused_dial_is_tried_elsewhere_once_per_endpoint() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let first = t.refuse_dial();
    let second = t.refuse_dial();
    assert_ne!(first, second);
    assert_eq!(t.dial(), None);
    let answer = t.got(client);
    assert_eq!(status(&answer), 502);
    assert_eq!(field(&answer, "x-should-retry"), Some("false"));
    let record = t.record();
    assert_eq!((record.flag, record.attempts), ("CR", 2));
    assert!(t.is_quiet());
}

#[test]
fn a_reset_before_the_answer_is_tried_elsewhere_with_the_whole_body() {
    for closed in [Closed::Reset, Closed::Eof, Closed::TimedOut] {
        let mut t = Bench::new(|_| {});
        let client = t.client();
        t.send(client, chat("llama-3", r#","pad":"0123456789""#));
        let first = t.upstream();
        let sent = t.got(first);
        t.send(first, "HTTP/1.1 20");
        t.close(first, closed);
        let second = t.upstream();
        let again = t.got(second);
        assert_eq!(body(&sent), body(&again));
        t.send(second, ok("fine"));
        assert_eq!(body(&t.got(client)), "fine");
        assert_eq!(t.record().attempts, 2);
        assert!(t.is_quiet());
    }
}

#[test]
fn a_stream_that_dies_before_its_first_event_is_replaced_unseen() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, stream());
    let first = t.upstream();
    t.send(first, EVENTS);
    t.send(first, chunk("data: hal"));
    assert_eq!(t.got(client), "", "the head is held until the first event");
    t.close(first, Closed::Reset);
    let second = t.upstream();
    t.send(second, EVENTS);
    t.send(second, chunk("data: one\n\n"));
    t.send(second, "0\r\n\r\n");
    let answer = t.got(client);
    assert_eq!(status(&answer), 200);
    assert!(answer.contains("data: one\n\n") && !answer.contains("hal"));
    assert!(answer.ends_with("0\r\n\r\n"));
    assert!(t.is_quiet());
}

#[test]
fn nothing_is_tried_again_after_the_first_body_byte() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let first = t.upstream();
    t.send(first, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    t.close(first, Closed::Reset);
    assert_eq!(t.dial(), None);
    assert!(t.got(client).ends_with("half"));
    assert_eq!(t.ended(client), Some(Ended::Fin), "short of its length");
    let record = t.record();
    assert_eq!((record.status, record.flag), (200, "UR"));
}

#[test]
fn statuses_that_say_not_here_are_tried_elsewhere_and_then_passed_on() {
    let unavailable = "HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy";
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let first = t.upstream();
    t.send(first, unavailable);
    assert_eq!(t.got(client), "");
    let second = t.upstream();
    t.send(second, unavailable);
    let answer = t.got(client);
    assert_eq!((status(&answer), body(&answer)), (503, "busy"));
    assert_eq!(t.record().flag, "");
    assert!(t.is_quiet());
}

#[test]
fn calls_that_leave_something_behind_are_not_repeated() {
    let mut t = Bench::new(|p| p["default_pool"] = json!(1));
    let client = t.client();
    t.send(client, post("/v1/files", "", "{}"));
    let first = t.upstream();
    t.close(first, Closed::Reset);
    assert_eq!(t.dial(), None);
    assert_eq!(status(&t.got(client)), 502);

    // Also not on a kept connection that was stale.
    let client = t.client();
    t.send(client, get("/v1/x", ""));
    let kept = t.upstream();
    t.send(kept, ok(""));
    t.got(client);
    t.send(client, post("/v1/files", "", "{}"));
    assert_eq!(t.dial(), None, "the kept connection is used");
    t.close(kept, Closed::Reset);
    assert_eq!(t.dial(), None);
    assert_eq!(status(&t.got(client)), 502);
    assert!(t.is_quiet());
}

#[test]
fn a_stale_connection_is_tried_once_more_on_a_fresh_one_to_the_same_endpoint() {
    let mut t = Bench::new(|p| p["pools"][1]["retry"]["attempts_max"] = json!(1));
    let client = t.client();
    t.send(client, chat("org/name", ""));
    let (conn, port) = t.dial().expect("a dial");
    t.mail_connected(conn);
    t.send(conn, ok("1"));
    t.got(client);
    t.got(conn);
    t.send(client, chat("org/name", ""));
    assert!(
        t.got(conn).starts_with("POST"),
        "the kept connection is used"
    );
    t.close(conn, Closed::Eof);
    let (fresh, again) = t.dial().expect("a fresh connection");
    assert_eq!(port, again);
    t.mail_connected(fresh);
    assert!(t.got(fresh).starts_with("POST"));
    t.close(fresh, Closed::Eof);
    assert_eq!(t.dial(), None, "once");
    assert_eq!(status(&t.got(client)), 502);
    assert!(t.is_quiet());
}

#[test]
fn retries_stay_within_their_budget() {
    let mut t = Bench::new(|p| {
        p["pools"][0]["retry"] = json!({"attempts_max": 2, "budget_ratio": 0.2,
            "budget_min_per_s": 0, "statuses": []});
    });
    let mut retried = 0;
    for _ in 0..50 {
        let client = t.client();
        t.send(client, chat("llama-3", ""));
        t.refuse_dial();
        if t.dial().is_some() {
            retried += 1;
        }
        t.close(client, Closed::Reset);
    }
    assert_eq!(retried, 10, "a fifth of fifty");
}

#[test]
fn a_response_that_is_not_stored_is_repeated() {
    for (more, again) in [
        (r#","store":false"#, true),
        (r#","store":true"#, false),
        ("", false),
        (r#","store":false,"store":true"#, false),
    ] {
        let mut t = Bench::new(|_| {});
        let client = t.client();
        let text = format!(r#"{{"model":"llama-3"{more}}}"#);
        t.send(client, post("/v1/responses", "", &text));
        let first = t.upstream();
        t.close(first, Closed::Reset);
        assert_eq!(t.dial().is_some(), again, "{text}");
    }
    // As long as the body goes on, nobody can tell.
    let mut t = Bench::new(|_| {});
    let client = t.client();
    let request = post("/v1/responses", "", r#"{"model":"llama-3","store":false}"#);
    t.send(client, &request[..request.len() - 1]);
    let first = t.upstream();
    t.close(first, Closed::Reset);
    assert_eq!((t.dial(), status(&t.got(client))), (None, 502));
}

#[test]
fn a_body_beyond_what_is_held_flows_and_is_not_repeated() {
    let mut t = Bench::new(|p| p["held_body_bytes_max"] = json!(50_000));
    let client = t.client();
    let text = format!(r#"{{"model":"llama-3","pad":"{}"}}"#, "x".repeat(300_000));
    let request = post("/v1/chat/completions", "", &text);
    t.send(client, &request[..1000]);
    let upstream = t.upstream();
    t.block(upstream, true);
    let mut at = 1000;
    while at < request.len() && !t.paused.contains(&client) {
        let end = (at + 30_000).min(request.len());
        t.send(client, &request[at..end]);
        at = end;
    }
    assert!(at < 250_000, "the client was held back at {at}");
    let mut sent = t.got(upstream);
    t.block(upstream, false);
    while at < request.len() {
        let end = (at + 30_000).min(request.len());
        t.send(client, &request[at..end]);
        at = end;
    }
    sent.push_str(&t.got(upstream));
    assert_eq!(body(&sent), text);
    t.close(upstream, Closed::Reset);
    assert_eq!(t.dial(), None);
    assert_eq!(status(&t.got(client)), 502);
    assert!(t.is_quiet());
}

#[test]
fn connections_are_kept_only_when_both_sides_mean_it() {
    for (answer, kept) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", true),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx",
            false,
        ),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxstray", false),
    ] {
        let mut t = Bench::new(|_| {});
        let client = t.client();
        t.send(client, chat("llama-3", ""));
        let upstream = t.upstream();
        t.send(upstream, answer);
        assert!(t.got(client).ends_with("\r\n\r\nx"), "{answer}");
        assert_eq!(t.ended(upstream).is_none(), kept, "{answer}");
        if kept {
            t.after_ms(3100);
            assert!(t.ended(upstream).is_some(), "idle for three seconds");
        }
    }
    // A close-delimited one ends with its connection.
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let upstream = t.upstream();
    t.send(upstream, "HTTP/1.1 200 OK\r\n\r\nbody");
    t.close(upstream, Closed::Eof);
    assert!(t.got(client).ends_with("4\r\nbody\r\n0\r\n\r\n"));
    assert_eq!(t.ended(upstream), Some(Ended::Now));
}

#[test]
fn an_early_answer_ends_the_upstream_connection_and_drains_the_client() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    let request = chat("llama-3", r#","pad":"0123456789""#);
    t.send(client, &request[..request.len() - 10]);
    let upstream = t.upstream();
    t.send(upstream, "HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\nno");
    assert!(t.ended(upstream).is_some(), "never reused");
    assert_eq!(status(&t.got(client)), 400);
    assert_eq!(t.ended(client), None);
    t.send(client, &request[request.len() - 10..]);
    t.send(client, chat("llama-3", ""));
    let upstream = t.upstream();
    t.send(upstream, ok("second"));
    assert_eq!(body(&t.got(client)), "second");

    // Who does not send the rest within a second is let go.
    t.send(client, &request[..request.len() - 10]);
    let upstream = t.dial().map_or_else(|| panic!("a dial"), |(conn, _)| conn);
    t.mail_connected(upstream);
    t.send(upstream, "HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\nno");
    t.after_ms(1100);
    assert!(t.ended(client).is_some());
}

#[test]
fn an_endpoint_that_takes_over_a_slot_never_gets_the_old_one_s_connections() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, chat("org/name", ""));
    let old = t.upstream();
    t.send(old, ok("old"));
    t.got(client);
    t.reload(|p| {
        p["pools"][1]["endpoints"][0]["name"] = json!("new");
        p["pools"][1]["endpoints"][0]["address"] = json!({"tcp": "127.0.0.1:9009"});
    });
    t.got(old);
    t.send(client, chat("org/name", ""));
    assert_eq!(t.got(old), "");
    assert_eq!(t.dial().expect("a dial").1, 9009);
}
