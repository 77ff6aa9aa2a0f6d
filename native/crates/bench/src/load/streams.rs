//! What happens on HTTP/2: requests given to connections, frames read, streams ended.
//!
//! What a turn has to say on a connection goes out in one write at its end. Invariant: a stream's
//! tag is the place of its request among `flows`, and each of those is on a stream that `wire` has
//! not been told to forget.

use std::io;

use mio::{Token, event::Event as Ready};
use wire::h2::{ErrorCode, Event, Heads};

use super::{
    generator::{CONNECT_PAUSE_NS, Due, Generator},
    ledger::Ledger,
    options::{AbortPhase, Options},
    outcome::Outcome,
    receive::{leaves, receive, worth},
    trunk::{Flow, Trunk},
};
use crate::{
    clock,
    slab::{Key, Slab},
};

/// How a request ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Over(Outcome),
    /// The client leaves.
    Left,
    /// The server has reset the stream.
    Reset {
        /// It says that it has not looked at the request.
        refused: bool,
    },
}

impl Generator<'_> {
    /// Sends a request on a stream; false when it has to wait for one.
    pub(super) fn issue_stream(&mut self, due: Due, now_ns: u64) -> bool {
        let once = self.draw_once();
        let (roomy, open) = self.roomy();
        let key = match roomy.filter(|_| !once) {
            Some(key) => key,
            None if open >= self.options.connections_max => {
                self.wait(due, now_ns);
                return false;
            }
            None => {
                let Ok(key) = self.open_trunk(due.part, once, now_ns) else {
                    self.unsent(due, now_ns);
                    return true;
                };
                key
            }
        };
        let leave = self.draw_leave();
        let Some(trunk) = self.trunks.find(key) else {
            return true;
        };
        trunk.wire.begin(now_ns);
        let Some(id) = trunk.wire.open() else {
            self.wait(due, now_ns);
            return false;
        };
        let mut request = Self::request(due, now_ns);
        request.leave = leave;
        let (wire, output) = (&mut trunk.wire, &mut trunk.output);
        self.shape.send(wire, id, output, due.lengths, leave);
        trunk.flows += 1;
        self.in_flight += 1;
        let flow = self.flows.insert(Flow {
            trunk: key,
            id,
            request,
        });
        trunk.wire.set_tag(id, flow.index as u64);
        self.mark(key);
        match leave.map(|leave| leave.at) {
            Some(AbortPhase::Head | AbortPhase::Body) => self.leave_flow(flow, now_ns),
            Some(AbortPhase::Queue | AbortPhase::BeforeToken) => {
                let abort = self.options.client_abort.as_ref();
                let at_ns = now_ns + abort.map_or(0, |abort| abort.delay_ms) * 1_000_000;
                if let Some(flow) = self.flows.find(flow) {
                    flow.request.leave_ns = at_ns;
                }
                self.plan_leave(flow, at_ns);
            }
            Some(AbortPhase::MidEvent) | None => {}
        }
        true
    }

    /// The connection with the fewest requests that takes one more, and how many take any.
    fn roomy(&mut self) -> (Option<Key>, u32) {
        let most = self.options.streams_per_connection;
        let (mut best, mut open) = (None, 0);
        for index in 0..self.trunks.bound() {
            let Some(trunk) = self.trunks.at(index) else {
                continue;
            };
            if trunk.left {
                continue;
            }
            open += u32::from(!trunk.wire.going());
            let fewer = best.is_none_or(|(_, flows)| trunk.flows < flows);
            if trunk.flows < most && fewer && !trunk.once && trunk.wire.can_open() {
                best = Some((index, trunk.flows));
            }
        }
        (best.and_then(|(index, _)| self.trunks.key(index)), open)
    }

    fn open_trunk(&mut self, part: usize, once: bool, now_ns: u64) -> io::Result<Key> {
        let token = Token(self.trunks.next_index());
        let stream = self.connect(part, token)?;
        let streams_max = self.options.streams_per_connection;
        let trunk = Trunk::new(stream, streams_max, (once, part), now_ns);
        Ok(self.trunks.insert(trunk))
    }

    fn mark(&mut self, key: Key) {
        if let Some(trunk) = self.trunks.find(key)
            && !trunk.left
            && !std::mem::replace(&mut trunk.dirty, true)
        {
            self.dirty.push(key);
        }
    }

    /// Sends what this turn has to say.
    pub(super) fn send_dirty(&mut self) {
        while let Some(key) = self.dirty.pop() {
            let Some(trunk) = self.trunks.find(key) else {
                continue;
            };
            trunk.dirty = false;
            // What an unfinished connect holds back goes out with its event.
            if trunk.connected && trunk.flush().is_err() {
                // The server may have answered before it closed.
                self.read_trunk(key, true);
                self.lose(key, Outcome::Reset);
            }
        }
    }

    pub(super) fn trunk_event(&mut self, event: &Ready) {
        let Some(key) = self.trunks.key(event.token().0) else {
            return;
        };
        let Some(trunk) = self.trunks.find(key) else {
            return;
        };
        if !trunk.connected {
            match trunk.stream.finish_connect() {
                Ok(true) => {
                    trunk.connected = true;
                    trunk.connected_ns = clock::now_ns();
                    let took_ns = trunk.connected_ns - trunk.opened_ns;
                    let (part, resumed) = (trunk.part, trunk.stream.resumed());
                    self.ledger.connected(part, took_ns, resumed);
                }
                Ok(false) => return,
                Err(_) => return self.lose(key, Outcome::ConnectError),
            }
        }
        trunk.stream.push();
        if event.is_writable() {
            self.mark(key);
        }
        let ended = event.is_read_closed();
        if event.is_readable() || ended || event.is_error() {
            self.read_trunk(key, ended);
        }
    }

    fn read_trunk(&mut self, key: Key, ended: bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some(trunk) = self.trunks.find(key) {
            match trunk.stream.read(&mut scratch) {
                Ok(0) => {
                    self.lose(key, Outcome::Truncated);
                    break;
                }
                Ok(length) => {
                    self.take_frames(key, &scratch[..length]);
                    if length < scratch.len() && !ended {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.lose(key, Outcome::Reset);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    fn take_frames(&mut self, key: Key, mut bytes: &[u8]) {
        let now_ns = clock::now_ns();
        let Some(trunk) = self.trunks.find(key) else {
            return;
        };
        self.ledger.bytes(bytes.len());
        trunk.wire.begin(now_ns);
        let mut ended = std::mem::take(&mut self.ended);
        let intact = loop {
            let output = &mut trunk.output;
            let event = match trunk.wire.next(&mut bytes, &mut self.heads, output) {
                Ok(Some(event)) => event,
                Ok(None) => break true,
                Err(_) => break false,
            };
            if let Event::Data { id, credit, .. } = event {
                trunk.wire.consumed(id, credit, output);
            }
            let Self {
                flows,
                ledger,
                heads,
                options,
                ..
            } = self;
            ended.extend(happened(flows, ledger, heads, options, &event, now_ns));
        };
        let says = !trunk.output.is_empty() || trunk.wire.queued_bytes() > 0;
        for (index, end) in ended.drain(..) {
            if let Some(flow) = self.flows.key(index) {
                self.end(flow, end, now_ns);
            }
        }
        self.ended = ended;
        if says {
            self.mark(key);
        }
        if !intact {
            self.lose(key, Outcome::Malformed);
        }
    }

    fn end(&mut self, flow: Key, end: End, now_ns: u64) {
        match end {
            End::Over(outcome) => self.end_flow(flow, outcome, now_ns),
            End::Left => self.leave_flow(flow, now_ns),
            End::Reset { refused } => self.broken_flow(flow, Outcome::Reset, refused, now_ns),
        }
    }

    /// Ends a request; if its answer has not ended, the server is told to stop.
    pub(super) fn end_flow(&mut self, key: Key, outcome: Outcome, now_ns: u64) {
        let Some(flow) = self.take_flow(key) else {
            return;
        };
        self.ledger.ended(&flow.request, outcome, now_ns);
        self.free_worker(now_ns);
    }

    fn take_flow(&mut self, key: Key) -> Option<Flow> {
        self.flows.find(key)?;
        let flow = self.flows.remove(key.index)?;
        self.in_flight -= 1;
        if let Some(trunk) = self.trunks.find(flow.trunk) {
            trunk.flows -= 1;
            trunk.answers += 1;
            trunk.wire.forget(flow.id, &mut trunk.output);
            if trunk.flows == 0 && !trunk.left && (trunk.once || trunk.wire.going()) {
                self.trunks.remove(flow.trunk.index);
            } else if !trunk.output.is_empty() {
                self.mark(flow.trunk);
            }
        }
        Some(flow)
    }

    /// A stream was reset, or its connection has gone: sent again, once, if that is wanted and the
    /// server has said nothing.
    fn broken_flow(&mut self, key: Key, outcome: Outcome, stale: bool, now_ns: u64) {
        let Some(flow) = self.flows.find(key) else {
            return;
        };
        let request = &flow.request;
        if request.answer.any_input() {
            return self.end_flow(key, outcome, now_ns);
        }
        let tally = &mut self.ledger.tallies[request.part];
        if stale && self.options.retry_stale && !request.retried {
            tally.stale_retries += 1;
            let due = Due {
                part: request.part,
                intended_ns: request.intended_ns,
                lengths: request.lengths,
                retried: true,
            };
            self.take_flow(key);
            self.issue_stream(due, now_ns);
            return;
        }
        tally.closed_before_head += u64::from(outcome != Outcome::ConnectError);
        let outcome = if outcome == Outcome::Truncated {
            Outcome::Reset
        } else {
            outcome
        };
        self.end_flow(key, outcome, now_ns);
    }

    /// A connection has gone, and with it the requests that were on it.
    fn lose(&mut self, key: Key, outcome: Outcome) {
        let now_ns = clock::now_ns();
        if self.trunks.find(key).is_none() {
            return;
        }
        let Some(trunk) = self.trunks.remove(key.index) else {
            return;
        };
        for flow in self.flows_on(key) {
            match outcome {
                Outcome::Malformed => self.end_flow(flow, outcome, now_ns),
                _ => self.broken_flow(flow, outcome, trunk.answers > 0, now_ns),
            }
            if outcome == Outcome::ConnectError {
                self.pause_worker(now_ns + CONNECT_PAUSE_NS);
            }
        }
    }

    /// The requests that are on a connection.
    pub(super) fn flows_on(&mut self, trunk: Key) -> Vec<Key> {
        let mut found = Vec::new();
        for index in 0..self.flows.bound() {
            let on = |flow: &mut Flow| flow.trunk == trunk;
            if self.flows.at(index).is_some_and(on) {
                found.extend(self.flows.key(index));
            }
        }
        found
    }
}

/// What an event comes to for the request whose stream it is on.
fn happened(
    flows: &mut Slab<Flow>,
    ledger: &mut Ledger,
    heads: &Heads,
    options: &Options,
    event: &Event<'_>,
    now_ns: u64,
) -> Option<(usize, End)> {
    let index = match event {
        Event::Head { tag, .. }
        | Event::Data { tag, .. }
        | Event::Trailers { tag, .. }
        | Event::End { tag, .. }
        | Event::Reset { tag, .. } => *tag as usize,
        Event::Bad { .. } | Event::Interim { .. } | Event::Goaway { .. } | Event::Settings => {
            return None;
        }
    };
    let request = &mut flows.at(index)?.request;
    let ended = match event {
        Event::Head { end, .. } => {
            receive(ledger, request, now_ns, |answer, _| {
                answer.open(&heads.response);
            });
            *end
        }
        Event::Data { bytes, end, .. } => {
            let fed = receive(ledger, request, now_ns, |answer, token| {
                answer.content(bytes, token)
            });
            if fed.is_err() {
                return Some((index, End::Over(Outcome::Malformed)));
            }
            *end
        }
        Event::Reset { by_us: Some(_), .. } => {
            return Some((index, End::Over(Outcome::Malformed)));
        }
        Event::Reset { code, .. } => {
            let refused = *code == ErrorCode::RefusedStream.number();
            return Some((index, End::Reset { refused }));
        }
        _ => true,
    };
    if ended {
        Some((index, End::Over(worth(ledger, request, options))))
    } else {
        leaves(request).then_some((index, End::Left))
    }
}
