//! Tokens of HTTP/2 streams that share a write, while engines emit in steps.

use engine::clock::MS;
use serde_json::json;
use wire::h2::StreamId;

use crate::bench::{Bench, EVENTS, chunk};
use crate::peer::{Peer, body_of, ended};

const CHAT: &[(&str, &str)] = &[("content-type", "application/json")];
const ASK: &str = r#"{"model":"llama-3","stream":true}"#;
const US: u64 = 1_000;

struct Step {
    t: Bench,
    client: Peer,
    streams: Vec<(StreamId, engine::ids::ConnId)>,
}

impl Step {
    /// One client connection with as many streams as the endpoint serves at a time.
    fn new(gather_max_us: u32) -> Self {
        let mut t = Bench::new(|plan| plan["listeners"][0]["gather_max_us"] = json!(gather_max_us));
        let mut client = Peer::client(&mut t);
        let mut streams = Vec::new();
        for _ in 0..4 {
            let id = client.ask(&mut t, CHAT, ASK);
            let upstream = t.upstream();
            t.send(upstream, EVENTS.to_owned() + &chunk("data: first\n\n"));
            streams.push((id, upstream));
        }
        client.hear(&mut t);
        Self { t, client, streams }
    }

    /// Steps were seen, and nothing waits.
    fn at_rest() -> Self {
        let mut step = Self::new(50);
        step.emit(5, 10);
        step.t.after_ms(1);
        step.client.hear(&mut step.t);
        step
    }

    /// A token of each stream, a gap apart; whether each was sent in its own turn.
    fn emit(&mut self, gap_us: u64, rounds: usize) -> Vec<bool> {
        let mut at_once = Vec::new();
        for _ in 0..rounds {
            for (id, upstream) in self.streams.clone() {
                self.t.send(upstream, chunk("data: x\n\n"));
                let said = self.client.hear(&mut self.t);
                at_once.push(body_of(&said, id).contains("data: x"));
                self.t.now_ns += gap_us * US;
            }
        }
        at_once
    }
}

#[test]
fn a_scattered_token_never_waits() {
    let mut step = Step::new(50);
    assert!(step.emit(30, 50).iter().all(|sent| *sent));
}

#[test]
fn tokens_of_a_step_wait_at_most_for_the_window_and_go_together() {
    let mut step = Step::at_rest();
    let (first, upstream) = step.streams[0];
    let (second, other) = step.streams[1];
    step.t.send(upstream, chunk("data: y\n\n"));
    step.t.now_ns += 20 * US;
    step.t.send(other, chunk("data: z\n\n"));
    assert!(step.client.hear(&mut step.t).is_empty(), "both wait");
    let due = step.t.wait_ns().expect("a deadline");
    assert_eq!(due, step.t.now_ns + 30 * US);
    step.t.now_ns = due;
    step.t.tick();
    let said = step.client.hear(&mut step.t);
    assert_eq!(body_of(&said, first), "data: y\n\n");
    assert_eq!(body_of(&said, second), "data: z\n\n");
}

#[test]
fn what_is_no_token_takes_along_what_waits() {
    let mut step = Step::at_rest();
    let (first, upstream) = step.streams[0];
    let (second, other) = step.streams[1];
    step.t.send(upstream, chunk("data: y\n\n"));
    assert!(step.client.hear(&mut step.t).is_empty(), "it waits");
    step.t.send(other, chunk("data: z\n\n") + "0\r\n\r\n");
    let said = step.client.hear(&mut step.t);
    assert_eq!(body_of(&said, first), "data: y\n\n");
    assert!(ended(&said, second));
    step.t.after_ms(1);
    assert!(step.client.hear(&mut step.t).is_empty(), "nothing twice");
}

#[test]
fn a_client_that_goes_while_its_tokens_wait_leaves_nothing_behind() {
    let mut step = Step::new(50);
    step.emit(5, 10);
    step.t.send(step.streams[0].1, chunk("data: y\n\n"));
    step.t.close(step.client.conn, engine::input::Closed::Reset);
    step.t.after_ms(1);
    assert!(step.t.is_quiet());
    assert!(step.t.wait_ns().is_none_or(|at| at > step.t.now_ns + MS));
}

#[test]
fn a_listener_may_never_gather() {
    let mut step = Step::new(0);
    assert!(step.emit(5, 50).iter().all(|sent| *sent));
}
