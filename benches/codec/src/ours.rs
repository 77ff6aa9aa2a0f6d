//! `wire::h2` and `wire::hpack`.

use wire::{
    Fields,
    h2::{Config, Connection, Event, Heads, Role, StreamId},
    hpack::{Decoder, Encoder, Pseudo},
};

use crate::{
    Done,
    case::{CONNECTION_WINDOW, RESPONSE, Request, STREAMS, TOKEN, WARM},
    cpu_ns,
};

/// One end, and what it has seen.
struct End {
    wire: Connection,
    out: Vec<u8>,
    heads: Heads,
    data_bytes: u64,
    field_bytes: u64,
    /// Of a server: the streams that it answers without end.
    open: Vec<StreamId>,
    streaming: bool,
    now_ns: u64,
}

impl End {
    fn new(role: Role, streaming: bool) -> Self {
        let config = Config {
            streams_max: STREAMS,
            connection_window: CONNECTION_WINDOW,
            ..Config::default()
        };
        let mut out = Vec::new();
        Self {
            wire: Connection::new(role, &config, &mut out),
            out,
            heads: Heads::default(),
            data_bytes: 0,
            field_bytes: 0,
            open: Vec::new(),
            streaming,
            now_ns: 0,
        }
    }

    fn ask(&mut self, request: &Request) {
        let id = self.wire.open().expect("a stream is free");
        let [method, scheme, authority, path, fields @ ..] = request.fields.as_slice() else {
            return;
        };
        let mut head = self.wire.head(id, &mut self.out);
        head.request(
            &method.value,
            &scheme.value,
            &authority.value,
            &path.value,
            None,
        );
        for field in fields {
            head.field(field.known, field.name.as_bytes(), &field.value);
        }
        head.finish(true);
    }

    fn reply(&mut self, id: StreamId) {
        let mut head = self.wire.head(id, &mut self.out);
        head.status(200);
        for (known, name, value) in RESPONSE {
            head.field(known, name.as_bytes(), value.as_bytes());
        }
        head.finish(!self.streaming);
        if self.streaming {
            self.open.push(id);
        } else {
            self.wire.forget(id, &mut self.out);
        }
    }

    fn take(&mut self, mut bytes: &[u8], role: Role) {
        self.now_ns += 1_000_000;
        self.wire.begin(self.now_ns);
        loop {
            let next = self.wire.next(&mut bytes, &mut self.heads, &mut self.out);
            match next.expect("both ends keep to the protocol") {
                None => return,
                Some(Event::Head { id, .. }) if role == Role::Server => {
                    let head = &self.heads.request;
                    self.field_bytes += length(&head.fields) + 4;
                    self.field_bytes += (head.target().len() + head.authority().len()) as u64;
                    self.field_bytes += PSEUDO_BYTES;
                    self.reply(id);
                }
                Some(Event::Head { id, end: true, .. }) => self.wire.forget(id, &mut self.out),
                Some(Event::Data {
                    id, bytes, credit, ..
                }) => {
                    self.data_bytes += bytes.len() as u64;
                    self.wire.consumed(id, credit, &mut self.out);
                }
                Some(Event::Head { .. } | Event::Settings) => {}
                Some(event) => panic!("{event:?}"),
            }
        }
    }
}

/// `:method`, `:scheme`, `:authority`, `:path`, and the value of the second.
const PSEUDO_BYTES: u64 = 7 + 7 + 10 + 5 + 4;

fn length(fields: &Fields) -> u64 {
    let each = |field: wire::Field<'_>| (field.name.len() + field.value.len()) as u64;
    fields.iter().map(each).sum()
}

/// Everything that `from` has to say, to the other end.
fn pass(from: &mut End, to: &mut End, role: Role) {
    from.wire.flush(&mut from.out);
    if !from.out.is_empty() {
        to.take(&from.out, role);
        from.out.clear();
    }
}

fn up(client: &mut End, server: &mut End) {
    pass(client, server, Role::Server);
}

fn down(client: &mut End, server: &mut End) {
    pass(server, client, Role::Client);
}

fn connect(streaming: bool) -> (End, End) {
    let mut client = End::new(Role::Client, streaming);
    let mut server = End::new(Role::Server, streaming);
    up(&mut client, &mut server);
    down(&mut client, &mut server);
    up(&mut client, &mut server);
    (client, server)
}

pub fn tokens(count: u64) -> Done {
    let (mut client, mut server) = connect(true);
    let mut request = Request::new();
    for number in 0..u64::from(STREAMS) {
        request.number(number);
        client.ask(&request);
    }
    up(&mut client, &mut server);
    down(&mut client, &mut server);
    let open = std::mem::take(&mut server.open);
    let began_ns = cpu_ns();
    let mut sent = 0;
    while sent < count {
        for id in &open {
            server.wire.data(*id, &TOKEN, false, &mut server.out);
        }
        sent += open.len() as u64;
        down(&mut client, &mut server);
        up(&mut client, &mut server);
    }
    done(began_ns, &client, &server)
}

fn done(began_ns: u64, client: &End, server: &End) -> Done {
    Done {
        ns: cpu_ns() - began_ns,
        data_bytes: client.data_bytes,
        field_bytes: server.field_bytes,
    }
}

pub fn steady(count: u64) -> Done {
    let (mut client, mut server) = connect(false);
    let mut request = Request::new();
    let mut began_ns = 0;
    for number in 0..count + WARM {
        if number == WARM {
            began_ns = cpu_ns();
        }
        request.number(number);
        client.ask(&request);
        up(&mut client, &mut server);
        down(&mut client, &mut server);
    }
    done(began_ns, &client, &server)
}

pub fn first(count: u64, asks: bool) -> Done {
    let mut request = Request::new();
    let mut field_bytes = 0;
    let began_ns = cpu_ns();
    for number in 0..count {
        let (mut client, mut server) = connect(false);
        if asks {
            request.number(number);
            client.ask(&request);
            up(&mut client, &mut server);
            down(&mut client, &mut server);
        }
        field_bytes += server.field_bytes;
    }
    Done {
        ns: cpu_ns() - began_ns,
        data_bytes: 0,
        field_bytes,
    }
}

pub fn hpack(count: u64, fresh: bool) -> Done {
    let mut request = Request::new();
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let mut out = Vec::new();
    let (mut began_ns, mut field_bytes) = (0, 0);
    for number in 0..count + WARM {
        if number == WARM {
            began_ns = cpu_ns();
            field_bytes = 0;
        }
        if fresh {
            (encoder, decoder) = (Encoder::new(), Decoder::new(4096));
        }
        request.number(number);
        out.clear();
        encode(&mut encoder, &request, &mut out);
        decoder
            .decode(&out, |name, value, _| {
                field_bytes += (name.len() + value.len()) as u64;
            })
            .expect("a block of our own");
    }
    Done {
        ns: cpu_ns() - began_ns,
        data_bytes: 0,
        field_bytes,
    }
}

fn encode(encoder: &mut Encoder, request: &Request, out: &mut Vec<u8>) {
    let [method, scheme, authority, path, fields @ ..] = request.fields.as_slice() else {
        return;
    };
    encoder.begin(out);
    encoder.pseudo(out, Pseudo::Method, &method.value);
    encoder.pseudo(out, Pseudo::Scheme, &scheme.value);
    encoder.pseudo(out, Pseudo::Authority, &authority.value);
    encoder.pseudo(out, Pseudo::Path, &path.value);
    for field in fields {
        encoder.field(out, field.known, field.name.as_bytes(), &field.value);
    }
}
