//! One engine on a workbench: the test plays the clients, the engines and the clock.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use engine::clock::{MS, Now};
use engine::exchange::log::Record;
use engine::ids::{AskId, ConnId, ListenerId, WorkerId};
use engine::input::{Accepted, Answer, Closed, Connected, DialError, Input, Mail, Secured};
use engine::output::{How, Output, Question};
use engine::shared::Shared;
use engine::snapshot::{Plan, Snapshot};
use engine::{Engine, Options};
use serde_json::{Value, json};

/// How the engine ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Fin,
    Reset,
    Now,
}

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) shared: Arc<Shared>,
    pub(crate) now_ns: u64,
    outputs: BTreeMap<ConnId, Vec<u8>>,
    ended: BTreeMap<ConnId, Ended>,
    /// Peers that take no byte.
    blocked: Vec<ConnId>,
    pub(crate) paused: Vec<ConnId>,
    dials: VecDeque<(ConnId, u16)>,
    pub(crate) records: VecDeque<Record>,
    pub(crate) asks: VecDeque<(AskId, Question)>,
    pub(crate) mails: VecDeque<(WorkerId, Mail)>,
    generation: u64,
}

/// A plan with two endpoints and a route for `model`, changed by the test.
pub(crate) fn plan(change: impl FnOnce(&mut Value)) -> Plan {
    let endpoint = |port: u16| {
        json!({"name": format!("e{port}"), "address": {"tcp": format!("127.0.0.1:{port}")},
            "authority": format!("e{port}:{port}"), "weight": 1, "concurrency": 4})
    };
    let pool = |name: &str, endpoints: Value| {
        json!({
            "name": name, "modality": "chat", "balance": "least_loaded", "endpoints": endpoints,
            "channel": {"capacity": 4, "bytes_max": 1_000_000, "max_wait_ms": 1000},
            "timeouts": {"connect_ms": 2000, "head_ms": 0, "first_token_ms": 20_000,
                "inter_token_ms": 10_000, "unary_total_ms": 60_000, "stream_total_ms": 0,
                "client_stall_ms": 5000},
            "retry": {"attempts_max": 3, "budget_ratio": 0.2, "budget_min_per_s": 10,
                "statuses": [502, 503]},
            "eject": {"consecutive": 0, "base_ms": 1000, "max_ms": 1000, "max_percent": 50},
            "host": "endpoint", "connections_max": 10, "idle_ms": 3000, "commit": "first_event"
        })
    };
    let route = |name: &str, model: &str, pool: u32| {
        json!({"name": name, "match": {"models": [model]}, "pool": pool, "class": 1,
            "body_bytes_max": 500_000})
    };
    let mut value = json!({
        "via": "gate",
        "listeners": [{"name": "front", "address": {"tcp": "127.0.0.1:8080"}, "kind": "data",
            "connections_max": 100, "idle_ms": 60_000, "head_ms": 10_000}],
        "pools": [pool("main", json!([endpoint(9001), endpoint(9002)])),
            pool("other", json!([endpoint(9003)]))],
        "routes": [route("llama", "llama-*", 0), route("other", "org/name", 1)],
        "default_pool": null,
        "held_bytes_max": 10_000_000,
        "held_body_bytes_max": 200_000,
        "access_log": "-"
    });
    change(&mut value);
    serde_json::from_value(value).expect("a plan")
}

impl Bench {
    pub(crate) fn new(change: impl FnOnce(&mut Value)) -> Self {
        let shared = Arc::new(Shared::new(1));
        shared.set_ready(true);
        let now_ns = 1_000_000 * MS;
        let snapshot = Snapshot::compile(&plan(change), &shared, 1, 1, now_ns).expect("a plan");
        let options = Options {
            worker: WorkerId(0),
            workers: 1,
            seed: 1,
        };
        let engine = Engine::new(options, Arc::clone(&shared), Arc::new(snapshot), at(now_ns));
        Self {
            engine,
            shared,
            now_ns,
            outputs: BTreeMap::new(),
            ended: BTreeMap::new(),
            blocked: Vec::new(),
            paused: Vec::new(),
            dials: VecDeque::new(),
            records: VecDeque::new(),
            asks: VecDeque::new(),
            mails: VecDeque::new(),
            generation: 1,
        }
    }

