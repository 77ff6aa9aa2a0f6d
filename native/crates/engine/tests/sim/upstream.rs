//! Simulated engines: they answer what the request's number says, or get into trouble.

use std::collections::VecDeque;

use engine::clock::MS;
use wire::h1::{Event as Said, RequestReader, encode};
use wire::{Limits, RequestHead};

use crate::link::Way;
use crate::oracle::number;
use crate::spec::{Answer, Framed, Spec, Verb};
use crate::upstream_h2::Many;
use crate::world::{Event, World};

enum Step {
    Send(Vec<u8>),
    Finish {
        keep: bool,
    },
    Upgrade,
    Fin,
    /// FIN that TLS did not announce: whoever counts on it was cheated.
    Cut,
    Rst,
}

/// One connection of a simulated engine.
pub(crate) struct Server {
    reader: RequestReader,
    head: RequestHead,
    serving: Option<u64>,
    body: Vec<u8>,
    trailers: bool,
    complete: bool,
    steps: VecDeque<(u64, Step)>,
    running: bool,
    epoch: u64,
    served: u32,
    tunnel: bool,
    /// It ends a tunnel itself, so many bytes on, in that way.
    tunnel_end: Option<(usize, Step)>,
    slow: bool,
    reading: bool,
    /// What tells the versions apart, while it has not come.
    first: Option<Vec<u8>>,
    /// The proxy speaks HTTP/2 here.
    pub(crate) many: Option<Box<Many>>,
}

impl Server {
    /// The codec, if the proxy speaks HTTP/2 here.
    pub(crate) fn codec(&self) -> Option<&wire::h2::Connection> {
        self.many.as_ref().map(|many| &many.wire)
    }
}

impl World {
    pub(crate) fn server_start(&mut self, l: usize) {
        let slow = !self.calm && self.chance(self.faults.slow);
        self.servers[l] = Some(Box::new(Server {
            reader: RequestReader::new(Limits::default()),
            head: RequestHead::new(),
            serving: None,
            body: Vec::new(),
            trailers: false,
            complete: false,
            steps: VecDeque::new(),
            running: false,
            epoch: 0,
            served: 0,
            tunnel: false,
            tunnel_end: None,
            slow,
            reading: false,
            first: Some(Vec::new()),
            many: None,
        }));
    }

    pub(crate) fn server_readable(&mut self, l: usize) {
        let Some(server) = &mut self.servers[l] else {
            return;
        };
        if server.slow {
            if !std::mem::replace(&mut server.reading, true) {
                self.after(30 * MS, Event::ServerRead(l));
            }
        } else {
            self.server_take(l, usize::MAX);
        }
    }

    pub(crate) fn server_read(&mut self, l: usize) {
        let Some(server) = &mut self.servers[l] else {
            return;
        };
        server.reading = false;
        self.server_take(l, 3000);
        let more = self.links[l].to_peer.arrived > 0;
        if let Some(server) = &mut self.servers[l]
            && more
        {
            server.reading = true;
            self.after(30 * MS, Event::ServerRead(l));
        }
    }

    fn server_take(&mut self, l: usize, most: usize) {
        if self.links[l].peer_gone {
            return;
        }
        let mut bytes = Vec::new();
        self.links[l].to_peer.take(most, &mut bytes);
        if !bytes.is_empty() {
            self.peer_took(l);
            self.server_parse(l, &bytes);
        }
        let pipe = &self.links[l].to_peer;
        if pipe.fin_arrived && pipe.bytes.is_empty() {
            self.server_ended(l);
        }
    }

    /// The proxy closed: whatever was under way is cancelled.
    pub(crate) fn server_ended(&mut self, l: usize) {
        if self.servers[l].take().is_some() {
            self.links[l].peer_out.clear();
            self.links[l].peer_gone = true;
            self.send_fin(l, Way::ToProxy);
        }
    }

