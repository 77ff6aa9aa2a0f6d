//! HTTP/2 on either side: streams are exchanges, and what concerns the connection stays there.

use engine::clock::SECOND;
use engine::ids::ConnId;
use engine::input::{Alpn, Closed, Connected, Drain, Mail, TlsVersion};
use serde_json::{Value, json};
use wire::h2::ErrorCode;

use crate::bench::{Bench, EVENTS, Ended, chunk, ok, status};
use crate::peer::{Peer, Said, body_of, ended};

const CHAT: &[(&str, &str)] = &[("content-type", "application/json")];
const ASK: &str = r#"{"model":"llama-3","stream":true}"#;

/// Every endpoint speaks HTTP/2 by prior knowledge.
fn h2c(plan: &mut Value) {
    for pool in plan["pools"].as_array_mut().expect("pools") {
        for endpoint in pool["endpoints"].as_array_mut().expect("endpoints") {
            endpoint["http2"] = json!("always");
        }
    }
}

fn head_of(said: &[Said]) -> (u32, String, String) {
    said.iter()
        .find_map(|s| match s {
            Said::Head(id, first, fields, _) => Some((*id, first.clone(), fields.clone())),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no head: {said:?}"))
}

#[test]
fn a_stream_of_events_becomes_frames_of_one_stream() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    let id = client.ask(&mut t, CHAT, ASK);
    let upstream = t.upstream();
    let request = t.got(upstream);
    assert!(
        request.starts_with("POST /v1/chat/completions HTTP/1.1\r\nhost: "),
        "{request}"
    );
    assert!(request.contains("via: 2 gate\r\n") && request.ends_with(ASK) || request.contains(ASK));
    t.send(
        upstream,
        EVENTS.to_owned() + &chunk("data: one\n\ndata: tw"),
    );
    let said = client.hear(&mut t);
    let (of, code, fields) = head_of(&said);
    assert_eq!((of, code.as_str()), (id, "200"));
    assert!(
        !fields.contains("transfer-encoding") && !fields.contains("connection"),
        "{fields}"
    );
    assert!(fields.contains("via: 1.1 gate\n") && fields.contains("x-request-id: "));
    assert_eq!(body_of(&said, id), "data: one\n\n");
    t.send(upstream, chunk("o\n\n") + "0\r\n\r\n");
    let said = client.hear(&mut t);
    assert_eq!(body_of(&said, id), "data: two\n\n");
    assert!(ended(&said, id));
    let record = t.record();
    assert_eq!((record.status, record.tokens), (200, 2));
    assert!(t.is_quiet());
}

#[test]
fn a_connection_of_http1_on_the_same_port_is_not_disturbed() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    for piece in ["PR", "OPFIND / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        t.send(client, piece);
    }
    assert_eq!(status(&t.got(client)), 405);
}

#[test]
fn a_preface_in_pieces_is_still_a_preface() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        assert!(t.bytes(client).is_empty());
        t.send(client, [*byte]);
    }
    // SETTINGS of ours: length, then type 4 on stream 0.
    let bytes = t.bytes(client);
    assert_eq!((bytes[3], &bytes[5..9]), (4, &[0, 0, 0, 0][..]));
}

#[test]
fn who_leaves_in_the_turn_in_which_it_came_has_a_record_with_an_id() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    let ids: Vec<String> = (0..2)
        .map(|_| {
            let gone = client.head(CHAT, false);
            client.reset(&mut t, gone, ErrorCode::Cancel);
            let record = t.record();
            assert_eq!(record.flag, "CG");
            record.request_id
        })
        .collect();
    assert!(ids[0].len() == 32 && ids[0] != ids[1], "{ids:?}");
    assert!(t.is_quiet());
}