    /// One turn with these inputs.
    fn turn(&mut self, inputs: Vec<Input<'_>>) {
        self.engine.begin(at(self.now_ns));
        for input in inputs {
            self.engine.handle(input);
        }
        self.engine.end();
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            match self.engine.poll() {
                Output::Wait(_) => return,
                Output::Write(conn) => self.flush(conn),
                Output::PauseRead(conn) => self.paused.push(conn),
                Output::ResumeRead(conn) => self.paused.retain(|c| *c != conn),
                Output::Dial(conn, to) => {
                    let engine::snapshot::Address::Tcp(address) = to.target.address() else {
                        unreachable!("the plan has no unix sockets")
                    };
                    self.dials.push_back((conn, address.port()));
                }
                Output::Close(conn, how) => {
                    let ended = match how {
                        How::Flush(rest) => {
                            self.outputs.entry(conn).or_default().extend(rest);
                            Ended::Fin
                        }
                        How::Reset => Ended::Reset,
                        How::Now => Ended::Now,
                    };
                    self.dials.retain(|(c, _)| *c != conn);
                    self.ended.insert(conn, ended);
                }
                Output::Mail(worker, mail) => self.mails.push_back((worker, mail)),
                Output::Ask(id, question) => self.asks.push_back((id, question)),
                Output::Record(record) => self.records.push_back(*record),
            }
        }
    }

    fn flush(&mut self, conn: ConnId) {
        if self.blocked.contains(&conn) {
            return;
        }
        let bytes = self.engine.pending(conn).to_vec();
        self.outputs.entry(conn).or_default().extend(&bytes);
        self.engine.wrote(conn, bytes.len(), self.now_ns + 1000);
    }

    /// A client connects to the first listener.
    pub(crate) fn client(&mut self) -> ConnId {
        self.client_of(0, [10, 0, 0, 1]).expect("accepted")
    }

    pub(crate) fn client_of(&mut self, listener: u32, ip: [u8; 4]) -> Option<ConnId> {
        self.engine.begin(at(self.now_ns));
        let conn = self.engine.accepted(Accepted {
            listener: ListenerId(listener),
            peer: Some(SocketAddr::from((Ipv4Addr::from(ip), 1234))),
            local: None,
        });
        self.engine.end();
        self.settle();
        conn
    }

    /// Bytes of a peer.
    pub(crate) fn send(&mut self, conn: ConnId, bytes: impl AsRef<[u8]>) {
        self.turn(vec![Input::Read(conn, bytes.as_ref())]);
    }

    /// A client's handshake is complete.
    pub(crate) fn secured(&mut self, conn: ConnId, secured: Secured) {
        self.turn(vec![Input::Secured(conn, Box::new(secured))]);
    }

    pub(crate) fn close(&mut self, conn: ConnId, closed: Closed) {
        self.turn(vec![Input::Closed(conn, closed)]);
    }

    pub(crate) fn mail(&mut self, mail: Mail) {
        self.turn(vec![Input::Mail(mail)]);
    }

    pub(crate) fn answer(&mut self, status: u16, body: &[u8]) {
        let (id, _) = self.asks.pop_front().expect("a question");
        let answer = Answer {
            status,
            fields: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_vec(),
        };
        self.mail(Mail::Answer(id, answer));
    }

    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Value)) {
        self.generation += 1;
        let plan = plan(change);
        let snapshot = Snapshot::compile(&plan, &self.shared, 1, self.generation, self.now_ns);
        self.mail(Mail::Snapshot(Arc::new(snapshot.expect("a plan"))));
    }

    /// The endpoint that is dialled next, or `None`.
    pub(crate) fn dial(&mut self) -> Option<(ConnId, u16)> {
        self.dials.pop_front()
    }

    /// Lets the next dial succeed and gives the connection.
    pub(crate) fn upstream(&mut self) -> ConnId {
        let (conn, _) = self.dial().expect("a dial");
        self.turn(vec![Input::Connected(conn, Ok(Connected::default()))]);
        conn
    }

    pub(crate) fn refuse_dial(&mut self) -> u16 {
        self.fail_dial(DialError::Refused)
    }

    pub(crate) fn fail_dial(&mut self, error: DialError) -> u16 {
        let (conn, port) = self.dial().expect("a dial");
        self.turn(vec![Input::Connected(conn, Err(error))]);
        port
    }

    /// When the engine wants its next turn.
    pub(crate) fn wait_ns(&mut self) -> Option<u64> {
        match self.engine.poll() {
            Output::Wait(at_ns) => at_ns,
            other => panic!("{other:?} was not carried out"),
        }
    }

    /// A turn without an input.
    pub(crate) fn tick(&mut self) {
        self.turn(vec![Input::Tick]);
    }

    /// Time passes, in steps at which timers may fire.
    pub(crate) fn after_ms(&mut self, ms: u64) {
        let until_ns = self.now_ns + ms * MS;
        while self.now_ns < until_ns {
            let next = match self.engine.poll() {
                Output::Wait(Some(at_ns)) => at_ns.max(self.now_ns + 1).min(until_ns),
                _ => until_ns,
            };
            self.now_ns = next;
            self.turn(vec![Input::Tick]);
        }
    }

    /// The turns of the last second took so long.
    pub(crate) fn busy_ms(&mut self, ms: u64) {
        self.engine.turned(ms * MS, 1);
        self.after_ms(1000);
    }

    /// The peer takes nothing from now on, or again.
    pub(crate) fn block(&mut self, conn: ConnId, blocked: bool) {
        self.blocked.retain(|c| *c != conn);
        if blocked {
            self.blocked.push(conn);
        } else {
            self.engine.begin(at(self.now_ns));
            self.flush(conn);
            self.engine.end();
            self.settle();
        }
    }

    /// What the engine sent to a peer since it was last asked.
    pub(crate) fn got(&mut self, conn: ConnId) -> String {
        let bytes = self.outputs.remove(&conn).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The same as bytes.
    pub(crate) fn bytes(&mut self, conn: ConnId) -> Vec<u8> {
        self.outputs.remove(&conn).unwrap_or_default()
    }

    pub(crate) fn ended(&self, conn: ConnId) -> Option<Ended> {
        self.ended.get(&conn).copied()
    }

    pub(crate) fn record(&mut self) -> Record {
        self.records.pop_front().expect("a record")
    }

    /// Nothing is left of any exchange, and every permit is back.
    pub(crate) fn is_quiet(&self) -> bool {
        let census = self.engine.census();
        census.exchanges == 0
            && self.shared.rooms().iter().all(|r| r.quiet())
            && self.shared.held_bytes.held() == 0
    }
}