    fn server_parse(&mut self, l: usize, bytes: &[u8]) {
        let Some(mut server) = self.servers[l].take() else {
            return;
        };
        let joined;
        let mut bytes = bytes;
        if let Some(mut first) = server.first.take() {
            first.extend_from_slice(bytes);
            joined = first;
            if joined.len() < 2 {
                server.first = Some(joined);
                self.servers[l] = Some(server);
                return;
            }
            if joined.starts_with(b"PR") {
                server.many = Some(self.many());
            }
            bytes = &joined;
        }
        if server.many.is_some() {
            self.servers[l] = Some(server);
            return self.many_parse(l, bytes);
        }
        loop {
            if server.tunnel {
                self.tunnel_echo(l, &mut server, bytes);
                break;
            }
            let said = server.reader.next(&mut bytes, &mut server.head);
            match said.expect("the proxy sends whole requests") {
                None => break,
                Some(Said::Head) => {
                    assert!(server.serving.is_none(), "pipelined to an engine");
                    let id = number(&server.head.fields, "x-sim-id").expect("our request");
                    server.serving = Some(id);
                    server.body.clear();
                    server.trailers = false;
                    server.complete = false;
                    server.epoch += 1;
                    let early = !self.calm && self.chance(self.faults.upstream / 8);
                    if early {
                        self.begin_answer(l, &mut server);
                    }
                }
                Some(Said::Data(data)) => server.body.extend_from_slice(data),
                Some(Said::End) => {
                    // An early answer may be over already.
                    let Some(id) = server.serving else { continue };
                    let spec = &self.specs[id as usize];
                    assert!(
                        server.body == spec.body(),
                        "the body of request {id} was changed"
                    );
                    assert_eq!(server.trailers, spec.trailers, "the trailers of {id}");
                    server.complete = true;
                    if !server.running {
                        self.begin_answer(l, &mut server);
                    }
                }
                Some(Said::Trailers(fields)) => {
                    assert_eq!(number(&fields, "server-timing"), server.serving);
                    server.trailers = true;
                }
                Some(Said::Interim) => {}
            }
        }
        self.servers[l] = Some(server);
    }

    fn begin_answer(&mut self, l: usize, server: &mut Server) {
        let id = server.serving.expect("a head came first");
        let spec = self.specs[id as usize].clone();
        server.running = true;
        let secure = self.links[l].tls.is_some();
        server.steps = self.script(&spec, secure);
        if spec.websocket() && !self.calm && self.chance(self.faults.upstream) {
            let end = match self.random.below(3) {
                0 => Step::Rst,
                1 if secure => Step::Cut,
                _ => Step::Fin,
            };
            server.tunnel_end = Some((self.random.below(60) as usize, end));
        }
        let first = server.steps.front().map_or(0, |(delay, _)| *delay);
        self.after(first, Event::ServerStep(l, server.epoch));
    }

    /// Bytes in a tunnel come back, until the engine ends it.
    fn tunnel_echo(&mut self, l: usize, server: &mut Server, bytes: &[u8]) {
        let Some(id) = server.serving else { return };
        let Some((left, end)) = &mut server.tunnel_end else {
            return self.tunnel_write(l, id, bytes);
        };
        let count = bytes.len().min(*left);
        *left -= count;
        let over = *left == 0 && !self.links[l].peer_fin;
        let end = match end {
            Step::Rst => Step::Rst,
            Step::Cut => Step::Cut,
            _ => Step::Fin,
        };
        self.tunnel_write(l, id, &bytes[..count]);
        if !over {
            return;
        }
        let orderly = matches!(end, Step::Fin);
        self.trace.line(self.now, || {
            format!("link {l} ends tunnel {id}: orderly {orderly}")
        });
        let track = &mut self.tracks[id as usize];
        (track.whole, track.broken) = (orderly, !orderly);
        *self.seen.entry("tunnel ended").or_default() += 1;
        if matches!(end, Step::Rst) {
            self.links[l].peer_gone = true;
            self.links[l].peer_out.clear();
            return self.send_rst(l, Way::ToProxy);
        }
        self.links[l].cut = Some(!orderly);
        self.links[l].peer_fin = true;
        self.peer_pump(l);
    }

