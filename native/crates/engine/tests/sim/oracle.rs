//! What must hold: watched at the moment the proxy writes, after every turn, and at the end.

use std::collections::VecDeque;

use engine::exchange::log::Record;
use engine::output::Output;
use wire::h1::{Event, RequestReader, ResponseReader};
use wire::{Limits, Method, RequestHead, ResponseHead};

use crate::link::Peer;
use crate::oracle_h2::{CallTap, StreamTap};
use crate::plan;
use crate::spec::{Answer, Framed, Verb};
use crate::world::{Ending, World};

/// What became of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Track {
    /// Heads that the proxy sent to upstreams.
    pub(crate) hits: u32,
    /// The proxy sent a byte of the answer's body that is no heartbeat.
    pub(crate) committed: bool,
    /// The proxy sent a final head.
    pub(crate) answers: u32,
    /// Its status.
    pub(crate) said: u16,
    /// Some upstream sent its whole answer.
    pub(crate) whole: bool,
    pub(crate) records: u32,
    pub(crate) flag: &'static str,
    pub(crate) logged_status: u16,
    /// What the client saw.
    pub(crate) status: u16,
    pub(crate) local: bool,
    pub(crate) complete: bool,
    pub(crate) cut: bool,
    /// The client left before its answer was complete.
    pub(crate) gone: bool,
    /// What it saw says that the gateway failed.
    pub(crate) error: bool,
    /// It was asked on a stream of HTTP/2.
    pub(crate) caller: bool,
    /// Its last attempt was one.
    pub(crate) http2: bool,
    /// Bytes that its tunnel's upstream sent back.
    pub(crate) echoed: usize,
    /// Its tunnel's upstream broke off.
    pub(crate) broken: bool,
    /// Its tunnel ended before all bytes were back.
    pub(crate) short: bool,
    /// Its last attempt sent trailers, or what stands for them.
    pub(crate) tail: bool,
    /// Its last attempt was refused, which is to say not processed.
    pub(crate) refused: bool,
    /// Where it was asked.
    pub(crate) link: Option<usize>,
}

/// Reads what the proxy writes, as it writes it.
pub(crate) enum Tap {
    Client(Box<ClientTap>),
    Upstream(Box<UpstreamTap>),
    /// A client of HTTP/2.
    Caller(Box<CallTap>),
    /// An upstream that turned out to be spoken to in HTTP/2.
    Streams(Box<StreamTap>),
}

pub(crate) struct ClientTap {
    reader: ResponseReader,
    head: ResponseHead,
    /// Requests in the order in which the client sent their heads.
    pub(crate) asked: VecDeque<u64>,
    pub(crate) active: Option<u64>,
    tunnel: bool,
    /// The client sent bytes for a tunnel that may not come to be: they make no request.
    early: bool,
}

pub(crate) struct UpstreamTap {
    reader: RequestReader,
    head: RequestHead,
    websocket: Option<u64>,
    /// What tells the versions apart, while it has not come.
    first: Option<Vec<u8>>,
}

impl Tap {
    pub(crate) fn client() -> Self {
        Self::Client(Box::new(ClientTap {
            reader: ResponseReader::new(Limits::default()),
            head: ResponseHead::new(),
            asked: VecDeque::new(),
            active: None,
            tunnel: false,
            early: false,
        }))
    }

    pub(crate) fn upstream() -> Self {
        Self::Upstream(Box::new(UpstreamTap {
            reader: RequestReader::new(Limits::default()),
            head: RequestHead::new(),
            websocket: None,
            first: Some(Vec::new()),
        }))
    }
}

pub(crate) fn method(verb: Verb) -> Method {
    match verb {
        Verb::Get => Method::Get,
        Verb::Head => Method::Head,
        Verb::Post => Method::Post,
    }
}

/// The number in `x-sim-…`.
pub(crate) fn number(fields: &wire::Fields, name: &str) -> Option<u64> {
    std::str::from_utf8(fields.find_str(name)?)
        .ok()?
        .parse()
        .ok()
}

