//! How connections of HTTP/2 come to their end: by age, by streams, by silence.

use engine::clock::SECOND;
use engine::limits::{H2_AGE_MS, H2_STREAMS_MAX, H2_WINDING_NS, PING_ANSWER_NS, PING_SILENCE_NS};
use serde_json::{Value, json};

use crate::bench::{Bench, Ended, chat, status};
use crate::peer::{Peer, Said, body_of, ended};

const NOWHERE: &[(&str, &str)] = &[(":method", "HEAD"), (":path", "/nowhere")];
const CHAT: &[(&str, &str)] = &[("content-type", "application/json")];
/// A GOAWAY that excludes no stream.
const LEAVE: Said = Said::Goaway(u32::MAX >> 1);

/// No deadline ends a stream, so that silence alone may.
fn patient(plan: &mut Value) {
    for pool in plan["pools"].as_array_mut().expect("pools") {
        let times = &mut pool["timeouts"];
        for name in ["first_token_ms", "inter_token_ms", "unary_total_ms"] {
            times[name] = json!(0);
        }
        for endpoint in pool["endpoints"].as_array_mut().expect("endpoints") {
            endpoint["http2"] = json!("always");
        }
    }
}

#[test]
fn connections_of_one_age_do_not_end_at_one_time() {
    let mut t = Bench::new(|_| {});
    let mut clients: Vec<_> = (0..4).map(|_| Peer::client(&mut t)).collect();
    let mut left_ms = vec![0; clients.len()];
    let step_ms = 20_000;
    for at in 1..=H2_AGE_MS * 11 / 10 / step_ms + 1 {
        t.after_ms(step_ms);
        for (client, left_ms) in clients.iter_mut().zip(&mut left_ms) {
            if *left_ms > 0 {
                continue;
            }
            let id = client.ask(&mut t, NOWHERE, "");
            if client.hear(&mut t).contains(&LEAVE) {
                *left_ms = at * step_ms;
            }
            client.wire.forget(id, &mut Vec::new());
        }
    }
    let (least, most) = (H2_AGE_MS * 9 / 10, H2_AGE_MS * 11 / 10 + step_ms);
    assert!(
        left_ms.iter().all(|ms| (least..=most).contains(ms)),
        "{left_ms:?}"
    );
    left_ms.dedup();
    assert!(left_ms.len() > 1, "all at once: {left_ms:?}");
    for client in &clients {
        assert_eq!(t.ended(client.conn), Some(Ended::Fin));
    }
}

#[test]
fn an_old_connection_takes_what_is_under_way_and_finishes_it() {
    let mut t = Bench::new(|plan| {
        patient(plan);
        plan["listeners"][0]["requests_max"] = json!(2);
    });
    let mut client = Peer::client(&mut t);
    let body = r#"{"model":"llama-3"}"#;
    let ids = [
        client.ask(&mut t, CHAT, body),
        client.ask(&mut t, CHAT, body),
    ];
    assert!(client.hear(&mut t).contains(&LEAVE), "its share is served");
    // Our codec opens no stream behind a GOAWAY; one that was under way is served all the same.
    let mut upstream = Peer::upstream(&mut t);
    let mut calls: Vec<_> = upstream.hear(&mut t);
    if let Some((conn, _)) = t.dial() {
        t.mail_connected(conn);
        let mut other = Peer::upstream_of(&mut t, conn);
        let heard = other.hear(&mut t);
        answer(&mut t, &mut other, &heard);
    }
    t.after_ms(H2_WINDING_NS / 1_000_000 + 1);
    assert_eq!(t.ended(client.conn), None, "streams finish");
    calls.extend(upstream.hear(&mut t));
    answer(&mut t, &mut upstream, &calls);
    let said = client.hear(&mut t);
    assert!(said.contains(&Said::Goaway(ids[1])), "{said:?}");
    assert!(
        ids.iter()
            .all(|id| ended(&said, *id) && body_of(&said, *id) == "ok"),
        "{said:?}"
    );
    assert_eq!(t.ended(client.conn), Some(Ended::Fin));
    assert!(t.is_quiet());
}

/// Answers every call that was heard.
fn answer(t: &mut Bench, upstream: &mut Peer, heard: &[Said]) {
    for said in heard {
        if let Said::Head(id, ..) = said {
            upstream.answer(*id, 200, &[("content-length", "2")], false);
            upstream.data(*id, b"ok", true);
        }
    }
    upstream.flush(t);
}

#[test]
fn a_connection_serves_about_a_hundred_thousand_streams() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    let mut served = 0;
    loop {
        for _ in 0..100 {
            client.head(NOWHERE, true);
        }
        client.flush(&mut t);
        let said = client.hear(&mut t);
        t.records.clear();
        let goodbye = said.iter().position(|one| *one == LEAVE);
        let heads = |said: &[Said]| said.iter().filter(|s| matches!(s, Said::Head(..))).count();
        served += heads(&said[..goodbye.unwrap_or(said.len())]) as u64;
        if goodbye.is_some() {
            assert_eq!(heads(&said), 100, "what was under way is served");
            break;
        }
        for one in &said {
            if let Said::Head(id, ..) = one {
                client.wire.forget(*id, &mut Vec::new());
            }
        }
    }
    let (least, most) = (H2_STREAMS_MAX * 9 / 10, H2_STREAMS_MAX * 11 / 10);
    assert!(
        (least..=most).contains(&served) && served.abs_diff(H2_STREAMS_MAX) > 10,
        "{served}"
    );
}

#[test]
fn a_silent_upstream_with_streams_is_asked_and_given_up() {
    let mut t = Bench::new(patient);
    let client = t.client();
    t.send(client, chat("llama-3", ""));
    let mut upstream = Peer::upstream(&mut t);
    upstream.hear(&mut t);
    for _ in 0..3 {
        // It answers each PING: it lives, however long it thinks.
        t.after_ms(PING_SILENCE_NS / 1_000_000 + 1);
        assert_eq!(upstream.hear(&mut t), []);
        assert_eq!(t.ended(upstream.conn), None);
    }
    t.after_ms(PING_SILENCE_NS / 1_000_000 + 1);
    let ping = t.bytes(upstream.conn);
    assert_eq!(ping.get(3), Some(&6), "a PING: {ping:?}");
    assert_eq!(t.got(client), "");
    t.after_ms(PING_ANSWER_NS / 1_000_000 + 1);
    assert!(t.ended(upstream.conn).is_some());
    // The call may be repeated, so it is, elsewhere.
    let (conn, _) = t.dial().expect("elsewhere");
    t.mail_connected(conn);
    let mut other = Peer::upstream_of(&mut t, conn);
    let heard = other.hear(&mut t);
    answer(&mut t, &mut other, &heard);
    assert_eq!(status(&t.got(client)), 200);
    assert!(t.is_quiet());
    // Without a stream nobody is asked: it is closed when it is idle.
    t.after_ms(61 * SECOND / 1_000_000);
    assert!(t.ended(conn).is_some());
}
