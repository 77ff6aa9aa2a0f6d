//! Now, later or 429.

use engine::input::Closed;
use serde_json::{Value, json};

use crate::bench::{Bench, body, chat, field, ok, post, status};

/// One endpoint with one permit, a channel of two.
fn narrow(p: &mut Value) {
    let first = p["pools"][0]["endpoints"][0].clone();
    p["pools"][0]["endpoints"] = json!([first]);
    p["pools"][0]["endpoints"][0]["concurrency"] = json!(1);
    p["pools"][0]["channel"]["capacity"] = json!(2);
}

#[test]
fn a_full_channel_is_a_429_that_says_when_to_come_back() {
    let mut t = Bench::new(narrow);
    let clients: Vec<_> = (0..4).map(|_| t.client()).collect();
    for client in &clients {
        t.send(*client, chat("llama-3", ""));
    }
    let answer = t.got(clients[3]);
    assert_eq!(status(&answer), 429);
    let ms: u64 = field(&answer, "retry-after-ms")
        .expect("a delay")
        .parse()
        .expect("a number");
    let s: u64 = field(&answer, "retry-after")
        .expect("a delay")
        .parse()
        .expect("a number");
    assert!(
        (1..=120_000).contains(&ms) && s == ms.div_ceil(1000).max(1),
        "{ms} {s}"
    );
    assert!(field(&answer, "x-should-retry").is_some());
    assert_eq!(
        field(&answer, "ratelimit-policy"),
        Some("\"main\";q=2;qu=\"concurrent-requests\"")
    );
    assert!(
        field(&answer, "ratelimit")
            .expect("a state")
            .starts_with("\"main\";r=0;t=")
    );
    assert!(body(&answer).contains("channel_full"));
    assert_eq!(t.record().flag, "CF");
    // The connection lives on: the body was read.
    assert_eq!(t.ended(clients[3]), None);
    for client in &clients[..3] {
        assert_eq!(t.got(*client), "");
    }
}

#[test]
fn slow_bodies_take_no_place_while_permits_are_scarce() {
    let mut t = Bench::new(narrow);
    let busy = t.client();
    t.send(busy, chat("llama-3", ""));
    let upstream = t.upstream();
    let whole = chat("llama-3", "");
    let (most, rest) = whole.split_at(whole.len() - 1);
    let slow: Vec<_> = (0..5).map(|_| t.client()).collect();
    for client in &slow {
        t.send(*client, most);
    }
    // Both places are free for those who say all they have to say.
    let quick: Vec<_> = (0..2).map(|_| t.client()).collect();
    for client in &quick {
        t.send(*client, &whole);
        assert_eq!(t.got(*client), "");
    }
    assert_eq!(t.got(slow[0]), "", "nobody was refused");
    // Who would be refused need not send its body.
    let late = t.client();
    t.send(late, most);
    assert_eq!(status(&t.got(late)), 429);
    t.send(upstream, ok("one"));
    assert_eq!(body(&t.got(busy)), "one");
    // A place is free again: it is for the first whose body is there.
    t.send(slow[3], rest);
    assert_eq!(t.got(slow[3]), "");
    t.send(slow[4], rest);
    assert_eq!(status(&t.got(slow[4])), 429);
}

