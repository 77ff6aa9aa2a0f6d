//! Simulated clients of HTTP/2: several calls at a time on one connection, each read at its own
//! pace, cancelled at any moment.

use std::collections::{BTreeMap, VecDeque};

use engine::clock::{MS, SECOND};
use engine::limits::EVENT_TAIL_BYTES_MAX;
use wire::fuzzing::h2 as codec;
use wire::h2::{Config, Connection, ErrorCode, Event as Said, Heads, Role};
use wire::{Fields, Name};

use crate::answer::Got;
use crate::client::Tunnel;
use crate::oracle::Tap;
use crate::spec::{Framed, Spec, Verb};
use crate::world::{Event, World};

/// A client's end of a connection.
pub(crate) struct Caller {
    pub(crate) wire: Connection,
    heads: Heads,
    out: Vec<u8>,
    /// Bytes given to the connection so far.
    pub(crate) said_bytes: u64,
    /// Streams that were reset, with where in those bytes that is said.
    pub(crate) cancels: VecDeque<(u64, u32)>,
    /// By stream.
    pub(crate) calls: BTreeMap<u32, Call>,
    /// Calls at a time.
    abreast: usize,
    /// It has nothing more to ask and stays for a while.
    rests: bool,
}

/// A request and its answer.
pub(crate) struct Call {
    pub(crate) id: u64,
    got: Got,
    body: Vec<u8>,
    sent: usize,
    /// For 100 Continue.
    waits: bool,
    /// Consumed bytes that the proxy was not told of.
    owed: u32,
    /// How long it takes to tell.
    pace_ns: Option<u64>,
    telling: bool,
    tunnel: Option<Tunnel>,
}

impl Caller {
    pub(crate) fn state(&self) -> String {
        let calls: Vec<_> = self.calls.iter().map(|(s, c)| (s, c.id, c.sent)).collect();
        format!("{calls:?} of {} streams", self.wire.streams())
    }
}

fn put(head: &mut wire::h2::HeadWriter<'_>, name: &str, value: &str) {
    let known = Name::from_bytes(name.as_bytes());
    head.field(known, name.as_bytes(), value.as_bytes());
}

impl World {
    pub(crate) fn caller(&mut self) -> Box<Caller> {
        let config = Config {
            stream_window: [600, 4000, 65_536, 65_536][self.random.below(4) as usize],
            connection_window: [65_535, 1 << 20][self.random.below(2) as usize],
            ..Config::default()
        };
        let mut out = Vec::new();
        let mut wire = Connection::new(Role::Client, &config, &mut out);
        // Its clock stands still: who reads slowly is not to blame the proxy for it.
        wire.begin(1);
        Box::new(Caller {
            wire,
            heads: Heads::default(),
            out,
            said_bytes: 0,
            cancels: VecDeque::new(),
            calls: BTreeMap::new(),
            abreast: 1 + self.random.below(6) as usize,
            rests: false,
        })
    }

    /// Asks what is to be asked next, or leaves.
    pub(crate) fn caller_go_on(&mut self, c: usize, l: usize) {
        loop {
            let client = &mut self.clients[c];
            let Some(caller) = &mut client.caller else {
                return;
            };
            if caller.wire.going() {
                client.to_send.clear();
            }
            if client.gone || client.to_send.is_empty() || caller.calls.len() >= caller.abreast {
                break;
            }
            let Some(stream) = caller.wire.open() else {
                break;
            };
            if let Some(id) = client.to_send.pop_front() {
                self.call_begin(c, l, stream, id);
            }
        }
        self.caller_say(c, l);
        let client = &mut self.clients[c];
        let idle = client.to_send.is_empty() && client.outgoing.is_empty() && !client.gone;
        if let Some(caller) = &mut client.caller
            && idle
            && caller.wire.streams() == 0
            && !std::mem::replace(&mut caller.rests, true)
        {
            self.after(120 * MS, Event::CallRest(c, l));
        }
    }

