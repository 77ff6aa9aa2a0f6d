//! One exchange's life: a request, what becomes of it, and its one end.
//!
//! The folder holds the stages in life order, one file each; this is the only file that calls
//! them. **Invariant:** every path out of an exchange goes through `finish` (in `log`), which
//! returns the permit, settles the account and writes the record, once.

mod accept;
mod account;
mod admit;
mod authenticate;
mod control;
mod dial;
mod gate;
mod idle;
pub mod log;
mod r#match;
mod parse;
mod reply;
mod select;
mod stream;
mod timeout;
mod tunnel;
mod upstream;
mod version;
mod watch;

use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Failure;
use crate::grpc;
use crate::ids::{ConnId, ExchangeId};
use crate::metrics::{Cells, Metric};
use crate::scan::BodyScan;
use crate::secure::TlsVersion;
use crate::shared::{Endpoint, Grant, Ticket};
use crate::snapshot::{Dialect, Listener, Pool, Route};
use crate::timer::TimerSlot;
use wire::{Fields, RequestHead, ResponseHead};

pub(crate) use account::{Marks, Tally};
pub use account::{Reservation, Unit};
pub use authenticate::Principal;
pub(crate) use version::needs_h2;

/// Where an exchange is in its life.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The head is complete.
    #[default]
    Authenticate,
    Gate,
    /// May wait for the body's `model`.
    Match,
    Admit,
    /// In the pool's channel.
    Queued(Ticket),
    Select,
    /// The control plane was asked.
    Asked,
    Upstream,
    /// Waits for the connection.
    Dialing,
    /// The request is on its way, or the response.
    Stream,
    Tunnel,
    /// Is told of our health; this was said last.
    Watching(grpc::Health),
    Done,
}

/// What a stage says.
pub(crate) enum Step {
    Next(Phase),
    /// An input is needed first.
    Wait,
    Fail(Failure),
    /// The exchange was answered.
    Done,
}

/// How a response body is framed towards the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    #[default]
    None,
    Length,
    Chunked,
    /// HTTP/1.0 client: the connection's end is the body's end.
    Close,
}

/// The request body as far as it came.
#[derive(Debug, Default)]
pub(crate) struct RequestBody {
    /// Held bytes, from `base` on.
    pub(crate) held: Vec<u8>,
    /// Offset in the body of `held[0]`; above 0 the body is not replayable any more.
    pub(crate) base: u64,
    /// `0 <= sent <= held.len()`: queued to the current attempt.
    pub(crate) sent: usize,
    /// Bytes received in all.
    pub(crate) received: u64,
    /// The whole body is here.
    pub(crate) complete: bool,
    /// Bytes charged to the process's budget of held bodies.
    pub(crate) charged: u64,
    /// Allow-listed trailer fields of a chunked request.
    pub(crate) trailers: Option<Box<Fields>>,
    /// Reading the client was stopped because the upstream is slower.
    pub(crate) paused: bool,
    /// Flow control that is owed to the client's stream while it is stopped.
    pub(crate) credit: u32,
    /// When it was.
    pub(crate) paused_ns: u64,
    /// Time that we kept the client from sending: it counts for no deadline of the body.
    pub(crate) excused_ns: u64,
}

impl RequestBody {
    fn renew(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        held.clear();
        held.shrink_to(KEPT_BYTES_MAX);
        *self = Self {
            held,
            ..Self::default()
        };
    }

    /// More of it came than the process's budget of held bodies had room for.
    pub(crate) fn exhausted(&self) -> bool {
        let held = self.held.len();
        held as u64 > self.charged.max(1) && held > crate::limits::QUEUE_BYTES_HIGH
    }

