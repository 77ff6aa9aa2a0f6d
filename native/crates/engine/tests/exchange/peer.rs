//! The other end of an HTTP/2 connection: a client or an upstream that the test plays.

use engine::ids::ConnId;
use wire::h2::{Config, Connection, ErrorCode, Event, Heads, Role, StreamId};

use crate::bench::Bench;

/// What the engine said, with nothing borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Method or status, target, and the fields as `name: value` lines.
    Head(StreamId, String, String, bool),
    Interim(StreamId, u16),
    Data(StreamId, String, bool),
    Trailers(StreamId, String),
    End(StreamId),
    Reset(StreamId, u32),
    Goaway(StreamId),
}

pub(crate) struct Peer {
    pub(crate) wire: Connection,
    pub(crate) conn: ConnId,
    heads: Heads,
    out: Vec<u8>,
    /// Give windows back as data comes.
    pub(crate) reads: bool,
}

impl Peer {
    /// A client that connects.
    pub(crate) fn client(t: &mut Bench) -> Self {
        let conn = t.client();
        let mut peer = Self::new(conn, Role::Client);
        peer.flush(t);
        peer.hear(t);
        peer
    }

    /// The upstream of the next dial.
    pub(crate) fn upstream(t: &mut Bench) -> Self {
        let conn = t.upstream();
        Self::upstream_of(t, conn)
    }

    /// The upstream of a dial that has succeeded.
    pub(crate) fn upstream_of(t: &mut Bench, conn: ConnId) -> Self {
        let mut peer = Self::new(conn, Role::Server);
        peer.flush(t);
        peer
    }

    /// The upstream of the next dial, which takes so many streams at a time.
    pub(crate) fn narrow_upstream(t: &mut Bench, streams_max: u32) -> Self {
        let conn = t.upstream();
        let config = Config {
            streams_max,
            ..Config::default()
        };
        let mut peer = Self::new_as(conn, Role::Server, &config);
        peer.flush(t);
        peer
    }

    fn new(conn: ConnId, role: Role) -> Self {
        Self::new_as(conn, role, &Config::default())
    }

    fn new_as(conn: ConnId, role: Role, config: &Config) -> Self {
        let mut out = Vec::new();
        let mut wire = Connection::new(role, config, &mut out);
        wire.begin(1);
        Self {
            wire,
            conn,
            heads: Heads::default(),
            out,
            reads: true,
        }
    }

    /// Sends what was said.
    pub(crate) fn flush(&mut self, t: &mut Bench) {
        self.wire.flush(&mut self.out);
        let bytes = std::mem::take(&mut self.out);
        if !bytes.is_empty() {
            t.send(self.conn, bytes);
        }
    }

    /// A request; its body ends it.
    pub(crate) fn ask(&mut self, t: &mut Bench, fields: &[(&str, &str)], body: &str) -> StreamId {
        let id = self.head(fields, body.is_empty());
        if !body.is_empty() {
            self.wire.data(id, body.as_bytes(), true, &mut self.out);
        }
        self.flush(t);
        id
    }

    /// The head of a request: `:method`, `:path` and `:protocol` among the fields.
    pub(crate) fn head(&mut self, fields: &[(&str, &str)], end: bool) -> StreamId {
        let id = self.wire.open().expect("a stream");
        let find = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let method = find(":method").unwrap_or("POST");
        let path = find(":path").unwrap_or("/v1/chat/completions");
        let mut head = self.wire.head(id, &mut self.out);
        head.request(
            method.as_bytes(),
            b"http",
            b"front",
            path.as_bytes(),
            find(":protocol").map(str::as_bytes),
        );
        for (name, value) in fields.iter().filter(|(n, _)| !n.starts_with(':')) {
            let known = wire::Name::from_bytes(name.as_bytes());
            head.field(known, name.as_bytes(), value.as_bytes());
        }
        head.finish(end);
        id
    }

    /// The head of a request with a field that no table may keep.
    pub(crate) fn head_with_secret(
        &mut self,
        fields: &[(&str, &str)],
        (name, value): (&str, &str),
    ) -> StreamId {
        let id = self.wire.open().expect("a stream");
        let mut head = self.wire.head(id, &mut self.out);
        let (_, path) = fields[0];
        head.request(b"POST", b"http", b"front", path.as_bytes(), None);
        for (name, value) in &fields[1..] {
            let known = wire::Name::from_bytes(name.as_bytes());
            head.field(known, name.as_bytes(), value.as_bytes());
        }
        head.secret(wire::Name::Other, name.as_bytes(), value.as_bytes());
        head.finish(false);
        id
    }

