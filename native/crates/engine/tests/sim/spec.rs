//! What a request asks and what its answer must be, both derived from its number, so that bytes
//! that stray from one exchange into another are recognised.

use engine::random::Random;

/// How a message's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framed {
    Length,
    Chunked,
    Close,
}

/// What the upstream answers when nothing goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Unary {
        len: usize,
        framed: Framed,
        status: u16,
    },
    Events {
        count: usize,
        big: Option<usize>,
        crlf: bool,
        framed: Framed,
    },
    Empty(u16),
    Echo,
    /// Messages of gRPC, and a status behind them.
    Messages {
        count: usize,
        len: usize,
    },
    /// The gateway answers by itself.
    Local,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Head,
    Post,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) id: u64,
    pub(crate) verb: Verb,
    pub(crate) path: &'static str,
    pub(crate) http10: bool,
    pub(crate) keep: bool,
    pub(crate) pad: usize,
    pub(crate) framed: Option<Framed>,
    pub(crate) stream: bool,
    /// 0 and 1 have routes of their own, 2 goes to the default pool.
    pub(crate) model: u8,
    pub(crate) model_last: bool,
    pub(crate) low: bool,
    pub(crate) expect: bool,
    pub(crate) garbage: bool,
    /// Fields behind the request's body.
    pub(crate) trailers: bool,
    /// Fields behind the answer's body are wanted.
    pub(crate) te: bool,
    pub(crate) answer: Answer,
}

/// A byte of the content that belongs to `id`.
fn content(out: &mut Vec<u8>, id: u64, len: usize) {
    let mut random = Random::new(id.wrapping_mul(0x9e37_79b9) + 1);
    let mut word = 0_u64;
    for at in 0..len {
        if at % 12 == 0 {
            word = random.next_u64();
        }
        out.push(b'a' + (word & 15) as u8);
        word >>= 5;
    }
}

/// A message of gRPC: a flag, its length, its content.
fn message(id: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&(len as u32).to_be_bytes());
    content(&mut out, id, len);
    out
}

fn chance(random: &mut Random, percent: u64) -> bool {
    random.below(100) < percent
}

/// A length: mostly short, sometimes more than may wait for a peer.
fn length(random: &mut Random) -> usize {
    match random.below(20) {
        0 if random.below(8) == 0 => 300_000 + random.below(100_000) as usize,
        0 => 20_000 + random.below(90_000) as usize,
        1..4 => 1_000 + random.below(8_000) as usize,
        _ => random.below(400) as usize,
    }
}

impl Answer {
    fn draw(random: &mut Random) -> Self {
        let framing = |random: &mut Random| match random.below(8) {
            0 => Framed::Close,
            1..4 => Framed::Chunked,
            _ => Framed::Length,
        };
        match random.below(20) {
            0..11 => {
                let framed = match framing(random) {
                    Framed::Length => Framed::Chunked,
                    other => other,
                };
                let big = chance(random, 3).then_some(0);
                Answer::Events {
                    count: 1 + random.below(12) as usize,
                    big,
                    crlf: chance(random, 10),
                    framed,
                }
            }
            11 => Answer::Empty(if chance(random, 50) { 204 } else { 304 }),
            12 => Answer::Unary {
                len: random.below(200) as usize,
                framed: Framed::Length,
                status: [400, 404, 422, 500][random.below(4) as usize],
            },
            _ => Answer::Unary {
                len: length(random),
                framed: framing(random),
                status: 200,
            },
        }
    }
}

impl Spec {
    pub(crate) fn draw(id: u64, random: &mut Random) -> Self {
        let mut spec = Self {
            id,
            verb: Verb::Post,
            path: "/v1/chat/completions",
            http10: chance(random, 5),
            keep: chance(random, 90),
            pad: length(random),
            framed: Some(if chance(random, 30) {
                Framed::Chunked
            } else {
                Framed::Length
            }),
            stream: false,
            model: random.below(3) as u8,
            model_last: chance(random, 30),
            low: chance(random, 20),
            expect: chance(random, 4),
            garbage: false,
            trailers: false,
            te: false,
            answer: Answer::Local,
        };
        match random.below(20) {
            0 => spec.simple("/healthz-not", Verb::Get),
            1 => spec.simple("/v1/models", Verb::Get),
            2 => {
                spec.simple("/v1/files", Verb::Post);
                spec.framed = Some(Framed::Length);
            }
            3 => {
                spec.simple("/v1/realtime", Verb::Get);
                spec.answer = Answer::Echo;
                spec.http10 = false;
                return spec;
            }
            4 => spec.simple("/v1/thing", Verb::Head),
            5 => spec.garbage = chance(random, 30),
            _ => {}
        }
        if spec.path == "/v1/models" {
            return spec;
        }
        spec.answer = Answer::draw(random);
        let events = matches!(spec.answer, Answer::Events { .. });
        spec.stream = events != chance(random, 5);
        if spec.http10 && spec.framed == Some(Framed::Chunked) {
            spec.framed = Some(Framed::Length);
        }
        spec.expect &= !spec.garbage && spec.framed.is_some() && !spec.http10;
        spec
    }

