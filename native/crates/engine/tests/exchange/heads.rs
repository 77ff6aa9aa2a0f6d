//! Which fields go on, which stay, and which are ours.

use serde_json::{Value, json};

use crate::bench::{Bench, EVENTS, body, field, get, ok, post, status, stream};

fn open(p: &mut Value) {
    p["default_pool"] = json!(1);
}

/// What the upstream sees of a request, and what the client sees of the answer.
fn through(change: impl FnOnce(&mut Value), request: &str, answer: &str) -> (String, String) {
    let mut t = Bench::new(|p| {
        open(p);
        change(p);
    });
    let client = t.client();
    t.send(client, request);
    let upstream = t.upstream();
    let sent = t.got(upstream);
    t.send(upstream, answer);
    (sent, t.got(client))
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let fields = "connection: keep-alive, x-secret\r\nx-secret: 1\r\nkeep-alive: timeout=5\r\n\
                  te: trailers\r\nupgrade: h2c\r\nproxy-authorization: x\r\nx-mine: 2\r\n";
    let answer = "HTTP/1.1 200 OK\r\nconnection: x-inner\r\nx-inner: 1\r\nkeep-alive: timeout=9\r\n\
                  x-theirs: 2\r\ncontent-length: 0\r\n\r\n";
    let (sent, got) = through(|_| {}, &get("/x", fields), answer);
    for name in [
        "connection",
        "x-secret",
        "keep-alive",
        "upgrade",
        "proxy-authorization",
    ] {
        assert_eq!(field(&sent, name), None, "{name}");
    }
    assert_eq!(
        (field(&sent, "te"), field(&sent, "x-mine")),
        (Some("trailers"), Some("2"))
    );
    for name in ["x-inner", "keep-alive"] {
        assert_eq!(field(&got, name), None, "{name}");
    }
    assert_eq!(field(&got, "x-theirs"), Some("2"));
    assert_eq!(
        (field(&sent, "via"), field(&got, "via")),
        (Some("1.1 gate"), Some("1.1 gate"))
    );
}

#[test]
fn identity_is_believed_of_trusted_peers_only() {
    let fields = "x-forwarded-for: 1.1.1.1\r\nx-forwarded-proto: https\r\nx-forwarded-host: a\r\n\
                  forwarded: for=1.1.1.1\r\nx-real-ip: 1.1.1.1\r\nx-request-id: mine\r\n\
                  x-fastproxy-tenant: root\r\nx-forwarded-prefix: /a\r\n\
                  x-forwarded-client-cert: Subject=root\r\nvia: 1.1 before\r\n";
    let (sent, got) = through(|_| {}, &get("/x", fields), &ok(""));
    assert_eq!(field(&sent, "x-forwarded-for"), Some("10.0.0.1"));
    assert_eq!(field(&sent, "x-forwarded-proto"), Some("http"));
    assert_eq!(field(&sent, "x-forwarded-host"), Some("front"));
    for name in [
        "forwarded",
        "x-real-ip",
        "x-fastproxy-tenant",
        "x-forwarded-prefix",
        "x-forwarded-client-cert",
    ] {
        assert_eq!(field(&sent, name), None, "{name}");
    }
    let id = field(&sent, "x-request-id").expect("an id");
    assert!(id.len() == 32 && field(&got, "x-request-id") == Some(id));
    assert_eq!(sent.matches("x-request-id").count(), 1);

    let trust = |p: &mut Value| p["listeners"][0]["trusted_peers"] = json!(["10.0.0.0/8"]);
    let (sent, got) = through(trust, &get("/x", fields), &ok(""));
    assert_eq!(field(&sent, "x-forwarded-for"), Some("1.1.1.1, 10.0.0.1"));
    assert_eq!(field(&sent, "x-forwarded-proto"), Some("https"));
    assert_eq!(field(&sent, "via"), Some("1.1 before, 1.1 gate"));
    assert_eq!(field(&sent, "forwarded"), Some("for=1.1.1.1"));
    assert_eq!(
        field(&sent, "x-forwarded-client-cert"),
        Some("Subject=root")
    );
    assert_eq!(field(&got, "x-request-id"), Some("mine"));
}

#[test]
fn a_stream_is_asked_for_uncompressed() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    let accept = "accept-encoding: gzip\r\ncontent-type";
    t.send(client, stream().replacen("content-type", accept, 1));
    let upstream = t.upstream();
    assert_eq!(field(&t.got(upstream), "accept-encoding"), None);
    t.send(upstream, format!("{EVENTS}9\r\ndata: x\n\n\r\n"));
    let got = t.got(client);
    assert_eq!(field(&got, "x-accel-buffering"), Some("no"));

    let (sent, _) = through(|_| {}, &get("/x", "accept-encoding: gzip\r\n"), &ok(""));
    assert_eq!(field(&sent, "accept-encoding"), Some("gzip"));
}

