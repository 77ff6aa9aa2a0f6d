//! Event streams: whole events, heartbeats, and ends that cannot be mistaken.

use engine::input::Closed;
use serde_json::json;

use crate::bench::{Bench, EVENTS, Ended, body, chat, chunk, field, ok, status, stream};

fn started(t: &mut Bench) -> (engine::ids::ConnId, engine::ids::ConnId) {
    let client = t.client();
    t.send(client, stream());
    let upstream = t.upstream();
    t.send(upstream, EVENTS);
    (client, upstream)
}

#[test]
fn every_whole_event_goes_out_at_once_and_its_rest_waits() {
    let mut t = Bench::new(|_| {});
    let (client, upstream) = started(&mut t);
    let mut seen = String::new();
    let text = "data: a\n\n: note\n\ndata: b\r\n\r\nevent: x\ndata: c\n\n";
    let mut given = String::new();
    for byte in text.chars() {
        t.send(upstream, chunk(&byte.to_string()));
        given.push(byte);
        let got = t.got(client);
        seen.push_str(&got);
        let ends = given.ends_with("\n\n") || given.ends_with("\r\n\r");
        assert_eq!(!got.is_empty(), ends, "behind {given:?}");
    }
    t.send(upstream, "0\r\n\r\n");
    seen.push_str(&t.got(client));
    assert_eq!(dechunk(body(&seen)), text);
    assert!(seen.ends_with("0\r\n\r\n"));
    let record = t.record();
    assert_eq!((record.stream, record.tokens), (true, 2));
}

fn dechunk(mut text: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        out.push_str(&rest[..size]);
        text = &rest[size..][2..];
    }
    out
}

#[test]
fn a_stream_that_is_cut_ends_in_an_error_behind_whole_events() {
    for closed in [Closed::Eof, Closed::Reset] {
        let mut t = Bench::new(|_| {});
        let (client, upstream) = started(&mut t);
        t.send(upstream, chunk("data: one\n\ndata: tw"));
        t.close(upstream, closed);
        let answer = t.got(client);
        assert!(!answer.contains("data: tw"), "{answer}");
        assert!(answer.contains("data: one\n\n"));
        let error = answer.find("data: {\"error\"").expect("an error event");
        assert!(answer[error..].contains("\n\n"));
        assert!(!answer.ends_with("0\r\n\r\n"), "it does not look whole");
        assert_eq!(t.ended(client), Some(Ended::Fin));
        let record = t.record();
        assert_eq!((record.status, record.flag.is_empty()), (200, false));
        assert!(t.is_quiet());
    }
}

#[test]
fn errors_in_a_stream_speak_the_dialect_of_its_path() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(
        client,
        stream().replace("/v1/chat/completions", "/v1/messages"),
    );
    let upstream = t.upstream();
    t.send(upstream, EVENTS);
    t.send(upstream, chunk("event: ping\ndata: {}\n\n"));
    t.close(upstream, Closed::Reset);
    assert!(
        t.got(client)
            .contains("event: error\ndata: {\"type\":\"error\"")
    );
}

#[test]
fn every_kind_of_body_that_is_cut_is_visibly_cut() {
    let part = "12345";
    for (head, rest) in [
        ("content-length: 10\r\n", part.to_owned()),
        ("transfer-encoding: chunked\r\n", chunk(part)),
        ("", part.to_owned()),
    ] {
        let mut t = Bench::new(|_| {});
        let client = t.client();
        t.send(client, chat("llama-3", ""));
        let upstream = t.upstream();
        t.send(upstream, format!("HTTP/1.1 200 OK\r\n{head}\r\n{rest}"));
        t.close(upstream, Closed::Reset);
        let answer = t.got(client);
        let whole = answer.ends_with("0\r\n\r\n") || field(&answer, "content-length") == Some("5");
        assert!(!whole && t.ended(client).is_some(), "{answer}");
        assert_eq!(t.record().flag, "UR");
    }
    // A stream of events that its connection delimits and that ends inside of one.
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, stream());
    let upstream = t.upstream();
    t.send(
        upstream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: a\n\ndata: b",
    );
    t.close(upstream, Closed::Eof);
    let answer = t.got(client);
    assert!(
        answer.contains("\"error\"") && !answer.ends_with("0\r\n\r\n"),
        "{answer}"
    );
}

#[test]
fn a_coded_stream_flows_as_it_comes_and_breaks_off_bare() {
    for (coding, opaque) in [("gzip", true), ("identity", false), (" Identity ", false)] {
        let mut t = Bench::new(|_| {});
        let client = t.client();
        t.send(client, stream());
        let upstream = t.upstream();
        let field = format!("\r\ncontent-encoding:{coding}\r\n\r\n");
        t.send(upstream, EVENTS.replace("\r\n\r\n", &field));
        t.send(upstream, chunk("data: x"));
        let got = t.got(client);
        assert_eq!(got.contains("content-encoding"), opaque, "{got}");
        assert_eq!(got.contains("data: x"), opaque, "{got}");
        t.send(upstream, chunk("\n\nmore"));
        assert_eq!(t.got(client).contains("more"), opaque);
        t.close(upstream, Closed::Reset);
        let got = t.got(client);
        assert_eq!(got.contains("error"), !opaque, "{got}");
        assert!(!got.contains("0\r\n\r\n"), "it does not look whole");
        assert_eq!(t.dial(), None, "it was committed");
        let record = t.record();
        assert_eq!((record.flag, record.stream), ("UR", !opaque));
        assert_eq!(record.tokens, u64::from(!opaque));
        assert!(t.is_quiet());
    }
}