    /// What is asked on a stream of HTTP/2.
    pub(crate) fn draw_h2(id: u64, random: &mut Random) -> Self {
        let mut spec = Self::draw(id, random);
        spec.expect &= !spec.http10;
        spec.http10 = false;
        spec.keep = true;
        spec.trailers = spec.framed == Some(Framed::Chunked) && chance(random, 10);
        spec.te = chance(random, 30);
        if !spec.garbage && chance(random, 12) {
            spec.simple("/inference.GRPCInferenceService/ModelInfer", Verb::Post);
            spec.framed = Some(Framed::Chunked);
            spec.te = true;
            spec.stream = false;
            spec.pad = random.below(3000) as usize;
            spec.answer = Answer::Messages {
                count: random.below(6) as usize,
                len: length(random),
            };
        }
        spec
    }

    fn simple(&mut self, path: &'static str, verb: Verb) {
        self.path = path;
        self.verb = verb;
        self.framed = None;
        self.expect = false;
    }

    pub(crate) fn websocket(&self) -> bool {
        matches!(self.answer, Answer::Echo)
    }

    pub(crate) fn grpc(&self) -> bool {
        matches!(self.answer, Answer::Messages { .. })
    }

    /// The request's body.
    pub(crate) fn body(&self) -> Vec<u8> {
        if self.framed.is_none() {
            return Vec::new();
        }
        if self.grpc() {
            return message(self.id ^ 0x5555_0000, self.pad);
        }
        let model = match self.model {
            0 => r#""model":"alpha","#,
            1 => r#""model":"beta","#,
            _ => "",
        };
        let mut out = Vec::with_capacity(self.pad + 100);
        out.push(b'{');
        if !self.model_last {
            out.extend_from_slice(model.as_bytes());
        }
        if self.stream {
            out.extend_from_slice(br#""stream":true,"#);
        }
        out.extend_from_slice(br#""pad":""#);
        content(&mut out, self.id ^ 0x5555_0000, self.pad);
        out.extend_from_slice(br#"","#);
        if self.model_last {
            out.extend_from_slice(model.as_bytes());
        }
        out.extend_from_slice(br#""n":1}"#);
        out
    }

    /// The whole request but for its body's framing.
    pub(crate) fn head(&self) -> Vec<u8> {
        if self.garbage {
            return format!("GET  /bad HTTP/1.1\r\nx-sim-id: {}\r\n\r\n", self.id).into_bytes();
        }
        let verb = match self.verb {
            Verb::Get => "GET",
            Verb::Head => "HEAD",
            Verb::Post => "POST",
        };
        let version = if self.http10 { "1.0" } else { "1.1" };
        let mut text = format!(
            "{verb} {} HTTP/{version}\r\nhost: sim\r\nx-sim-id: {}\r\n",
            self.path, self.id
        );
        if self.websocket() {
            text.push_str(
                "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            );
        } else if !self.keep {
            text.push_str("connection: close\r\n");
        } else if self.http10 {
            text.push_str("connection: keep-alive\r\n");
        }
        if self.low {
            text.push_str("x-class: low\r\n");
        }
        if self.expect {
            text.push_str("expect: 100-continue\r\n");
        }
        match self.framed {
            Some(Framed::Length) => {
                text.push_str("content-type: application/json\r\n");
                let length = self.body().len().to_string();
                text.extend(["content-length: ", &length, "\r\n"]);
            }
            Some(_) => {
                text.push_str("content-type: application/json\r\ntransfer-encoding: chunked\r\n");
            }
            None => {}
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    /// The body of the upstream's answer.
    pub(crate) fn answer_body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.answer {
            Answer::Unary { len, .. } => content(&mut out, self.id, len),
            Answer::Events { .. } => {
                for event in self.events() {
                    out.extend_from_slice(&event);
                }
            }
            Answer::Messages { .. } => out = self.messages().concat(),
            Answer::Empty(_) | Answer::Echo | Answer::Local => {}
        }
        out
    }

    /// The messages of the answer to a call of gRPC.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        let Answer::Messages { count, len } = self.answer else {
            return Vec::new();
        };
        (0..count)
            .map(|at| message(self.id + at as u64, len))
            .collect()
    }

    /// The events of the answer.
    pub(crate) fn events(&self) -> Vec<Vec<u8>> {
        let Answer::Events {
            count, big, crlf, ..
        } = self.answer
        else {
            return Vec::new();
        };
        let end: &[u8] = if crlf { b"\r\n\r\n" } else { b"\n\n" };
        let mut events = Vec::with_capacity(count + 1);
        for at in 0..count {
            let mut event = format!("data: {{\"id\":{},\"n\":{at},\"c\":\"", self.id).into_bytes();
            let len = if big == Some(at) { 80_000 } else { 8 + at % 24 };
            content(&mut event, self.id + at as u64, len);
            event.extend_from_slice(b"\"}");
            event.extend_from_slice(end);
            events.push(event);
            if at % 5 == 3 {
                let mut comment = b": keep".to_vec();
                comment.extend_from_slice(end);
                events.push(comment);
            }
        }
        let mut done = b"data: [DONE]".to_vec();
        done.extend_from_slice(end);
        events.push(done);
        events
    }

    /// What an engine in trouble says instead.
    pub(crate) fn trouble(&self) -> Vec<u8> {
        let mut out = b"trouble ".to_vec();
        content(&mut out, self.id, 12);
        out
    }
}