    /// Forgets bytes that the upstream has: from now on the body is not replayable.
    pub(crate) fn drop_sent(&mut self) {
        if self.sent > 0 {
            self.base += self.sent as u64;
            self.held.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// One try at one endpoint.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The permit; taken by the settlement.
    pub(crate) grant: Option<Grant>,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) conn: Option<ConnId>,
    /// The stream on it; 0 on HTTP/1.1, and before the head is sent.
    pub(crate) stream: u32,
    pub(crate) started_ns: u64,
    /// The connection had served before.
    pub(crate) reused: bool,
    /// The head (and perhaps body bytes) was queued.
    pub(crate) sent: bool,
    /// Every byte of the request was queued.
    pub(crate) request_done: bool,
    /// A byte of the response came.
    pub(crate) answered: bool,
    /// The connection that is to tell the endpoint that this was cancelled, and cannot yet.
    pub(crate) unheard: Option<ConnId>,
}

/// The response as far as it went.
#[derive(Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// The status line was queued.
    pub(crate) head_committed: bool,
    /// A body byte other than a heartbeat was queued.
    pub(crate) body_committed: bool,
    /// The current attempt's response head came.
    pub(crate) answered: bool,
    /// The upstream answers with an event stream.
    pub(crate) sse: bool,
    /// The upstream's head waits in `head` for its first event.
    pub(crate) held: bool,
    pub(crate) head: ResponseHead,
    pub(crate) scanner: wire::sse::Scanner,
    /// Bytes behind the last complete event.
    pub(crate) tail: Vec<u8>,
    /// The tail outgrew its bound and flows through as it comes.
    pub(crate) oversize: bool,
    /// Allow-listed trailer fields, for a client that said `TE: trailers`.
    pub(crate) trailers: Option<Box<Fields>>,
    /// The client's connection closes after this response.
    pub(crate) close: bool,
    /// The upstream was stopped because the client is slower.
    pub(crate) upstream_paused: bool,
    /// Flow control that is owed to the upstream's stream while it is stopped.
    pub(crate) credit: u32,
    /// Where the messages of a gRPC response end.
    pub(crate) messages: grpc::Messages,
    pub(crate) bytes: u64,
}

impl Response {
    fn renew(&mut self) {
        self.status = 0;
        self.framing = Framing::None;
        self.head_committed = false;
        self.body_committed = false;
        self.answered = false;
        self.sse = false;
        self.held = false;
        self.head.clear();
        self.scanner = wire::sse::Scanner::default();
        self.tail.clear();
        self.tail.shrink_to(KEPT_BYTES_MAX);
        self.oversize = false;
        self.trailers = None;
        self.close = false;
        self.upstream_paused = false;
        self.credit = 0;
        self.messages = grpc::Messages::default();
        self.bytes = 0;
    }
}

/// One request and everything that becomes of it.
#[derive(Debug)]
pub struct Exchange {
    pub(crate) id: ExchangeId,
    pub(crate) done: bool,
    pub(crate) client: ConnId,
    /// The stream of the client's connection; 0 on HTTP/1.1.
    pub(crate) stream: u32,
    pub(crate) door: usize,
    pub(crate) listener: Option<Arc<Listener>>,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) trusted: bool,
    /// The client's version of TLS; `None` = cleartext.
    pub(crate) tls: Option<TlsVersion>,
    pub(crate) admin: bool,
    pub(crate) phase: Phase,
    pub(crate) head: RequestHead,
    pub(crate) request_id: String,
    pub(crate) principal: Principal,
    pub(crate) body: RequestBody,
    pub(crate) scan: BodyScan,
    /// The body is a JSON document that is looked at.
    pub(crate) scanning: bool,
    /// 100 Continue is owed.
    pub(crate) expects: bool,
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) route_cells: Option<Arc<Cells>>,
    pub(crate) pool: Option<Arc<Pool>>,
    /// Position in `Engine::locals`.
    pub(crate) local: usize,
    pub(crate) class: u8,
    pub(crate) dialect: Dialect,
    /// What the client allows for the whole exchange (`grpc-timeout`); 0 = it does not say.
    pub(crate) time_limit_ns: u64,
    pub(crate) sequence: Option<u64>,
    pub(crate) attempt: Option<Attempt>,
    pub(crate) attempts: u32,
    /// Slots of endpoints that failed this exchange, or that do not speak what it needs.
    pub(crate) tried: Vec<u32>,
    /// The one free retry on a stale connection was used.
    pub(crate) stale_used: bool,
    /// The next attempt must not reuse a connection.
    pub(crate) fresh: bool,
    pub(crate) response: Response,
    pub(crate) marks: Marks,
    pub(crate) tally: Tally,
    /// What it is expected to take, then what it took.
    pub(crate) reservation: Reservation,
    /// The failure that ended it.
    pub(crate) failure: Option<Failure>,
    /// The failure of an earlier attempt.
    pub(crate) setback: Option<Failure>,
    /// The endpoint of the last attempt.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) timer: TimerSlot,
}

