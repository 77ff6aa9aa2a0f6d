//! Deadlines of an exchange, in the units of the work.
//!
//! One timer per exchange, armed lazily at the earliest deadline: bytes that move only change a
//! mark, and the timer that fires too early arms itself again.
//!
//! **Invariant:** no default deadline ends a slow but live stream.

use super::{Exchange, Framing, Phase};
use crate::clock::{MS, SECOND};
use crate::conn::Conn;
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::grpc::Health;
use crate::ids::ExchangeId;
use crate::input::Drain;
use crate::limits;
use crate::metrics::{Metric, Shed, Timeout};
use crate::output::How;
use crate::shared::Outcome;
use crate::snapshot::Dialect;
use crate::timer::{TimerKey, TimerSlot};
use wire::Body;

/// Grace before a request body must move.
const BODY_GRACE_NS: u64 = 10 * SECOND;
/// Bytes per second a request body must move at after the grace.
const BODY_BYTES_PER_S: u64 = 1024;
/// The control plane's time for an answer.
const CONTROL_NS: u64 = 10 * SECOND;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Body,
    Wait,
    Connect,
    Head,
    FirstToken,
    InterToken,
    Total,
    ClientStall,
    Control,
    Heartbeat,
    Health,
}

impl Engine {
    /// Arms the exchange's timer at its earliest deadline.
    pub(crate) fn arm(&mut self, exchange: &mut Exchange) {
        if exchange.done {
            return;
        }
        if let Some((deadline_ns, _)) = self.deadline(exchange) {
            self.timers.arm(
                &mut exchange.timer,
                TimerKey::Exchange(exchange.id),
                deadline_ns,
            );
        }
    }

    pub(crate) fn exchange_timer(&mut self, id: ExchangeId) {
        let Some(mut exchange) = self.exchanges.take(id) else {
            return;
        };
        exchange.timer = TimerSlot::default();
        match self.deadline(&exchange) {
            Some((deadline_ns, due)) if deadline_ns <= self.now.mono_ns => {
                self.expire(&mut exchange, due);
            }
            _ => self.arm(&mut exchange),
        }
        self.put_exchange(exchange);
    }

    fn deadline(&self, exchange: &Exchange) -> Option<(u64, Due)> {
        let mut earliest: Option<(u64, Due)> = None;
        let mut add = |since_ns: u64, length_ns: u64, due: Due| {
            if length_ns > 0 && earliest.is_none_or(|(at, _)| since_ns + length_ns < at) {
                earliest = Some((since_ns + length_ns, due));
            }
        };
        let marks = &exchange.marks;
        match exchange.phase {
            Phase::Asked => add(marks.dispatched_ns, CONTROL_NS, Due::Control),
            Phase::Watching(Health::Serving | Health::NotServing) => {
                add(marks.heartbeat_ns, limits::HEALTH_LOOK_NS, Due::Health);
            }
            _ => {}
        }
        add(marks.started_ns, exchange.time_limit_ns, Due::Total);
        if body_is_due(exchange) {
            let earned_ns = exchange.body.received * (SECOND / BODY_BYTES_PER_S);
            let allowed_ns = BODY_GRACE_NS + earned_ns + exchange.body.excused_ns;
            add(marks.started_ns, allowed_ns, Due::Body);
        }
        let Some(pool) = &exchange.pool else {
            return earliest;
        };
        let times = &pool.timeouts;
        let started_ns = exchange
            .attempt
            .as_ref()
            .map_or(marks.started_ns, |a| a.started_ns);
        match exchange.phase {
            Phase::Queued(_) => add(marks.admission_ns, pool.max_wait_ns, Due::Wait),
            Phase::Dialing => add(started_ns, times.connect_ns, Due::Connect),
            Phase::Stream => {
                let response = &exchange.response;
                let answered = response.answered;
                if !answered {
                    add(started_ns, times.head_ns, Due::Head);
                }
                if exchange.dialect == Dialect::Grpc {
                    // Its calls may be silent for as long as their caller allows.
                } else if response.sse || exchange.wants_stream() {
                    if marks.first_token_ns == 0 {
                        add(started_ns, times.first_token_ns, Due::FirstToken);
                    }
                    add(marks.started_ns, times.stream_total_ns, Due::Total);
                } else {
                    add(marks.started_ns, times.unary_total_ns, Due::Total);
                }
                let begun = marks.first_token_ns > 0 || !exchange.wants_stream() && !response.sse;
                let flows = begun && exchange.dialect != Dialect::Grpc;
                if answered && flows && !response.upstream_paused {
                    add(marks.last_byte_ns, times.inter_token_ns, Due::InterToken);
                }
                if let Some(stalled_ns) = self.client_stalled_since(exchange) {
                    add(stalled_ns, times.client_stall_ns, Due::ClientStall);
                }
            }
            _ => {}
        }
        if heartbeats(exchange) {
            let last_ns = marks
                .heartbeat_ns
                .max(marks.last_token_ns)
                .max(marks.admission_ns);
            add(last_ns, pool.heartbeat_ns, Due::Heartbeat);
        }
        earliest
    }