    /// Nothing was asked for a while: the client leaves.
    pub(crate) fn call_rest(&mut self, c: usize, l: usize) {
        let client = &self.clients[c];
        if let Some(caller) = &client.caller
            && client.link == Some(l)
            && !client.gone
        {
            codec::audit(&caller.wire);
            assert_eq!(
                caller.wire.queued_bytes(),
                0,
                "nothing is queued for no stream"
            );
            self.client_hang_up(c, l);
        }
    }

    fn call_begin(&mut self, c: usize, l: usize, stream: u32, id: u64) {
        let spec = self.specs[id as usize].clone();
        self.trace.line(self.now, || {
            format!("client {c} asks on link {l} stream {stream} {spec:?}")
        });
        self.tracks[id as usize].caller = true;
        self.tracks[id as usize].link = Some(l);
        if let Tap::Caller(tap) = &mut self.taps[l] {
            tap.asked(stream, id);
        }
        let urgent = self.chance(10).then(|| self.random.below(8));
        let slow = !self.calm && self.chance(self.faults.slow * 2);
        let pace_ns = slow.then(|| match self.random.below(8) {
            0 => 6 * SECOND,
            _ => self.random.below(100 * MS),
        });
        let early = spec.websocket() && self.faults.upstream == 0 && self.chance(20);
        let Some(caller) = &mut self.clients[c].caller else {
            return;
        };
        caller.ask(stream, &spec, urgent);
        if early {
            // Too early: there is no agreement yet.
            caller.wire.data(stream, b"early", false, &mut caller.out);
        }
        if spec.websocket() {
            self.specs[id as usize].pad = if early { 5 } else { 0 };
        }
        let call = Call {
            id,
            got: Got::new(&spec),
            body: spec.body(),
            sent: 0,
            waits: spec.expect,
            owed: 0,
            pace_ns,
            telling: false,
            tunnel: None,
        };
        caller.calls.insert(stream, call);
        let delay = self.random.below(MS);
        self.after(delay, Event::CallStep(c, l, stream));
        if spec.grpc() {
            // Nothing but its caller's patience ends a silent call.
            self.after(15 * SECOND, Event::CallReset(c, l, stream));
        }
        if self.chance(self.faults.leave / 2) && !self.calm {
            let at = match self.random.below(3) {
                0 => self.random.below(10 * MS),
                1 => self.random.below(300 * MS),
                _ => self.random.below(2 * SECOND),
            };
            self.after(at, Event::CallReset(c, l, stream));
        }
    }

    fn caller_say(&mut self, c: usize, l: usize) {
        let Some(caller) = &mut self.clients[c].caller else {
            return;
        };
        let mut bytes = Vec::new();
        loop {
            caller.wire.flush(&mut caller.out);
            if caller.out.is_empty() {
                break;
            }
            bytes.append(&mut caller.out);
        }
        caller.said_bytes += bytes.len() as u64;
        if !self.clients[c].gone {
            self.client_cut(c, &bytes, false);
            self.client_push(c, l);
        }
    }

    /// The next piece of a request's body.
    pub(crate) fn call_step(&mut self, c: usize, l: usize, stream: u32) {
        if self.clients[c].link != Some(l) || self.clients[c].gone {
            return;
        }
        let part = self.random.below(1 << 32) as usize;
        let whole = self.chance(40);
        let Some(caller) = &mut self.clients[c].caller else {
            return;
        };
        let Some(call) = caller.calls.get_mut(&stream) else {
            return;
        };
        let left = call.body.len() - call.sent;
        if call.waits || left == 0 {
            return;
        }
        let count = if whole { left } else { 1 + part % left };
        let piece = &call.body[call.sent..call.sent + count];
        call.sent += count;
        let trailers = self.specs[call.id as usize].trailers;
        let last = count == left;
        let end = last && !trailers;
        caller.wire.data(stream, piece, end, &mut caller.out);
        if last && trailers {
            let mut fields = Fields::new();
            fields.push(b"server-timing", call.id.to_string().as_bytes());
            caller.wire.trailers(stream, &fields, &mut caller.out);
        }
        if !last {
            let delay = match self.random.below(20) {
                0 if self.chance(self.faults.slow / 4) && !self.calm => 12 * SECOND,
                1 => self.random.below(100 * MS),
                _ => self.random.below(MS),
            };
            self.after(delay, Event::CallStep(c, l, stream));
        }
        self.caller_go_on(c, l);
    }