#[test]
fn pools_choose_host_prefix_and_fields() {
    let (sent, _) = through(|_| {}, &get("/x", ""), &ok(""));
    assert_eq!(field(&sent, "host"), Some("e9003:9003"));
    let (sent, _) = through(
        |p| p["pools"][1]["host"] = json!("client"),
        &get("/x", ""),
        &ok(""),
    );
    assert_eq!(field(&sent, "host"), Some("front"));
    let change = |p: &mut Value| {
        p["pools"][1]["host"] = json!({"literal": "api.example"});
        p["pools"][1]["strip_prefix"] = json!("/llm");
        p["pools"][1]["endpoints"][0]["path_prefix"] = json!("/base");
        p["pools"][1]["headers"] = json!({
            "request_set": [["authorization", "Bearer ours"]], "request_remove": ["x-drop"],
            "response_set": [["server", "gate"]], "response_remove": ["x-powered-by"]});
    };
    let request = get(
        "/llm/v1/x?q=1",
        "authorization: Bearer theirs\r\nx-drop: 1\r\n",
    );
    let answer =
        "HTTP/1.1 200 OK\r\nserver: engine\r\nx-powered-by: y\r\ncontent-length: 0\r\n\r\n";
    let (sent, got) = through(change, &request, answer);
    assert!(
        sent.starts_with("GET /base/v1/x?q=1 HTTP/1.1\r\n"),
        "{sent}"
    );
    assert_eq!(field(&sent, "host"), Some("api.example"));
    assert_eq!(sent.matches("authorization").count(), 1);
    assert_eq!(field(&sent, "authorization"), Some("Bearer ours"));
    assert_eq!(
        (field(&sent, "x-drop"), field(&got, "x-powered-by")),
        (None, None)
    );
    assert_eq!(
        (got.matches("server: ").count(), field(&got, "server")),
        (1, Some("gate"))
    );
}

#[test]
fn interim_answers_go_on_and_what_we_caused_stays() {
    let mut t = Bench::new(open);
    let client = t.client();
    t.send(client, get("/x", ""));
    let upstream = t.upstream();
    t.send(upstream, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(t.got(client), "");
    t.send(upstream, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    assert!(t.got(client).starts_with("HTTP/1.1 103"));
    t.send(upstream, ok("x"));
    assert_eq!(body(&t.got(client)), "x");
}

#[test]
fn answers_that_break_http_are_a_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
    ] {
        let mut t = Bench::new(|p| {
            open(p);
            p["pools"][1]["retry"]["attempts_max"] = json!(1);
        });
        let client = t.client();
        t.send(client, get("/x", ""));
        let upstream = t.upstream();
        t.send(upstream, answer);
        assert_eq!(status(&t.got(client)), 502, "{answer}");
        assert!(t.ended(upstream).is_some());
        assert_eq!(t.record().flag, "UB");
        assert!(t.is_quiet());
    }
}

#[test]
fn endpoint_and_timing_are_shown_on_routes_that_expose_them() {
    let mut t = Bench::new(|p| p["routes"][1]["expose"] = json!(true));
    let client = t.client();
    t.send(
        client,
        post("/v1/completions", "", r#"{"model":"org/name"}"#),
    );
    let upstream = t.upstream();
    t.send(upstream, ok(""));
    let got = t.got(client);
    assert_eq!(field(&got, "x-fastproxy-endpoint"), Some("e9003"));
    assert!(
        field(&got, "server-timing")
            .expect("timing")
            .starts_with("queue;dur=")
    );
}

#[test]
fn cross_origin_rules_are_answered_here_with_one_voice() {
    let rules = |p: &mut Value| {
        p["listeners"][0]["cors"] = json!({"origins": ["https://a.example"], "methods": ["POST"],
            "headers": ["authorization"], "expose": ["x-request-id"], "max_age_s": 600,
            "credentials": true});
    };
    let mut t = Bench::new(|p| {
        open(p);
        rules(p);
    });
    let client = t.client();
    let preflight = "origin: https://a.example\r\naccess-control-request-method: POST\r\n";
    t.send(client, get("/x", preflight).replacen("GET", "OPTIONS", 1));
    let got = t.got(client);
    assert_eq!(status(&got), 204);
    assert_eq!(
        field(&got, "access-control-allow-origin"),
        Some("https://a.example")
    );
    assert_eq!(field(&got, "access-control-allow-methods"), Some("POST"));
    assert_eq!(field(&got, "access-control-max-age"), Some("600"));
    assert_eq!(field(&got, "vary"), Some("Origin"));
    assert_eq!(t.dial(), None);

    let answer = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\ncontent-length: 0\r\n\r\n";
    let (_, got) = through(rules, &get("/x", "origin: https://a.example\r\n"), answer);
    assert_eq!(got.matches("access-control-allow-origin").count(), 1);
    assert_eq!(
        field(&got, "access-control-allow-origin"),
        Some("https://a.example")
    );
    assert_eq!(
        field(&got, "access-control-expose-headers"),
        Some("x-request-id")
    );
    let (_, got) = through(
        rules,
        &get("/x", "origin: https://evil.example\r\n"),
        answer,
    );
    assert_eq!(field(&got, "access-control-allow-origin"), None);
    // Without rules the engine's own pass.
    let (_, got) = through(|_| {}, &get("/x", "origin: https://a.example\r\n"), answer);
    assert_eq!(field(&got, "access-control-allow-origin"), Some("*"));
}

#[test]
fn methods_and_expectations_that_are_not_served() {
    for (request, expected) in [
        (get("/x", "").replacen("GET", "TRACE", 1), 405),
        (get("/x", "").replacen("GET", "BREW", 1), 405),
        (get("/x", "expect: 200-ok\r\n"), 417),
    ] {
        let mut t = Bench::new(open);
        let client = t.client();
        t.send(client, &request);
        let got = t.got(client);
        assert_eq!(status(&got), expected, "{request}");
        assert_eq!(field(&got, "allow").is_some(), expected == 405);
        assert_eq!(t.dial(), None);
    }
}