    fn expire(&mut self, exchange: &mut Exchange, due: Due) {
        self.count_timeout(exchange, due);
        match due {
            Due::Heartbeat => self.heartbeat(exchange),
            Due::Health => self.look_at_health(exchange),
            Due::Wait => {
                self.leave_queue(exchange);
                self.locals
                    .local(exchange.local)
                    .cells
                    .inc_at(Metric::Sheds, Shed::MaxWait as usize);
                let wait_ns = self.now.mono_ns.saturating_sub(exchange.marks.admission_ns);
                self.locals
                    .local(exchange.local)
                    .cells
                    .observe(Metric::ChannelWait, wait_ns);
                if let Some(pool) = &exchange.pool {
                    exchange.tally.retry_after_ms =
                        pool.room.retry_after_ms(self.now.mono_ns, &mut self.random);
                }
                let why = "no endpoint became free within the pool's max_wait";
                let expired = Failure::new(FailureKind::WaitExpired, why);
                let failure = exchange.setback.take().unwrap_or(expired);
                self.fail(exchange, failure);
            }
            Due::Body => {
                let why = "the request body came slower than 1 KiB/s";
                self.fail(exchange, Failure::new(FailureKind::BodyTimeout, why));
            }
            Due::Connect => {
                let failure = Failure::new(FailureKind::ConnectTimeout, not_taken(exchange));
                self.attempt_failed(exchange, failure, Outcome::ConnectError);
            }
            Due::Head => {
                let why = "the endpoint sent no response head in time";
                let failure = Failure::new(FailureKind::UpstreamHeadTimeout, why);
                self.attempt_failed(exchange, failure, Outcome::Failure);
            }
            Due::FirstToken => {
                let why = "the endpoint sent no first token in time";
                let failure = Failure::new(FailureKind::FirstTokenTimeout, why);
                self.attempt_failed(exchange, failure, Outcome::Failure);
            }
            Due::InterToken => {
                let why = "the endpoint stopped in the middle of its response";
                let failure = Failure::new(FailureKind::InterTokenTimeout, why);
                self.drop_attempt(exchange, Outcome::Failure);
                self.fail(exchange, failure);
            }
            Due::Total => {
                let why = "the whole exchange took longer than its limit";
                self.fail(exchange, Failure::new(FailureKind::TotalTimeout, why));
            }
            Due::Control => {
                let why = "the control plane did not answer in time";
                self.fail(exchange, Failure::new(FailureKind::ControlTimeout, why));
            }
            Due::ClientStall => self.client_stalled(exchange),
        }
    }

    fn count_timeout(&self, exchange: &Exchange, due: Due) {
        let kind = match due {
            Due::Connect => Timeout::Connect,
            Due::Head => Timeout::Head,
            Due::FirstToken => Timeout::FirstToken,
            Due::InterToken => Timeout::InterToken,
            Due::Total => Timeout::Total,
            _ => return,
        };
        if let Some(cells) = self.pool_cells(exchange) {
            cells.inc_at(Metric::Timeouts, kind as usize);
        }
    }

    /// The client stopped reading: its upstream is cancelled and its connection reset.
    fn client_stalled(&mut self, exchange: &mut Exchange) {
        if let Some(cells) = self.pool_cells(exchange) {
            cells.inc(Metric::Cancelled);
        }
        self.drop_attempt(exchange, Outcome::Neutral);
        let why = "the client stopped reading its response";
        exchange.failure = Some(Failure::new(FailureKind::ClientStall, why));
        self.client_drop(exchange, How::Reset);
        self.finish(exchange);
    }

    /// A comment for an SSE client whose engine is silent; commits the head (rule 5).
    fn heartbeat(&mut self, exchange: &mut Exchange) {
        exchange.marks.heartbeat_ns = self.now.mono_ns;
        if !exchange.response.head_committed {
            if exchange.response.held {
                self.commit_head(exchange);
            } else {
                self.commit_stream_head(exchange);
            }
        }
        if self.client_idle(exchange)
            && exchange.response.tail.is_empty()
            && !exchange.response.oversize
        {
            self.client_body(exchange, b":\n\n");
            if let Some(cells) = self.pool_cells(exchange) {
                cells.inc(Metric::Heartbeats);
            }
        }
        self.arm(exchange);
    }