impl World {
    /// The proxy wrote these bytes to that link.
    pub(crate) fn tap(&mut self, l: usize, bytes: &[u8]) {
        let mut tap = std::mem::replace(&mut self.taps[l], Tap::upstream());
        let mut joined = Vec::new();
        if let Tap::Upstream(upstream) = &mut tap
            && let Some(mut first) = upstream.first.take()
        {
            first.extend_from_slice(bytes);
            if first.len() < 2 {
                upstream.first = Some(first);
            } else {
                self.speaks(l, first.starts_with(b"PR"));
                if first.starts_with(b"PR") {
                    tap = Tap::streams();
                }
                joined = first;
            }
        } else {
            joined.extend_from_slice(bytes);
        }
        match &mut tap {
            Tap::Client(tap) => self.tap_client(tap, &joined),
            Tap::Upstream(tap) => self.tap_upstream(l, tap, &joined),
            Tap::Caller(tap) => self.tap_caller(tap, &joined),
            Tap::Streams(tap) => self.tap_streams(l, tap, &joined),
        }
        self.taps[l] = tap;
    }

    fn tap_client(&mut self, tap: &mut ClientTap, mut bytes: &[u8]) {
        if tap.tunnel {
            return;
        }
        loop {
            if tap.active.is_none() {
                if bytes.is_empty() || tap.early && tap.asked.is_empty() {
                    return;
                }
                let id = tap.asked.pop_front().expect("a response follows a request");
                let spec = &self.specs[id as usize];
                tap.early |= spec.websocket() && spec.pad > 0;
                tap.reader.expect(method(spec.verb), spec.websocket());
                tap.active = Some(id);
            }
            let id = tap.active.expect("set above") as usize;
            match tap
                .reader
                .next(&mut bytes, &mut tap.head)
                .expect("the proxy speaks HTTP")
            {
                None => return,
                Some(Event::Head) => {
                    let track = &mut self.tracks[id];
                    track.answers += 1;
                    track.said = tap.head.status;
                    assert_eq!(track.answers, 1, "one response per request: {id}");
                    let fields = &tap.head.fields;
                    assert!(fields.find_str("x-request-id").is_some(), "no x-request-id");
                    let ours = fields.find_str("x-sim-served").is_none();
                    if tap.head.status == 429 && ours {
                        assert_eq!(track.hits, 0, "429 after an upstream had request {id}");
                        assert!(fields.find_str("retry-after-ms").is_some());
                    }
                    if tap.head.status == 101 {
                        tap.tunnel = true;
                        return;
                    }
                }
                Some(Event::Data(data)) => {
                    let track = &mut self.tracks[id];
                    track.committed |= data.iter().any(|b| !matches!(b, b':' | b'\n'));
                }
                Some(Event::End) => tap.active = None,
                Some(Event::Interim | Event::Trailers(_)) => {}
            }
        }
    }

    fn tap_upstream(&mut self, l: usize, tap: &mut UpstreamTap, mut bytes: &[u8]) {
        loop {
            if self.links[l].answered_whole {
                // The upgrade was declined.
                tap.websocket = None;
            }
            if let Some(id) = tap.websocket
                && !tap.reader.in_body()
            {
                let early = !bytes.is_empty() && !self.links[l].upgraded;
                assert!(
                    !early,
                    "client bytes of request {id} went upstream before the 101"
                );
                return;
            }
            match tap
                .reader
                .next(&mut bytes, &mut tap.head)
                .expect("the proxy speaks HTTP")
            {
                None => return,
                Some(Event::Head) => {
                    let id = number(&tap.head.fields, "x-sim-id").expect("our request");
                    assert!(
                        !self.tracks[id as usize].committed,
                        "request {id} went upstream again after commit"
                    );
                    self.hit(l, id, tap.head.authority());
                    self.forwarded(id, tap.head.fields.find_str("x-forwarded-proto"));
                    self.tracks[id as usize].http2 = false;
                    let link = &mut self.links[l];
                    assert!(
                        link.serving.is_none() || link.answered_whole,
                        "two at a time"
                    );
                    link.serving = Some(id);
                    link.answered_whole = false;
                    tap.websocket = tap.head.websocket.then_some(id);
                    self.trace
                        .line(self.now, || format!("request {id} goes to link {l}"));
                }
                Some(_) => {}
            }
        }
    }

    /// The head of a request went to an upstream.
    pub(crate) fn hit(&mut self, l: usize, id: u64, authority: &[u8]) {
        let track = &mut self.tracks[id as usize];
        track.hits += 1;
        track.tail = false;
        track.refused = false;
        let most = self.mood.attempts_max + 1;
        assert!(
            track.hits <= most,
            "request {id} went upstream {} times",
            track.hits
        );
        if let Peer::Upstream(upstream) = self.links[l].peer {
            let own = format!("up{upstream}");
            assert_eq!(
                authority,
                own.as_bytes(),
                "request {id} went to another endpoint"
            );
        }
    }

