//! The object that every driver drives: one worker's connections and exchanges.
//!
//! A *turn* is `begin(now)`, a bounded number of `handle(input)`, `end()`, then `poll()` until it
//! answers `Output::Wait`. **Invariant:** nothing here blocks, reads a clock or allocates by a
//! size that a peer announced.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use crate::buffer::Spares;
use crate::clock::Now;
use crate::conn::{Conn, Side};
use crate::exchange::Exchange;
use crate::gather::Gather;
use crate::ids::{AskId, ConnId, ExchangeId, WorkerId};
use crate::input::{Answer, Closed, Drain, Input, Mail};
use crate::metrics::{Cells, Metric};
use crate::output::{How, Output};
use crate::pressure::Pressure;
use crate::random::Random;
use crate::shared::{Charge, Grant, Shared, Wake, Woken};
use crate::snapshot::Snapshot;
use crate::table::Table;
use crate::timer::{TimerKey, Timers};
use crate::upstreams::Locals;
use wire::h2::Heads;

/// What a worker is told at birth.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which worker this is.
    pub worker: WorkerId,
    /// How many there are.
    pub workers: u16,
    /// Seed of the worker's random source.
    pub seed: u64,
}

/// One worker's engine. See the module's text.
#[derive(Debug)]
pub struct Engine {
    pub(crate) worker: WorkerId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) now: Now,
    pub(crate) random: Random,
    pub(crate) timers: Timers,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) conns: Table<ConnId, Conn>,
    pub(crate) exchanges: Table<ExchangeId, Box<Exchange>>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) spares: Spares,
    #[expect(
        clippy::vec_box,
        reason = "exchanges live in boxes: a spare one moves a pointer"
    )]
    pub(crate) spare_exchanges: Vec<Box<Exchange>>,
    /// Where readers put the head that they are at.
    pub(crate) heads: Heads,
    pub(crate) locals: Locals,
    pub(crate) cells: Arc<Cells>,
    /// Client connections to be parsed again: their exchange ended and bytes wait.
    pub(crate) resumed: VecDeque<ConnId>,
    /// Room for the exchanges that one read of a client's HTTP/2 connection is for.
    pub(crate) touched: Vec<ExchangeId>,
    /// Permits for exchanges of this worker.
    pub(crate) grants: VecDeque<(ExchangeId, Grant)>,
    /// What the bodies of its exchanges have taken out of the process's budget.
    pub(crate) held: Charge,
    pub(crate) sources: HashMap<IpAddr, u32>,
    pub(crate) clients: usize,
    /// HTTP/2 connections that wait for more tokens.
    pub(crate) gather: Gather,
    /// Bytes of heads that clients hold beyond what they sent.
    pub(crate) heads_lent: u64,
    /// The drain that is under way.
    pub(crate) draining: Option<Drain>,
    /// When it began.
    pub(crate) drain_since_ns: u64,
    pub(crate) drain_cut: bool,
    pub(crate) pressure: Pressure,
}

impl Engine {
    /// A worker with no connection yet.
    pub fn new(options: Options, shared: Arc<Shared>, snapshot: Arc<Snapshot>, now: Now) -> Self {
        let cells = shared
            .metrics
            .block(options.worker, crate::metrics::Scope::Worker, &[]);
        let held = Charge::new(&shared.held_bytes);
        let mut engine = Self {
            worker: options.worker,
            shared,
            now,
            random: Random::new(options.seed),
            timers: Timers::new(now.mono_ns),
            snapshot,
            conns: Table::new(),
            exchanges: Table::new(),
            outputs: VecDeque::new(),
            spares: Spares::default(),
            spare_exchanges: Vec::new(),
            heads: Heads::default(),
            locals: Locals::default(),
            cells,
            resumed: VecDeque::new(),
            touched: Vec::new(),
            grants: VecDeque::new(),
            held,
            sources: HashMap::new(),
            clients: 0,
            gather: Gather::default(),
            heads_lent: 0,
            draining: None,
            drain_since_ns: 0,
            drain_cut: false,
            pressure: Pressure::default(),
        };
        engine
            .locals
            .apply(&engine.snapshot, &engine.shared, options.worker);
        engine
    }

    /// Starts a turn.
    pub fn begin(&mut self, now: Now) {
        debug_assert!(
            now.mono_ns >= self.now.mono_ns,
            "the driver's clock is monotonic"
        );
        self.now = now;
        self.pressure.begin(now.mono_ns);
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<'_>) {
        match input {
            Input::Read(conn, bytes) => self.read(conn, bytes),
            Input::Secured(conn, secured) => self.secured(conn, secured),
            Input::Closed(conn, closed) => self.closed(conn, closed),
            Input::Connected(conn, result) => self.connected(conn, result),
            Input::Mail(mail) => self.mail(mail),
            Input::Tick => {}
        }
        self.resume();
    }