    /// Names of the fields of the last request that no table may keep, but for credentials.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let fields = self.heads.request.fields.iter();
        fields
            .filter(|f| f.secret)
            .map(|f| String::from_utf8_lossy(f.name).into_owned())
            .collect()
    }

    /// The head of a response.
    pub(crate) fn answer(&mut self, id: StreamId, status: u16, fields: &[(&str, &str)], end: bool) {
        let mut head = self.wire.head(id, &mut self.out);
        head.status(status);
        for (name, value) in fields {
            let known = wire::Name::from_bytes(name.as_bytes());
            head.field(known, name.as_bytes(), value.as_bytes());
        }
        head.finish(end);
    }

    pub(crate) fn data(&mut self, id: StreamId, bytes: &[u8], end: bool) {
        self.wire.data(id, bytes, end, &mut self.out);
    }

    pub(crate) fn trailers(&mut self, id: StreamId, fields: &[(&str, &str)]) {
        let mut trailers = wire::Fields::new();
        for (name, value) in fields {
            trailers.push(name.as_bytes(), value.as_bytes());
        }
        self.wire.trailers(id, &trailers, &mut self.out);
    }

    pub(crate) fn reset(&mut self, t: &mut Bench, id: StreamId, code: ErrorCode) {
        self.wire.reset(id, code, &mut self.out);
        self.wire.forget(id, &mut self.out);
        self.flush(t);
    }

    /// Cancels a stream with the next flush.
    pub(crate) fn drop(&mut self, id: StreamId) {
        self.wire.reset(id, ErrorCode::Cancel, &mut self.out);
        self.wire.forget(id, &mut self.out);
    }

    pub(crate) fn goaway(&mut self, t: &mut Bench) {
        self.wire.goaway_final(ErrorCode::NoError, &mut self.out);
        self.flush(t);
    }

    /// Bytes that our codec would not say.
    pub(crate) fn raw(&mut self, t: &mut Bench, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.flush(t);
    }

    /// What the engine said since.
    pub(crate) fn hear(&mut self, t: &mut Bench) -> Vec<Said> {
        let bytes = t.bytes(self.conn);
        let mut input = &bytes[..];
        let mut said = Vec::new();
        while let Some(event) = self
            .wire
            .next(&mut input, &mut self.heads, &mut self.out)
            .expect("the engine keeps to the protocol")
        {
            match event {
                Event::Head { id, end, .. } => said.push(Said::of_head(&self.heads, id, end)),
                Event::Interim { id, .. } => {
                    said.push(Said::Interim(id, self.heads.response.status));
                }
                Event::Data {
                    id,
                    bytes,
                    credit,
                    end,
                    ..
                } => {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    said.push(Said::Data(id, text, end));
                    if self.reads {
                        self.wire.consumed(id, credit, &mut self.out);
                    }
                }
                Event::Trailers { id, fields, .. } => {
                    said.push(Said::Trailers(id, lines(&fields)));
                }
                Event::End { id, .. } => said.push(Said::End(id)),
                Event::Reset { id, code, .. } => said.push(Said::Reset(id, code)),
                Event::Goaway { last, .. } => said.push(Said::Goaway(last)),
                Event::Settings => {}
                Event::Bad { id, violation, .. } => panic!("stream {id}: {violation}"),
            }
        }
        self.flush(t);
        said
    }
}

impl Said {
    fn of_head(heads: &Heads, id: StreamId, end: bool) -> Self {
        if heads.response.status > 0 {
            let status = heads.response.status.to_string();
            return Self::Head(id, status, lines(&heads.response.fields), end);
        }
        let head = &heads.request;
        let target = String::from_utf8_lossy(head.target());
        let first = format!("{} {target}", head.method.as_str());
        Self::Head(id, first, lines(&head.fields), end)
    }
}

fn lines(fields: &wire::Fields) -> String {
    let mut out = String::new();
    for field in fields.iter() {
        out.push_str(&String::from_utf8_lossy(field.name));
        out.push_str(": ");
        out.push_str(&String::from_utf8_lossy(field.value));
        out.push('\n');
    }
    out
}

/// The body of a stream, as far as it came.
pub(crate) fn body_of(said: &[Said], of: StreamId) -> String {
    said.iter()
        .filter_map(|s| match s {
            Said::Data(id, text, _) if *id == of => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// Whether a stream's message came to its end.
pub(crate) fn ended(said: &[Said], of: StreamId) -> bool {
    said.iter().any(|s| match s {
        Said::Head(id, _, _, end) | Said::Data(id, _, end) => *id == of && *end,
        Said::Trailers(id, _) | Said::End(id) => *id == of,
        _ => false,
    })
}