    /// The engine is being told that this client is gone (or half gone).
    pub(crate) fn note_gone(&mut self, l: usize, whole: bool) {
        if !whole && plan::half_close(self.links[l].listener) {
            return;
        }
        match &self.taps[l] {
            Tap::Client(tap) => self.gone.extend(tap.active.iter().chain(&tap.asked)),
            Tap::Caller(tap) => self.gone.extend(tap.open.values()),
            Tap::Upstream(_) | Tap::Streams(_) => {}
        }
    }

    /// The proxy ends a client's connection and throws away what it has not sent.
    pub(crate) fn note_cut(&mut self, l: usize) {
        let Tap::Client(tap) = &self.taps[l] else {
            return;
        };
        let asked: Vec<u64> = tap.active.iter().chain(&tap.asked).copied().collect();
        let served = |id: &u64| self.tracks[*id as usize].records == 1;
        if asked.first().is_some_and(served) {
            let cause = asked.into_iter().find(|id| !served(id));
            self.cuts.push(cause);
        }
    }

    /// Whether the proxy has sent the whole answer to that request to that client.
    pub(crate) fn was_sent(&self, l: usize, id: u64) -> bool {
        let Tap::Client(tap) = &self.taps[l] else {
            return false;
        };
        tap.active != Some(id) && !tap.asked.contains(&id)
    }

    /// What must hold between turns.
    pub(crate) fn watch(&mut self, w: usize) {
        for link in self
            .links
            .iter()
            .filter(|l| l.worker == w && l.conn.is_some())
        {
            assert!(
                link.rst.is_none() || link.listed,
                "a dead connection was kept"
            );
            if let Some(id) = link.serving
                && self.gone.contains(&id)
            {
                // Bytes that nobody asked for may be behind an answer that is over.
                let track = &self.tracks[id as usize];
                let over = track.records == 1 && track.flag.is_empty();
                assert!(
                    over || link.done_serving(),
                    "the client of request {id} is gone, its engine works"
                );
            }
        }
        self.watch_h2(w);
        self.watch_handshakes(w);
        if self.turns.is_multiple_of(16) {
            let census = self.nodes[w].engine.census();
            assert_eq!(
                (census.grants, census.resumed),
                (0, 0),
                "left between turns"
            );
            assert!(census.spares <= 64 && census.spare_exchanges <= 256);
            assert!(census.stash_bytes_max <= 2 * engine::limits::READ_BYTES);
            for room in self.shared.rooms() {
                let view = room.snapshot(self.now);
                assert!(
                    view.depth <= view.capacity.max(16),
                    "{} waiters",
                    view.depth
                );
                for endpoint in view.endpoints {
                    assert!(endpoint.in_flight <= endpoint.concurrency, "{endpoint:?}");
                    // Idle ones of the other worker go first, which takes a mail; meanwhile there
                    // may be as many again.
                    let most = 2 * u64::from(endpoint.concurrency);
                    assert!(endpoint.connections <= most, "{endpoint:?}");
                }
            }
        }
    }

    pub(crate) fn record(&mut self, record: &Record) {
        let id = record.fields.iter().find(|(name, _)| name == b"x-sim-id");
        let Some((_, id)) = id else { return };
        let id: usize = std::str::from_utf8(id)
            .expect("digits")
            .parse()
            .expect("a number");
        let track = &mut self.tracks[id];
        track.records += 1;
        track.flag = record.flag;
        track.logged_status = record.status;
        let secured = track.link.map(|l| self.links[l].secured());
        let logged = (record.tls, record.principal.as_deref());
        assert_eq!(Some(logged), secured, "who asked {id}?");
        // What nobody processed is asked again.
        let refused = track.refused && record.detail == "the endpoint reset the stream";
        assert!(!refused, "request {id} was refused and not repeated");
        let blamed = record.flag == "BT" && self.faults.slow == 0;
        assert!(!blamed, "{} of {id}, and nobody was slow", record.flag);
        let flag = if record.flag.is_empty() {
            "served"
        } else {
            record.flag
        };
        *self.seen.entry(flag).or_default() += 1;
        let h2 = track.caller;
        let grpc = self.specs[id].grpc();
        let served = record.flag.is_empty() && track.hits > 0;
        for (kind, happened) in [
            ("retried", record.attempts > 1 && record.flag.is_empty()),
            ("streamed", record.stream),
            ("queued", record.queue_ns > 1_000_000),
            ("upgraded", record.status == 101),
            ("stale", track.hits > record.attempts),
            ("low class", record.class == 2),
            ("TLS", record.tls.is_some()),
            ("principal", record.principal.is_some()),
            ("h2 to h1", h2 && served && !track.http2),
            ("h1 to h2", !h2 && served && track.http2),
            ("h2 to h2", h2 && served && track.http2),
            ("h2 upgraded", h2 && record.status == 101),
            ("gRPC", grpc && record.flag.is_empty()),
            ("gRPC failed", grpc && !record.flag.is_empty()),
        ] {
            *self.seen.entry(kind).or_default() += u64::from(happened);
        }
        self.trace.note(u64::from(record.status));
        self.trace.line(self.now, || {
            format!(
                "request {id} is over: {} {} {}",
                record.status, record.flag, record.detail
            )
        });
    }

