//! gRPC through the gateway: trailers, statuses of ours, deadlines, calls that answer early.

use engine::clock::SECOND;
use engine::input::{Drain, Mail};
use serde_json::json;
use wire::h2::ErrorCode;

use crate::bench::{Bench, Ended};
use crate::peer::{Peer, Said, body_of, ended};

const CALL: &[(&str, &str)] = &[
    (":path", "/inference.GRPCInferenceService/ModelInfer"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
];
/// A message of three octets.
const MESSAGE: &[u8] = &[0, 0, 0, 0, 3, 1, 2, 3];

fn bench() -> Bench {
    Bench::new(|plan| plan["default_pool"] = json!(0))
}

fn stream_of(said: &[Said]) -> u32 {
    said.iter()
        .find_map(|s| match s {
            Said::Head(id, ..) => Some(*id),
            _ => None,
        })
        .expect("a head")
}

#[test]
fn a_call_goes_over_http2_and_its_status_comes_back_in_trailers() {
    let mut t = bench();
    let mut client = Peer::client(&mut t);
    let id = client.head(CALL, false);
    client.data(id, MESSAGE, true);
    client.flush(&mut t);
    let mut upstream = Peer::upstream(&mut t);
    let said = upstream.hear(&mut t);
    let call = stream_of(&said);
    assert!(ended(&said, call) && body_of(&said, call).len() == MESSAGE.len());
    upstream.answer(call, 200, &[("content-type", "application/grpc")], false);
    upstream.data(call, MESSAGE, false);
    upstream.trailers(call, &[("grpc-status", "0"), ("my-metadata", "kept")]);
    upstream.flush(&mut t);
    let said = client.hear(&mut t);
    let last = said.last().expect("an end");
    assert_eq!(
        *last,
        Said::Trailers(id, "grpc-status: 0\nmy-metadata: kept\n".to_owned())
    );
    assert!(t.is_quiet());
}

#[test]
fn our_own_failures_are_trailers_only() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    let id = client.head(CALL, false);
    client.flush(&mut t);
    let said = client.hear(&mut t);
    let Said::Head(of, code, fields, end) = &said[0] else {
        panic!("{said:?}")
    };
    assert_eq!((*of, code.as_str(), *end), (id, "200", true));
    assert!(fields.contains("grpc-status: 12\n"), "{fields}");
    assert!(fields.contains("grpc-message: ") && fields.contains("content-type: application/grpc"));
}

#[test]
fn a_failure_behind_whole_messages_is_a_status_and_within_one_a_reset() {
    for (part, clean) in [(MESSAGE, true), (&MESSAGE[..6], false)] {
        let mut t = bench();
        let mut client = Peer::client(&mut t);
        let id = client.head(CALL, false);
        client.flush(&mut t);
        let mut upstream = Peer::upstream(&mut t);
        let said = upstream.hear(&mut t);
        let call = stream_of(&said);
        upstream.answer(call, 200, &[("content-type", "application/grpc")], false);
        upstream.data(call, part, false);
        upstream.flush(&mut t);
        upstream.reset(&mut t, call, ErrorCode::InternalError);
        let said = client.hear(&mut t);
        let status = said
            .iter()
            .any(|s| matches!(s, Said::Trailers(_, f) if f.contains("grpc-status: 14")));
        let reset = said
            .iter()
            .any(|s| matches!(s, Said::Reset(_, code) if *code == 2));
        assert_eq!((status, reset), (clean, !clean), "{said:?}");
        let _ = id;
    }
}

#[test]
fn a_deadline_of_the_client_is_kept() {
    let mut t = bench();
    let mut client = Peer::client(&mut t);
    let mut call = CALL.to_vec();
    call.push(("grpc-timeout", "500m"));
    client.head(&call, false);
    client.flush(&mut t);
    let mut upstream = Peer::upstream(&mut t);
    let said = upstream.hear(&mut t);
    let id = stream_of(&said);
    t.after_ms(499);
    assert!(client.hear(&mut t).is_empty());
    t.after_ms(2);
    let said = client.hear(&mut t);
    assert!(matches!(&said[0], Said::Head(_, _, f, true) if f.contains("grpc-status: 4\n")));
    let said = upstream.hear(&mut t);
    assert!(
        said.contains(&Said::Reset(id, ErrorCode::Cancel as u32)),
        "{said:?}"
    );
}

