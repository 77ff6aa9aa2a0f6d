//! Simulated engines of HTTP/2: many streams at a time, each with its own script and trouble.

use std::collections::{BTreeMap, VecDeque};

use engine::clock::MS;
use wire::fuzzing::h2 as codec;
use wire::h2::{Config, Connection, ErrorCode, Event as Said, Heads, Role};
use wire::{Fields, Name};

use crate::frames::{Frame, Frames};
use crate::link::Way;
use crate::oracle::number;
use crate::spec::{Answer, Framed, Spec, Verb};
use crate::world::{Event, World};

/// What an engine does next on a stream.
enum Part {
    Interim,
    Head(u16, Vec<(&'static str, String)>, bool),
    Data(Vec<u8>, bool),
    Trailers(Vec<(&'static str, String)>),
    Reset(ErrorCode),
    /// GOAWAY that lets every stream end.
    Leave,
    /// GOAWAY that drops this stream and those behind it.
    Drop,
    Garbage,
    Fin,
    Rst,
    Finish,
}

/// One connection of a simulated engine.
pub(crate) struct Many {
    pub(crate) wire: Connection,
    heads: Heads,
    out: Vec<u8>,
    streams: BTreeMap<u32, Serving>,
    leaves: bool,
    /// The last stream it looked at.
    last: u32,
    served: u32,
    /// What it says, read again: the codec refuses streams by itself.
    said: Frames,
}

struct Serving {
    id: u64,
    body: Vec<u8>,
    trailers: bool,
    complete: bool,
    running: bool,
    parts: VecDeque<(u64, Part)>,
    owed: u32,
    pace_ns: Option<u64>,
    telling: bool,
}

impl Many {
    /// Nothing is asked here.
    pub(crate) fn idle(&self) -> bool {
        self.streams.is_empty() && self.wire.streams() == 0
    }

    fn put_head(&mut self, stream: u32, status: u16, fields: &[(&'static str, String)], end: bool) {
        let mut head = self.wire.head(stream, &mut self.out);
        head.status(status);
        for (name, value) in fields {
            let known = Name::from_bytes(name.as_bytes());
            head.field(known, name.as_bytes(), value.as_bytes());
        }
        head.finish(end);
    }

    fn end(&mut self, stream: u32) {
        self.streams.remove(&stream);
        self.wire.forget(stream, &mut self.out);
    }

    /// Says that `stream` and those behind it were not processed.
    fn drop_from(&mut self, stream: u32) -> Vec<u32> {
        let last = stream.saturating_sub(2);
        self.out.extend_from_slice(&[0, 0, 8, 7, 0, 0, 0, 0, 0]);
        self.out.extend_from_slice(&last.to_be_bytes());
        self.out.extend_from_slice(&[0; 4]);
        self.leaves = true;
        let dropped: Vec<u32> = self.streams.range(stream..).map(|(id, _)| *id).collect();
        for id in &dropped {
            // Nothing more is said of them.
            let mut unsaid = Vec::new();
            self.wire.reset(*id, ErrorCode::RefusedStream, &mut unsaid);
            self.wire.forget(*id, &mut unsaid);
            self.streams.remove(id);
        }
        dropped
    }
}

impl World {
    pub(crate) fn many(&mut self) -> Box<Many> {
        let config = Config {
            streams_max: [1, 2, 5, 100, 100][self.random.below(5) as usize],
            stream_window: [600, 4000, 65_536, 65_536][self.random.below(4) as usize],
            connection_window: [65_535, 1 << 20][self.random.below(2) as usize],
            ..Config::default()
        };
        let mut out = Vec::new();
        let mut wire = Connection::new(Role::Server, &config, &mut out);
        // Its clock stands still: who reads slowly is not to blame the proxy for it.
        wire.begin(1);
        Box::new(Many {
            wire,
            heads: Heads::default(),
            out,
            streams: BTreeMap::new(),
            leaves: false,
            last: 0,
            served: 0,
            said: Frames::new(false),
        })
    }

    /// Lends the connection's state to `act`, says what came of it, and closes if that is due.
    fn with_many(&mut self, l: usize, act: impl FnOnce(&mut Self, &mut Many)) {
        let Some(mut many) = self.servers[l].as_mut().and_then(|s| s.many.take()) else {
            return;
        };
        act(self, &mut many);
        loop {
            many.wire.flush(&mut many.out);
            if many.out.is_empty() {
                break;
            }
            let bytes = std::mem::take(&mut many.out);
            many.said.push(&bytes);
            while let Some(frame) = many.said.next() {
                if let Frame::Reset { id } = frame {
                    self.links[l].ended.insert(id);
                }
            }
            self.peer_write(l, &bytes);
        }
        codec::audit(&many.wire);
        let over = many.leaves && many.idle();
        if let Some(server) = self.servers[l].as_mut() {
            server.many = Some(many);
        }
        if over {
            self.server_gone(l);
        }
    }

    /// The engine closes the connection behind what it said.
    fn server_gone(&mut self, l: usize) {
        self.servers[l] = None;
        self.links[l].peer_gone = true;
        self.links[l].peer_fin = true;
        self.peer_pump(l);
    }

    pub(crate) fn many_parse(&mut self, l: usize, mut bytes: &[u8]) {
        self.with_many(l, |world, many| {
            loop {
                let said = many.wire.next(&mut bytes, &mut many.heads, &mut many.out);
                match said.unwrap_or_else(|closing| panic!("the proxy speaks HTTP/2: {closing}")) {
                    None => break,
                    Some(event) => world.many_hears(l, many, event),
                }
            }
        });
    }

    fn many_hears(&mut self, l: usize, many: &mut Many, event: Said<'_>) {
        match event {
            Said::Head { id, end, .. } => {
                self.stream_begins(l, many, id);
                self.stream_complete(l, many, id, end);
            }
            Said::Data {
                id,
                bytes,
                credit,
                end,
                ..
            } => {
                if let Some(serving) = many.streams.get_mut(&id) {
                    serving.body.extend_from_slice(bytes);
                    match serving.pace_ns {
                        None => many.wire.consumed(id, credit, &mut many.out),
                        Some(pace_ns) => {
                            serving.owed += credit;
                            if !std::mem::replace(&mut serving.telling, true) {
                                self.after(pace_ns, Event::StreamCredit(l, id));
                            }
                        }
                    }
                }
                self.stream_complete(l, many, id, end);
            }
            Said::Trailers { id, fields, .. } => {
                if let Some(serving) = many.streams.get_mut(&id) {
                    assert_eq!(number(&fields, "server-timing"), Some(serving.id));
                    serving.trailers = true;
                }
                self.stream_complete(l, many, id, true);
            }
            Said::End { id, .. } => self.stream_complete(l, many, id, true),
            Said::Reset { id, by_us, .. } => {
                assert_eq!(by_us, None, "the proxy keeps to the protocol");
                many.end(id);
            }
            Said::Bad { violation, .. } => panic!("the proxy speaks HTTP/2: {violation}"),
            Said::Goaway { .. } | Said::Settings => {}
            Said::Interim { .. } => unreachable!("an event of clients"),
        }
    }

    fn stream_begins(&mut self, l: usize, many: &mut Many, stream: u32) {
        let id = number(&many.heads.request.fields, "x-sim-id").expect("our request");
        let slow = !self.calm && self.chance(self.faults.slow);
        let serving = Serving {
            id,
            body: Vec::new(),
            trailers: false,
            complete: false,
            running: false,
            parts: VecDeque::new(),
            owed: 0,
            pace_ns: slow.then(|| self.random.below(200 * MS)),
            telling: false,
        };
        many.streams.insert(stream, serving);
        many.last = stream;
        let early = !self.calm && self.chance(self.faults.upstream / 8);
        if early {
            self.stream_answers(l, many, stream);
        }
    }

    fn stream_complete(&mut self, l: usize, many: &mut Many, stream: u32, end: bool) {
        // An early answer may be over already.
        let Some(serving) = many.streams.get_mut(&stream).filter(|_| end) else {
            return;
        };
        let id = serving.id;
        let spec = &self.specs[id as usize];
        assert!(
            serving.body == spec.body(),
            "the body of request {id} was changed"
        );
        assert_eq!(serving.trailers, spec.trailers, "the trailers of {id}");
        serving.complete = true;
        if !serving.running {
            self.stream_answers(l, many, stream);
        }
    }

    fn stream_answers(&mut self, l: usize, many: &mut Many, stream: u32) {
        let Some(serving) = many.streams.get_mut(&stream) else {
            return;
        };
        let spec = self.specs[serving.id as usize].clone();
        serving.running = true;
        serving.parts = self.parts(&spec);
        let first = serving.parts.front().map_or(0, |(delay, _)| *delay);
        self.after(first, Event::StreamStep(l, stream));
    }

    /// The engine tells how much of a request it has consumed.
    pub(crate) fn stream_credit(&mut self, l: usize, stream: u32) {
        self.with_many(l, |_, many| {
            if let Some(serving) = many.streams.get_mut(&stream) {
                serving.telling = false;
                let owed = std::mem::take(&mut serving.owed);
                many.wire.consumed(stream, owed, &mut many.out);
            }
        });
    }

    pub(crate) fn stream_step(&mut self, l: usize, stream: u32) {
        let mut end = None;
        self.with_many(l, |world, many| {
            end = world.stream_part(l, many, stream);
        });
        match end {
            Some(Part::Fin) if self.servers[l].is_some() => self.server_gone(l),
            Some(Part::Rst) if self.servers[l].is_some() => {
                self.servers[l] = None;
                self.links[l].peer_gone = true;
                self.links[l].peer_out.clear();
                self.send_rst(l, Way::ToProxy);
            }
            _ => {}
        }
        if let Some(server) = &self.servers[l]
            && let Some(many) = &server.many
            && many.idle()
        {
            let idle = self.random.below(2500) * MS;
            self.after(idle, Event::ServerIdle(l, many.served));
        }
    }

    /// Does the next part of an answer; gives it back if it ends the connection.
    fn stream_part(&mut self, l: usize, many: &mut Many, stream: u32) -> Option<Part> {
        let serving = many.streams.get_mut(&stream)?;
        let (_, part) = serving.parts.pop_front()?;
        let next = serving.parts.front().map(|(delay, _)| *delay);
        let id = serving.id;
        let last = match &part {
            Part::Head(_, _, end) | Part::Data(_, end) => *end,
            Part::Trailers(_) => true,
            _ => false,
        };
        self.tracks[id as usize].whole |= last;
        let tail = match &part {
            Part::Head(_, fields, _) | Part::Trailers(fields) => {
                fields.iter().any(|(name, _)| *name == "server-timing")
            }
            _ => false,
        };
        self.tracks[id as usize].tail |= tail;
        match part {
            Part::Interim => many.put_head(stream, 103, &[("link", "</x>".to_owned())], false),
            Part::Head(status, fields, end) => many.put_head(stream, status, &fields, end),
            Part::Data(bytes, end) => many.wire.data(stream, &bytes, end, &mut many.out),
            Part::Trailers(fields) => {
                let mut trailers = Fields::new();
                for (name, value) in fields {
                    trailers.push(name.as_bytes(), value.as_bytes());
                }
                many.wire.trailers(stream, &trailers, &mut many.out);
            }
            Part::Reset(code) => {
                self.trace
                    .line(self.now, || format!("link {l} stream {stream}: {code:?}"));
                many.wire.reset(stream, code, &mut many.out);
                many.end(stream);
                self.tracks[id as usize].refused = code == ErrorCode::RefusedStream;
            }
            Part::Leave => {
                self.trace
                    .line(self.now, || format!("link {l} says goodbye"));
                many.wire.goaway_final(ErrorCode::NoError, &mut many.out);
                many.leaves = true;
                self.links[l].last = Some(many.last);
            }
            Part::Drop => {
                self.trace
                    .line(self.now, || format!("link {l} drops from stream {stream}"));
                let dropped = many.drop_from(stream);
                self.links[l].last = Some(stream.saturating_sub(2));
                self.links[l].ended.extend(dropped);
            }
            // DATA on stream 0.
            Part::Garbage => many.out.extend_from_slice(&[0; 9]),
            Part::Finish => {
                self.trace.line(self.now, || {
                    format!("link {l} stream {stream} has answered {id}")
                });
                self.links[l].ended.insert(stream);
                many.served += 1;
                many.end(stream);
            }
            Part::Fin | Part::Rst => return Some(part),
        }
        if let Some(delay) = next {
            self.after(delay, Event::StreamStep(l, stream));
        }
        None
    }

    /// Closes a connection that has been idle, which may race the next request.
    pub(crate) fn many_idle(&mut self, l: usize, served: u32) {
        let how = self.random.below(3);
        let mut leave = false;
        self.with_many(l, |world, many| {
            leave = how > 0 && many.served == served && many.idle();
            if leave && how == 2 {
                many.wire.goaway_final(ErrorCode::NoError, &mut many.out);
                many.leaves = true;
                world.links[l].last = Some(many.last);
            }
        });
        if leave && self.servers[l].is_some() {
            self.server_gone(l);
        }
    }

    // ---- what is said --------------------------------------------------------------------------

    fn parts(&mut self, spec: &Spec) -> VecDeque<(u64, Part)> {
        let mut parts = self.good_parts(spec);
        if self.calm || !self.chance(self.faults.upstream) {
            return parts;
        }
        // Before the last part: never only the end of a whole answer.
        let at = self.random.below(parts.len() as u64 - 1) as usize;
        let delay = self.random.below(5) * MS;
        let short = matches!(
            spec.answer,
            Answer::Unary {
                framed: Framed::Length,
                len: 2..,
                ..
            }
        );
        let how = match self.random.below(12) {
            0 => Part::Rst,
            1 => Part::Fin,
            2 => {
                // Silence, until the proxy has enough.
                parts.truncate(at);
                return parts;
            }
            3 => Part::Garbage,
            4 | 5 => return self.trouble_parts(spec),
            6 => {
                parts.push_front((delay, Part::Leave));
                return parts;
            }
            7 => {
                parts.clear();
                Part::Drop
            }
            8 => {
                parts.clear();
                Part::Reset(ErrorCode::RefusedStream)
            }
            9 if short && spec.verb != Verb::Head => {
                parts.retain(|(_, part)| matches!(part, Part::Head(..)));
                parts.push_back((delay, Part::Data(b"a".repeat(at.min(1)), true)));
                return parts;
            }
            10 => {
                for (delay, _) in &mut parts {
                    *delay += self.random.below(200) * MS;
                }
                return parts;
            }
            _ => Part::Reset(
                [
                    ErrorCode::InternalError,
                    ErrorCode::Cancel,
                    ErrorCode::NoError,
                ][self.random.below(3) as usize],
            ),
        };
        parts.truncate(at);
        parts.push_back((delay, how));
        parts
    }

    fn trouble_parts(&mut self, spec: &Spec) -> VecDeque<(u64, Part)> {
        let mut fields = served(spec);
        let delay = self.delay();
        if spec.grpc() {
            fields.push(("content-type", "application/grpc".to_owned()));
            fields.push(("grpc-status", "14".to_owned()));
            fields.push(("x-sim-trouble", "1".to_owned()));
            fields.push(("server-timing", spec.id.to_string()));
            let head = Part::Head(200, fields, true);
            return VecDeque::from([(delay, head), (0, Part::Finish)]);
        }
        let status = [503, 429, 502, 500][self.random.below(4) as usize];
        fields.push(("x-sim-trouble", "1".to_owned()));
        let mut parts = VecDeque::new();
        let bodiless = spec.verb == Verb::Head;
        parts.push_back((delay, Part::Head(status, fields, bodiless)));
        if !bodiless {
            parts.push_back((0, Part::Data(spec.trouble(), true)));
        }
        parts.push_back((0, Part::Finish));
        parts
    }

    fn good_parts(&mut self, spec: &Spec) -> VecDeque<(u64, Part)> {
        let mut parts = VecDeque::new();
        if self.chance(3) {
            parts.push_back((self.delay(), Part::Interim));
        }
        let mut fields = served(spec);
        let mut status = 200;
        let bodies = match &spec.answer {
            Answer::Messages { .. } => {
                fields.push(("content-type", "application/grpc".to_owned()));
                spec.messages()
            }
            Answer::Events { .. } => {
                fields.push(("content-type", "text/event-stream".to_owned()));
                spec.events()
            }
            Answer::Unary {
                len,
                framed,
                status: code,
            } => {
                status = *code;
                if *framed == Framed::Length {
                    fields.push(("content-length", len.to_string()));
                }
                vec![spec.answer_body()]
            }
            Answer::Empty(code) => {
                status = *code;
                Vec::new()
            }
            Answer::Echo => unreachable!("a tunnel has a connection of its own"),
            Answer::Local => Vec::new(),
        };
        let bodies: Vec<_> = bodies.into_iter().filter(|b| !b.is_empty()).collect();
        let bodiless = spec.verb == Verb::Head || bodies.is_empty();
        let end = bodiless && !spec.grpc();
        parts.push_back((self.delay(), Part::Head(status, fields, end)));
        if !end {
            self.body_parts(&mut parts, spec, bodies);
        }
        parts.push_back((0, Part::Finish));
        parts
    }

    fn body_parts(&mut self, parts: &mut VecDeque<(u64, Part)>, spec: &Spec, bodies: Vec<Vec<u8>>) {
        let together = self.chance(30);
        let tail = spec.grpc() || self.chance(20);
        let count = bodies.len();
        for (at, body) in bodies.into_iter().enumerate() {
            let delay = if together {
                0
            } else {
                self.random.below(60) * MS
            };
            let end = !tail && at + 1 == count && self.chance(50);
            parts.push_back((delay, Part::Data(body, end)));
        }
        if spec.grpc() {
            let status = ["0", "0", "0", "5"][self.random.below(4) as usize];
            let status = ("grpc-status", status.to_owned());
            let own = ("server-timing", spec.id.to_string());
            parts.push_back((0, Part::Trailers(vec![status, own])));
        } else if tail {
            let own = ("server-timing", spec.id.to_string());
            parts.push_back((0, Part::Trailers(vec![own])));
        } else if !matches!(parts.back(), Some((_, Part::Data(_, true)))) {
            parts.push_back((0, Part::Data(Vec::new(), true)));
        }
    }
}

fn served(spec: &Spec) -> Vec<(&'static str, String)> {
    vec![("x-sim-served", spec.id.to_string())]
}