#[test]
fn one_who_stops_reading_does_not_stop_its_sibling() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    client.reads = false;
    let slow = client.ask(&mut t, CHAT, ASK);
    let first = t.upstream();
    let quick = client.ask(&mut t, CHAT, ASK);
    let second = t.upstream();
    let event = format!("data: {}\n\n", "x".repeat(8000));
    t.send(first, EVENTS);
    t.send(second, EVENTS);
    for _ in 0..30 {
        t.send(first, chunk(&event));
        client.hear(&mut t);
        if t.paused.contains(&first) {
            break;
        }
    }
    assert!(t.paused.contains(&first), "its upstream is stopped");
    assert!(!t.paused.contains(&second));
    t.send(second, chunk("data: hello\n\n"));
    let said = client.hear(&mut t);
    assert_eq!(body_of(&said, quick), "data: hello\n\n");
    // It reads again: what waited comes, and its upstream goes on.
    client.wire.consumed(slow, 65_000, &mut Vec::new());
    let mut window = vec![0, 0, 4, 8, 0];
    window.extend_from_slice(&slow.to_be_bytes());
    window.extend_from_slice(&1_000_000_u32.to_be_bytes());
    client.raw(&mut t, &window);
    assert!(!t.paused.contains(&first));
}

/// Four requests without a body yet, whose heads of 60 KiB are 40 bytes each but for the first.
fn bombs() -> Vec<u8> {
    let frame = |kind: u8, flags: u8, id: u8, payload: &[u8]| {
        let mut frame = vec![0, (payload.len() >> 8) as u8, payload.len() as u8];
        frame.extend_from_slice(&[kind, flags, 0, 0, 0, id]);
        frame.extend_from_slice(payload);
        frame
    };
    let path = b"/v1/chat/completions";
    let mut head = vec![0x83, 0x86, 0x01, 1, b'a', 0x04, path.len() as u8];
    head.extend_from_slice(path);
    // 2,400 bytes go into the table.
    let mut first = [&head[..], &[0x40, 1, b'x', 0x7f, 0xe1, 0x11]].concat();
    first.extend([b'v'; 2_400]);
    head.extend([0xbe; 24]);
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, 4, 1, &first));
    for id in [3, 5, 7, 9] {
        bytes.extend(frame(1, 4, id, &head));
    }
    bytes
}

#[test]
fn heads_beyond_what_was_sent_are_bounded_over_all_clients() {
    let mut t = Bench::new(|_| {});
    let clients: Vec<_> = (0..30).map(|_| t.client()).collect();
    for &client in &clients {
        t.send(client, bombs());
    }
    let most = engine::limits::H2_HEADS_LENT_MAX;
    let census = t.engine.census();
    assert!((most / 2..=most).contains(&census.heads_lent), "{census:?}");
    assert!((30..30 * 5).contains(&census.exchanges), "{census:?}");
    for client in clients {
        t.close(client, Closed::Eof);
    }
    assert_eq!(t.engine.census().heads_lent, 0);
}

#[test]
fn a_client_asked_to_leave_for_its_oddities_is_counted() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    // Of no known type, in two reads: nothing is under way when it is to go.
    client.raw(&mut t, &[0, 0, 0, 0x42, 0, 0, 0, 0, 0].repeat(700));
    client.raw(&mut t, &[0, 0, 0, 0x42, 0, 0, 0, 0, 0].repeat(100));
    assert_eq!(t.ended(client.conn), Some(Ended::Fin));
    let families = t.shared.collect(t.now_ns);
    let closures = &families[engine::metrics::Metric::Http2Closures as usize].samples;
    let for_glitches = ("cause", "glitches".to_owned());
    let glitches = closures.iter().filter(|s| s.labels.contains(&for_glitches));
    let counted = glitches.map(|sample| format!("{:?}", sample.value));
    assert_eq!(counted.collect::<Vec<_>>(), ["Number(1.0)"]);
}

#[test]
fn what_is_reset_in_the_same_breath_reaches_no_endpoint() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    let ids: Vec<_> = (0..20).map(|_| client.head(CHAT, false)).collect();
    for &id in &ids {
        client.data(id, ASK.as_bytes(), true);
    }
    // Written in one piece with all that is above: the last one stays.
    for &id in &ids[..19] {
        client.drop(id);
    }
    client.flush(&mut t);
    for _ in 0..19 {
        assert_eq!(t.record().flag, "CG");
    }
    let only = t.upstream();
    assert!(t.dial().is_none());
    t.send(only, ok("fine"));
    let said = client.hear(&mut t);
    assert_eq!(body_of(&said, ids[19]), "fine");
}