    /// Our own head of an event stream, before the upstream has said anything.
    fn commit_stream_head(&mut self, exchange: &mut Exchange) {
        exchange.response.head.clear();
        exchange.response.head.status = 200;
        exchange.response.head.body = Body::Chunked;
        exchange
            .response
            .head
            .fields
            .push(b"content-type", b"text/event-stream; charset=utf-8");
        exchange
            .response
            .head
            .fields
            .push(b"cache-control", b"no-cache");
        self.note_stream(exchange, true);
        exchange.response.scanner = wire::sse::Scanner::default();
        self.commit_head(exchange);
    }

    /// Ends what runs, each with its record and its permit returned.
    pub(crate) fn stop_exchanges(&mut self) {
        for id in self.exchanges.keys() {
            let Some(mut exchange) = self.exchanges.take(id) else {
                continue;
            };
            exchange.response.close = true;
            let why = "this gateway stops";
            self.fail(&mut exchange, Failure::new(FailureKind::Draining, why));
            self.put_exchange(exchange);
        }
    }

    /// Ends what runs still when a drain's deadline has come, at an event boundary.
    pub(crate) fn cut_all(&mut self) {
        for id in self.exchanges.keys() {
            let Some(mut exchange) = self.exchanges.take(id) else {
                continue;
            };
            if !exchange.admin {
                let why = "this gateway shuts down";
                exchange.response.close = true;
                self.fail(&mut exchange, Failure::new(FailureKind::Draining, why));
            }
            self.put_exchange(exchange);
        }
        self.close_idle();
    }

    /// Starts a drain, or replaces one by another: running exchanges finish, connections that
    /// wait for a request are closed by their timer.
    pub(crate) fn drain(&mut self, drain: Drain) {
        self.draining = Some(drain);
        self.drain_since_ns = self.now.mono_ns;
        // A worker drains alone after a panic, which may have set a permit free unseen.
        self.pump_rooms();
        for id in self.exchanges.keys() {
            if let Some(exchange) = self.exchanges.get_mut(id)
                && (drain.admin || !exchange.admin)
                // A head that is out has said that the connection stays: the next answer tells.
                && !exchange.response.head_committed
            {
                exchange.response.close = true;
            }
            if let Some(mut exchange) = self.exchanges.take(id) {
                self.tell_watcher(&mut exchange);
                self.put_exchange(exchange);
            }
        }
        for id in self.conns.keys() {
            let ours = |c: &Conn| c.client().is_some_and(|c| drain.admin || !c.admin);
            if self
                .conns
                .get(id)
                .is_some_and(|c| c.h2_ref().is_some() && ours(c))
            {
                self.h2_wind_up(id);
            } else {
                self.arm_client(id);
            }
        }
    }

    /// Closes every connection that the drain is about and that serves no exchange.
    fn close_idle(&mut self) {
        let admin = self.draining.is_some_and(|drain| drain.admin);
        for id in self.conns.keys() {
            let Some(client) = self.conns.get(id).and_then(Conn::client) else {
                continue;
            };
            // After the cut a stream may still have bytes that its client does not take.
            let done = !client.busy() || self.drain_cut && client.h2.is_some();
            if done && (admin || !client.admin) {
                self.close(id, How::Flush(Vec::new()));
            }
        }
    }
}

/// A request body that is awaited from the client, not held up by us.
fn body_is_due(exchange: &Exchange) -> bool {
    !exchange.body.complete
        && exchange.dialect != Dialect::Grpc
        && !exchange.body.paused
        && !exchange.expects
        && exchange.head.body != Body::None
        && !matches!(exchange.phase, Phase::Tunnel | Phase::Done)
}

fn heartbeats(exchange: &Exchange) -> bool {
    // Once there is a head, it says whether comments may stand in the body.
    let streams =
        exchange.response.sse || exchange.wants_stream() && !exchange.response.head_committed;
    let silent = matches!(
        exchange.phase,
        Phase::Queued(_) | Phase::Dialing | Phase::Stream
    );
    let framed = !exchange.response.head_committed
        || matches!(exchange.response.framing, Framing::Chunked | Framing::Close);
    streams && silent && framed
}

const _: () = assert!(CONTROL_NS > MS);

/// What a dial came to that took too long. Which part of it did is the driver's to know.
fn not_taken(exchange: &Exchange) -> &'static str {
    let attempt = exchange.attempt.as_ref();
    if attempt.is_some_and(|attempt| attempt.endpoint.secure()) {
        "the endpoint did not take the connection, or did not complete the TLS handshake, in time; \
         is the port one for https?"
    } else {
        "the endpoint did not take the connection in time"
    }
}