impl Exchange {
    fn blank(id: ExchangeId, client: ConnId) -> Self {
        Self {
            id,
            done: false,
            client,
            stream: 0,
            door: 0,
            listener: None,
            peer: None,
            trusted: false,
            tls: None,
            admin: false,
            phase: Phase::default(),
            head: RequestHead::new(),
            request_id: String::new(),
            principal: Principal::default(),
            body: RequestBody::default(),
            scan: BodyScan::new(),
            scanning: false,
            expects: false,
            route: None,
            route_cells: None,
            pool: None,
            local: 0,
            class: 1,
            dialect: Dialect::Openai,
            time_limit_ns: 0,
            sequence: None,
            attempt: None,
            attempts: 0,
            tried: Vec::new(),
            stale_used: false,
            fresh: false,
            response: Response::default(),
            marks: Marks::default(),
            tally: Tally::default(),
            reservation: Reservation::default(),
            failure: None,
            setback: None,
            endpoint: None,
            timer: TimerSlot::default(),
        }
    }

    /// Makes a used object new in place, keeping its small buffers: copying a blank one over it
    /// cost more than parsing a head.
    fn renew(&mut self, id: ExchangeId, client: ConnId) {
        self.id = id;
        self.client = client;
        self.stream = 0;
        self.done = false;
        self.peer = None;
        self.trusted = false;
        self.tls = None;
        self.admin = false;
        self.phase = Phase::default();
        self.head.clear();
        self.request_id.clear();
        self.principal = Principal::default();
        self.body.renew();
        self.scan.clear();
        self.scanning = false;
        self.expects = false;
        self.class = 1;
        self.dialect = Dialect::Openai;
        self.time_limit_ns = 0;
        self.sequence = None;
        self.attempt = None;
        self.attempts = 0;
        self.tried.clear();
        self.stale_used = false;
        self.fresh = false;
        self.response.renew();
        self.marks = Marks::default();
        self.tally.renew();
        self.reservation = Reservation::default();
        self.failure = None;
        self.setback = None;
        self.timer = TimerSlot::default();
        self.release();
        #[cfg(debug_assertions)]
        self.check_renewed();
    }

    /// Lets go of what is shared with others.
    fn release(&mut self) {
        self.listener = None;
        self.route = None;
        self.route_cells = None;
        self.pool = None;
        self.endpoint = None;
    }

    /// A renewed exchange cannot be told from a blank one: guards against a forgotten field.
    #[cfg(debug_assertions)]
    fn check_renewed(&self) {
        let mut blank = Self::blank(self.id, self.client);
        (blank.door, blank.local) = (self.door, self.local);
        debug_assert_eq!(format!("{self:?}"), format!("{blank:?}"));
    }

    /// The client asked for an event stream.
    pub(crate) fn wants_stream(&self) -> bool {
        self.scan.stream() == Some(true)
    }
}

/// Spare exchanges keep buffers up to this size.
const KEPT_BYTES_MAX: usize = 8 * 1024;
/// Spare exchanges of a worker, at most.
const SPARE_EXCHANGES_MAX: usize = 256;

impl Engine {
    /// A new exchange of that client connection, in the table.
    pub(crate) fn new_exchange(&mut self, client: ConnId) -> ExchangeId {
        let spare = self.spare_exchanges.pop();
        self.cells.add(Metric::Exchanges, 1);
        self.exchanges.insert_with(|id| match spare {
            Some(mut exchange) => {
                exchange.renew(id, client);
                exchange
            }
            None => Box::new(Exchange::blank(id, client)),
        })
    }

    /// Forgets an exchange that is done and keeps its buffers.
    pub(crate) fn recycle(&mut self, mut exchange: Box<Exchange>) {
        self.timers.cancel(&mut exchange.timer);
        self.exchanges.remove(exchange.id);
        self.cells.sub(Metric::Exchanges, 1);
        if self.spare_exchanges.len() < SPARE_EXCHANGES_MAX {
            exchange.release();
            self.spare_exchanges.push(exchange);
        }
    }

    /// Drives an exchange through its stages, in life order, until one has to wait.
    pub(crate) fn advance(&mut self, exchange: &mut Exchange) {
        while !exchange.done {
            let step = match exchange.phase {
                Phase::Authenticate => self.authenticate(exchange),
                Phase::Gate => self.gate(exchange),
                Phase::Match => self.match_route(exchange),
                Phase::Admit => self.admit(exchange),
                Phase::Select => self.select(exchange),
                Phase::Upstream => self.upstream(exchange),
                Phase::Stream => self.pump(exchange),
                Phase::Queued(_)
                | Phase::Asked
                | Phase::Dialing
                | Phase::Tunnel
                | Phase::Watching(_)
                | Phase::Done => Step::Wait,
            };
            match step {
                Step::Next(phase) => exchange.phase = phase,
                Step::Wait => {
                    self.arm(exchange);
                    return;
                }
                Step::Fail(failure) => return self.fail(exchange, failure),
                Step::Done => return,
            }
        }
    }
}