#[test]
fn a_client_that_cancels_cancels_its_upstream_in_the_same_turn() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    let gone = client.ask(&mut t, CHAT, ASK);
    let first = t.upstream();
    let stays = client.ask(&mut t, CHAT, ASK);
    let second = t.upstream();
    client.reset(&mut t, gone, ErrorCode::Cancel);
    assert_eq!(t.ended(first), Some(Ended::Now));
    assert_eq!(t.record().flag, "CG");
    t.send(second, ok("fine"));
    let said = client.hear(&mut t);
    assert_eq!(body_of(&said, stays), "fine");
    // The connection ends: so does everything on it.
    client.ask(&mut t, CHAT, ASK);
    t.close(client.conn, Closed::Eof);
    assert!(t.is_quiet());
}

#[test]
fn a_stream_that_is_cut_ends_in_an_error_event_and_a_reset() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    let id = client.ask(&mut t, CHAT, ASK);
    let upstream = t.upstream();
    t.send(
        upstream,
        EVENTS.to_owned() + &chunk("data: one\n\ndata: tw"),
    );
    t.close(upstream, Closed::Reset);
    let said = client.hear(&mut t);
    let text = body_of(&said, id);
    assert!(text.starts_with("data: one\n\ndata: {\"error\""), "{text}");
    assert!(!ended(&said, id));
    assert_eq!(
        said.last(),
        Some(&Said::Reset(id, ErrorCode::InternalError as u32))
    );
    assert!(t.is_quiet());
    // The connection lives.
    client.ask(&mut t, CHAT, ASK);
    assert!(t.dial().is_some());
}

#[test]
fn an_answer_before_the_body_is_whole_and_asks_for_no_more() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    let id = client.head(
        &[(":path", "/nowhere"), ("content-type", "text/plain")],
        false,
    );
    client.flush(&mut t);
    let said = client.hear(&mut t);
    assert_eq!(head_of(&said).1, "404");
    assert!(ended(&said, id));
    assert_eq!(
        said.last(),
        Some(&Said::Reset(id, ErrorCode::NoError as u32))
    );
    assert!(t.is_quiet());
}

#[test]
fn a_malformed_request_is_reset_and_recorded() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    let id = client.head(&[(":path", "/v1/models"), ("connection", "close")], true);
    client.flush(&mut t);
    let said = client.hear(&mut t);
    assert_eq!(said, [Said::Reset(id, ErrorCode::ProtocolError as u32)]);
    assert_eq!(t.record().flag, "BR");
    assert!(t.is_quiet());
}

#[test]
fn exchanges_share_a_connection_to_an_upstream_that_speaks_http2() {
    let mut t = Bench::new(|plan| {
        h2c(plan);
        let endpoints = plan["pools"][0]["endpoints"].as_array_mut();
        endpoints.expect("endpoints").truncate(1);
    });
    let clients = [t.client(), t.client()];
    t.send(clients[0], crate::bench::stream());
    let mut upstream = Peer::upstream(&mut t);
    t.send(clients[1], crate::bench::stream());
    assert_eq!(t.dial(), None, "one connection is enough");
    let said = upstream.hear(&mut t);
    let (first, line, fields) = head_of(&said);
    assert_eq!(line, "POST /v1/chat/completions");
    assert!(
        fields.contains("via: 1.1 gate\n") && !fields.contains("\nhost: "),
        "{fields}"
    );
    for (id, client) in [first, first + 2].into_iter().zip(clients) {
        assert!(ended(&said, id));
        upstream.answer(id, 200, &[("content-type", "text/event-stream")], false);
        upstream.data(id, b"data: one\n\n", false);
        upstream.data(id, b"data: [DONE]\n\n", true);
        upstream.flush(&mut t);
        let answer = t.got(client);
        assert_eq!(status(&answer), 200);
        assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
    }
    // The next request finds the connection.
    t.send(clients[0], crate::bench::stream());
    assert_eq!((t.dial(), t.ended(upstream.conn)), (None, None));
    assert_eq!(head_of(&upstream.hear(&mut t)).0, first + 4);
}

