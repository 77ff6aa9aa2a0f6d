//! Simulated clients: they ask, read at their own pace, check every byte, and leave when they like.

use std::collections::VecDeque;

use engine::clock::{MS, SECOND};
use engine::limits::EVENT_TAIL_BYTES_MAX;
use wire::h1::{Event as Said, ResponseReader, encode};
use wire::sse::Scanner;
use wire::{Limits, ResponseHead};

use crate::link::{Peer, Way};
use crate::oracle::{Tap, method, number};
use crate::plan;
use crate::spec::{Answer, Framed, Spec};
use crate::world::{Event, World};

/// An answer on its way in.
struct Got {
    id: u64,
    head: bool,
    status: u16,
    local: bool,
    events: bool,
    scanner: Scanner,
    tail: Vec<u8>,
    expected: Vec<u8>,
    at: usize,
    failed: bool,
    any: bool,
}

/// One client: a few connections, one after the other.
pub(crate) struct Client {
    left: usize,
    link: Option<usize>,
    /// Not yet begun to be sent.
    to_send: VecDeque<u64>,
    outgoing: VecDeque<(u64, Vec<u8>)>,
    /// The rest of a request, kept until 100 Continue.
    reserve: Option<(u64, Vec<u8>)>,
    /// Begun to be sent; the first is answered next.
    sent: VecDeque<u64>,
    pipelines: bool,
    sending: bool,
    reader: ResponseReader,
    head: ResponseHead,
    got: Option<Got>,
    served: u32,
    last_keeps: bool,
    slow: Option<(usize, u64)>,
    reading: bool,
    /// It left, or half of it.
    gone: bool,
    tunnel: Option<Tunnel>,
}

struct Tunnel {
    id: u64,
    asked: Vec<u8>,
    heard: usize,
}

impl Client {
    pub(crate) fn new(connections: usize) -> Self {
        Self {
            left: connections,
            link: None,
            to_send: VecDeque::new(),
            outgoing: VecDeque::new(),
            reserve: None,
            sent: VecDeque::new(),
            pipelines: false,
            sending: false,
            reader: ResponseReader::new(Limits::default()),
            head: ResponseHead::new(),
            got: None,
            served: 0,
            last_keeps: true,
            slow: None,
            reading: false,
            gone: false,
            tunnel: None,
        }
    }

    pub(crate) fn done(&self) -> bool {
        self.left == 0 && self.link.is_none()
    }

    pub(crate) fn state(&self) -> String {
        format!(
            "link {:?} left {} sent {:?} answering {:?} to send {:?}",
            self.link,
            self.left,
            self.sent,
            self.got.as_ref().map(|g| g.id),
            self.to_send
        )
    }
}

impl World {
    pub(crate) fn client_connect(&mut self, c: usize) {
        if self.clients[c].left == 0 {
            return;
        }
        self.clients[c].left -= 1;
        if self.calm || (self.closing_down && self.chance(50)) {
            self.clients[c].left = 0;
            return;
        }
        let worker = self.random.below(2) as usize;
        let listener = match self.random.below(8) {
            0 => plan::HALF_CLOSE,
            1 => plan::PROXY,
            _ => plan::PLAIN,
        };
        let l = self.link(worker, Peer::Client(c), listener, Tap::client());
        let mut fresh = Client::new(self.clients[c].left);
        fresh.link = Some(l);
        fresh.pipelines = self.chance(25);
        if self.chance(self.faults.slow) {
            let bytes = 1 + self.random.below(4000) as usize;
            let stops = self.chance(15);
            let interval = if stops {
                6 * SECOND
            } else {
                self.random.below(80) * MS
            };
            fresh.slow = Some((bytes, interval));
        }
        for _ in 0..1 + self.random.below(5) {
            let id = self.specs.len() as u64;
            let spec = Spec::draw(id, &mut self.random);
            let last = spec.websocket() || spec.garbage || !spec.keep;
            self.specs.push(spec);
            self.tracks.push(Default::default());
            fresh.to_send.push_back(id);
            if last {
                break;
            }
        }
        if listener == plan::PROXY {
            fresh
                .outgoing
                .push_back((0, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec()));
        }
        self.clients[c] = fresh;
        let delay = self.delay();
        self.after(delay, Event::Accept(l));
        self.client_go_on(c, l);
        if self.chance(self.faults.leave) {
            let at = match self.random.below(3) {
                0 => self.random.below(20 * MS),
                1 => self.random.below(300 * MS),
                _ => self.random.below(2 * SECOND),
            };
            let how = self.random.below(3) as u8;
            self.after(at, Event::ClientLeave(c, l, how));
        }
    }