    /// A tunnel ended in order for its client, after so many bytes of what it sent.
    pub(crate) fn tunnel_over(&mut self, id: u64, heard: usize, asked: usize) {
        let track = &mut self.tracks[id as usize];
        track.short = heard < asked;
        let lost = track.whole && heard != track.echoed;
        assert!(!lost, "tunnel {id} gave {heard} of {}", track.echoed);
    }

    /// What must hold when nothing is left to happen.
    pub(crate) fn judge(&mut self) {
        for client in &self.clients {
            assert!(client.done(), "a client waits for ever: {}", client.state());
        }
        for node in &mut self.nodes {
            let output = node.engine.poll();
            assert!(matches!(output, Output::Wait(None)), "{output:?} is left");
            let census = node.engine.census();
            let left = (census.exchanges, census.clients, census.upstreams_busy);
            assert_eq!(left, (0, 0, 0), "{census:?}");
            assert_eq!(census.heads_lent, 0, "{census:?}");
            assert_eq!(
                (census.upstreams_idle, census.sources),
                (0, 0),
                "{census:?}"
            );
            if self.ending == Ending::Drain {
                assert!(node.engine.drained(), "{census:?}");
            }
        }
        if self.ending == Ending::Quiet {
            self.judge_handshakes();
        }
        let (clients, upstreams) = (self.rests.0.get(), self.rests.1.get());
        *self.seen.entry("client at rest").or_default() += clients;
        *self.seen.entry("upstream at rest").or_default() += upstreams;
        assert_eq!(
            self.shared.held_bytes.held(),
            0,
            "held bytes were not returned"
        );
        for room in self.shared.rooms() {
            let view = room.snapshot(self.now);
            assert!(room.quiet(), "permits were not returned: {view:?}");
            let open = view.endpoints.iter().map(|e| e.connections).sum::<u64>();
            assert_eq!(open, 0, "connections were not counted out: {view:?}");
            assert_eq!(
                view.permits_lost_total, 0,
                "permits came back through the net"
            );
        }
        for (id, track) in self.tracks.iter().enumerate() {
            self.judge_one(id, track);
        }
        for cause in &self.cuts {
            let flag = cause.map_or("", |id| self.tracks[id as usize].flag);
            let excused = flag == "CS";
            assert!(excused, "{cause:?} ({flag}) took an earlier answer along");
        }
    }

    fn judge_one(&self, id: usize, track: &Track) {
        let spec = &self.specs[id];
        let said = || format!("request {id}: {track:?} {spec:?}");
        assert!(track.records <= 1, "{}", said());
        let headless = spec.garbage || track.said == 408;
        if track.hits > 0 || track.answers > 0 && !headless {
            assert_eq!(track.records, 1, "{}", said());
        }
        // To a client of HTTP/1.1 an answer is whole when its length is reached, and the end of the
        // upstream's stream may come after it, or not come.
        let counted =
            matches!(spec.answer, Answer::Unary { framed, .. } if framed == Framed::Length);
        let early = track.http2 && !track.caller && counted;
        if track.complete && track.records == 1 {
            assert_eq!(track.status, track.logged_status, "{}", said());
        }
        if track.complete && track.records == 1 && !early {
            assert_eq!(track.error, !track.flag.is_empty(), "{}", said());
            assert!(track.local || track.error || track.whole, "{}", said());
        }
        if track.short {
            assert!(track.whole || !track.flag.is_empty(), "{}", said());
        }
        if track.broken && !track.gone && track.records == 1 {
            assert!(!track.flag.is_empty(), "{}", said());
        }
        if track.cut && !track.gone && track.records == 1 {
            assert!(!track.flag.is_empty(), "{}", said());
        }
    }
}