/// Endpoints behind TLS, which offer both versions.
fn tls(plan: &mut Value) {
    for endpoint in plan["pools"][0]["endpoints"]
        .as_array_mut()
        .expect("endpoints")
    {
        endpoint["tls"] = json!({"server_name": "engine", "alpn": ["h2", "http/1.1"]});
    }
}

#[test]
fn the_handshake_with_an_upstream_says_which_version_is_spoken() {
    for (alpn, h2) in [(Alpn::H2, true), (Alpn::Http11, false), (Alpn::None, false)] {
        let mut t = Bench::new(tls);
        let client = t.client();
        t.send(client, crate::bench::stream());
        let (conn, _) = t.dial().expect("a dial");
        let connected = Connected {
            alpn,
            tls: Some((TlsVersion::V13, false)),
            peer: None,
        };
        t.connected(conn, connected);
        let bytes = t.bytes(conn);
        assert_eq!(bytes.starts_with(b"PRI * HTTP/2.0"), h2, "{alpn:?}");
        assert_eq!(bytes.starts_with(b"POST "), !h2, "{alpn:?}");
    }
}

fn agreed(alpn: Alpn) -> Connected {
    Connected {
        alpn,
        tls: Some((TlsVersion::V13, false)),
        peer: None,
    }
}

/// Clients that wait for one dial to an endpoint that is known to speak HTTP/2, and the dial.
fn waiting(t: &mut Bench) -> (Vec<ConnId>, ConnId) {
    let clients: Vec<_> = (0..3).map(|_| t.client()).collect();
    t.send(clients[0], crate::bench::stream());
    let (conn, _) = t.dial().expect("a dial");
    t.connected(conn, agreed(Alpn::H2));
    t.close(conn, Closed::Eof);
    for client in &clients {
        t.send(*client, crate::bench::stream());
    }
    let (conn, _) = t.dial().expect("a dial");
    assert!(t.dial().is_none(), "all wait for the same connection");
    (clients, conn)
}

fn one_endpoint(plan: &mut Value) {
    tls(plan);
    let mut one = plan["pools"][0]["endpoints"].take();
    plan["pools"][0]["endpoints"] = json!([one[0].take()]);
}

#[test]
fn those_who_wait_for_a_connection_of_http2_find_out_that_there_is_none() {
    let mut t = Bench::new(one_endpoint);
    let (_, conn) = waiting(&mut t);
    // The endpoint has changed its mind.
    t.connected(conn, agreed(Alpn::Http11));
    assert!(t.bytes(conn).starts_with(b"POST "));
    let mut others = 0;
    while let Some((conn, _)) = t.dial() {
        t.connected(conn, agreed(Alpn::Http11));
        assert!(t.bytes(conn).starts_with(b"POST "));
        others += 1;
    }
    assert_eq!(others, 2);
}

#[test]
fn a_dialler_that_left_leaves_its_connection_to_the_next_who_waits() {
    let mut t = Bench::new(one_endpoint);
    let (clients, conn) = waiting(&mut t);
    t.close(clients[0], Closed::Eof);
    t.connected(conn, agreed(Alpn::Http11));
    assert!(t.bytes(conn).starts_with(b"POST "));
    let (other, _) = t.dial().expect("a dial of the third");
    t.connected(other, agreed(Alpn::Http11));
    assert!(t.bytes(other).starts_with(b"POST "));
    assert!(t.dial().is_none());
    for client in &clients[1..] {
        t.close(*client, Closed::Eof);
    }
    for conn in [conn, other] {
        assert!(t.ended(conn).is_some(), "nobody would ever end it");
    }
}

#[test]
fn what_was_not_processed_is_tried_again_whatever_it_is() {
    let mut t = Bench::new(h2c);
    let client = t.client();
    let body = r#"{"model":"llama-3"}"#;
    t.send(client, crate::bench::post("/v1/files", "", body));
    let mut first = Peer::upstream(&mut t);
    let said = first.hear(&mut t);
    let (id, ..) = head_of(&said);
    first.reset(&mut t, id, ErrorCode::RefusedStream);
    let mut second = Peer::upstream(&mut t);
    let said = second.hear(&mut t);
    let (id, ..) = head_of(&said);
    assert_eq!(body_of(&said, id), body);
    second.answer(id, 200, &[("content-length", "2")], false);
    second.data(id, b"ok", true);
    second.flush(&mut t);
    assert_eq!(status(&t.got(client)), 200);
}