    // ---- asking --------------------------------------------------------------------------------

    /// Sends what is to be sent next.
    fn client_go_on(&mut self, c: usize, l: usize) {
        let client = &mut self.clients[c];
        if client.outgoing.is_empty() && client.reserve.is_none() {
            let waits = !client.sent.is_empty() || client.got.is_some() || client.tunnel.is_some();
            // What closes the connection behind its answer is not pipelined: a reset of it would
            // take unread answers along.
            let ends = client
                .to_send
                .front()
                .is_some_and(|&id| self.specs[id as usize].http10);
            if waits && (!client.pipelines || ends) || client.sent.len() > 3 {
                return;
            }
            let Some(id) = client.to_send.pop_front() else {
                return;
            };
            client.sent.push_back(id);
            if let Tap::Client(tap) = &mut self.taps[l] {
                tap.asked.push_back(id);
            }
            self.client_write_request(c, id);
        }
        if self.clients[c].outgoing.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.clients[c].sending, true) {
            let delay = self.clients[c]
                .outgoing
                .front()
                .map_or(0, |(delay, _)| *delay);
            self.after(delay, Event::ClientSend(c, l));
        }
    }

    fn client_write_request(&mut self, c: usize, id: u64) {
        let spec = self.specs[id as usize].clone();
        self.trace
            .line(self.now, || format!("client {c} asks {spec:?}"));
        let body = spec.body();
        let mut framed = Vec::with_capacity(body.len() + 40);
        if spec.framed == Some(Framed::Chunked) {
            let cut = self.random.below(body.len() as u64 + 1) as usize;
            encode::chunk(&mut framed, &body[..cut]);
            encode::chunk(&mut framed, &body[cut..]);
            encode::last_chunk(&mut framed, None);
        } else {
            framed = body;
        }
        let mut bytes = spec.head();
        if spec.expect {
            self.clients[c].reserve = Some((id, framed));
        } else {
            bytes.extend_from_slice(&framed);
        }
        let patient = spec.verb != crate::spec::Verb::Head;
        self.client_cut(c, &bytes, patient);
        if spec.garbage {
            self.clients[c].reserve = None;
        } else if spec.websocket() && self.faults.upstream == 0 && self.chance(20) {
            // Too early: the 101 is not there yet.
            self.clients[c].outgoing.push_back((0, b"early".to_vec()));
            self.specs[id as usize].pad = 5;
        } else if spec.websocket() {
            self.specs[id as usize].pad = 0;
        }
    }

    fn client_cut(&mut self, c: usize, mut bytes: &[u8], stalls: bool) {
        let style = self.random.below(8);
        let mut pieces = 0;
        while !bytes.is_empty() {
            let most = bytes.len() as u64;
            let len = match style {
                0 if pieces < 200 => 1,
                1 | 2 => 1 + self.random.below(most),
                3 => 1 + self.random.below(most.min(500)),
                _ => most,
            } as usize;
            let delay = match self.random.below(30) {
                0 => self.random.below(100 * MS),
                1 if stalls
                    && pieces > 0
                    && self.faults.slow > 0
                    && bytes.len() < 5000
                    && !self.calm =>
                {
                    if self.chance(10) {
                        12 * SECOND
                    } else {
                        SECOND
                    }
                }
                2..16 => self.random.below(100_000),
                _ => 0,
            };
            let (piece, rest) = bytes.split_at(len);
            self.clients[c].outgoing.push_back((delay, piece.to_vec()));
            bytes = rest;
            pieces += 1;
        }
    }

    pub(crate) fn client_send(&mut self, c: usize, l: usize) {
        if self.clients[c].link != Some(l) {
            return;
        }
        self.clients[c].sending = false;
        if self.clients[c].gone {
            return;
        }
        if let Some((_, piece)) = self.clients[c].outgoing.pop_front() {
            self.peer_write(l, &piece);
        }
        self.client_go_on(c, l);
    }

    /// How: 0 RST, 1 closes, 2 closes its sending side only.
    pub(crate) fn client_leave(&mut self, c: usize, l: usize, how: u8) {
        let client = &mut self.clients[c];
        if client.link != Some(l) || client.gone {
            return;
        }
        client.gone = true;
        self.trace.line(self.now, || {
            format!("client {c} leaves link {l} in way {how}")
        });
        let client = &self.clients[c];
        for id in client.sent.iter().chain(client.got.iter().map(|g| &g.id)) {
            self.tracks[*id as usize].gone = true;
        }
        if let Some(tunnel) = &client.tunnel {
            self.tracks[tunnel.id as usize].gone = true;
        }
        match how {
            0 => {
                self.links[l].peer_gone = true;
                self.links[l].peer_out.clear();
                self.send_rst(l, Way::ToProxy);
                self.client_next(c);
            }
            1 => {
                self.links[l].peer_gone = true;
                self.links[l].peer_fin = true;
                self.peer_pump(l);
                self.client_next(c);
            }
            _ => {
                self.links[l].peer_fin = true;
                self.peer_pump(l);
            }
        }
    }

    /// This connection is over for the client.
    fn client_next(&mut self, c: usize) {
        self.clients[c].link = None;
        let think = self.random.below(500) * MS;
        self.after(think, Event::ClientConnect(c));
    }

    fn client_hang_up(&mut self, c: usize, l: usize) {
        self.links[l].peer_gone = true;
        self.links[l].peer_fin = true;
        self.peer_pump(l);
        self.client_next(c);
    }

    // ---- reading -------------------------------------------------------------------------------

    pub(crate) fn client_readable(&mut self, c: usize, l: usize) {
        if self.clients[c].link != Some(l) {
            return;
        }
        match self.clients[c].slow {
            Some((_, interval)) => {
                if !std::mem::replace(&mut self.clients[c].reading, true) {
                    self.after(interval, Event::ClientRead(c, l));
                }
            }
            None => self.client_take(c, l, usize::MAX),
        }
    }

    pub(crate) fn client_read(&mut self, c: usize, l: usize) {
        if self.clients[c].link != Some(l) {
            return;
        }
        self.clients[c].reading = false;
        let most = match self.clients[c].slow {
            Some((bytes, _)) if !self.calm => bytes,
            _ => usize::MAX,
        };
        self.client_take(c, l, most);
        if self.clients[c].link == Some(l) && self.links[l].to_peer.arrived > 0 {
            self.client_readable(c, l);
        }
    }

    fn client_take(&mut self, c: usize, l: usize, most: usize) {
        let mut bytes = Vec::new();
        self.links[l].to_peer.take(most, &mut bytes);
        if !bytes.is_empty() {
            self.peer_took(l);
            self.client_parse(c, l, &bytes);
        }
        let pipe = &self.links[l].to_peer;
        if self.clients[c].link == Some(l) && pipe.fin_arrived && pipe.bytes.is_empty() {
            self.client_ended(c, l, false);
        }
    }

    fn client_parse(&mut self, c: usize, l: usize, mut bytes: &[u8]) {
        loop {
            let client = &mut self.clients[c];
            if client.tunnel.is_some() {
                return self.client_tunnel(c, l, bytes);
            }
            if client.got.is_none() {
                if bytes.is_empty() {
                    return;
                }
                let id = client
                    .sent
                    .pop_front()
                    .expect("a response follows a request");
                let spec = &self.specs[id as usize];
                client.reader.expect(method(spec.verb), spec.websocket());
                client.got = Some(Got::new(spec));
            }
            let said = client.reader.next(&mut bytes, &mut client.head);
            match said.expect("the proxy speaks HTTP") {
                None => return,
                Some(Said::Interim) => {
                    let id = client.got.as_ref().map(|g| g.id);
                    if client.head.status == 100
                        && let Some((_, rest)) = client.reserve.take_if(|r| Some(r.0) == id)
                    {
                        self.client_cut(c, &rest, true);
                        self.client_go_on(c, l);
                    }
                }
                Some(Said::Head) => self.client_head(c),
                Some(Said::Data(data)) => {
                    let got = client.got.as_mut().expect("set above");
                    got.data(data);
                }
                Some(Said::Trailers(_)) => {}
                Some(Said::End) => {
                    if !self.client_complete(c, l) {
                        return;
                    }
                }
            }
        }
    }

    fn client_head(&mut self, c: usize) {
        let client = &mut self.clients[c];
        let got = client.got.as_mut().expect("an answer is under way");
        let spec = &self.specs[got.id as usize];
        let fields = &client.head.fields;
        let served = number(fields, "x-sim-served");
        assert!(
            served.is_none_or(|id| id == got.id),
            "{served:?} was answered to {}",
            got.id
        );
        assert!(
            fields.find_str("keep-alive").is_none(),
            "a hop-by-hop field came through"
        );
        got.head = true;
        got.status = client.head.status;
        client.last_keeps = client.head.keep_alive;
        let kind = fields.find(wire::Name::ContentType).unwrap_or_default();
        got.events = kind.starts_with(b"text/event-stream");
        got.local = served.is_none() && !got.events && got.status != 101;
        if fields.find_str("x-sim-trouble").is_some() {
            got.expected = spec.trouble();
        } else if !got.local {
            got.expected = spec.answer_body();
        }
        if spec.verb == crate::spec::Verb::Head {
            got.expected.clear();
        }
        let track = &mut self.tracks[got.id as usize];
        track.status = got.status;
        track.local = got.local;
        if spec.garbage {
            assert!(matches!(got.status, 400 | 408) && got.local && !client.head.keep_alive);
        }
        if got.status == 101 {
            let id = got.id;
            client.got = None;
            let mut asked = b"early".to_vec();
            asked.truncate(spec.pad);
            let mut message = spec.head();
            message.truncate(60);
            asked.extend_from_slice(&message);
            client.tunnel = Some(Tunnel {
                id,
                asked,
                heard: 0,
            });
            let l = client.link.expect("it reads");
            if !client.gone {
                self.peer_write(l, &message);
            }
        }
    }

    fn client_tunnel(&mut self, c: usize, l: usize, bytes: &[u8]) {
        let Some(tunnel) = &mut self.clients[c].tunnel else {
            return;
        };
        let asked = &tunnel.asked[tunnel.heard..];
        assert!(asked.starts_with(bytes), "the tunnel changed bytes");
        tunnel.heard += bytes.len();
        let whole = tunnel.heard == tunnel.asked.len();
        if whole && !self.clients[c].gone {
            self.tracks[self.clients[c].tunnel.as_ref().expect("a tunnel").id as usize].gone = true;
            self.client_hang_up(c, l);
        }
    }

    /// An answer is whole. False when the connection is over.
    fn client_complete(&mut self, c: usize, l: usize) -> bool {
        let client = &mut self.clients[c];
        let got = client.got.take().expect("an answer is under way");
        let spec = &self.specs[got.id as usize];
        got.is_whole(spec);
        self.tracks[got.id as usize].complete = true;
        client.served += 1;
        let id = got.id;
        self.trace.line(self.now, || {
            format!("client {c} has the whole answer to {id}")
        });
        let client = &mut self.clients[c];
        if client.reserve.take_if(|r| r.0 == id).is_some() {
            assert!(
                !client.last_keeps,
                "nobody can tell where the next request begins"
            );
        }
        let over = !client.last_keeps || (client.to_send.is_empty() && client.sent.is_empty());
        if !over {
            if !client.gone {
                self.client_go_on(c, l);
            }
            return true;
        }
        if client.outgoing.is_empty() || client.last_keeps || self.chance(50) {
            self.client_hang_up(c, l);
            return false;
        }
        // It goes on sending its body to somebody who will not read it.
        self.clients[c].sent.clear();
        true
    }

    /// The connection ended at the client: by FIN behind all bytes, or by RST.
    pub(crate) fn client_ended(&mut self, c: usize, l: usize, reset: bool) {
        if self.clients[c].link != Some(l) {
            return;
        }
        if reset {
            // What had arrived can be read still.
            let mut bytes = Vec::new();
            self.links[l].to_peer.take(usize::MAX, &mut bytes);
            self.client_parse(c, l, &bytes);
            if self.clients[c].link != Some(l) {
                return;
            }
        }
        let client = &mut self.clients[c];
        let end = if reset {
            Err(wire::h1::Truncated)
        } else {
            client.reader.close()
        };
        if client.got.is_some() && matches!(end, Ok(Some(Said::End))) {
            client.last_keeps = false;
            if !self.client_complete(c, l) {
                return;
            }
        }
        let client = &mut self.clients[c];
        if let Some(got) = client.got.take() {
            let track = &mut self.tracks[got.id as usize];
            track.cut = true;
            // Who stops reading is given up, be it behind its last answer.
            track.gone |= client.slow.is_some_and(|(_, interval)| interval > SECOND);
            let loose = !client.gone
                && !got.scanner.at_boundary()
                && !got.tail.is_empty()
                && !reset
                && got.expected.len() < EVENT_TAIL_BYTES_MAX;
            assert!(
                !loose,
                "a stream ended in the middle of an event: {}",
                got.id
            );
        } else if let Some(&id) = client.sent.front() {
            // A first request is answered, unless the client itself broke off.
            let excused = client.gone || client.served > 0 || self.closing_down || reset;
            let unsent = !client.outgoing.is_empty() || !self.links[l].peer_out.is_empty();
            assert!(excused || unsent, "request {id} was never answered");
        }
        if !self.links[l].peer_gone {
            self.links[l].peer_gone = true;
            self.links[l].peer_fin = true;
            self.peer_pump(l);
        }
        self.client_next(c);
    }
}

