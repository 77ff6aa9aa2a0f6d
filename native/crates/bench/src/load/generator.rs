//! The loop of the load generator: what is due is sent, what comes is read, at any speed.
//!
//! One thread, edge-triggered. Arrivals of an open loop come from the schedule alone, so a slow
//! server makes latencies long and never arrivals late. A run speaks one version: HTTP/1.1 has its
//! requests on `links`, HTTP/2 on the streams of `trunks`. Invariant: `in_flight` is the number of
//! links that hold a request, or that of `flows`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io,
};

use mio::{Events, Poll, Token, event::Event};
use wire::h2::Heads;

use super::{
    Progress,
    ledger::Ledger,
    link::{Leave, Link, LinkState, Request},
    options::{AbortPhase, Mode, Options, Protocol},
    outcome::Outcome,
    schedule::{Arrival, Part, Schedule},
    shape::Shape,
    streams::End,
    trunk::{Flow, Trunk},
};
use crate::{
    Address, Error,
    alarm::Alarm,
    clock,
    error::system,
    random::Random,
    slab::{Key, Slab},
    socket::Stream,
    tls::Tls,
};

pub(super) const SCRATCH_BYTES: usize = 64 * 1024;
const EVENTS_PER_TURN: usize = 1024;
/// Requests sent before answers are read again.
const ISSUES_PER_TURN: usize = 64;
const PROGRESS_NS: u64 = 500_000_000;
pub(super) const SWEEP_NS: u64 = 50_000_000;
/// A closed loop waits so long after a failed connect, or it would spin.
pub(super) const CONNECT_PAUSE_NS: u64 = 10_000_000;
/// How long a half-closed connection is read.
pub(super) const LINGER_NS: u64 = 1_000_000_000;
/// Requests of an open loop that wait for a connection; more are counted as timed out.
const BACKLOG_MAX: usize = 1 << 20;
const ALARM: Token = Token(usize::MAX);

/// A request that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) part: usize,
    pub(super) intended_ns: u64,
    pub(super) lengths: super::shape::Lengths,
    pub(super) retried: bool,
}