    /// The client tells how much it has consumed.
    pub(crate) fn call_credit(&mut self, c: usize, l: usize, stream: u32) {
        if self.clients[c].link != Some(l) {
            return;
        }
        if let Some(caller) = &mut self.clients[c].caller
            && let Some(call) = caller.calls.get_mut(&stream)
        {
            call.telling = false;
            let owed = std::mem::take(&mut call.owed);
            caller.wire.consumed(stream, owed, &mut caller.out);
            self.caller_go_on(c, l);
        }
    }

    /// The client cancels a call.
    pub(crate) fn call_reset(&mut self, c: usize, l: usize, stream: u32) {
        if self.clients[c].link != Some(l) || self.clients[c].gone {
            return;
        }
        let Some(caller) = &mut self.clients[c].caller else {
            return;
        };
        let Some(call) = caller.calls.remove(&stream) else {
            return;
        };
        let id = call.id;
        self.tracks[id as usize].gone = true;
        caller
            .wire
            .reset(stream, ErrorCode::Cancel, &mut caller.out);
        caller.wire.forget(stream, &mut caller.out);
        self.trace
            .line(self.now, || format!("client {c} cancels {id}"));
        self.caller_say(c, l);
        if let Some(caller) = &mut self.clients[c].caller {
            caller.cancels.push_back((caller.said_bytes, stream));
        }
        self.caller_go_on(c, l);
    }

    // ---- what it hears -------------------------------------------------------------------------

    pub(crate) fn caller_parse(&mut self, c: usize, l: usize, mut bytes: &[u8]) {
        let Some(mut caller) = self.clients[c].caller.take() else {
            return;
        };
        loop {
            let said = caller
                .wire
                .next(&mut bytes, &mut caller.heads, &mut caller.out);
            match said.unwrap_or_else(|closing| panic!("the proxy speaks HTTP/2: {closing}")) {
                None => break,
                Some(event) => self.caller_hears(c, l, &mut caller, event),
            }
        }
        codec::audit(&caller.wire);
        self.clients[c].caller = Some(caller);
        self.caller_go_on(c, l);
    }

    fn caller_hears(&mut self, c: usize, l: usize, caller: &mut Caller, event: Said<'_>) {
        match event {
            Said::Head { id, end, .. } => {
                self.call_head(caller, id);
                self.call_ends(c, caller, id, end);
            }
            Said::Interim { id, .. } => {
                if let Some(call) = caller.calls.get_mut(&id)
                    && caller.heads.response.status == 100
                    && std::mem::take(&mut call.waits)
                {
                    self.after(0, Event::CallStep(c, l, id));
                }
            }
            Said::Data {
                id,
                bytes,
                credit,
                end,
                ..
            } => {
                self.call_data(c, l, caller, id, bytes, credit);
                self.call_ends(c, caller, id, end);
            }
            Said::Trailers { id, fields, .. } => {
                if let Some(call) = caller.calls.get_mut(&id) {
                    call.got.note_verdict(&fields);
                }
                self.call_ends(c, caller, id, true);
            }
            Said::End { id, .. } => self.call_ends(c, caller, id, true),
            Said::Reset {
                id, code, by_us, ..
            } => {
                assert_eq!(by_us, None, "the proxy keeps to the protocol");
                caller.wire.forget(id, &mut caller.out);
                if let Some(call) = caller.calls.remove(&id) {
                    self.call_was_reset(c, &call, code);
                }
            }
            Said::Goaway { code, .. } => assert_eq!(code, 0, "the proxy complains"),
            Said::Settings => {}
            Said::Bad { .. } => unreachable!("an event of servers"),
        }
    }