#[test]
fn waiters_go_on_in_order_within_their_class() {
    let mut t = Bench::new(|p| {
        narrow(p);
        p["pools"][0]["channel"]["capacity"] = json!(5);
        p["pools"][0]["channel"]["max_wait_ms"] = json!(60_000);
        p["routes"][0]["class"] = json!(0);
        p["routes"][0]["class_header"] = json!("x-class");
    });
    let clients: Vec<_> = ["high", "low", "normal", "high", "normal", "high"]
        .into_iter()
        .map(|class| {
            let client = t.client();
            let fields = format!("x-class: {class}\r\n");
            t.send(
                client,
                post("/v1/chat/completions", &fields, r#"{"model":"llama-3"}"#),
            );
            client
        })
        .collect();
    let upstream = t.upstream();
    let mut order = Vec::new();
    for _ in 0..clients.len() {
        t.send(upstream, ok("x"));
        let served = clients.iter().position(|c| !t.got(*c).is_empty());
        order.push(served.expect("somebody is served"));
    }
    assert_eq!(order, [0, 3, 5, 2, 4, 1]);
    assert!(t.is_quiet());
}

#[test]
fn a_wait_that_is_too_long_is_a_429() {
    let mut t = Bench::new(narrow);
    let (first, second) = (t.client(), t.client());
    t.send(first, chat("llama-3", ""));
    t.send(second, chat("llama-3", ""));
    let upstream = t.upstream();
    t.after_ms(990);
    assert_eq!(t.got(second), "");
    t.after_ms(20);
    let answer = t.got(second);
    assert_eq!(status(&answer), 429);
    assert!(field(&answer, "retry-after-ms").is_some());
    assert_eq!(t.record().flag, "WX");
    t.send(upstream, ok("x"));
    assert_eq!(status(&t.got(first)), 200);
    assert!(t.is_quiet());
}

#[test]
fn a_waiter_that_leaves_gives_its_place_to_the_next() {
    for closed in [Closed::Eof, Closed::Reset] {
        let mut t = Bench::new(narrow);
        let clients: Vec<_> = (0..3).map(|_| t.client()).collect();
        for client in &clients {
            t.send(*client, chat("llama-3", ""));
        }
        t.close(clients[1], closed);
        assert_eq!(t.record().flag, "CG");
        let upstream = t.upstream();
        t.send(upstream, ok("1"));
        assert_eq!(body(&t.got(clients[0])), "1");
        t.send(upstream, ok("3"));
        assert_eq!(body(&t.got(clients[2])), "3");
        assert!(t.is_quiet());
    }
}

#[test]
fn more_capacity_after_a_reload_lets_waiters_go_on() {
    let mut t = Bench::new(narrow);
    let (first, second) = (t.client(), t.client());
    t.send(first, chat("llama-3", ""));
    t.send(second, chat("llama-3", ""));
    assert!(t.dial().is_some() && t.dial().is_none());
    t.reload(|p| {
        narrow(p);
        p["pools"][0]["endpoints"][0]["concurrency"] = json!(2);
    });
    assert!(t.dial().is_some());
}

#[test]
fn held_bytes_come_back_with_a_worker_that_lost_them() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    let request = chat("llama-3", &format!(r#","pad":"{}""#, "x".repeat(20_000)));
    t.send(client, &request[..request.len() - 1]);
    assert!(t.shared.held_bytes.held() >= 20_000);
    let Bench { engine, shared, .. } = t;
    drop(engine);
    assert_eq!(shared.held_bytes.held(), 0);
}

#[test]
fn held_bytes_are_bounded_and_returned() {
    let mut t = Bench::new(|p| p["held_bytes_max"] = json!(100_000));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let client = t.client();
        let text = format!(r#"{{"model":"llama-3","pad":"{}"#, "x".repeat(60_000));
        let request = post("/v1/chat/completions", "", &text).replace("60025", "90000");
        t.send(client, request);
        clients.push(client);
        assert!(t.shared.held_bytes.held() <= 100_000);
    }
    for client in clients {
        t.close(client, Closed::Reset);
    }
    assert!(t.is_quiet());
}

#[test]
fn a_continue_is_sent_when_the_body_is_wanted() {
    // Not while it waits for a permit, if the head alone decides the pool.
    let mut t = Bench::new(|p| {
        narrow(p);
        p["routes"][0]["match"] = json!({"path": "/v1/*"});
    });
    let first = t.client();
    t.send(first, chat("llama-3", ""));
    let upstream = t.upstream();
    let client = t.client();
    let text = "{\"model\":\"llama-3\"}";
    let request = post("/v1/chat/completions", "expect: 100-continue\r\n", text);
    let (head, _) = request.split_once("\r\n\r\n").expect("a head");
    t.send(client, format!("{head}\r\n\r\n"));
    assert_eq!(t.got(client), "");
    t.send(upstream, ok("x"));
    assert_eq!(t.got(client), "HTTP/1.1 100 Continue\r\n\r\n");
    t.got(upstream);
    t.send(client, text);
    assert!(t.got(upstream).ends_with(text));
    t.send(upstream, ok("y"));
    assert_eq!(body(&t.got(client)), "y");

    // A shed request is told before it sends anything; and as nobody can tell what comes next on
    // that connection, it ends.
    let mut t = Bench::new(|p| {
        narrow(p);
        p["pools"][0]["channel"]["capacity"] = json!(0);
        p["routes"][0]["match"] = json!({"path": "/v1/*"});
    });
    let first = t.client();
    t.send(first, chat("llama-3", ""));
    let client = t.client();
    t.send(client, format!("{head}\r\n\r\n"));
    let answer = t.got(client);
    assert_eq!(status(&answer), 429);
    assert_eq!(field(&answer, "connection"), Some("close"));
    assert!(t.ended(client).is_some());
}