/// GOAWAY, with the last stream that was processed.
fn goaway(last: u32) -> Vec<u8> {
    [
        &[0, 0, 8, 7, 0, 0, 0, 0, 0][..],
        &last.to_be_bytes(),
        &[0; 4],
    ]
    .concat()
}

#[test]
fn the_first_refusal_costs_nothing_and_the_second_is_within_the_budget() {
    // A request earns that share of a retry: with 0 the budget has none, with 1 just this one.
    for (ratio, again) in [(0.0, false), (1.0, true)] {
        let mut t = Bench::new(|plan| {
            h2c(plan);
            let retry = &mut plan["pools"][0]["retry"];
            (retry["budget_ratio"], retry["budget_min_per_s"]) = (json!(ratio), json!(0));
        });
        let client = t.client();
        let body = r#"{"model":"llama-3"}"#;
        t.send(client, crate::bench::post("/v1/files", "", body));
        let mut ports = Vec::new();
        for refusal in [None, Some(goaway(0))] {
            let (conn, port) = t.dial().expect("a dial");
            ports.push(port);
            t.mail_connected(conn);
            let mut upstream = Peer::upstream_of(&mut t, conn);
            let (id, ..) = head_of(&upstream.hear(&mut t));
            match refusal {
                None => upstream.reset(&mut t, id, ErrorCode::RefusedStream),
                Some(goaway) => upstream.raw(&mut t, &goaway),
            }
        }
        assert_eq!(
            ports[0], ports[1],
            "the same endpoint, on a connection of its own"
        );
        let third = t.dial();
        assert_eq!(third.is_some(), again);
        let Some((conn, port)) = third else {
            assert_eq!(status(&t.got(client)), 502);
            assert_eq!(t.record().flag, "UX");
            continue;
        };
        assert_ne!(port, ports[0], "elsewhere");
        t.mail_connected(conn);
        let mut upstream = Peer::upstream_of(&mut t, conn);
        let (id, ..) = head_of(&upstream.hear(&mut t));
        // Now both are spent.
        upstream.reset(&mut t, id, ErrorCode::RefusedStream);
        assert_eq!(t.dial(), None);
        assert_eq!(status(&t.got(client)), 502);
        assert!(t.is_quiet());
    }
}

#[test]
fn streams_below_a_goaway_go_on_and_those_above_go_elsewhere() {
    let mut t = Bench::new(h2c);
    let (first, second) = (t.client(), t.client());
    let body = r#"{"model":"llama-3"}"#;
    let one = |plan: &mut Value| {
        let endpoint = plan["pools"][0]["endpoints"][0].take();
        plan["pools"][0]["endpoints"] = json!([endpoint]);
        h2c(plan);
    };
    t.reload(one);
    t.send(first, crate::bench::post("/v1/files", "", body));
    let mut upstream = Peer::upstream(&mut t);
    let (low, ..) = head_of(&upstream.hear(&mut t));
    t.send(second, crate::bench::post("/v1/files", "", body));
    let (high, ..) = head_of(&upstream.hear(&mut t));
    upstream.raw(&mut t, &goaway(low));
    let mut again = Peer::upstream(&mut t);
    let (id, ..) = head_of(&again.hear(&mut t));
    for (peer, id) in [(&mut upstream, low), (&mut again, id)] {
        peer.answer(id, 200, &[("content-length", "2")], false);
        peer.data(id, b"ok", true);
        peer.flush(&mut t);
    }
    assert!(low < high);
    assert_eq!((status(&t.got(first)), status(&t.got(second))), (200, 200));
    assert_eq!((t.record().attempts, t.record().attempts), (1, 1));
    assert!(t.is_quiet());
}

