//! Calls that need HTTP/2 and endpoints that do not speak it.

use engine::ids::ConnId;
use engine::input::{Alpn, Connected, TlsVersion};
use serde_json::{Value, json};

use crate::bench::{Bench, chat, ok, status};
use crate::peer::{Peer, Said};

const CALL: &[(&str, &str)] = &[
    (":path", "/inference.GRPCInferenceService/ModelInfer"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
];

/// Both endpoints are behind TLS and offered both versions.
fn tls(plan: &mut Value) {
    plan["default_pool"] = json!(0);
    for endpoint in plan["pools"][0]["endpoints"]
        .as_array_mut()
        .expect("a list")
    {
        endpoint["tls"] = json!({"server_name": "engine", "alpn": ["h2", "http/1.1"]});
    }
}

fn agree(t: &mut Bench, conn: ConnId, alpn: Alpn) {
    let tls = Some((TlsVersion::V13, false));
    let peer = None;
    t.connected(conn, Connected { alpn, tls, peer });
}

/// The status and the message of an answer that is trailers only.
fn refusal(said: &[Said]) -> (String, String) {
    let [.., Said::Head(_, _, fields, true)] = said else {
        panic!("no refusal: {said:?}")
    };
    let find = |name: &str| {
        let line = fields.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().to_owned()
    };
    (find("grpc-status: "), find("grpc-message: "))
}

#[test]
fn a_call_passes_an_endpoint_over_that_agrees_on_http1() {
    let mut t = Bench::new(tls);
    let mut client = Peer::client(&mut t);
    client.ask(&mut t, CALL, "");
    let (old, at) = t.dial().expect("a dial");
    agree(&mut t, old, Alpn::Http11);
    assert!(t.bytes(old).is_empty(), "not a byte of the call");
    assert_eq!(t.ended(old), None, "others may use it");
    let (new, other) = t.dial().expect("elsewhere");
    assert_ne!(at, other);
    agree(&mut t, new, Alpn::H2);
    let mut upstream = Peer::upstream_of(&mut t, new);
    let answer = |t: &mut Bench, upstream: &mut Peer| {
        let said = upstream.hear(t);
        let Some(Said::Head(id, ..)) = said.iter().find(|s| matches!(s, Said::Head(..))) else {
            panic!("no call: {said:?}")
        };
        upstream.answer(*id, 200, &[("grpc-status", "0")], true);
        upstream.flush(t);
    };
    answer(&mut t, &mut upstream);
    assert_eq!(refusal(&client.hear(&mut t)).0, "0");
    assert_eq!(t.record().attempts, 2);
    // From now on it is known, which costs no attempt; what HTTP/1.1 can carry still goes there.
    for _ in 0..6 {
        client.ask(&mut t, CALL, "");
        assert_eq!(t.dial(), None);
        answer(&mut t, &mut upstream);
        assert_eq!(t.record().attempts, 1);
    }
    client.hear(&mut t);
    let plain = t.client();
    for _ in 0..2 {
        t.send(plain, chat("llama-3", ""));
    }
    assert!(
        t.got(old)
            .starts_with("POST /v1/chat/completions HTTP/1.1\r\n")
    );
    t.send(old, ok("x"));
    // An engine may be replaced by one that speaks it: some time later one call looks again.
    t.after_ms(31_000);
    upstream.hear(&mut t);
    let mut dials = Vec::new();
    for _ in 0..4 {
        client.ask(&mut t, CALL, "");
        dials.extend(std::iter::from_fn(|| t.dial()));
    }
    let ports: Vec<_> = dials.iter().map(|(_, port)| *port).collect();
    assert!(
        !ports.is_empty() && ports.iter().all(|port| *port == at),
        "{ports:?}"
    );
    for (conn, _) in dials {
        agree(&mut t, conn, Alpn::H2);
        let mut now = Peer::upstream_of(&mut t, conn);
        answer(&mut t, &mut now);
    }
    // It speaks it now, so it is one like the other.
    client.ask(&mut t, CALL, "");
    client.ask(&mut t, CALL, "");
    assert_eq!(t.dial(), None);
}

#[test]
fn a_call_that_no_endpoint_takes_says_why() {
    let mut t = Bench::new(tls);
    let mut client = Peer::client(&mut t);
    client.ask(&mut t, CALL, "");
    for _ in 0..2 {
        let (conn, _) = t.dial().expect("a dial");
        agree(&mut t, conn, Alpn::Http11);
        assert!(t.bytes(conn).is_empty());
    }
    let (code, message) = refusal(&client.hear(&mut t));
    assert_eq!(code, "14");
    assert!(
        message.contains("speaks only HTTP/1.1, and gRPC needs HTTP/2"),
        "{message}"
    );
    let record = t.record();
    assert_eq!(record.flag, "UV");
    // The message cannot name the endpoint; the record does.
    assert!(["e9001", "e9002"].contains(&&*record.endpoint));
    // Nobody is dialled for what is known.
    client.ask(&mut t, CALL, "");
    assert_eq!(t.dial(), None);
    assert_eq!(refusal(&client.hear(&mut t)), (code, message));
    assert!(t.is_quiet());
}

#[test]
fn a_call_is_not_sent_where_http2_is_never_spoken() {
    let mut t = Bench::new(|plan| {
        plan["default_pool"] = json!(0);
        for endpoint in plan["pools"][0]["endpoints"]
            .as_array_mut()
            .expect("a list")
        {
            endpoint["http2"] = json!("never");
        }
    });
    let mut client = Peer::client(&mut t);
    for _ in 0..2 {
        client.ask(&mut t, CALL, "");
        assert_eq!(t.dial(), None);
        assert_eq!(refusal(&client.hear(&mut t)).0, "14");
    }
    // A reload may change it.
    t.reload(|plan| plan["default_pool"] = json!(0));
    client.ask(&mut t, CALL, "");
    assert!(t.dial().is_some());
}

#[test]
fn always_is_not_made_http1_by_a_handshake() {
    let mut t = Bench::new(|plan| {
        tls(plan);
        for endpoint in plan["pools"][0]["endpoints"]
            .as_array_mut()
            .expect("a list")
        {
            endpoint["http2"] = json!("always");
        }
    });
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    for _ in 0..2 {
        let (conn, _) = t.dial().expect("a dial");
        agree(&mut t, conn, Alpn::Http11);
        assert!(t.bytes(conn).is_empty());
    }
    let answer = t.got(client);
    assert_eq!(status(&answer), 502);
    assert!(
        answer.contains("upstream_version") && answer.contains("set http2: auto"),
        "{answer}"
    );
    assert!(t.is_quiet());
}

#[test]
fn an_answer_in_http1_to_a_preface_is_told_from_a_broken_one() {
    let mut t = Bench::new(|plan| plan["default_pool"] = json!(0));
    let mut client = Peer::client(&mut t);
    client.ask(&mut t, CALL, "");
    for _ in 0..2 {
        let upstream = t.upstream();
        assert!(t.bytes(upstream).starts_with(b"PRI * HTTP/2.0"));
        t.send(upstream, "HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    let (code, message) = refusal(&client.hear(&mut t));
    assert_eq!(code, "14");
    assert!(message.contains("does not answer in HTTP/2"), "{message}");
    assert!(t.is_quiet());
}