#[test]
fn a_deadline_goes_on_less_the_time_that_is_gone() {
    let mut t = Bench::new(|plan| {
        plan["default_pool"] = json!(0);
        for endpoint in plan["pools"][0]["endpoints"]
            .as_array_mut()
            .expect("a list")
        {
            endpoint["concurrency"] = json!(1);
        }
    });
    let timeout = |said: &[Said]| {
        let Some(Said::Head(_, _, fields, _)) = said.iter().find(|s| matches!(s, Said::Head(..)))
        else {
            panic!("no head: {said:?}")
        };
        let of = |line: &str| line.strip_prefix("grpc-timeout: ").map(str::to_owned);
        fields.lines().filter_map(of).collect::<Vec<_>>()
    };
    let mut client = Peer::client(&mut t);
    client.ask(&mut t, CALL, "");
    client.ask(&mut t, CALL, "");
    let mut upstream = Peer::upstream(&mut t);
    let mut other = Peer::upstream(&mut t);
    let said = upstream.hear(&mut t);
    assert_eq!(timeout(&said), [""; 0], "none is made up");
    other.hear(&mut t);
    let mut call = CALL.to_vec();
    call.push(("grpc-timeout", "2S"));
    client.ask(&mut t, &call, "");
    t.after_ms(300);
    upstream.answer(stream_of(&said), 200, &[("grpc-status", "0")], true);
    upstream.flush(&mut t);
    let said = upstream.hear(&mut t);
    assert_eq!(timeout(&said), ["1700000u"], "less its wait in our queue");
    t.after_ms(200);
    upstream.reset(&mut t, stream_of(&said), ErrorCode::RefusedStream);
    let (conn, _) = t.dial().expect("a dial");
    t.after_ms(100);
    t.mail_connected(conn);
    let mut again = Peer::upstream_of(&mut t, conn);
    let said = again.hear(&mut t);
    assert_eq!(timeout(&said), ["1400000u"], "less an attempt and a dial");
}

#[test]
fn a_deadline_that_no_clock_counts_is_the_upstream_s_affair() {
    let mut t = bench();
    let mut client = Peer::client(&mut t);
    let mut call = CALL.to_vec();
    call.push(("grpc-timeout", "99999999H"));
    client.ask(&mut t, &call, "");
    let mut upstream = Peer::upstream(&mut t);
    let said = upstream.hear(&mut t);
    let kept = |f: &String| f.contains("grpc-timeout: 99999999H\n");
    let told = matches!(&said[..], [.., Said::Head(_, _, f, _)] if kept(f));
    assert!(told, "{said:?}");
}

#[test]
fn messages_flow_both_ways_while_neither_side_has_ended() {
    let mut t = bench();
    let mut client = Peer::client(&mut t);
    let id = client.head(CALL, false);
    client.flush(&mut t);
    let mut upstream = Peer::upstream(&mut t);
    let said = upstream.hear(&mut t);
    let call = stream_of(&said);
    upstream.answer(call, 200, &[("content-type", "application/grpc")], false);
    upstream.flush(&mut t);
    client.hear(&mut t);
    for _ in 0..100 {
        client.data(id, MESSAGE, false);
        client.flush(&mut t);
        assert_eq!(body_of(&upstream.hear(&mut t), call).len(), MESSAGE.len());
        upstream.data(call, MESSAGE, false);
        upstream.flush(&mut t);
        assert_eq!(body_of(&client.hear(&mut t), id).len(), MESSAGE.len());
        // Far slower than a body may come.
        t.after_ms(5_000);
        upstream.hear(&mut t);
        client.hear(&mut t);
    }
    assert_eq!(
        t.shared.held_bytes.held(),
        0,
        "nothing is kept of what went by"
    );
    upstream.trailers(call, &[("grpc-status", "0")]);
    upstream.flush(&mut t);
    let said = client.hear(&mut t);
    assert!(ended(&said, id));
    assert!(t.is_quiet());
}

