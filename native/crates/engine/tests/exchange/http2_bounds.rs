//! HTTP/2 where something ends: switched off, short of CPU, a connection that is full.

use engine::metrics::{Metric, Value};
use serde_json::{Value as Json, json};
use wire::h2::Cause;

use crate::bench::{Bench, Ended, ok, status};
use crate::peer::{Peer, Said};

const ASK: &[(&str, &str)] = &[("content-type", "application/json")];
const BODY: &str = r#"{"model":"org/name","stream":true}"#;

/// Frames of a type that nobody knows: each is an oddity.
fn oddities(count: usize) -> Vec<u8> {
    [0, 0, 0, 0xaa, 0, 0, 0, 0, 0].repeat(count)
}

fn closures(t: &Bench, cause: Cause) -> f64 {
    let families = t.shared.collect(t.now_ns);
    let samples = &families[Metric::Http2Closures as usize].samples;
    let of = samples
        .iter()
        .filter(|s| s.labels.contains(&("cause", cause.label().to_owned())));
    of.map(|sample| match sample.value {
        Value::Number(value) => value,
        Value::Histogram { .. } => unreachable!("a counter"),
    })
    .sum()
}

#[test]
fn oddities_are_borne_half_as_long_while_the_worker_is_short_of_cpu() {
    for (busy_ms, borne) in [(700, true), (900, false)] {
        let mut t = Bench::new(|_| {});
        let mut client = Peer::client(&mut t);
        t.busy_ms(busy_ms);
        client.raw(&mut t, &oddities(600));
        assert_eq!(t.ended(client.conn).is_none(), borne, "{busy_ms}");
        let closed = closures(&t, Cause::Glitches);
        assert_eq!(closed < 0.5, borne, "{busy_ms}: {closed}");
    }
}

#[test]
fn where_http2_is_off_its_preface_is_no_request() {
    let mut t = Bench::new(|plan| plan["listeners"][0]["http2"] = json!(false));
    let client = t.client();
    t.send(client, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let answer = t.got(client);
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    assert_eq!(status(&answer), 505);
}

fn one_endpoint(plan: &mut Json) {
    let endpoint = &mut plan["pools"][1]["endpoints"][0];
    endpoint["http2"] = json!("always");
    endpoint["concurrency"] = json!(200);
}

#[test]
fn a_connection_with_64_streams_gets_company_and_the_emptier_one_the_next() {
    let mut t = Bench::new(one_endpoint);
    let mut client = Peer::client(&mut t);
    client.ask(&mut t, ASK, BODY);
    let mut first = Peer::upstream(&mut t);
    for _ in 1..64 {
        client.ask(&mut t, ASK, BODY);
        assert_eq!(t.dial(), None);
    }
    client.ask(&mut t, ASK, BODY);
    let mut second = Peer::upstream(&mut t);
    client.ask(&mut t, ASK, BODY);
    let heads = |said: &[Said]| said.iter().filter(|s| matches!(s, Said::Head(..))).count();
    assert_eq!(heads(&first.hear(&mut t)), 64);
    assert_eq!(heads(&second.hear(&mut t)), 2);
    assert_eq!(t.dial(), None);
}

#[test]
fn a_client_that_only_pings_is_idle() {
    let mut t = Bench::new(|plan| {
        for timeout in ["first_token_ms", "unary_total_ms"] {
            plan["pools"][1]["timeouts"][timeout] = json!(0);
        }
    });
    let ping = |t: &mut Bench, peer: &mut Peer| {
        t.after_ms(5_000);
        let mut frame = Vec::new();
        peer.wire.ping(&mut frame);
        peer.raw(t, &frame);
        peer.hear(t);
        assert_eq!(t.ended(peer.conn), None);
    };
    let mut unused = Peer::client(&mut t);
    for _ in 0..11 {
        ping(&mut t, &mut unused);
    }
    t.after_ms(5_100);
    assert_eq!(t.ended(unused.conn), Some(Ended::Fin), "a minute");
    // From the end of a stream on, however long that was, it has five.
    let mut served = Peer::client(&mut t);
    served.ask(&mut t, ASK, BODY);
    let upstream = t.upstream();
    for _ in 0..70 {
        ping(&mut t, &mut served);
    }
    t.send(upstream, ok("late"));
    for _ in 0..59 {
        ping(&mut t, &mut served);
    }
    t.after_ms(5_100);
    assert_eq!(t.ended(served.conn), Some(Ended::Fin));
}

/// Endpoints of HTTP/2 that may have so many connections each.
fn capped(pool: usize, connections_max: u32) -> impl FnOnce(&mut Json) {
    move |plan| {
        let pool = &mut plan["pools"][pool];
        pool["connections_max"] = json!(connections_max);
        for endpoint in pool["endpoints"].as_array_mut().expect("endpoints") {
            endpoint["http2"] = json!("always");
        }
    }
}

#[test]
fn no_connection_is_added_beyond_the_cap() {
    let mut t = Bench::new(capped(1, 2));
    let mut client = Peer::client(&mut t);
    client.ask(&mut t, ASK, BODY);
    let mut first = Peer::narrow_upstream(&mut t, 1);
    client.ask(&mut t, ASK, BODY);
    let mut second = Peer::narrow_upstream(&mut t, 1);
    let late = client.ask(&mut t, ASK, BODY);
    assert_eq!(t.dial(), None);
    let said = client.hear(&mut t);
    let refused = said.iter().any(|said| {
        matches!(said, Said::Head(id, status, fields, _)
            if *id == late && status == "503" && fields.contains("retry-after: "))
    });
    assert!(refused, "{said:?}");
    let record = t.record();
    assert_eq!((record.flag, &*record.endpoint), ("NE", "e9003"));
    assert!(
        record.detail.contains("takes no more streams"),
        "{record:?}"
    );
    // A stream that ends makes room.
    let called = first.hear(&mut t);
    let Some(Said::Head(id, ..)) = called.iter().find(|s| matches!(s, Said::Head(..))) else {
        panic!("no call: {called:?}")
    };
    first.answer(*id, 200, &[], true);
    first.flush(&mut t);
    first.wire.forget(*id, &mut Vec::new());
    client.ask(&mut t, ASK, BODY);
    assert_eq!(t.dial(), None);
    let called = first.hear(&mut t);
    assert!(
        called.iter().any(|s| matches!(s, Said::Head(..))),
        "{called:?}"
    );
    // Connections that only finish what they have are not to be waited for.
    first.goaway(&mut t);
    second.goaway(&mut t);
    client.ask(&mut t, ASK, BODY);
    assert!(t.dial().is_some());
}

#[test]
fn an_endpoint_whose_streams_are_used_up_is_passed_over() {
    let mut t = Bench::new(capped(0, 1));
    let mut client = Peer::client(&mut t);
    let body = BODY.replace("org/name", "llama-3");
    client.ask(&mut t, ASK, &body);
    let mut narrow = Peer::narrow_upstream(&mut t, 1);
    client.ask(&mut t, ASK, &body);
    let mut wide = Peer::narrow_upstream(&mut t, 4);
    for _ in 0..3 {
        client.ask(&mut t, ASK, &body);
        assert_eq!(t.dial(), None);
    }
    let calls = |said: &[Said]| said.iter().filter(|s| matches!(s, Said::Head(..))).count();
    assert_eq!(calls(&narrow.hear(&mut t)), 1);
    assert_eq!(calls(&wide.hear(&mut t)), 4);
}
