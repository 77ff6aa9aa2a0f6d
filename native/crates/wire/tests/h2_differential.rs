//! Our two ends against those of the `h2` crate: bodies of all sizes, many at a time, with
//! trailers, resets and refusals. What both say of the same exchange must be the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use wire::fuzzing::h2::{assert_at_rest, audit};
use wire::h2::{Config, Connection, ErrorCode, Event, Heads, Role};
use wire::{Fields, Name};

/// Bodies of these sizes go through every pairing, all at once.
const SIZES: [usize; 9] = [0, 1, 100, 16_383, 16_384, 16_385, 65_535, 65_536, 300_000];

fn body(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + size) as u8).collect()
}

/// One end of ours over a pipe.
struct Ours {
    connection: Connection,
    out: Vec<u8>,
    pipe: DuplexStream,
    /// By stream: what came, and whether its end did.
    heard: BTreeMap<u32, (Vec<u8>, bool)>,
    trailers: usize,
    statuses: Vec<u16>,
    resets: Vec<u32>,
}

impl Ours {
    fn new(role: Role, config: &Config, pipe: DuplexStream) -> Self {
        let mut out = Vec::new();
        let connection = Connection::new(role, config, &mut out);
        Self {
            connection,
            out,
            pipe,
            heard: BTreeMap::new(),
            trailers: 0,
            statuses: Vec::new(),
            resets: Vec::new(),
        }
    }

    /// Writes what can be written and reads what can be read; false at the peer's end.
    async fn turn(&mut self) -> bool {
        self.connection.flush(&mut self.out);
        let mut buffer = vec![0; 10_000];
        let (mut reader, mut writer) = tokio::io::split(&mut self.pipe);
        tokio::select! {
            read = reader.read(&mut buffer) => {
                let len = read.expect("a pipe");
                self.take(&buffer[..len]);
                len > 0
            }
            written = writer.write(&self.out), if !self.out.is_empty() => {
                let len = written.expect("a pipe");
                self.out.drain(..len);
                true
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        let mut heads = Heads::default();
        let out = &mut self.out;
        while let Some(event) = self
            .connection
            .next(&mut bytes, &mut heads, out)
            .expect("the peer makes no mistakes")
        {
            match event {
                Event::Head { id, end, .. } => {
                    if heads.response.status == 0 {
                        let mut head = self.connection.head(id, out);
                        head.status(200);
                        head.field(Name::Server, b"server", b"ours");
                        head.finish(false);
                    } else {
                        self.statuses.push(heads.response.status);
                    }
                    self.heard.insert(id, (Vec::new(), end));
                }
                Event::Data {
                    id,
                    bytes,
                    credit,
                    end,
                    ..
                } => {
                    let heard = self.heard.entry(id).or_default();
                    heard.0.extend_from_slice(bytes);
                    heard.1 = end;
                    self.connection.consumed(id, credit, out);
                }
                Event::Trailers { id, fields, .. } => {
                    assert_eq!(fields.find_str("x-sum"), Some(&b"1"[..]));
                    self.trailers += 1;
                    self.heard.entry(id).or_default().1 = true;
                }
                Event::End { id, .. } => self.heard.entry(id).or_default().1 = true,
                Event::Reset { id, code, .. } => {
                    self.resets.push(code);
                    self.connection.forget(id, out);
                    self.heard.remove(&id);
                }
                Event::Settings | Event::Goaway { .. } => {}
                Event::Interim { .. } | Event::Bad { .. } => panic!("{event:?}"),
            }
        }
        audit(&self.connection);
    }

    /// A server: sends every finished body back, with trailers.
    fn echo(&mut self) {
        let done = self.heard.iter().filter(|(_, heard)| heard.1);
        let ids: Vec<u32> = done.map(|(&id, _)| id).collect();
        for id in ids {
            let (bytes, _) = self.heard.remove(&id).expect("it was there");
            self.connection.data(id, &bytes, false, &mut self.out);
            let mut fields = Fields::new();
            fields.push(b"x-sum", b"1");
            self.connection.trailers(id, &fields, &mut self.out);
            self.connection.forget(id, &mut self.out);
        }
    }
}

fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, future);
}

fn windows() -> [Config; 2] {
    let narrow = Config {
        stream_window: 1_000,
        connection_window: 0,
        ..Config::DEFAULT
    };
    [Config::DEFAULT, narrow]
}