pub(crate) struct Generator<'a> {
    pub(super) options: &'a Options,
    targets: Vec<Address>,
    next_target: usize,
    tls: Option<Tls>,
    pub(super) shape: Shape,
    poll: Poll,
    alarm: Alarm,
    pub(super) links: Slab<Link>,
    pub(super) idle: Vec<Key>,
    pub(super) trunks: Slab<Trunk>,
    pub(super) flows: Slab<Flow>,
    /// Trunks with something to send.
    pub(super) dirty: Vec<Key>,
    /// Room for the places of requests that ended, and for their heads.
    pub(super) ended: Vec<(usize, End)>,
    pub(super) heads: Heads,
    pub(super) backlog: VecDeque<Due>,
    /// When requests are left, and links stop lingering.
    pub(super) leaves: BinaryHeap<Reverse<(u64, Key)>>,
    schedule: Option<Schedule>,
    next: Option<Arrival>,
    /// Closed loop: when each free worker may send again.
    pub(super) workers: BinaryHeap<Reverse<u64>>,
    pub(super) ledger: Ledger,
    pub(super) in_flight: u64,
    issued: u64,
    random: Random,
    aborts: usize,
    pub(super) scratch: Vec<u8>,
    pub(super) next_sweep_ns: u64,
    next_progress_ns: u64,
    pub(super) stopped: bool,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(options: &'a Options, parts: Vec<Part>) -> Result<Self, Error> {
        let targets = options.targets.iter().map(|text| text.parse());
        let targets = targets.collect::<Result<Vec<Address>, Error>>()?;
        let host = match targets.first() {
            Some(Address::Tcp(address)) => address.to_string(),
            _ => "localhost".to_owned(),
        };
        let shape = Shape::new(options, &host)?;
        let http2 = options.protocol == Protocol::Http2;
        let tls = options.tls.as_ref().map(|tls| Tls::new(tls, http2));
        let tls = tls.transpose()?;
        let mut schedule = Schedule::new(options, &parts)?;
        let next = schedule.as_mut().and_then(Schedule::next);
        let poll = Poll::new().map_err(system("creating a poller"))?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        let start_ns = clock::now_ns();
        let (workers, spread_ns) = match options.mode {
            Mode::Concurrency { connections } => (connections, 0),
            Mode::Streams {
                streams, spread_ms, ..
            } => (streams, spread_ms * 1_000_000),
            Mode::Rate { .. } | Mode::Trace { .. } => (0, 0),
        };
        let start = |worker| start_ns + spread_ns * u64::from(worker) / u64::from(workers.max(1));
        Ok(Self {
            options,
            targets,
            next_target: 0,
            tls,
            shape,
            poll,
            alarm,
            links: Slab::new(),
            idle: Vec::new(),
            trunks: Slab::new(),
            flows: Slab::new(),
            dirty: Vec::new(),
            ended: Vec::new(),
            heads: Heads::default(),
            backlog: VecDeque::new(),
            leaves: BinaryHeap::new(),
            schedule,
            next,
            workers: (0..workers).map(|worker| Reverse(start(worker))).collect(),
            ledger: Ledger::new(options, parts, start_ns),
            in_flight: 0,
            issued: 0,
            random: Random::new(options.seed.wrapping_add(1)),
            aborts: 0,
            scratch: vec![0; SCRATCH_BYTES],
            next_sweep_ns: start_ns + SWEEP_NS,
            next_progress_ns: start_ns + PROGRESS_NS,
            stopped: false,
        })
    }

    /// Sends and reads until everything has ended; false from `progress` stops at once.
    pub(crate) fn run(
        mut self,
        progress: &mut dyn FnMut(&Progress) -> bool,
    ) -> Result<(Ledger, bool), Error> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            let now_ns = clock::now_ns();
            if self.next_progress_ns <= now_ns {
                self.next_progress_ns = now_ns + PROGRESS_NS;
                self.stopped = !progress(self.ledger.progress(self.in_flight, now_ns));
            }
            self.ledger.advance(now_ns);
            self.issue_due(now_ns);
            self.leave_due(now_ns);
            self.sweep(now_ns);
            if self.over(now_ns) {
                break;
            }
            self.send_dirty();
            let timeout = self.alarm.timeout(now_ns, self.next_due());
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(system("waiting for events")(error)),
            }
            for event in &events {
                if event.token() != ALARM {
                    self.event(event);
                }
            }
        }
        // Whoever left last has said so.
        self.send_dirty();
        let now_ns = clock::now_ns();
        self.give_up(now_ns);
        self.ledger.close(now_ns);
        progress(self.ledger.progress(self.in_flight, now_ns));
        Ok((self.ledger, self.stopped))
    }

    fn event(&mut self, event: &Event) {
        match self.options.protocol {
            Protocol::Http1 => self.link_event(event),
            Protocol::Http2 => self.trunk_event(event),
        }
    }

    fn exhausted(&self) -> bool {
        self.options.requests_max > 0 && self.issued >= self.options.requests_max
    }

    /// Nothing is to be sent any more.
    fn sent_all(&self) -> bool {
        let parts_over = self.ledger.current >= self.ledger.parts.len();
        let schedule_over = self.schedule.is_some() && self.next.is_none();
        self.exhausted() || parts_over || schedule_over
    }

    fn over(&self, now_ns: u64) -> bool {
        if self.stopped {
            return true;
        }
        if !self.sent_all() {
            return false;
        }
        let end_ns = self.ledger.parts.last().map_or(0, |part| part.end_ns);
        let drain_ns = (self.options.drain_s * 1e9) as u64;
        let late = now_ns >= self.ledger.start_ns + end_ns + drain_ns;
        // A trace or a constant rate may end before its part does: the part is then cut short.
        late || (self.in_flight == 0 && self.backlog.is_empty())
    }

    fn next_due(&self) -> Option<u64> {
        let sending = !self.sent_all();
        let arrival = self
            .next
            .filter(|_| sending)
            .map(|next| self.ledger.start_ns + next.at_ns);
        let worker = self
            .workers
            .peek()
            .filter(|_| sending)
            .map(|Reverse(at_ns)| *at_ns);
        let leave = self.leaves.peek().map(|Reverse((at_ns, _))| *at_ns);
        let part = self.ledger.part_end_ns();
        let times = [arrival, worker, leave, part, Some(self.next_sweep_ns)];
        times
            .into_iter()
            .flatten()
            .chain([self.next_progress_ns])
            .min()
    }

    fn issue_due(&mut self, now_ns: u64) {
        for _ in 0..ISSUES_PER_TURN {
            let Some(due) = self.backlog.pop_front() else {
                break;
            };
            if !self.issue(due, now_ns) {
                break;
            }
        }
        for _ in 0..ISSUES_PER_TURN {
            if self.sent_all() {
                return;
            }
            let Some(due) = self.take_due(now_ns) else {
                return;
            };
            self.issued += u64::from(self.ledger.parts[due.part].reported);
            self.ledger.offered(due.part, due.intended_ns);
            if self.schedule.is_some() {
                let lag_ns = now_ns.saturating_sub(due.intended_ns);
                self.ledger.tallies[due.part].lag.record(lag_ns);
            }
            self.issue(due, now_ns);
        }
    }

    fn take_due(&mut self, now_ns: u64) -> Option<Due> {
        let Some(schedule) = &mut self.schedule else {
            if self
                .workers
                .peek()
                .is_none_or(|Reverse(at_ns)| *at_ns > now_ns)
            {
                return None;
            }
            self.workers.pop();
            let part = self.ledger.current;
            // A closed loop intends to send when it can.
            return Some(Due {
                part,
                intended_ns: now_ns,
                lengths: None,
                retried: false,
            });
        };
        let arrival = self.next?;
        let intended_ns = self.ledger.start_ns + arrival.at_ns;
        if intended_ns > now_ns {
            return None;
        }
        self.next = schedule.next();
        let part = self.ledger.part_of(intended_ns);
        Some(Due {
            part,
            intended_ns,
            lengths: arrival.lengths,
            retried: false,
        })
    }

    /// Sends a request; false when it has to wait for a connection.
    pub(super) fn issue(&mut self, due: Due, now_ns: u64) -> bool {
        if self.options.protocol == Protocol::Http2 {
            return self.issue_stream(due, now_ns);
        }
        let once = self.draw_once();
        let kept = if once || due.retried {
            None
        } else {
            self.take_idle()
        };
        let key = match kept {
            Some(key) => key,
            None if self.links.len() >= self.options.connections_max as usize => {
                self.wait(due, now_ns);
                return false;
            }
            None => {
                let Ok(key) = self.open(due.part, once, now_ns) else {
                    self.unsent(due, now_ns);
                    return true;
                };
                key
            }
        };
        let leave = self.draw_leave();
        let Some(link) = self.links.find(key) else {
            return true;
        };
        link.output.clear();
        link.output_at = 0;
        self.shape.write(&mut link.output, due.lengths, link.once);
        let mut request = Self::request(due, now_ns);
        request.leave = leave;
        cut_short(&mut link.output, leave);
        link.request = Some(request);
        self.in_flight += 1;
        if link.state == LinkState::Idle {
            link.state = LinkState::Busy;
            self.send(key.index, now_ns);
        }
        true
    }

    /// A request for which there is not even a socket.
    pub(super) fn unsent(&mut self, due: Due, now_ns: u64) {
        let request = Self::request(due, now_ns);
        self.ledger.ended(&request, Outcome::ConnectError, now_ns);
        self.free_worker(now_ns + CONNECT_PAUSE_NS);
    }

    pub(super) fn request(due: Due, now_ns: u64) -> Request {
        Request {
            part: due.part,
            lengths: due.lengths,
            intended_ns: due.intended_ns,
            sent_ns: now_ns,
            last_token_ns: 0,
            first_byte_seen: false,
            tokens: 0,
            leave: None,
            leave_ns: u64::MAX,
            retried: due.retried,
            answer: super::answer::Answer::default(),
        }
    }

    pub(super) fn wait(&mut self, due: Due, now_ns: u64) {
        if self.backlog.len() < BACKLOG_MAX {
            self.backlog.push_front(due);
        } else {
            self.ledger
                .ended(&Self::request(due, now_ns), Outcome::Timeout, now_ns);
        }
    }

    fn take_idle(&mut self) -> Option<Key> {
        while let Some(key) = self.idle.pop() {
            if self
                .links
                .find(key)
                .is_some_and(|link| link.state == LinkState::Idle)
            {
                return Some(key);
            }
        }
        None
    }

    fn open(&mut self, part: usize, once: bool, now_ns: u64) -> io::Result<Key> {
        let stream = self.connect(part, Token(self.links.next_index()))?;
        Ok(self.links.insert(Link::new(stream, once, now_ns)))
    }

    pub(super) fn connect(&mut self, part: usize, token: Token) -> io::Result<Stream> {
        let target = &self.targets[self.next_target % self.targets.len()];
        self.next_target += 1;
        let mut stream = Stream::connect(target, self.tls.as_ref())?;
        stream.register(self.poll.registry(), token)?;
        self.ledger.tallies[part].connections_opened += 1;
        Ok(stream)
    }

    /// Whether a request is sent on a connection of its own.
    pub(super) fn draw_once(&mut self) -> bool {
        self.random.chance(self.options.new_connection_ratio)
    }

    pub(super) fn draw_leave(&mut self) -> Option<Leave> {
        let abort = self.options.client_abort.as_ref()?;
        if !self.random.chance(abort.ratio) {
            return None;
        }
        let turn = self.aborts;
        self.aborts += 1;
        let at = abort.phases[turn % abort.phases.len()];
        let kind = abort.kinds[(turn / abort.phases.len()) % abort.kinds.len()];
        Some(Leave { at, kind })
    }

    pub(super) fn free_worker(&mut self, at_ns: u64) {
        if self.schedule.is_none() {
            self.workers.push(Reverse(at_ns));
        }
    }

    /// A failed connect ends its request and gives the worker a pause.
    pub(super) fn connect_failed(&mut self, index: usize, now_ns: u64) {
        self.finish(index, Outcome::ConnectError, false, now_ns);
        self.pause_worker(now_ns + CONNECT_PAUSE_NS);
    }

    /// Lets a worker that is free wait until then.
    pub(super) fn pause_worker(&mut self, until_ns: u64) {
        if self.schedule.is_none() && self.workers.pop().is_some() {
            self.workers.push(Reverse(until_ns));
        }
    }
}

/// A client that leaves before its request is complete never sends the rest.
fn cut_short(output: &mut Vec<u8>, leave: Option<Leave>) {
    let Some(leave) = leave else { return };
    let head = crate::http::head_length(output).unwrap_or(output.len());
    match leave.at {
        AbortPhase::Head => output.truncate(head / 2),
        AbortPhase::Body => output.truncate(head + (output.len() - head) / 2),
        AbortPhase::Queue | AbortPhase::BeforeToken | AbortPhase::MidEvent => {}
    }
}
