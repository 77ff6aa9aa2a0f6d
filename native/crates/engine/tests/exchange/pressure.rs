//! Peers that ask, cancel and take nothing: what waits for them is bounded, and so is what they
//! make others do.

use engine::input::Closed;
use engine::limits::{H2_UNSENT_BYTES_MAX, QUEUE_BYTES_HIGH};
use serde_json::json;
use wire::h2::ErrorCode;

use crate::bench::{Bench, post};
use crate::peer::Peer;

#[test]
fn a_client_that_reads_no_answer_is_not_heard_any_more() {
    let mut t = Bench::new(|_| {});
    let mut client = Peer::client(&mut t);
    t.block(client.conn, true);
    let mut asked = 0;
    while !t.paused.contains(&client.conn) {
        // Heads alone: no window holds them back. The stream is over at once, for both.
        let id = client.head(&[(":method", "HEAD"), (":path", "/nowhere")], true);
        client.wire.reset(id, ErrorCode::Cancel, &mut Vec::new());
        client.wire.forget(id, &mut Vec::new());
        client.flush(&mut t);
        asked += 1;
        assert!(asked < 10_000, "no bound");
    }
    let waiting = t.engine.pending(client.conn).len();
    assert!(
        (H2_UNSENT_BYTES_MAX..H2_UNSENT_BYTES_MAX + 1000).contains(&waiting),
        "{waiting}"
    );
    assert_eq!(t.ended(client.conn), None);
    // It takes them after all: it is heard again.
    t.block(client.conn, false);
    assert!(!t.paused.contains(&client.conn));
    assert!(t.engine.pending(client.conn).is_empty() && t.is_quiet());
}

#[test]
fn a_cancelled_call_keeps_its_permit_until_its_endpoint_can_know() {
    let mut t = Bench::new(|plan| {
        let mut endpoint = plan["pools"][0]["endpoints"][0].take();
        endpoint["http2"] = json!("always");
        plan["pools"][0]["endpoints"] = json!([endpoint]);
        plan["pools"][0]["connections_max"] = json!(1);
    });
    let padding = format!("x-pad: {}\r\n", "p".repeat(10_000));
    let request = post("/v1/chat/completions", &padding, r#"{"model":"llama-3"}"#);
    let first = t.client();
    t.send(first, request.clone());
    let mut upstream = Peer::upstream(&mut t);
    upstream.hear(&mut t);
    t.block(upstream.conn, true);
    for _ in 0..50 {
        let client = t.client();
        t.send(client, request.clone());
        t.close(client, Closed::Reset);
        assert_eq!(t.dial(), None);
    }
    // Three permits beside the first's; whoever came later waited in the channel and left.
    let waiting = t.engine.pending(upstream.conn).len();
    assert!(waiting > QUEUE_BYTES_HIGH, "{waiting}");
    assert!(waiting < QUEUE_BYTES_HIGH + 5 * 11_000, "{waiting}");
    let in_flight = |t: &Bench| {
        let room = t.shared.rooms()[0].snapshot(t.now_ns);
        room.endpoints[0].in_flight
    };
    assert_eq!(in_flight(&t), 4);
    t.block(upstream.conn, false);
    assert_eq!(in_flight(&t), 1, "it has heard of them");
    upstream.hear(&mut t);
    // An endpoint that never listens again keeps none of them when it is gone.
    t.block(upstream.conn, true);
    for _ in 0..50 {
        let client = t.client();
        t.send(client, request.clone());
        t.close(client, Closed::Reset);
    }
    assert_eq!(in_flight(&t), 4);
    t.close(first, Closed::Reset);
    t.close(upstream.conn, Closed::TimedOut);
    assert!(t.is_quiet());
}
