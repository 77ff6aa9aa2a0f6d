//! The cap of connections to an endpoint is one of all workers: an idle connection of one worker
//! makes way for another's, and nobody waits for it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use engine::clock::{MS, Now};
use engine::ids::{ConnId, ListenerId, WorkerId};
use engine::input::{Accepted, Connected, DialError, Input, Mail};
use engine::output::Output;
use engine::shared::Shared;
use engine::snapshot::{Plan, Snapshot};
use engine::{Engine, Options};

const PLAN: &str = r#"{
    "via": "fastproxy",
    "listeners": [{"name": "here", "address": {"tcp": "127.0.0.1:8080"}, "kind": "data",
        "connections_max": 100, "idle_ms": 60000, "head_ms": 10000}],
    "pools": [{
        "name": "pool", "modality": "chat", "balance": "least_loaded",
        "endpoints": [{"name": "one", "address": ADDRESS,
            "authority": "one", "weight": 1, "concurrency": 100}],
        "channel": {"capacity": 8, "bytes_max": 1000000, "max_wait_ms": 1000},
        "timeouts": {"connect_ms": 2000, "head_ms": 0, "first_token_ms": 0,
            "inter_token_ms": 0, "unary_total_ms": 0, "stream_total_ms": 0,
            "client_stall_ms": 0},
        "retry": {"attempts_max": 1, "budget_ratio": 0.2, "budget_min_per_s": 1, "statuses": []},
        "eject": {"consecutive": 1, "base_ms": 60000, "max_ms": 60000, "max_percent": 100},
        "host": "endpoint", "connections_max": 2, "idle_ms": 3000, "commit": "head"
    }],
    "routes": [],
    "default_pool": 0,
    "held_bytes_max": 1000000,
    "held_body_bytes_max": 1000000,
    "access_log": null
}"#;
const LITERAL: &str = r#"{"tcp": "127.0.0.1:9"}"#;
const NAMED: &str = r#"{"name": {"host": "engine.test", "port": 9}}"#;
const REQUEST: &[u8] = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

/// Two workers of one process; mail between them is delivered at once.
struct Process {
    shared: Arc<Shared>,
    workers: Vec<Engine>,
    dials: VecDeque<(usize, ConnId)>,
    closed: Vec<(usize, ConnId)>,
    now_ns: u64,
}

impl Process {
    fn new(address: &str) -> Self {
        let plan: Plan = serde_json::from_str(&PLAN.replace("ADDRESS", address)).expect("a plan");
        let shared = Arc::new(Shared::new(2));
        let snapshot = Snapshot::compile(&plan, &shared, 2, 1, MS).expect("a good plan");
        let snapshot = Arc::new(snapshot);
        let worker = |worker| {
            let options = Options {
                worker: WorkerId(worker),
                workers: 2,
                seed: 7,
            };
            Engine::new(options, Arc::clone(&shared), Arc::clone(&snapshot), at(MS))
        };
        Self {
            workers: vec![worker(0), worker(1)],
            shared,
            dials: VecDeque::new(),
            closed: Vec::new(),
            now_ns: MS,
        }
    }

    fn turn(&mut self, worker: usize, input: Input<'_>) {
        self.now_ns += MS;
        let engine = &mut self.workers[worker];
        engine.begin(at(self.now_ns));
        engine.handle(input);
        engine.end();
        self.settle(worker);
    }

    fn settle(&mut self, worker: usize) {
        let mut mail: Vec<(usize, Mail)> = Vec::new();
        loop {
            let engine = &mut self.workers[worker];
            match engine.poll() {
                Output::Wait(_) => break,
                Output::Write(conn) => {
                    let bytes = engine.pending(conn).len();
                    engine.wrote(conn, bytes, self.now_ns);
                }
                Output::Dial(conn, _) => self.dials.push_back((worker, conn)),
                Output::Close(conn, _) => self.closed.push((worker, conn)),
                Output::Mail(to, letter) => mail.push((usize::from(to.0), letter)),
                _ => {}
            }
        }
        for (to, letter) in mail {
            self.turn(to, Input::Mail(letter));
        }
    }

