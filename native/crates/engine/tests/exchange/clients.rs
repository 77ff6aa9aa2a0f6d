//! Client connections: kept, pipelined, left, upgraded, drained, capped.

use engine::clock::MS;
use engine::input::{Closed, Drain, Mail};
use engine::limits::PIPELINED_ANSWERS_MAX;
use serde_json::json;

use crate::bench::{Bench, EVENTS, Ended, body, chat, chunk, field, get, ok, post, status, stream};

#[test]
fn pipelined_requests_are_answered_in_order_and_one_at_a_time() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    let three = [chat("llama-3", ""), get("/none", ""), chat("org/name", "")].concat();
    t.send(client, &three);
    assert!(t.paused.contains(&client));
    let first = t.upstream();
    assert_eq!(t.dial(), None, "one at a time");
    t.send(first, ok("1"));
    let third = t.upstream();
    t.send(third, ok("3"));
    let answers = t.got(client);
    let statuses: Vec<_> = answers
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &answers[at + 9..at + 12])
        .collect();
    assert_eq!(statuses, ["200", "404", "200"]);
    assert!(!t.paused.contains(&client));
    assert_eq!(t.records.len(), 3);
    assert!(t.is_quiet());
}

#[test]
fn a_client_that_asks_and_does_not_read_is_held_back() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.block(client, true);
    let many = get("/none", "").repeat(500);
    let mut asked = 0;
    for _ in 0..50 {
        if t.paused.contains(&client) {
            break;
        }
        t.send(client, &many);
        asked += 500;
    }
    assert!(
        t.engine.pending(client).len() < 100_000,
        "{}",
        t.engine.pending(client).len()
    );
    for _ in 0..asked {
        t.block(client, false);
        t.block(client, true);
    }
    let answers = t.got(client).matches("HTTP/1.1 404").count();
    assert_eq!(answers, asked);
    assert!(t.is_quiet());
}

#[test]
fn sixteen_answers_at_most_wait_for_a_client_that_pipelines() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.block(client, true);
    t.send(client, get("/none", "").repeat(50));
    assert_eq!(t.records.len(), PIPELINED_ANSWERS_MAX);
    assert!(t.paused.contains(&client));
    // What was read before the pause was heard of is no short cut.
    t.send(client, get("/late", ""));
    assert_eq!(t.records.len(), PIPELINED_ANSWERS_MAX);
    t.block(client, false);
    assert_eq!(t.got(client).matches("HTTP/1.1 404").count(), 51);
    assert_eq!(t.records.back().expect("a record").path, b"/late");
    assert!(!t.paused.contains(&client));

    // Answers that are out count no more.
    for _ in 0..40 {
        t.send(client, get("/none", ""));
    }
    assert_eq!(t.got(client).matches("HTTP/1.1 404").count(), 40);
    assert!(t.is_quiet());
}

#[test]
fn nothing_is_served_behind_a_request_that_breaks_http() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(
        client,
        format!(
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n{}",
            get("/x", "")
        ),
    );
    let answer = t.got(client);
    assert_eq!(answer.matches("HTTP/1.1").count(), 1);
    assert_eq!(
        (status(&answer), field(&answer, "connection")),
        (400, Some("close"))
    );
    assert_eq!(t.ended(client), Some(Ended::Fin));
    assert_eq!(t.record().flag, "BR");
}