    fn call_head(&mut self, caller: &mut Caller, stream: u32) {
        let Some(call) = caller.calls.get_mut(&stream) else {
            return;
        };
        let spec = &self.specs[call.id as usize];
        let head = &caller.heads.response;
        call.waits = false;
        if spec.websocket() && head.status == 200 {
            let mut asked = b"early".to_vec();
            asked.truncate(spec.pad);
            let mut message = spec.head();
            message.truncate(60);
            asked.extend_from_slice(&message);
            call.tunnel = Some(Tunnel {
                id: call.id,
                asked,
                heard: 0,
            });
            caller.wire.data(stream, &message, false, &mut caller.out);
            return;
        }
        call.got.begin(spec, head.status, &head.fields);
        let track = &mut self.tracks[call.id as usize];
        track.status = head.status;
        track.local = call.got.local;
        assert!(!spec.garbage, "an answer to garbage");
    }

    fn call_data(
        &mut self,
        c: usize,
        l: usize,
        caller: &mut Caller,
        stream: u32,
        bytes: &[u8],
        credit: u32,
    ) {
        let Some(call) = caller.calls.get_mut(&stream) else {
            return;
        };
        if let Some(tunnel) = &mut call.tunnel {
            let asked = &tunnel.asked[tunnel.heard..];
            assert!(asked.starts_with(bytes), "the tunnel changed bytes");
            tunnel.heard += bytes.len();
            if tunnel.heard == tunnel.asked.len() {
                self.tracks[call.id as usize].gone = true;
                caller.wire.data(stream, &[], true, &mut caller.out);
            }
        } else {
            call.got.data(bytes);
        }
        match call.pace_ns {
            None => caller.wire.consumed(stream, credit, &mut caller.out),
            Some(pace_ns) => {
                call.owed += credit;
                if !std::mem::replace(&mut call.telling, true) {
                    let soon = if self.calm { MS } else { pace_ns };
                    self.after(soon, Event::CallCredit(c, l, stream));
                }
            }
        }
    }

    fn call_ends(&mut self, c: usize, caller: &mut Caller, stream: u32, end: bool) {
        if !end {
            return;
        }
        caller.wire.forget(stream, &mut caller.out);
        let Some(call) = caller.calls.remove(&stream) else {
            return;
        };
        if let Some(tunnel) = &call.tunnel {
            assert!(
                !self.tracks[call.id as usize].broken,
                "{} looks whole",
                call.id
            );
            return self.tunnel_over(call.id, tunnel.heard, tunnel.asked.len());
        }
        let spec = &self.specs[call.id as usize];
        call.got.is_whole(spec);
        let track = &mut self.tracks[call.id as usize];
        track.complete = true;
        track.error = call.got.is_error(spec);
        let foreign = !call.got.local && !track.error;
        if foreign && spec.te && track.http2 {
            let tailed = track.tail == call.got.last_word;
            assert!(tailed, "the trailers of {} were dropped", call.id);
        }
        self.trace.line(self.now, || {
            format!("client {c} has the whole answer to {}", call.id)
        });
    }