    /// A client of that worker asks; its connection.
    fn ask(&mut self, worker: usize) -> ConnId {
        let accepted = Accepted {
            listener: ListenerId(0),
            peer: Some("127.0.0.1:5000".parse().expect("an address")),
            local: None,
        };
        let client = self.workers[worker].accepted(accepted).expect("room");
        self.turn(worker, Input::Read(client, REQUEST));
        client
    }

    /// The dial that is waited for succeeds; its connection.
    fn connect(&mut self, connected: Connected) -> ConnId {
        let (worker, conn) = self.dials.pop_front().expect("a dial");
        self.turn(worker, Input::Connected(conn, Ok(connected)));
        conn
    }

    /// An exchange from its request to its end, over a connection that stays idle.
    fn serve(&mut self, worker: usize) -> ConnId {
        self.ask(worker);
        let conn = self.connect(Connected::default());
        self.turn(worker, Input::Read(conn, RESPONSE));
        conn
    }

    fn open(&self) -> u64 {
        self.shared.rooms()[0].snapshot(self.now_ns).endpoints[0].connections
    }
}

fn at(mono_ns: u64) -> Now {
    Now {
        mono_ns,
        wall_ms: 0,
    }
}

#[test]
fn an_idle_connection_of_one_worker_makes_way_for_another() {
    let mut process = Process::new(LITERAL);
    let idle = process.serve(0);
    process.ask(1);
    assert_eq!(process.open(), 2);
    assert!(process.closed.is_empty(), "two may be open");
    process.ask(1);
    assert_eq!(process.closed, [(0, idle)]);
    assert_eq!(process.open(), 2);
    assert_eq!(process.dials.len(), 2, "nobody waits for it");
}

#[test]
fn no_more_requests_are_let_in_than_there_may_be_connections() {
    let mut process = Process::new(LITERAL);
    for _ in 0..3 {
        process.ask(0);
    }
    assert_eq!((process.dials.len(), process.open()), (2, 2));
    let view = process.shared.rooms()[0].snapshot(process.now_ns);
    assert_eq!((view.depth, view.endpoints[0].concurrency), (1, 2));
}

#[test]
fn a_connection_is_counted_until_it_is_closed() {
    let mut process = Process::new(LITERAL);
    process.ask(0);
    assert_eq!(process.open(), 1);
    let (worker, conn) = process.dials.pop_front().expect("a dial");
    process.turn(worker, Input::Connected(conn, Err(DialError::Refused)));
    assert_eq!(process.open(), 0);
}

#[test]
fn an_idle_connection_to_an_address_that_is_gone_is_not_used() {
    let mut process = Process::new(NAMED);
    let ip = |last: u8| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    process.shared.resolve("engine.test", &[ip(1), ip(2)]);
    process.ask(0);
    let peer = Some((ip(1), 9).into());
    let connected = Connected {
        peer,
        ..Connected::default()
    };
    let first = process.connect(connected);
    process.turn(0, Input::Read(first, RESPONSE));
    process.ask(0);
    assert!(process.dials.is_empty(), "it is used again");
    process.turn(0, Input::Read(first, RESPONSE));
    process.shared.resolve("engine.test", &[]);
    process.shared.resolve("engine.test", &[ip(2), ip(1)]);
    process.ask(0);
    assert!(process.dials.is_empty(), "its address is still there");
    process.turn(0, Input::Read(first, RESPONSE));
    process.shared.resolve("engine.test", &[ip(2)]);
    process.ask(0);
    assert_eq!(process.closed, [(0, first)]);
    assert_eq!(process.dials.len(), 1);
}

#[test]
fn the_first_answer_ends_an_ejection_that_its_lack_had_caused() {
    let mut process = Process::new(NAMED);
    process.ask(0);
    let (worker, conn) = process.dials.pop_front().expect("a dial");
    process.turn(worker, Input::Connected(conn, Err(DialError::Unresolved)));
    let ejected = |process: &Process| {
        let view = process.shared.rooms()[0].snapshot(process.now_ns);
        view.endpoints[0].failures_in_row
    };
    assert_eq!(ejected(&process), 1);
    let found = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    process.shared.resolve("engine.test", &found);
    assert_eq!(ejected(&process), 0);
    process.ask(0);
    assert_eq!(process.dials.len(), 1);
}
