//! The admin listener: liveness by the engine itself, everything else by the control plane.

use engine::input::{Closed, Drain, Mail};
use engine::limits::ADMIN_BODY_BYTES_MAX;
use engine::output::Question;
use serde_json::json;

use crate::bench::{Bench, body, chat, field, get, ok, post, status};

fn admin() -> Bench {
    Bench::new(|p| {
        let mut listener = p["listeners"][0].clone();
        listener["name"] = json!("admin");
        listener["kind"] = json!("admin");
        p["listeners"]
            .as_array_mut()
            .expect("a list")
            .push(listener);
    })
}

#[test]
fn liveness_and_readiness_need_nobody() {
    let mut t = admin();
    let client = t.client_of(1, [127, 0, 0, 1]).expect("accepted");
    t.send(client, get("/healthz", ""));
    assert_eq!(body(&t.got(client)), "ok\n");
    t.send(client, get("/readyz", ""));
    assert_eq!(status(&t.got(client)), 200);
    t.mail(Mail::Drain(Drain {
        deadline_ns: t.now_ns + 1_000_000_000,
        idle_ns: 0,
        admin: false,
    }));
    t.send(client, get("/readyz", ""));
    assert_eq!(status(&t.got(client)), 503);
    t.send(client, get("/healthz", ""));
    assert_eq!(status(&t.got(client)), 200);
    assert!(t.asks.is_empty() && t.records.is_empty());
    // A drain does not wait for it, and new ones are welcome.
    assert!(t.engine.drained());
    assert!(t.client_of(1, [127, 0, 0, 1]).is_some());
}

#[test]
fn a_successor_s_admin_listener_makes_ours_drain_but_not_unready() {
    let mut t = admin();
    let (first, second) = (
        t.client_of(1, [127, 0, 0, 1]).expect("accepted"),
        t.client_of(1, [127, 0, 0, 1]).expect("accepted"),
    );
    t.mail(Mail::Drain(Drain {
        deadline_ns: t.now_ns + 60_000_000_000,
        idle_ns: u64::MAX,
        admin: true,
    }));
    assert!(!t.engine.drained());
    for client in [first, second] {
        t.send(client, get("/readyz", ""));
        let answer = t.got(client);
        assert_eq!(status(&answer), 200);
        assert_eq!(field(&answer, "connection"), Some("close"));
    }
    assert!(t.engine.drained());
}

#[test]
fn the_rest_is_asked_with_its_whole_body() {
    let mut t = admin();
    let client = t.client_of(1, [127, 0, 0, 1]).expect("accepted");
    let request = post("/reload?now=1", "authorization: Bearer x\r\n", "{\"a\":1}");
    t.send(client, &request[..request.len() - 3]);
    assert!(t.asks.is_empty());
    t.send(client, &request[request.len() - 3..]);
    let (_, question) = t.asks.front().expect("a question");
    let Question::Admin {
        method,
        target,
        body: asked,
        loopback,
        fields,
    } = question
    else {
        panic!("another question")
    };
    assert_eq!(
        (method.as_str(), target.as_str(), &asked[..]),
        ("POST", "/reload?now=1", &b"{\"a\":1}"[..])
    );
    assert!(
        *loopback
            && fields
                .iter()
                .any(|(n, v)| n == "authorization" && v == b"Bearer x")
    );
    t.answer(202, b"done");
    let answer = t.got(client);
    assert_eq!((status(&answer), body(&answer)), (202, "done"));
    assert!(t.is_quiet());

    // An answer for a client that left is dropped.
    let client = t.client_of(1, [10, 0, 0, 1]).expect("accepted");
    t.send(client, get("/metrics", ""));
    t.close(client, Closed::Reset);
    t.answer(200, b"late");
    assert!(t.is_quiet());
}

#[test]
fn its_bodies_are_bounded() {
    let mut t = admin();
    let client = t.client_of(1, [127, 0, 0, 1]).expect("accepted");
    let length = ADMIN_BODY_BYTES_MAX + 1;
    t.send(
        client,
        format!("POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"),
    );
    assert_eq!(status(&t.got(client)), 413);
    assert!(t.ended(client).is_some() && t.asks.is_empty());
}

#[test]
fn its_traffic_takes_no_permit_and_writes_no_record() {
    let mut t = admin();
    let (data, admin) = (
        t.client(),
        t.client_of(1, [127, 0, 0, 1]).expect("accepted"),
    );
    t.send(admin, chat("llama-3", ""));
    assert_eq!((t.dial(), t.asks.len()), (None, 1));
    t.send(data, chat("llama-3", ""));
    let upstream = t.upstream();
    t.send(upstream, ok("x"));
    assert_eq!(t.records.len(), 1);
}