impl Got {
    fn new(spec: &Spec) -> Self {
        Self {
            id: spec.id,
            head: false,
            status: 0,
            local: false,
            events: false,
            scanner: Scanner::new(),
            tail: Vec::new(),
            expected: Vec::new(),
            at: 0,
            failed: false,
            any: false,
        }
    }

    fn data(&mut self, data: &[u8]) {
        assert!(self.head, "a body without a head");
        self.any = true;
        if self.local {
            return;
        }
        if !self.events {
            assert!(
                self.expected[self.at..].starts_with(data),
                "other bytes than {}'s",
                self.id
            );
            self.at += data.len();
            return;
        }
        let mut start = 0;
        let mut scanner = self.scanner;
        scanner.scan(data, |end| {
            self.tail.extend_from_slice(&data[start..end]);
            start = end;
            let event = std::mem::take(&mut self.tail);
            self.event(&event);
        });
        self.scanner = scanner;
        self.tail.extend_from_slice(&data[start..]);
    }

    fn event(&mut self, event: &[u8]) {
        assert!(
            !self.failed,
            "something behind the error event of {}",
            self.id
        );
        if event == b":\n\n" {
            return;
        }
        if event == b"\n:\n\n" && self.expected[self.at..].starts_with(b"\n") {
            // Behind the LF of a CRLF whose CR ended the event before.
            self.at += 1;
            return;
        }
        if self.expected[self.at..].starts_with(event) {
            self.at += event.len();
            return;
        }
        let text = String::from_utf8_lossy(event);
        let error = text.trim_start().starts_with("data: {\"error\"");
        assert!(
            error,
            "a strange event in the answer to {}: {text}",
            self.id
        );
        self.failed = true;
    }

    /// It looks whole: is it?
    fn is_whole(&self, spec: &Spec) {
        if self.local {
            let local = matches!(spec.answer, Answer::Local) || self.status >= 400;
            assert!(
                local,
                "{} was answered by the gateway with {}",
                self.id, self.status
            );
            return;
        }
        assert!(
            !self.failed,
            "the answer to {} failed and looks whole",
            self.id
        );
        // The LF of a CRLF whose CR ended the last event.
        let rest = if self.scanner.at_boundary() {
            &self.tail[..]
        } else {
            b""
        };
        assert_eq!(
            &self.expected[self.at..],
            rest,
            "the answer to {} looks whole",
            self.id
        );
    }
}