#[test]
fn a_broken_body_ends_the_exchange_and_the_upstream_never_sees_a_whole_request() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(
        client,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    t.send(client, chunk(r#"{"model":"llama-3","#));
    let upstream = t.upstream();
    t.send(client, "zz\r\n");
    assert_eq!(status(&t.got(client)), 400);
    assert_eq!(t.ended(client), Some(Ended::Fin));
    assert!(!t.got(upstream).contains("0\r\n\r\n"));
    assert_eq!(t.ended(upstream), Some(Ended::Now));
    assert!(t.is_quiet());
}

#[test]
fn a_client_that_leaves_cancels_its_upstream_in_the_same_turn() {
    for closed in [Closed::Eof, Closed::Reset] {
        // While it is dialled, before the head, before the first event, in the middle of one.
        for stage in 0..4 {
            let mut t = Bench::new(|_| {});
            let client = t.client();
            t.send(client, stream());
            let (upstream, _) = t.dial().expect("a dial");
            for step in 0..stage {
                match step {
                    0 => t.mail_connected(upstream),
                    1 => t.send(upstream, EVENTS),
                    _ => t.send(upstream, chunk("data: one\n\ndata: tw")),
                }
            }
            t.close(client, closed);
            assert_eq!(t.ended(upstream), Some(Ended::Now), "{closed:?} at {stage}");
            assert!(t.ended(client).is_some());
            assert_eq!(t.record().flag, "CG");
            assert!(t.is_quiet());
        }
    }
}

#[test]
fn half_a_close_is_no_end_where_the_listener_says_so() {
    let mut t = Bench::new(|p| p["listeners"][0]["half_close"] = json!(true));
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let upstream = t.upstream();
    t.close(client, Closed::Eof);
    t.send(upstream, ok("late"));
    assert_eq!(body(&t.got(client)), "late");
    assert_eq!(t.ended(client), Some(Ended::Fin));
    assert_eq!(t.record().flag, "");

    // But an incomplete request is one that will never be complete.
    let client = t.client();
    t.send(client, &chat("llama-3", "")[..120]);
    t.close(client, Closed::Eof);
    assert!(t.ended(client).is_some());
    assert!(t.is_quiet());
}

#[test]
fn http_1_0_gets_a_body_that_ends_with_its_connection() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    let request = stream().replace("HTTP/1.1", "HTTP/1.0");
    t.send(client, &request);
    let upstream = t.upstream();
    assert!(t.got(upstream).contains("HTTP/1.1\r\n"));
    t.send(upstream, EVENTS);
    t.send(upstream, chunk("data: one\n\n"));
    t.send(upstream, "0\r\n\r\n");
    let answer = t.got(client);
    assert_eq!(
        (field(&answer, "transfer-encoding"), body(&answer)),
        (None, "data: one\n\n")
    );
    assert_eq!(t.ended(client), Some(Ended::Fin));

    // Cut off, it is reset: a FIN would make it whole.
    let client = t.client();
    t.send(client, &request);
    let upstream = t.upstream();
    t.send(upstream, EVENTS);
    t.send(upstream, chunk("data: one\n\n"));
    t.close(upstream, Closed::Reset);
    assert_eq!(t.ended(client), Some(Ended::Reset));

    assert!(t.is_quiet());

    // A unary answer of known length keeps a connection that wants to be kept.
    let mut t = Bench::new(|_| {});
    let client = t.client();
    let fields = "connection: keep-alive\r\n";
    let request = post("/v1/completions", fields, r#"{"model":"llama-3"}"#);
    t.send(client, request.replace("HTTP/1.1", "HTTP/1.0"));
    let upstream = t.upstream();
    t.send(upstream, ok("x"));
    assert_eq!(field(&t.got(client), "connection"), Some("keep-alive"));
    assert_eq!(t.ended(client), None);
    assert!(t.is_quiet());
}

#[test]
fn a_cut_answer_takes_no_earlier_answer_along() {
    let earlier = get("/none", "");
    let later = stream().replace("HTTP/1.1", "HTTP/1.0");
    for cut in 0..3 {
        let mut t = Bench::new(|_| {});
        let client = t.client();
        t.block(client, true);
        t.send(client, format!("{earlier}{later}"));
        let upstream = t.upstream();
        t.send(upstream, EVENTS);
        t.send(upstream, chunk("data: one\n\n"));
        match cut {
            0 => t.close(upstream, Closed::Reset),
            1 => t.close(client, Closed::Eof),
            _ => {
                // Once a byte of it is out, all of the earlier one is.
                t.block(client, false);
                t.close(upstream, Closed::Reset);
            }
        }
        let got = t.got(client);
        assert_eq!(status(&got), 404);
        assert_eq!(got.contains("200 OK"), cut == 2, "{got}");
        let length = field(&got, "content-length").expect("a length");
        assert!(body(&got).len() >= length.parse().expect("a number"));
        let ended = if cut == 2 { Ended::Reset } else { Ended::Fin };
        assert_eq!(t.ended(client), Some(ended), "cut in way {cut}");
        assert!(t.is_quiet());
    }
}

#[test]
fn answers_without_a_body_have_none() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n",
        ),
    ] {
        let mut t = Bench::new(|p| p["default_pool"] = json!(1));
        let client = t.client();
        let request = get("/v1/x", "").replacen("GET", method, 1);
        t.send(client, &request);
        let upstream = t.upstream();
        t.send(upstream, answer);
        let got = t.got(client);
        assert_eq!(body(&got), "", "{method} {answer}");
        assert_eq!(
            field(&got, "content-length").is_some(),
            answer.contains("-length"),
            "{got}"
        );
        assert_eq!(t.ended(client), None);
        t.send(client, &request);
        assert!(t.dial().is_some() || !t.got(upstream).is_empty(), "kept");
    }
}