fn at(mono_ns: u64) -> Now {
    Now {
        mono_ns,
        wall_ms: 1_700_000_000_000,
    }
}

/// A chat request.
pub(crate) fn chat(model: &str, more: &str) -> String {
    post(
        "/v1/chat/completions",
        "",
        &format!(r#"{{"model":"{model}"{more}}}"#),
    )
}

/// A chat request that asks for a stream.
pub(crate) fn stream() -> String {
    chat("llama-3", r#","stream":true"#)
}

pub(crate) fn post(path: &str, fields: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: front\r\ncontent-type: application/json\r\n{fields}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: front\r\n{fields}\r\n")
}

pub(crate) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The head of an event stream.
pub(crate) const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

pub(crate) fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

pub(crate) fn status(response: &str) -> u16 {
    let code = response.get(9..12).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no response: {response:?}"))
}

/// The value of a field in the (only) head.
pub(crate) fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let head = message.split("\r\n\r\n").next()?;
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == name).then(|| value.trim())
    })
}

pub(crate) fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

impl Bench {
    /// A dial that the test took itself succeeds.
    pub(crate) fn mail_connected(&mut self, conn: ConnId) {
        self.connected(conn, Connected::default());
    }

    /// The same, with what its handshake agreed on.
    pub(crate) fn connected(&mut self, conn: ConnId, connected: Connected) {
        self.turn(vec![Input::Connected(conn, Ok(connected))]);
    }
}