#[test]
fn health_is_told_on_the_admin_listener() {
    let mut t = Bench::new(|plan| plan["listeners"][0]["kind"] = json!("admin"));
    let mut client = Peer::client(&mut t);
    let check = [
        (":path", "/grpc.health.v1.Health/Check"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (ready, answer) in [(true, 1), (false, 2)] {
        t.shared.set_ready(ready);
        let id = client.head(&check, false);
        client.data(id, &[0, 0, 0, 0, 0], true);
        client.flush(&mut t);
        let said = client.hear(&mut t);
        let body = body_of(&said, id);
        assert_eq!(body.as_bytes(), [0, 0, 0, 0, 2, 8, answer]);
        assert!(
            said.contains(&Said::Trailers(id, "grpc-status: 0\n".to_owned())),
            "{said:?}"
        );
    }
    assert_eq!(t.ended(client.conn), None::<Ended>);
}

/// A call of the health service for one service.
fn health(t: &mut Bench, client: &mut Peer, method: &str, service: &str) -> u32 {
    let path = format!("/grpc.health.v1.Health/{method}");
    let (kind, te) = (("content-type", "application/grpc"), ("te", "trailers"));
    let id = client.head(&[(":path", &path), kind, te], false);
    let mut message = vec![
        0,
        0,
        0,
        0,
        service.len() as u8 + 2,
        0x0a,
        service.len() as u8,
    ];
    message.extend_from_slice(service.as_bytes());
    client.data(id, &message, true);
    client.flush(t);
    id
}

/// The states that a watcher was told, and whether anything else was said on its stream.
fn told(said: &[Said], id: u32) -> (Vec<u8>, bool) {
    let body = body_of(said, id);
    let states = body.as_bytes().chunks(7).map(|message| {
        assert_eq!(message[..6], [0, 0, 0, 0, 2, 8]);
        message[6]
    });
    (states.collect(), ended(said, id))
}

fn drain(t: &Bench, admin: bool) -> Mail {
    Mail::Drain(Drain {
        deadline_ns: t.now_ns + 100 * SECOND,
        idle_ns: SECOND,
        admin,
    })
}

#[test]
fn a_watcher_hears_of_each_change_and_of_a_drain() {
    let mut t = Bench::new(|plan| plan["listeners"][0]["kind"] = json!("admin"));
    let mut client = Peer::client(&mut t);
    let id = health(&mut t, &mut client, "Watch", "");
    let unknown = health(&mut t, &mut client, "Watch", "other.Service");
    let said = client.hear(&mut t);
    assert_eq!(told(&said, id), (vec![1], false), "at once");
    assert_eq!(
        told(&said, unknown),
        (vec![3], false),
        "no error, by the protocol"
    );
    t.after_ms(20_000);
    assert_eq!(
        told(&client.hear(&mut t), id),
        (vec![], false),
        "no change, no word"
    );
    for (ready, state) in [(false, 2), (true, 1)] {
        t.shared.set_ready(ready);
        t.after_ms(202);
        assert_eq!(told(&client.hear(&mut t), id), (vec![state], false));
    }
    // It stays through a drain: the admin listener does.
    t.mail(drain(&t, false));
    assert_eq!(
        told(&client.hear(&mut t), id),
        (vec![2], false),
        "in the same turn"
    );
    assert!(t.engine.drained(), "nobody waits for a watcher");
    let late = health(&mut t, &mut client, "Watch", "readiness");
    assert_eq!(told(&client.hear(&mut t), late), (vec![2], false));
    t.mail(Mail::Stop);
    let said = client.hear(&mut t);
    for id in [id, unknown, late] {
        let unavailable = |f: &String| f.contains("grpc-status: 14\n");
        let of = |one: &Said| matches!(one, Said::Trailers(of, f) if *of == id && unavailable(f));
        assert!(said.iter().any(of), "{said:?}");
    }
    assert!(t.is_quiet());
}

#[test]
fn watchers_are_sent_to_a_successor_and_may_leave_when_they_like() {
    let mut t = Bench::new(|plan| plan["listeners"][0]["kind"] = json!("admin"));
    let mut client = Peer::client(&mut t);
    let gone = health(&mut t, &mut client, "Watch", "");
    let id = health(&mut t, &mut client, "Watch", "");
    client.hear(&mut t);
    client.reset(&mut t, gone, ErrorCode::Cancel);
    assert_eq!(t.engine.census().exchanges, 1);
    t.mail(drain(&t, true));
    let said = client.hear(&mut t);
    assert_eq!(told(&said, id), (vec![], true), "the successor serves");
    assert!(
        matches!(&said[..], [Said::Trailers(_, f), Said::Goaway(_)] if f.contains("status: 14")),
        "{said:?}"
    );
    t.after_ms(1_001);
    assert!(t.ended(client.conn).is_some() && t.engine.drained() && t.is_quiet());
}

#[test]
fn a_watcher_s_deadline_is_kept_and_what_is_not_served_is_unimplemented() {
    let mut t = Bench::new(|plan| plan["listeners"][0]["kind"] = json!("admin"));
    let mut client = Peer::client(&mut t);
    let fields = [
        (":path", "/grpc.health.v1.Health/Watch"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "1S"),
    ];
    let id = client.head(&fields, false);
    client.data(id, &[0, 0, 0, 0, 0], true);
    client.flush(&mut t);
    t.after_ms(999);
    assert_eq!(told(&client.hear(&mut t), id), (vec![1], false));
    t.after_ms(2);
    let said = client.hear(&mut t);
    assert!(matches!(&said[..], [Said::Trailers(_, f)] if f.contains("grpc-status: 4\n")));
    let id = health(&mut t, &mut client, "List", "");
    let said = client.hear(&mut t);
    let status = |f: &String| f.contains("grpc-status: 12\n");
    assert!(matches!(&said[..], [Said::Head(of, _, f, true), ..] if *of == id && status(f)));
    assert!(t.is_quiet());
}