#[test]
fn an_error_of_ours_to_head_has_a_head_only() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, get("/none", "").replacen("GET", "HEAD", 1));
    let answer = t.got(client);
    assert_eq!((status(&answer), body(&answer)), (404, ""));
    assert!(field(&answer, "content-length").is_some());
}

#[test]
fn a_websocket_sends_nothing_before_its_101_and_everything_after() {
    let upgrade = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut t = Bench::new(|p| p["default_pool"] = json!(1));
    let client = t.client();
    t.send(client, format!("{}early", get("/v1/realtime", upgrade)));
    let upstream = t.upstream();
    let request = t.got(upstream);
    assert!(
        request.ends_with("\r\n\r\n") && !request.contains("early"),
        "{request}"
    );
    assert_eq!(field(&request, "upgrade"), Some("websocket"));
    t.send(
        upstream,
        "HTTP/1.1 101 Switching Protocols\r\n\
         connection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
    );
    assert_eq!(t.got(upstream), "early");
    let answer = t.got(client);
    assert_eq!((status(&answer), body(&answer)), (101, "hello"));
    t.send(client, "up");
    t.send(upstream, "down");
    assert_eq!(
        (t.got(upstream), t.got(client)),
        ("up".to_owned(), "down".to_owned())
    );
    t.after_ms(700_000);
    assert_eq!(t.ended(client), None, "a tunnel may be silent");
    // A stopped reader stops the other side.
    t.block(client, true);
    for _ in 0..4 {
        t.send(upstream, "x".repeat(30_000));
    }
    assert!(t.paused.contains(&upstream));
    t.block(client, false);
    assert!(!t.paused.contains(&upstream));
    t.close(upstream, Closed::Eof);
    assert_eq!(t.ended(client), Some(Ended::Fin));
    assert_eq!((t.record().status, t.is_quiet()), (101, true));

    // A 101 that nobody asked for.
    let client = t.client();
    t.send(client, get("/v1/x", ""));
    let upstream = t.upstream();
    t.send(upstream, "HTTP/1.1 101 Switching Protocols\r\n\r\n");
    assert_eq!(status(&t.got(client)), 502);
    assert!(t.is_quiet());
}

#[test]
fn the_proxy_protocol_names_the_client_and_must_come_first() {
    let proxied = |p: &mut serde_json::Value| {
        p["listeners"][0]["proxy_protocol"] = json!(true);
        p["default_pool"] = json!(1);
    };
    let mut t = Bench::new(proxied);
    let client = t.client();
    for byte in b"PROXY TCP4 192.0.2.7 192.0.2.1 5 6\r\n" {
        t.send(client, [*byte]);
    }
    t.send(client, get("/x", ""));
    let upstream = t.upstream();
    assert_eq!(
        field(&t.got(upstream), "x-forwarded-for"),
        Some("192.0.2.7")
    );
    let client = t.client();
    t.send(client, get("/x", ""));
    assert_eq!(t.ended(client), Some(Ended::Now));
    assert_eq!(t.got(client), "");
}