    fn call_was_reset(&mut self, c: usize, call: &Call, code: u32) {
        let id = call.id as usize;
        self.trace
            .line(self.now, || format!("call {id} was reset with {code}"));
        let track = &mut self.tracks[id];
        track.cut = true;
        if call.tunnel.is_some() {
            let cancelled = code == ErrorCode::Cancel as u32;
            assert!(cancelled, "tunnel {id} was reset with {code}");
            track.gone = true;
            return;
        }
        if code == ErrorCode::RefusedStream as u32 {
            assert_eq!((track.hits, track.records), (0, 0), "{id} was processed");
            *self.seen.entry("refused").or_default() += 1;
            return;
        }
        assert_ne!(code, 0, "{id} ends as if all were well");
        let slow = call.slow() || self.clients[c].slow.is_some();
        let excused = slow || self.clients[c].gone || self.specs[id].garbage;
        // Who does not read is given up, be it behind its last answer.
        track.gone |= slow;
        assert!(call.got.head || excused, "request {id} was never answered");
        let loose = code == ErrorCode::InternalError as u32 && call.loose();
        assert!(!loose, "a stream ended in the middle of an event: {id}");
    }

    /// The connection ended at the client: by FIN behind all bytes, or by RST.
    pub(crate) fn caller_ended(&mut self, c: usize, l: usize, reset: bool) {
        let excused = self.clients[c].gone || self.closing_down || reset;
        let slow = self.clients[c].slow.is_some();
        let Some(caller) = &mut self.clients[c].caller else {
            return;
        };
        for call in std::mem::take(&mut caller.calls).into_values() {
            let track = &mut self.tracks[call.id as usize];
            track.cut = true;
            // Behind a cut nothing waits for a window.
            let unsent = call.tunnel.is_some() || slow || call.slow() || self.now >= self.cut_ns;
            // A reset takes along what the network has: that is no fault of the proxy.
            track.gone |= reset || unsent;
            let answered = call.got.head || excused || unsent;
            assert!(answered, "request {} was never answered", call.id);
            assert!(
                excused || unsent,
                "call {} was dropped with its connection",
                call.id
            );
        }
        if !self.links[l].peer_gone {
            self.links[l].peer_gone = true;
            self.links[l].peer_fin = true;
            self.peer_pump(l);
        }
        self.client_next(c);
    }
}

impl Caller {
    /// Writes a request's head.
    fn ask(&mut self, stream: u32, spec: &Spec, urgent: Option<u64>) {
        let websocket = spec.websocket();
        let method: &[u8] = match spec.verb {
            _ if websocket => b"CONNECT",
            Verb::Get => b"GET",
            Verb::Head => b"HEAD",
            Verb::Post => b"POST",
        };
        let mut head = self.wire.head(stream, &mut self.out);
        let protocol = websocket.then_some(&b"websocket"[..]);
        head.request(method, b"http", b"sim", spec.path.as_bytes(), protocol);
        put(&mut head, "x-sim-id", &spec.id.to_string());
        if websocket {
            put(&mut head, "sec-websocket-version", "13");
        }
        if spec.low {
            put(&mut head, "x-class", "low");
        }
        if spec.te {
            put(&mut head, "te", "trailers");
        }
        if spec.expect {
            put(&mut head, "expect", "100-continue");
        }
        if let Some(urgency) = urgent {
            put(&mut head, "priority", &format!("u={urgency}, i"));
        }
        if spec.grpc() {
            put(&mut head, "content-type", "application/grpc");
            if spec.id.is_multiple_of(2) {
                put(&mut head, "grpc-timeout", "3S");
            }
        } else if spec.framed.is_some() {
            put(&mut head, "content-type", "application/json");
        }
        if spec.framed == Some(Framed::Length) {
            put(&mut head, "content-length", &spec.body().len().to_string());
        }
        if spec.garbage {
            put(&mut head, "connection", "close");
        }
        head.finish(spec.framed.is_none() && !websocket);
    }
}

impl Call {
    /// It does not read for longer than clients may.
    fn slow(&self) -> bool {
        self.pace_ns.is_some_and(|pace_ns| pace_ns > SECOND)
    }

    fn loose(&self) -> bool {
        let got = &self.got;
        got.events
            && !got.scanner.at_boundary()
            && !got.tail.is_empty()
            && got.expected.len() < EVENT_TAIL_BYTES_MAX
    }
}