    /// Ends a turn: what is due by now happens.
    pub fn end(&mut self) {
        while let Some(key) = self.timers.expired(self.now.mono_ns) {
            match key {
                TimerKey::Conn(conn) => self.conn_timer(conn),
                TimerKey::Exchange(exchange) => self.exchange_timer(exchange),
            }
        }
        if let Some(drain) = self.draining
            && !self.drain_cut
            && self.now.mono_ns >= drain.deadline_ns
        {
            self.drain_cut = true;
            self.cut_all();
        }
        self.end_gather();
        self.resume();
    }

    /// The next thing to do; `Wait` when there is nothing more.
    pub fn poll(&mut self) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        let mut next = [self.timers.next(), self.gather.deadline_ns()]
            .into_iter()
            .flatten()
            .min();
        if let Some(drain) = self.draining
            && !self.drain_cut
        {
            next = Some(next.map_or(drain.deadline_ns, |n| n.min(drain.deadline_ns)));
        }
        Output::Wait(next)
    }

    /// Bytes to write now; empty if there are none.
    pub fn pending(&self, conn: ConnId) -> &[u8] {
        self.conns.get(conn).map_or(&[], |c| c.out.pending())
    }

    /// `bytes` of `pending` were sent; `after_ns` is the monotonic clock after the send.
    pub fn wrote(&mut self, id: ConnId, bytes: usize, after_ns: u64) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.dirty = false;
        conn.out.advance(bytes, &mut self.spares);
        if bytes > 0 {
            conn.progress_ns = self.now.mono_ns;
        }
        let is_client = matches!(conn.side, Side::Client(_));
        if let Some(client) = conn.client_mut() {
            client.ahead = client.ahead.saturating_sub(bytes);
        }
        if conn.tokens_unsent > 0 {
            let delay_ns = after_ns.saturating_sub(conn.tokens_since_ns);
            let tokens = std::mem::take(&mut conn.tokens_unsent);
            self.cells
                .observe_n(Metric::TokenDelay, delay_ns, u64::from(tokens));
        }
        if is_client {
            self.client_cells(id, |cells| cells.add(Metric::ClientBytesOut, bytes as u64));
            self.client_wrote(id);
        } else {
            self.upstream_cells(id, |cells| {
                cells.add(Metric::UpstreamBytesOut, bytes as u64);
            });
            self.upstream_wrote(id);
        }
        self.resume();
    }

    /// Live exchanges: the acceptor gives a socket to the worker with the fewest.
    pub fn live(&self) -> usize {
        self.exchanges.len()
    }

    /// Whether a drain is complete: none of the connections that it is about is left.
    pub fn drained(&self) -> bool {
        self.draining
            .is_some_and(|drain| self.locals.doors_empty(drain.admin))
    }

    /// The client's FIN lies behind bytes that are not read because reading is paused: for an
    /// exchange under way it means what a FIN means.
    pub fn fin_ahead(&mut self, id: ConnId) {
        let left = self
            .conns
            .get(id)
            .and_then(Conn::client)
            .is_some_and(|c| c.exchange.is_some() && !c.listener.plan.half_close);
        if left {
            self.client_closed(id, Closed::Eof);
        }
        self.resume();
    }

    /// Mail for a worker that has ended came back: a permit in it goes to the next waiter.
    pub fn undelivered(&mut self, mail: Mail) {
        match mail {
            Mail::Grant { grant, .. } => self.pass_on(grant),
            Mail::Trim(trim) => self.pass_trim(trim),
            _ => {}
        }
        self.resume();
    }

    /// Another worker has ended: its waiters give their places up, its permits go on.
    pub fn outlived(&mut self, worker: WorkerId) {
        let now_ns = self.now.mono_ns;
        let shared = Arc::clone(&self.shared);
        for wake in shared.forget_worker(worker, now_ns, &mut self.random) {
            self.deliver(wake);
        }
        self.resume();
    }

    /// The driver says how long a turn took.
    pub fn turned(&mut self, elapsed_ns: u64, inputs: usize) {
        self.pressure.turned(elapsed_ns);
        self.cells.observe(Metric::Turn, elapsed_ns);
        self.cells.observe(Metric::TurnInputs, inputs as u64);
    }

    fn read(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        if matches!(conn.side, Side::Client(_)) {
            self.client_cells(id, |cells| {
                cells.add(Metric::ClientBytesIn, bytes.len() as u64);
            });
            self.client_read(id, bytes);
        } else {
            let count = bytes.len() as u64;
            self.upstream_cells(id, |cells| cells.add(Metric::UpstreamBytesIn, count));
            self.upstream_read(id, bytes);
        }
    }

    fn closed(&mut self, id: ConnId, closed: Closed) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        if matches!(conn.side, Side::Client(_)) {
            self.client_closed(id, closed);
        } else {
            self.upstream_closed(id, closed);
        }
    }

    fn conn_timer(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.timer = crate::timer::TimerSlot::default();
        if matches!(conn.side, Side::Client(_)) {
            self.client_timer(id);
        } else {
            self.upstream_timer(id);
        }
    }

    fn mail(&mut self, mail: Mail) {
        match mail {
            Mail::Grant { exchange, grant } => self.granted(exchange, grant),
            Mail::Answer(AskId { exchange, .. }, answer) => self.answered(exchange, &answer),
            Mail::Trim(trim) => self.trim(trim),
            Mail::Snapshot(snapshot) => {
                self.locals.apply(&snapshot, &self.shared, self.worker);
                self.snapshot = snapshot;
                self.pump_rooms();
            }
            Mail::Drain(drain) => self.drain(drain),
            Mail::Stop => {
                self.stop_exchanges();
                for id in self.conns.keys() {
                    let client = self.conns.get(id).is_some_and(|c| c.client().is_some());
                    // What was answered goes out, if the socket takes it.
                    let flush = How::Flush(Vec::new());
                    self.close(id, if client { flush } else { How::Now });
                }
            }
        }
    }

    fn answered(&mut self, id: ExchangeId, answer: &Answer) {
        if let Some(mut exchange) = self.exchanges.take(id) {
            self.control_answered(&mut exchange, answer);
            self.put_exchange(exchange);
        }
    }

    /// Delivers permits that a release handed on: to another worker by mail, to this one at the
    /// end of the input (an exchange in hand may itself be the one that is woken).
    pub(crate) fn deliver(&mut self, wake: Wake) {
        for Woken {
            worker,
            exchange,
            grant,
        } in wake
        {
            if worker == self.worker {
                self.grants.push_back((exchange, grant));
            } else {
                self.outputs
                    .push_back(Output::Mail(worker, Mail::Grant { exchange, grant }));
            }
        }
    }

    /// Marks a connection for the flush at the end of the drain.
    pub(crate) fn mark(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && !conn.dirty
            && !conn.out.is_empty()
        {
            conn.dirty = true;
            self.outputs.push_back(Output::Write(id));
        }
    }

    /// Stops or starts reading from a connection.
    pub(crate) fn pause(&mut self, id: ConnId, paused: bool) {
        if let Some(conn) = self.conns.get_mut(id)
            && conn.paused != paused
        {
            conn.paused = paused;
            self.outputs.push_back(if paused {
                Output::PauseRead(id)
            } else {
                Output::ResumeRead(id)
            });
        }
    }

    /// Ends a connection and forgets it.
    pub(crate) fn close(&mut self, id: ConnId, how: How) {
        let Some(mut conn) = self.conns.remove(id) else {
            return;
        };
        self.timers.cancel(&mut conn.timer);
        if conn.gathers {
            self.gather.leave(id);
        }
        let how = match how {
            How::Flush(_) => How::Flush(conn.out.take()),
            other => other,
        };
        match conn.side {
            Side::Client(client) => self.forget_client(&client),
            Side::Upstream(upstream) => {
                let slot = upstream.endpoint.slot;
                if let Some(cells) = &upstream.cells {
                    cells.sub(Metric::UpstreamOpen, 1);
                }
                self.locals.forget(upstream.local, slot, id);
                self.pay(upstream.owed);
            }
        }
        self.outputs.push_back(Output::Close(id, how));
    }

    fn client_cells(&self, id: ConnId, count: impl FnOnce(&Cells)) {
        if let Some(client) = self.conns.get(id).and_then(Conn::client) {
            count(&self.locals.door(client.door).cells);
        }
    }

    pub(crate) fn upstream_cells(&self, id: ConnId, count: impl FnOnce(&Cells)) {
        if let Some(upstream) = self.conns.get(id).and_then(Conn::upstream)
            && let Some(cells) = &upstream.cells
        {
            count(cells);
        }
    }

    /// Counts for the listener of an exchange.
    pub(crate) fn listener_cells(&self, exchange: &Exchange) -> &Cells {
        &self.locals.door(exchange.door).cells
    }

    /// Counts for the pool of an exchange, if it has one.
    pub(crate) fn pool_cells(&self, exchange: &Exchange) -> Option<&Arc<Cells>> {
        exchange
            .pool
            .as_ref()
            .map(|_| &self.locals.local(exchange.local).cells)
    }

    /// Parses bytes that waited behind an exchange that ended.
    fn resume(&mut self) {
        loop {
            if let Some((exchange, grant)) = self.grants.pop_front() {
                self.granted(exchange, grant);
            } else if let Some(id) = self.resumed.pop_front() {
                if self.conns.get(id).is_some_and(|c| c.h2_ref().is_some()) {
                    self.h2_settle(id);
                } else {
                    self.client_resume(id);
                }
            } else {
                return;
            }
        }
    }

    pub(crate) fn put_exchange(&mut self, exchange: Box<Exchange>) {
        if exchange.done {
            self.recycle(exchange);
        } else {
            self.exchanges.put(exchange.id, exchange);
        }
    }
}