#[test]
fn sockets_are_capped_by_listener_and_by_source() {
    let mut t = Bench::new(|p| {
        p["listeners"][0]["connections_max"] = json!(3);
        p["listeners"][0]["connections_per_source_max"] = json!(2);
    });
    let a = t.client_of(0, [10, 0, 0, 1]).expect("the first");
    assert!(t.client_of(0, [10, 0, 0, 1]).is_some());
    assert!(t.client_of(0, [10, 0, 0, 1]).is_none(), "two of one source");
    assert!(t.client_of(0, [10, 0, 0, 2]).is_some());
    assert!(t.client_of(0, [10, 0, 0, 3]).is_none(), "three in all");
    t.close(a, Closed::Eof);
    assert!(t.client_of(0, [10, 0, 0, 1]).is_some());
}

#[test]
fn a_drain_ends_idle_connections_finishes_streams_and_cuts_the_rest_between_events() {
    let mut t = Bench::new(|_| {});
    let (idle, quick, long) = (t.client(), t.client(), t.client());
    t.send(quick, chat("org/name", ""));
    let a = t.upstream();
    t.send(long, stream());
    let b = t.upstream();
    t.send(b, EVENTS);
    t.send(b, chunk("data: one\n\n"));
    t.mail(Mail::Drain(Drain {
        deadline_ns: t.now_ns + 5000 * MS,
        idle_ns: 0,
        admin: false,
    }));
    t.after_ms(1);
    assert_eq!(t.ended(idle), Some(Ended::Fin));
    assert!(t.client_of(0, [10, 0, 0, 9]).is_none());
    t.send(a, ok("x"));
    assert_eq!(field(&t.got(quick), "connection"), Some("close"));
    assert_eq!(t.ended(quick), Some(Ended::Fin));
    t.send(b, chunk("data: half"));
    assert!(!t.engine.drained());
    t.after_ms(5100);
    let answer = t.got(long);
    assert!(
        !answer.contains("half") && answer.contains("\"error\""),
        "{answer}"
    );
    assert!(!answer.contains("0\r\n\r\n"), "it does not look whole");
    assert_eq!(t.ended(long), Some(Ended::Fin));
    assert!(t.engine.drained() && t.is_quiet());
}

#[test]
fn a_drained_client_is_told_before_it_is_left() {
    let mut t = Bench::new(|_| {});
    let (busy, silent, new) = (t.client(), t.client(), t.client());
    t.send(busy, get("/none", ""));
    t.send(silent, get("/none", ""));
    assert_eq!(field(&t.got(busy), "connection"), None);
    t.mail(Mail::Drain(Drain {
        deadline_ns: t.now_ns + 60_000 * MS,
        idle_ns: 500 * MS,
        admin: false,
    }));
    t.after_ms(400);
    assert_eq!((t.ended(busy), t.ended(silent)), (None, None));
    // Its request may have crossed our decision: it is answered, and the answer says that the
    // connection closes.
    for client in [busy, new] {
        t.send(client, get("/none", ""));
        assert_eq!(field(&t.got(client), "connection"), Some("close"));
        assert_eq!(t.ended(client), Some(Ended::Fin));
    }
    assert!(!t.engine.drained());
    t.after_ms(101);
    assert_eq!(t.ended(silent), Some(Ended::Fin));
    assert!(t.engine.drained());
}

#[test]
fn a_stop_returns_every_permit_and_writes_every_record() {
    let mut t = Bench::new(|_| {});
    let clients: Vec<_> = (0..3).map(|_| t.client()).collect();
    t.send(clients[0], chat("llama-3", ""));
    t.send(clients[1], stream());
    let first = t.upstream();
    t.send(first, EVENTS);
    t.send(first, chunk("data: one\n\n"));
    t.mail(Mail::Stop);
    assert_eq!(t.records.len(), 2);
    assert!(clients.iter().all(|c| t.ended(*c).is_some()));
    assert!(t.is_quiet());
}

#[test]
fn a_client_keeps_the_listener_it_came_through() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.reload(|p| p["listeners"] = json!([]));
    t.send(client, chat("llama-3", ""));
    let upstream = t.upstream();
    t.send(upstream, ok("x"));
    assert_eq!(status(&t.got(client)), 200);
    assert!(t.client_of(0, [10, 0, 0, 1]).is_none());
}