#[test]
fn a_record_tells_what_was_reserved_and_what_was_used() {
    let tokens = |t: &mut Bench| {
        let mut line = Vec::new();
        t.record().write_json(&mut line);
        let line: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        ["reserved_tokens", "used_tokens"].map(|name| line[name].as_u64())
    };
    let ask = chat("org/name", r#","max_tokens":100,"prompt":"12345678""#);
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, &ask);
    let upstream = t.upstream();
    t.send(
        upstream,
        ok(r#"{"usage":{"prompt_tokens":5,"completion_tokens":7}}"#),
    );
    assert_eq!(tokens(&mut t), [Some(102), Some(12)]);

    // An engine that says nothing took the expected prompt; one that never answered took nothing.
    t.send(client, &ask);
    t.send(upstream, ok("{}"));
    assert_eq!(tokens(&mut t), [Some(102), Some(2)]);
    t.send(client, &ask);
    t.close(client, Closed::Reset);
    assert_eq!(tokens(&mut t), [Some(102), Some(0)]);
    assert!(t.is_quiet());
}

#[test]
fn an_event_beyond_its_bound_passes_through() {
    let mut t = Bench::new(|_| {});
    let (client, upstream) = started(&mut t);
    t.send(upstream, chunk(&format!("data: {}", "x".repeat(30_000))));
    t.send(upstream, chunk(&"x".repeat(30_000)));
    assert_eq!(t.got(client), "");
    t.send(upstream, chunk(&"x".repeat(10_000)));
    assert!(t.got(client).len() > 70_000);
    t.send(upstream, chunk("more"));
    assert!(t.got(client).contains("more"));
    t.send(upstream, chunk("\n\ndata: held"));
    assert!(!t.got(client).contains("held"), "whole events again");
    // In the middle of such an event no error event can follow.
    t.send(upstream, chunk(&"x".repeat(70_000)));
    t.got(client);
    t.close(upstream, Closed::Reset);
    assert_eq!(t.got(client), "");
    assert_eq!(t.ended(client), Some(Ended::Fin));
}

#[test]
fn heartbeats_keep_a_silent_stream_alive_and_commit_its_head() {
    let beating = |p: &mut serde_json::Value| p["pools"][0]["heartbeat_ms"] = json!(1000);
    let mut t = Bench::new(beating);
    let client = t.client();
    t.send(client, stream());
    let first = t.upstream();
    t.after_ms(2100);
    let answer = t.got(client);
    assert_eq!(status(&answer), 200);
    assert_eq!(dechunk(body(&answer)), ":\n\n:\n\n");
    // Another engine may still take over, be it in the middle of its first event.
    t.send(first, EVENTS);
    t.send(first, chunk("data: lo\n"));
    t.close(first, Closed::Reset);
    let second = t.upstream();
    t.send(second, EVENTS);
    t.send(second, chunk("data: x\n\ndata: y"));
    assert_eq!(dechunk(&t.got(client)), "data: x\n\n");
    t.after_ms(1500);
    assert_eq!(t.got(client), "", "no comment inside of an event");
    t.send(second, chunk("\n\n"));
    t.send(second, "0\r\n\r\n");
    assert_eq!(t.got(client), format!("{}0\r\n\r\n", chunk("data: y\n\n")));
    assert!(t.is_quiet());

    // An engine that answers with an error then can only be reported in the stream.
    let mut t = Bench::new(|p| {
        beating(p);
        p["pools"][0]["retry"]["attempts_max"] = json!(1);
    });
    let client = t.client();
    t.send(client, stream());
    let upstream = t.upstream();
    t.after_ms(1100);
    t.send(upstream, "HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\nno");
    let answer = t.got(client);
    assert!(
        answer.contains("\"error\"") && !answer.ends_with("0\r\n\r\n"),
        "{answer}"
    );
    assert!(t.is_quiet());
}

#[test]
fn a_heartbeat_never_stands_in_an_answer_that_is_no_stream() {
    let mut t = Bench::new(|p| p["pools"][0]["heartbeat_ms"] = json!(1000));
    let client = t.client();
    t.send(client, stream());
    let upstream = t.upstream();
    t.send(
        upstream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    t.send(upstream, chunk("{\"a\":"));
    t.after_ms(5000);
    t.send(upstream, chunk("1}"));
    t.send(upstream, "0\r\n\r\n");
    assert_eq!(dechunk(body(&t.got(client))), "{\"a\":1}");
}

#[test]
fn a_head_goes_out_at_once_where_the_pool_says_so() {
    let mut t = Bench::new(|p| p["pools"][0]["commit"] = json!("head"));
    let (client, upstream) = started(&mut t);
    let answer = t.got(client);
    assert_eq!(
        (status(&answer), field(&answer, "x-accel-buffering")),
        (200, Some("no"))
    );
    t.close(upstream, Closed::Reset);
    let second = t.upstream();
    t.send(second, EVENTS);
    t.send(second, chunk("data: x\n\n"));
    assert_eq!(
        t.got(client),
        chunk("data: x\n\n"),
        "the same head stands for another stream"
    );
}

#[test]
fn usage_is_read_and_recorded() {
    let mut t = Bench::new(|_| {});
    let (_, upstream) = started(&mut t);
    t.send(upstream, chunk("data: {\"x\":1}\n\n"));
    let usage =
        "data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":9}}\n\ndata: [DONE]\n\n";
    t.send(upstream, chunk(usage));
    t.send(upstream, "0\r\n\r\n");
    let record = t.record();
    assert_eq!(
        (record.prompt_tokens, record.completion_tokens),
        (Some(3), Some(9))
    );

    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let upstream = t.upstream();
    t.send(
        upstream,
        ok(r#"{"usage":{"input_tokens":5,"output_tokens":6}}"#),
    );
    let record = t.record();
    assert_eq!(
        (record.prompt_tokens, record.completion_tokens),
        (Some(5), Some(6))
    );
}