    fn tunnel_write(&mut self, l: usize, id: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.tracks[id as usize].echoed += bytes.len();
            self.peer_write(l, bytes);
        }
    }

    pub(crate) fn server_step(&mut self, l: usize, epoch: u64) {
        let Some(server) = &mut self.servers[l] else {
            return;
        };
        if server.epoch != epoch || !server.running {
            return;
        }
        let Some((_, step)) = server.steps.pop_front() else {
            return;
        };
        let next = server.steps.front().map(|(delay, _)| *delay);
        self.trace.line(self.now, || match &step {
            Step::Send(bytes) => format!("link {l} answers {} bytes", bytes.len()),
            Step::Finish { .. } => format!("link {l} has answered"),
            Step::Upgrade => format!("link {l} upgrades"),
            Step::Fin => format!("link {l} sends FIN"),
            Step::Cut => format!("link {l} is cut"),
            Step::Rst => format!("link {l} sends RST"),
        });
        match step {
            Step::Send(bytes) => self.peer_write(l, &bytes),
            Step::Upgrade => {
                self.links[l].upgraded = true;
                server.tunnel = true;
            }
            Step::Fin | Step::Cut => {
                self.links[l].cut = matches!(step, Step::Cut).then_some(true);
                self.links[l].peer_fin = true;
                self.peer_pump(l);
            }
            Step::Rst => {
                self.servers[l] = None;
                self.links[l].peer_gone = true;
                self.links[l].peer_out.clear();
                return self.send_rst(l, Way::ToProxy);
            }
            Step::Finish { keep } => return self.server_finish(l, keep),
        }
        if let Some(delay) = next {
            self.after(delay, Event::ServerStep(l, epoch));
        }
    }

    fn server_finish(&mut self, l: usize, keep: bool) {
        let Some(server) = &mut self.servers[l] else {
            return;
        };
        server.running = false;
        server.served += 1;
        let (complete, served) = (server.complete, server.served);
        if let Some(id) = server.serving.take() {
            self.tracks[id as usize].whole = true;
        }
        self.links[l].answered_whole = true;
        if !keep || !complete {
            // Perhaps its end is that of a body.
            self.links[l].cut = Some(false);
            // It closes: what the proxy sends from now on meets nobody.
            self.servers[l] = None;
            self.links[l].peer_gone = true;
            self.links[l].peer_fin = true;
            return self.peer_pump(l);
        }
        let idle = match self.random.below(3) {
            0 => self.random.below(20) * MS,
            _ => self.random.below(2500) * MS,
        };
        self.after(idle, Event::ServerIdle(l, served));
    }

    /// Closes a connection that has been idle, which may race the next request.
    pub(crate) fn server_idle(&mut self, l: usize, served: u32) {
        let Some(server) = &self.servers[l] else {
            return;
        };
        if server.many.is_some() {
            return self.many_idle(l, served);
        }
        if server.served == served && server.serving.is_none() && server.reader.idle() {
            self.servers[l] = None;
            self.links[l].peer_gone = true;
            self.send_fin(l, Way::ToProxy);
        }
    }

    // ---- what is said --------------------------------------------------------------------------

    fn script(&mut self, spec: &Spec, secure: bool) -> VecDeque<(u64, Step)> {
        let mut steps = self.good(spec);
        if self.calm || !self.chance(self.faults.upstream) {
            return steps;
        }
        // Before the last bytes: never only the end of a whole answer.
        let at = self.random.below(steps.len() as u64 - 1) as usize;
        let framed = match spec.answer {
            Answer::Unary { framed, .. } | Answer::Events { framed, .. } => framed,
            _ => Framed::Length,
        };
        match self.random.below(8) {
            0 | 1 if secure && framed == Framed::Close && spec.verb != Verb::Head => {
                self.cut_short(&mut steps, at);
            }
            0 => self.broken_off(&mut steps, at, Step::Rst),
            1 if framed != Framed::Close => self.broken_off(&mut steps, at, Step::Fin),
            // The end of a close-delimited stream of events shows only in the middle of one.
            1 if spec.stream && at > 0 && steps.len() > 2 => {
                steps.truncate(at);
                if let Some((delay, Step::Send(bytes))) = steps.pop_back() {
                    let bytes = bytes[..bytes.len() - 3].to_vec();
                    let inside = at > 1;
                    steps.push_back((delay, Step::Send(bytes)));
                    steps.push_back((0, if inside { Step::Fin } else { Step::Rst }));
                } else {
                    steps.push_back((0, Step::Rst));
                }
            }
            2 => {
                // Silence, until the proxy has enough.
                steps.truncate(at);
            }
            3 => {
                steps.truncate(at);
                steps.push_back((0, Step::Send(b"\x00\xffgarbage\r\n\r\n".to_vec())));
                steps.push_back((10 * MS, Step::Fin));
                if framed == Framed::Close || at > 0 {
                    // Garbage inside a body of known length is its content: cut it off instead.
                    steps.pop_back();
                    steps.pop_back();
                    steps.push_back((0, Step::Rst));
                }
            }
            4 | 5 => steps = self.trouble(spec),
            6 => {
                // Bytes behind the response.
                let last = steps.pop_back();
                if framed == Framed::Close {
                    steps.extend(last);
                } else {
                    let extra = b"stray".to_vec();
                    steps.push_back((0, Step::Finish { keep: true }));
                    steps.insert(steps.len() - 1, (0, Step::Send(extra)));
                }
            }
            _ => {
                for (delay, step) in &mut steps {
                    if matches!(step, Step::Send(_)) {
                        *delay += self.random.below(200) * MS;
                    }
                }
            }
        }
        steps
    }

    /// The end that counts is not announced: within the answer, or behind all of it. Nobody can
    /// tell which.
    fn cut_short(&mut self, steps: &mut VecDeque<(u64, Step)>, at: usize) {
        if self.chance(50) {
            return self.broken_off(steps, at, Step::Cut);
        }
        steps.pop_back();
        steps.push_back((0, Step::Cut));
    }

    /// Ends a script in the middle of its step at `at`.
    fn broken_off(&mut self, steps: &mut VecDeque<(u64, Step)>, at: usize, how: Step) {
        steps.truncate(at + 1);
        match steps.pop_back() {
            Some((delay, Step::Send(bytes))) => {
                let cut = self.random.below(bytes.len() as u64) as usize;
                steps.push_back((delay, Step::Send(bytes[..cut].to_vec())));
            }
            Some((delay, _)) => steps.push_back((delay, Step::Rst)),
            None => {}
        }
        let delay = self.random.below(5) * MS;
        steps.push_back((delay, how));
    }

    fn trouble(&mut self, spec: &Spec) -> VecDeque<(u64, Step)> {
        let status = [503, 429, 502, 500][self.random.below(4) as usize];
        let body = spec.trouble();
        let mut out = Vec::new();
        head(&mut out, status, spec);
        field(&mut out, b"x-sim-trouble", b"1");
        encode::content_length(&mut out, body.len() as u64);
        encode::end_of_head(&mut out);
        if spec.verb != Verb::Head {
            out.extend_from_slice(&body);
        }
        VecDeque::from([
            (self.delay(), Step::Send(out)),
            (0, Step::Finish { keep: true }),
        ])
    }

    fn good(&mut self, spec: &Spec) -> VecDeque<(u64, Step)> {
        let mut steps = VecDeque::new();
        let mut out = Vec::new();
        if self.chance(3) && !spec.websocket() {
            out.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n");
        }
        let keep = self.chance(85);
        match &spec.answer {
            Answer::Echo => {
                out.extend_from_slice(
                    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                      upgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
                );
                steps.push_back((self.delay(), Step::Upgrade));
                steps.push_back((0, Step::Send(out)));
                return steps;
            }
            Answer::Empty(status) => {
                head(&mut out, *status, spec);
                encode::end_of_head(&mut out);
                steps.push_back((self.delay(), Step::Send(out)));
                steps.push_back((0, Step::Finish { keep }));
                return steps;
            }
            Answer::Unary { framed, status, .. } => {
                head(&mut out, *status, spec);
                self.bodies(
                    &mut steps,
                    out,
                    spec,
                    *framed,
                    vec![spec.answer_body()],
                    keep,
                );
            }
            Answer::Events { framed, .. } => {
                head(&mut out, 200, spec);
                field(&mut out, b"content-type", b"text/event-stream");
                self.bodies(&mut steps, out, spec, *framed, spec.events(), keep);
            }
            Answer::Messages { .. } => self.messages(&mut steps, out, spec, keep),
            Answer::Local => {
                // `/v1/models` and the like, when the gateway asks an engine after all.
                head(&mut out, 200, spec);
                encode::content_length(&mut out, 0);
                encode::end_of_head(&mut out);
                steps.push_back((self.delay(), Step::Send(out)));
                steps.push_back((0, Step::Finish { keep }));
            }
        }
        steps
    }

    /// A call of gRPC that came to an engine of HTTP/1.1: its status is in the trailers of chunks.
    fn messages(
        &mut self,
        steps: &mut VecDeque<(u64, Step)>,
        mut out: Vec<u8>,
        spec: &Spec,
        keep: bool,
    ) {
        head(&mut out, 200, spec);
        field(&mut out, b"content-type", b"application/grpc");
        self.bodies(steps, out, spec, Framed::Chunked, spec.messages(), keep);
        let mut trailers = wire::Fields::new();
        trailers.push(b"grpc-status", b"0");
        trailers.push(b"server-timing", spec.id.to_string().as_bytes());
        let mut last = Vec::new();
        encode::last_chunk(&mut last, Some(&trailers));
        let at = steps.len() - 2;
        steps[at] = (0, Step::Send(last));
    }

    fn bodies(
        &mut self,
        steps: &mut VecDeque<(u64, Step)>,
        mut out: Vec<u8>,
        spec: &Spec,
        framed: Framed,
        parts: Vec<Vec<u8>>,
        keep: bool,
    ) {
        let keep = keep && framed != Framed::Close;
        match framed {
            Framed::Length => {
                let len: usize = parts.iter().map(Vec::len).sum();
                encode::content_length(&mut out, len as u64);
            }
            Framed::Chunked => field(&mut out, b"transfer-encoding", b"chunked"),
            Framed::Close => {}
        }
        if !keep {
            field(&mut out, b"connection", b"close");
        }
        encode::end_of_head(&mut out);
        let together = self.chance(30);
        steps.push_back((self.delay(), Step::Send(out)));
        if spec.verb == Verb::Head {
            return steps.push_back((0, Step::Finish { keep }));
        }
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let mut bytes = Vec::new();
            if framed == Framed::Chunked {
                let cut = self.random.below(part.len() as u64) as usize;
                encode::chunk(&mut bytes, &part[..cut]);
                encode::chunk(&mut bytes, &part[cut..]);
            } else {
                bytes = part;
            }
            let delay = if together {
                0
            } else {
                self.random.below(60) * MS
            };
            steps.push_back((delay, Step::Send(bytes)));
        }
        if framed == Framed::Chunked {
            steps.push_back((0, Step::Send(b"0\r\n\r\n".to_vec())));
        }
        steps.push_back((0, Step::Finish { keep }));
    }
}

fn head(out: &mut Vec<u8>, status: u16, spec: &Spec) {
    encode::status_line(out, status);
    field(out, b"x-sim-served", spec.id.to_string().as_bytes());
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    encode::field(out, name, value).expect("a plain field");
}