#[test]
fn an_upstream_that_says_goodbye_gets_no_new_stream_and_finishes_the_old() {
    let mut t = Bench::new(h2c);
    let client = t.client();
    t.send(client, crate::bench::stream());
    let mut upstream = Peer::upstream(&mut t);
    let said = upstream.hear(&mut t);
    let (id, ..) = head_of(&said);
    upstream.goaway(&mut t);
    let late = t.client();
    t.send(late, crate::bench::stream());
    assert!(t.dial().is_some(), "another connection");
    upstream.answer(id, 200, &[("content-type", "text/event-stream")], false);
    upstream.data(id, b"data: [DONE]\n\n", true);
    upstream.flush(&mut t);
    assert!(t.got(client).ends_with("0\r\n\r\n"));
    assert_eq!(t.ended(upstream.conn), Some(Ended::Fin));
}

#[test]
fn a_slow_client_stops_one_stream_of_the_upstream_not_its_connection() {
    let mut t = Bench::new(h2c);
    let client = t.client();
    t.send(client, crate::bench::stream());
    let mut upstream = Peer::upstream(&mut t);
    let said = upstream.hear(&mut t);
    let (id, ..) = head_of(&said);
    upstream.answer(id, 200, &[("content-type", "text/event-stream")], false);
    t.block(client, true);
    let event = format!("data: {}\n\n", "x".repeat(8000));
    for _ in 0..40 {
        upstream.data(id, event.as_bytes(), false);
        upstream.flush(&mut t);
        upstream.hear(&mut t);
    }
    let held = upstream.wire.queued(id);
    assert!(held > 100_000, "the window is shut: {held}");
    assert!(t.paused.is_empty(), "the socket is not");
    t.block(client, false);
    for _ in 0..40 {
        upstream.hear(&mut t);
        upstream.flush(&mut t);
    }
    assert_eq!(upstream.wire.queued(id), 0);
}

#[test]
fn a_drain_says_goodbye_and_lets_streams_finish() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    let id = client.ask(&mut t, CHAT, ASK);
    let upstream = t.upstream();
    t.mail(Mail::Drain(Drain {
        deadline_ns: t.now_ns + 100 * SECOND,
        idle_ns: SECOND,
        admin: false,
    }));
    // What it sent before it heard of the goodbye is served.
    let late = client.ask(&mut t, CHAT, r#"{"model":"llama-3"}"#);
    let other = t.upstream();
    let said = client.hear(&mut t);
    let all = Said::Goaway(u32::MAX >> 1);
    assert!(said.contains(&all), "{said:?}");
    t.send(upstream, ok("whole"));
    t.send(other, ok("late"));
    let said = client.hear(&mut t);
    assert_eq!(body_of(&said, id) + &body_of(&said, late), "wholelate");
    assert!(ended(&said, id) && ended(&said, late));
    assert_eq!(t.ended(client.conn), None);
    t.after_ms(1_001);
    assert!(client.hear(&mut t).contains(&Said::Goaway(late)));
    assert_eq!(t.ended(client.conn), Some(Ended::Fin));
}

#[test]
fn an_idle_connection_ends_in_order_and_a_silent_one_with_streams_is_asked() {
    let mut t = Bench::new(|plan| plan["pools"][0]["timeouts"]["first_token_ms"] = json!(0));
    let client = Peer::client(&mut t);
    t.after_ms(61_000);
    assert_eq!(t.ended(client.conn), Some(Ended::Fin));
    let mut client = Peer::client(&mut t);
    client.ask(&mut t, CHAT, ASK);
    let _upstream = t.upstream();
    t.after_ms(31_000);
    let ping = t.bytes(client.conn);
    assert_eq!(ping.get(3), Some(&6), "a PING: {ping:?}");
    t.after_ms(16_000);
    assert_eq!(t.ended(client.conn), Some(Ended::Now));
    assert!(t.is_quiet());
}

