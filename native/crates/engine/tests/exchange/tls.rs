//! What the engine makes of handshakes that the driver tells of.

use engine::input::{Alpn, Closed, DialError, Secured, TlsFault, TlsVersion};
use engine::metrics::{Metric, Value};
use engine::shared::CertificateView;
use serde_json::{Value as Json, json};

use crate::bench::{Bench, Ended, chat, field, get, ok, status};

fn secure(plan: &mut Json) {
    plan["listeners"][0]["tls"] = json!({
        "certificates": [{"cert": "/c", "key": "/k"}], "alpn": ["http/1.1"]
    });
}

fn secured(principal: Option<&str>) -> Secured {
    Secured {
        alpn: Alpn::Http11,
        server_name: Some("api.example".to_owned()),
        principal: principal.map(Into::into),
        version: TlsVersion::V13,
        resumed: false,
    }
}

fn count(t: &Bench, metric: Metric, outcome: &str) -> f64 {
    let families = t.shared.collect(t.now_ns);
    let samples = &families[metric as usize].samples;
    let shown = samples
        .iter()
        .filter(|s| s.labels.contains(&("outcome", outcome.to_owned())));
    shown
        .map(|sample| match sample.value {
            Value::Number(value) => value,
            Value::Histogram { .. } => unreachable!("a counter"),
        })
        .sum()
}

#[test]
fn the_scheme_and_the_principal_come_from_the_handshake() {
    let mut t = Bench::new(secure);
    let client = t.client();
    t.after_ms(20);
    t.secured(client, secured(Some("spiffe://mesh.example/team")));
    for _ in 0..2 {
        t.send(client, chat("llama-3", ""));
        let upstream = t.upstream();
        assert_eq!(field(&t.got(upstream), "x-forwarded-proto"), Some("https"));
        t.send(upstream, ok("1"));
        t.close(upstream, Closed::Eof);
        let record = t.record();
        assert_eq!(
            record.principal.as_deref(),
            Some("spiffe://mesh.example/team")
        );
        assert_eq!(record.tls, Some(TlsVersion::V13));
    }
    assert!((count(&t, Metric::TlsHandshakes, "tls1.3") - 1.0).abs() < 1e-9);
}

#[test]
fn nothing_is_served_in_clear_where_a_handshake_is_due() {
    let mut t = Bench::new(secure);
    let client = t.client();
    t.send(client, get("/v1/models", ""));
    assert_eq!(t.got(client), "");
    assert_eq!(t.ended(client), Some(Ended::Now));
}

#[test]
fn cleartext_has_neither() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let upstream = t.upstream();
    assert_eq!(field(&t.got(upstream), "x-forwarded-proto"), Some("http"));
    t.send(upstream, ok("1"));
    let record = t.record();
    assert_eq!((record.principal, record.tls), (None, None));
}

#[test]
fn handshakes_that_come_to_nothing_are_counted_by_reason() {
    let mut t = Bench::new(secure);
    let slow = t.client();
    t.after_ms(10_500);
    assert_eq!(t.ended(slow), Some(Ended::Fin), "the time for a head is up");
    for closed in [
        Closed::Tls(TlsFault::NoCertificate),
        Closed::Truncated,
        Closed::Reset,
    ] {
        let client = t.client();
        t.close(client, closed);
        assert!(t.ended(client).is_some());
    }
    for (outcome, times) in [("timeout", 1.0), ("no_certificate", 1.0), ("left", 2.0)] {
        assert!(
            (count(&t, Metric::TlsHandshakes, outcome) - times).abs() < 1e-9,
            "{outcome}"
        );
    }
    // Behind a handshake an end is an end like any other.
    let client = t.client();
    t.secured(client, secured(None));
    t.close(client, Closed::Eof);
    assert!((count(&t, Metric::TlsHandshakes, "left") - 2.0).abs() < 1e-9);
    assert!(t.is_quiet());
}

#[test]
fn a_failed_handshake_with_an_endpoint_is_tried_elsewhere_and_said() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let first = t.fail_dial(DialError::Tls("set tls.ca"));
    let second = t.fail_dial(DialError::Tls("set tls.ca"));
    assert_ne!(first, second);
    assert_eq!(t.dial(), None, "there is no third endpoint");
    let answer = t.got(client);
    assert_eq!(status(&answer), 502);
    assert!(answer.contains("upstream_tls"), "{answer}");
    assert!(
        !answer.contains("tls.ca"),
        "the operator's affair: {answer}"
    );
    let record = t.record();
    assert_eq!((record.flag, record.detail), ("UT", "set tls.ca"));
    assert!((count(&t, Metric::UpstreamTlsHandshakes, "failed") - 2.0).abs() < 1e-9);
}

#[test]
fn a_dial_that_takes_too_long_names_the_handshake_where_one_is_due() {
    for (tls, says) in [
        (json!(null), false),
        (json!({"server_name": "e", "alpn": []}), true),
    ] {
        let mut t = Bench::new(|plan| plan["pools"][1]["endpoints"][0]["tls"] = tls);
        let client = t.client();
        t.send(client, chat("org/name", ""));
        assert!(t.dial().is_some());
        t.after_ms(2_100);
        let answer = t.got(client);
        assert_eq!(status(&answer), 504);
        assert!(answer.contains("in time"), "{answer}");
        assert_eq!(answer.contains("TLS handshake"), says, "{answer}");
    }
}

#[test]
fn a_body_that_ends_with_a_cut_connection_is_not_whole() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, get("/v1/models?x", ""));
    let _ = t.got(client);
    let client = t.client();
    t.send(client, chat("org/name", ""));
    let upstream = t.upstream();
    t.send(
        upstream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhalf",
    );
    t.close(upstream, Closed::Truncated);
    let answer = t.got(client);
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    assert_eq!(t.records.back().map(|r| r.flag), Some("UC"));
}

#[test]
fn a_connection_is_not_reused_under_other_settings() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, chat("org/name", ""));
    let upstream = t.upstream();
    t.send(upstream, ok("1"));
    t.reload(|plan| {
        plan["pools"][1]["endpoints"][0]["tls"] = json!({
            "server_name": "e", "alpn": ["http/1.1"]
        });
    });
    t.send(client, chat("org/name", ""));
    assert!(t.dial().is_some(), "the kept connection speaks no TLS");
}

#[test]
fn certificates_are_shown_by_their_end() {
    let t = Bench::new(secure);
    t.shared.set_certificates(vec![CertificateView {
        listener: "front".to_owned(),
        name: "api.example".to_owned(),
        expires_s: 1_800_000_000,
    }]);
    let families = t.shared.collect(t.now_ns);
    let samples = &families[Metric::TlsCertificateExpiry as usize].samples;
    assert_eq!(samples.len(), 1);
    assert_eq!(samples[0].value, Value::Number(1.8e9));
    assert_eq!(samples[0].labels[1], ("name", "api.example".to_owned()));
}