/// One exchange of the other's client.
async fn ask(mut send: h2::client::SendRequest<Bytes>, size: usize, with_trailers: bool) {
    send = send.ready().await.expect("ready");
    let request = Request::post("https://a.example/echo?x=1")
        .header("content-type", "text/plain")
        .header("cookie", "a=b")
        .body(())
        .expect("a request");
    let (response, mut stream) = send.send_request(request, false).expect("sent");
    stream
        .send_data(body(size).into(), !with_trailers)
        .expect("sent");
    if with_trailers {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().expect("a value"));
        stream.send_trailers(trailers).expect("sent");
    }
    let response = response.await.expect("a response");
    assert_eq!(
        (response.status(), &response.headers()["server"]),
        (http::StatusCode::OK, &"ours".parse().expect("a value"))
    );
    let mut incoming = response.into_body();
    let mut heard = Vec::new();
    while let Some(chunk) = incoming.data().await {
        let chunk = chunk.expect("data");
        heard.extend_from_slice(&chunk);
        incoming
            .flow_control()
            .release_capacity(chunk.len())
            .expect("capacity");
    }
    assert!(heard == body(size), "{size} bytes come back");
    let trailers = incoming.trailers().await.expect("trailers");
    assert_eq!(trailers.expect("some")["x-sum"], "1");
}

#[test]
fn our_server_and_its_client() {
    for config in windows() {
        run(async move {
            let (ours, theirs) = duplex(7_000);
            let server = tokio::task::spawn_local(async move {
                let mut ours = Ours::new(Role::Server, &config, ours);
                while ours.turn().await {
                    ours.echo();
                }
                assert_eq!(ours.trailers, 2 * SIZES.len() / 2);
                assert_at_rest(&ours.connection);
            });
            let (send, connection) = h2::client::handshake(theirs).await.expect("a handshake");
            let driver = tokio::task::spawn_local(connection);
            let asks: Vec<_> = SIZES
                .iter()
                .chain(&SIZES)
                .enumerate()
                .map(|(at, &size)| tokio::task::spawn_local(ask(send.clone(), size, at % 2 == 0)))
                .collect();
            for ask in asks {
                ask.await.expect("an exchange");
            }
            drop(send);
            driver.await.expect("a driver").expect("a clean end");
            server.await.expect("a server");
        });
    }
}

/// The other's server: sends bodies back, with trailers; refuses `/no`.
async fn echo(theirs: DuplexStream) {
    let mut connection = h2::server::handshake(theirs).await.expect("a handshake");
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.expect("a request");
        tokio::task::spawn_local(async move {
            if request.uri().path() == "/no" {
                return respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
            assert_eq!(request.headers()["x-index"].len(), 5_000);
            let mut incoming = request.into_body();
            let mut heard = Vec::new();
            while let Some(chunk) = incoming.data().await {
                let chunk = chunk.expect("data");
                heard.extend_from_slice(&chunk);
                let flow = incoming.flow_control();
                flow.release_capacity(chunk.len()).expect("capacity");
            }
            let mut stream = respond
                .send_response(Response::new(()), false)
                .expect("sent");
            stream.send_data(heard.into(), false).expect("sent");
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "1".parse().expect("a value"));
            stream.send_trailers(trailers).expect("sent");
        });
    }
}

fn request(ours: &mut Ours, path: &[u8]) -> u32 {
    let id = ours.connection.open().expect("a stream");
    let long = "v".repeat(5_000);
    let mut head = ours.connection.head(id, &mut ours.out);
    head.request(b"POST", b"http", b"a.example", path, None);
    head.field(Name::Other, b"x-index", long.as_bytes());
    head.finish(false);
    id
}

#[test]
fn our_client_and_its_server() {
    for config in windows() {
        run(async move {
            let (ours, theirs) = duplex(7_000);
            let server = tokio::task::spawn_local(echo(theirs));
            let mut ours = Ours::new(Role::Client, &config, ours);
            let mut sizes = BTreeMap::new();
            for size in SIZES.into_iter().chain(SIZES) {
                let id = request(&mut ours, b"/echo");
                ours.connection.data(id, &body(size), true, &mut ours.out);
                sizes.insert(id, size);
            }
            let refused = request(&mut ours, b"/no");
            let dropped = request(&mut ours, b"/echo");
            ours.connection
                .reset(dropped, ErrorCode::Cancel, &mut ours.out);
            ours.connection.forget(dropped, &mut ours.out);
            while ours.heard.values().filter(|heard| heard.1).count() < sizes.len()
                || ours.resets.is_empty()
            {
                assert!(ours.turn().await, "the server stays");
            }
            assert!(!ours.heard.contains_key(&refused));
            assert_eq!(ours.resets, [ErrorCode::RefusedStream.number()]);
            assert_eq!(ours.statuses, vec![200; sizes.len()]);
            assert_eq!(ours.trailers, sizes.len());
            for (id, size) in sizes {
                assert!(ours.heard[&id].0 == body(size), "{size} bytes come back");
                ours.connection.forget(id, &mut ours.out);
            }
            assert_at_rest(&ours.connection);
            while !ours.out.is_empty() {
                ours.turn().await;
            }
            drop(ours);
            server.await.expect("a server");
        });
    }
}