/// A WebSocket on a stream, with the connection to its engine of HTTP/1.1.
fn tunnel(t: &mut Bench) -> (Peer, u32, ConnId) {
    let mut client = Peer::client(t);
    let id = client.head(
        &[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":path", "/v1/realtime"),
            ("sec-websocket-version", "13"),
        ],
        false,
    );
    client.data(id, b"early", false);
    client.flush(t);
    let upstream = t.upstream();
    let request = t.got(upstream);
    assert!(
        request.starts_with("GET /v1/realtime HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("upgrade: websocket\r\n") && request.contains("sec-websocket-key: "));
    assert!(!request.contains("early"), "no byte before the agreement");
    t.send(
        upstream,
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhi",
    );
    assert_eq!(t.got(upstream), "early");
    (client, id, upstream)
}

#[test]
fn a_websocket_over_a_stream_reaches_an_engine_of_http1() {
    let mut t = Bench::new(|plan| plan["default_pool"] = json!(0));
    let (mut client, id, upstream) = tunnel(&mut t);
    let said = client.hear(&mut t);
    assert_eq!(head_of(&said).1, "200");
    assert_eq!(body_of(&said, id), "hi");
    client.data(id, b"more", true);
    client.flush(&mut t);
    assert!(t.got(upstream).starts_with("more"));
    assert!(t.is_quiet());
}

/// RFC 8441 §5: an orderly end is END_STREAM, any other a reset with CANCEL, behind what came.
#[test]
fn a_websocket_that_breaks_off_does_not_end_in_order() {
    for (closed, flag) in [
        (Closed::Eof, ""),
        (Closed::Truncated, "UC"),
        (Closed::Reset, "UR"),
    ] {
        let mut t = Bench::new(|plan| plan["default_pool"] = json!(0));
        let (mut client, id, upstream) = tunnel(&mut t);
        t.close(upstream, closed);
        let said = client.hear(&mut t);
        assert_eq!(body_of(&said, id), "hi");
        let orderly = closed == Closed::Eof;
        let cancelled = said.contains(&Said::Reset(id, ErrorCode::Cancel as u32));
        assert_eq!(said.contains(&Said::End(id)), orderly, "{said:?}");
        assert_eq!(cancelled, !orderly, "{said:?}");
        let record = t.record();
        assert_eq!((record.status, record.flag), (101, flag));
        assert!(t.is_quiet());
    }
}

#[test]
fn what_no_table_may_keep_stays_so_on_its_way_on() {
    let mut t = Bench::new(h2c);
    let mut client = Peer::client(&mut t);
    let fields = [
        (":path", "/v1/completions"),
        ("content-type", "application/json"),
    ];
    for _ in 0..2 {
        let id = client.head_with_secret(&fields, ("x-session", "private"));
        client.data(id, br#"{"model":"llama-3"}"#, true);
        client.flush(&mut t);
    }
    let mut upstream = Peer::upstream(&mut t);
    let (id, ..) = head_of(&upstream.hear(&mut t));
    assert_eq!(upstream.secrets(), ["x-session"], "on stream {id}");
}

/// A PING of a peer that has something to say whatever else it does.
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

#[test]
fn an_answer_that_nobody_takes_is_given_up_though_its_client_talks() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    client.reads = false;
    let id = client.ask(&mut t, CHAT, ASK);
    let upstream = t.upstream();
    t.send(upstream, ok(&"x".repeat(100_000)));
    assert_eq!(t.record().status, 200);
    let mut said = client.hear(&mut t);
    for _ in 0..10 {
        t.after_ms(10_000);
        client.raw(&mut t, PING);
        said.extend(client.hear(&mut t));
    }
    let cancel = Said::Reset(id, ErrorCode::Cancel as u32);
    assert_eq!(said.last(), Some(&cancel));
    assert!(t.is_quiet());
}

#[test]
fn a_request_that_nobody_takes_is_given_up_though_it_was_answered() {
    let mut t = Bench::new(h2c);
    let client = t.client();
    let body = format!(r#"{{"model":"llama-3","pad":"{}"}}"#, "x".repeat(100_000));
    t.send(client, crate::bench::post("/v1/files", "", &body));
    let mut upstream = Peer::upstream(&mut t);
    upstream.reads = false;
    let (id, ..) = head_of(&upstream.hear(&mut t));
    upstream.answer(id, 204, &[], true);
    upstream.flush(&mut t);
    assert_eq!(status(&t.got(client)), 204);
    let mut said = upstream.hear(&mut t);
    for _ in 0..10 {
        t.after_ms(10_000);
        upstream.raw(&mut t, PING);
        said.extend(upstream.hear(&mut t));
    }
    let cancel = Said::Reset(id, ErrorCode::Cancel as u32);
    assert_eq!(said.last(), Some(&cancel));
    assert!(t.is_quiet());
}
