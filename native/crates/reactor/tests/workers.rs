//! Several workers: mail between them, balance, bugs and replacements, drain.
#![allow(
    clippy::unwrap_used,
    reason = "test code outside of the test functions"
)]

mod harness;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use engine::clock::MS;
use engine::ids::{AskId, ConnId, ExchangeId, WorkerId};
use engine::input::{Accepted, Answer, Closed, Mail};
use engine::output::{How, Output, Question};
use engine::snapshot::ListenerKind;
use harness::*;
use reactor::{Host, Listen, limits};

const EXCHANGE: ExchangeId = ExchangeId {
    index: 0,
    generation: 1,
};

fn answer(id: WorkerId, status: u16) -> Mail {
    let id = AskId {
        worker: id,
        exchange: EXCHANGE,
    };
    Mail::Answer(
        id,
        Answer {
            status,
            fields: Vec::new(),
            body: Vec::new(),
        },
    )
}

/// Any byte makes the next worker write the byte's worker number to its own connection.
struct Ring {
    seen: Sender<(u16, u16)>,
}

impl Behaviour for Ring {
    fn read(&mut self, at: &mut Table, _id: ConnId, _bytes: &[u8]) {
        let to = WorkerId((at.birth.worker.0 + 1) % at.birth.workers);
        at.outputs
            .push_back(Output::Mail(to, answer(to, at.birth.worker.0)));
    }
    fn mail(&mut self, at: &mut Table, mail: Mail) {
        if let Mail::Answer(_, answer) = mail {
            self.seen.send((answer.status, at.birth.worker.0)).unwrap();
        }
    }
}

#[test]
fn workers_send_each_other_mail() {
    let (sender, seen) = channel();
    let host = launch(workers(2), &[tcp()], move |_| Ring {
        seen: sender.clone(),
    });
    let mut clients: Vec<_> = (0..4).map(|_| connect(port(&host))).collect();
    // Here a connection is an exchange, too, and counts twice until it speaks: three may go to one.
    eventually("both workers have sockets", || {
        let live = host.live();
        live.iter().all(|(_, live)| *live > 0)
            && live.iter().map(|(_, live)| live).sum::<usize>() == 4
    });
    for _ in 0..1000 {
        for client in &mut clients {
            client.write_all(b"x").unwrap();
            let (from, to) = seen.recv_timeout(PATIENCE).unwrap();
            assert_eq!(from + to, 1, "from one to the other");
        }
    }
    end(&host);
}

#[test]
fn the_acceptor_balances_over_two_workers() {
    let host = launch(workers(2), &[tcp()], |_| Echo::default());
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = connect(port(&host));
        exchange(&mut client, b"x");
        clients.push(client);
    }
    let spread = || {
        host.live()
            .into_iter()
            .map(|(_, live)| live)
            .collect::<Vec<_>>()
    };
    eventually("all are counted", || spread().iter().sum::<usize>() == 50);
    let spread = spread();
    assert!(
        spread.iter().all(|live| (20..=30).contains(live)),
        "{spread:?}"
    );
    end(&host);
}

/// Says its number when asked, and has an exchange with everybody who ever asked.
#[derive(Default)]
struct Asked(std::collections::HashSet<ConnId>);

impl Behaviour for Asked {
    fn read(&mut self, at: &mut Table, id: ConnId, _bytes: &[u8]) {
        self.0.insert(id);
        at.write(id, &at.birth.worker.0.to_be_bytes());
    }
    fn live(&self, _at: &Table) -> usize {
        self.0.len()
    }
}

#[test]
fn clients_whose_first_byte_is_to_come_are_shared_out_as_well() {
    let host = launch(workers(2), &[tcp()], |_| Asked::default());
    let mut first = connect(port(&host));
    let busy = worker_of(&mut first);
    // One after the other, so that each mailbox is empty again before the next comes.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(connect(port(&host)));
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked: Vec<u16> = silent.iter_mut().map(worker_of).collect();
    let with_the_first = asked.iter().filter(|id| **id == busy).count();
    assert!((8..=11).contains(&with_the_first), "{asked:?}");
    end(&host);
}

/// Has a bug: panics on `!`.
struct Buggy;

impl Behaviour for Buggy {
    fn read(&mut self, at: &mut Table, id: ConnId, bytes: &[u8]) {
        assert!(bytes[0] != b'!', "a bug, on purpose");
        at.write(id, &at.birth.worker.0.to_be_bytes());
    }
}

fn worker_of(client: &mut (impl Read + Write)) -> u16 {
    client.write_all(b"?").unwrap();
    let mut id = [0; 2];
    client.read_exact(&mut id).unwrap();
    u16::from_be_bytes(id)
}

fn a_bug_costs_one_connection_and_the_worker(workers_count: u16) {
    let host = launch(workers(workers_count), &[tcp()], |_| Buggy);
    let mut victim = connect(port(&host));
    let old = worker_of(&mut victim);
    let mut others: Vec<_> = (0..4).map(|_| connect(port(&host))).collect();
    let homes: Vec<u16> = others.iter_mut().map(worker_of).collect();
    victim.write_all(b"!").unwrap();
    let error = victim.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(host.bugs(), 1);
    let again: Vec<u16> = others.iter_mut().map(worker_of).collect();
    assert_eq!(homes, again, "streams of the old worker go on");
    let newcomers: Vec<u16> = (0..8)
        .map(|_| worker_of(&mut connect(port(&host))))
        .collect();
    assert!(
        !newcomers.contains(&old),
        "the old worker gets no more sockets"
    );
    assert!(newcomers.contains(&workers_count), "its replacement does");
    host.stop();
    assert!(host.join(PATIENCE));
}

#[test]
fn a_panic_replaces_one_of_two_workers() {
    a_bug_costs_one_connection_and_the_worker(2);
}

#[test]
fn a_panic_replaces_the_only_worker_and_hands_over_its_listeners() {
    a_bug_costs_one_connection_and_the_worker(1);
}

#[test]
fn when_spares_run_out_the_suspect_worker_goes_on() {
    let host = launch(workers(1), &[tcp()], |_| Buggy);
    for _ in 0..limits::SPARE_WORKERS + 4 {
        let mut client = connect(port(&host));
        worker_of(&mut client);
        client.write_all(b"!").unwrap();
        assert!(client.read(&mut [0; 1]).is_err());
    }
    assert_eq!(host.bugs(), u64::from(limits::SPARE_WORKERS) + 4);
    worker_of(&mut connect(port(&host)));
    host.stop();
    assert!(host.join(PATIENCE));
}

/// As `Buggy`; says whom it outlived, and what mail came back.
struct Heir {
    outlived: Sender<(WorkerId, WorkerId)>,
    unread: Sender<WorkerId>,
    me: WorkerId,
}

impl Behaviour for Heir {
    fn read(&mut self, at: &mut Table, id: ConnId, bytes: &[u8]) {
        Buggy.read(at, id, bytes);
    }
    fn outlived(&mut self, worker: WorkerId) {
        let _ = self.outlived.send((self.me, worker));
    }
    fn undelivered(&mut self, worker: WorkerId, _mail: Mail) {
        let _ = self.unread.send(worker);
    }
}

#[test]
fn what_an_ended_worker_leaves_behind_is_seen_to() {
    for count in [1, 2] {
        let ((outlived, ends), (unread, returned)) = (channel(), channel());
        let host = launch(workers(count), &[tcp()], move |birth| Heir {
            outlived: outlived.clone(),
            unread: unread.clone(),
            me: birth.worker,
        });
        let mut victim = connect(port(&host));
        let old = WorkerId(worker_of(&mut victim));
        victim.write_all(b"!").unwrap();
        let (by, ended) = ends.recv_timeout(PATIENCE).expect("somebody is told");
        assert_eq!(ended, old);
        assert_ne!(by, old);
        assert!(returned.try_recv().is_err(), "no mail was lost");
        host.stop();
        assert!(host.join(PATIENCE));
    }
}

/// Sets a deadline and counts how often and when it is turned.
struct Clocked {
    fired: Arc<AtomicUsize>,
    late_ns: Arc<AtomicUsize>,
    next_ns: u64,
}

impl Behaviour for Clocked {
    fn ended(&mut self, at: &mut Table) {
        let now_ns = at.now.mono_ns;
        if self.next_ns == 0 {
            self.next_ns = now_ns + 10 * MS;
        } else if now_ns >= self.next_ns {
            self.fired.fetch_add(1, Ordering::Relaxed);
            self.late_ns
                .fetch_max((now_ns - self.next_ns) as usize, Ordering::Relaxed);
            self.next_ns = now_ns + 10 * MS;
        }
        at.deadline_ns = Some(self.next_ns);
    }
}

#[test]
fn deadlines_are_kept() {
    let (fired, late_ns) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, late) = (Arc::clone(&fired), Arc::clone(&late_ns));
    let host = launch(workers(1), &[], move |_| Clocked {
        fired: Arc::clone(&count),
        late_ns: Arc::clone(&late),
        next_ns: 0,
    });
    eventually("20 deadlines", || fired.load(Ordering::Relaxed) >= 20);
    end(&host);
}

/// Puts the same question many times; answers go to the connection.
struct Asker {
    conn: Option<ConnId>,
    questions: usize,
}

impl Behaviour for Asker {
    fn opened(&mut self, _at: &mut Table, id: ConnId, _accepted: &Accepted) -> bool {
        self.conn = Some(id);
        true
    }
    fn read(&mut self, at: &mut Table, _id: ConnId, _bytes: &[u8]) {
        for _ in 0..self.questions {
            let id = AskId {
                worker: at.birth.worker,
                exchange: EXCHANGE,
            };
            at.outputs.push_back(Output::Ask(
                id,
                Question::Models {
                    authorization: None,
                },
            ));
        }
    }
    fn mail(&mut self, at: &mut Table, mail: Mail) {
        if let (Mail::Answer(_, answer), Some(conn)) = (mail, self.conn) {
            at.write(conn, &answer.status.to_be_bytes());
        }
    }
}

#[test]
fn questions_reach_the_control_plane_and_answers_come_back() {
    let questions = limits::ASKS_MAX + 3;
    let host = launch(workers(1), &[tcp()], move |_| Asker {
        conn: None,
        questions,
    });
    let mut client = connect(port(&host));
    client.write_all(b"?").unwrap();
    let mut refused = [0; 6];
    client.read_exact(&mut refused).unwrap();
    assert_eq!(
        refused,
        [1, 247, 1, 247, 1, 247],
        "503 for those beyond the bound"
    );
    wait_readable(host.asks().fileno());
    let asked = host.asks().drain();
    assert_eq!(asked.len(), limits::ASKS_MAX);
    assert!(host.asks().drain().is_empty());
    let (id, _) = asked[0];
    host.answer(
        id,
        Answer {
            status: 200,
            fields: Vec::new(),
            body: Vec::new(),
        },
    );
    let mut status = [0; 2];
    client.read_exact(&mut status).unwrap();
    assert_eq!(u16::from_be_bytes(status), 200);
    end(&host);
}

fn wait_readable(fd: i32) {
    let mut poll = mio::Poll::new().unwrap();
    let source = &mut mio::unix::SourceFd(&fd);
    poll.registry()
        .register(source, mio::Token(0), mio::Interest::READABLE)
        .unwrap();
    let mut events = mio::Events::with_capacity(1);
    poll.poll(&mut events, Some(PATIENCE)).unwrap();
    assert!(!events.is_empty());
}

#[test]
fn a_drain_closes_data_listeners_and_waits_for_connections() {
    for count in [1, 2] {
        let admin = Listen {
            name: "admin".into(),
            kind: ListenerKind::Admin,
            ..tcp()
        };
        let host = launch(workers(count), &[tcp(), admin], |_| Echo::default());
        let (data, admin) = ports(&host);
        let mut client = connect(data);
        exchange(&mut client, b"before");
        host.drain(drain(60_000));
        eventually("new connections are refused", || {
            std::net::TcpStream::connect(data).is_err()
        });
        exchange(&mut connect(admin), b"admin");
        assert!(!host.drained());
        exchange(&mut client, b"after");
        drop(client);
        eventually("drained", || host.drained());
        end(&host);
    }
}

fn ports<M: reactor::Machine + 'static>(
    host: &Host<M>,
) -> (std::net::SocketAddr, std::net::SocketAddr) {
    let mut ports = host
        .addresses()
        .into_iter()
        .map(|(_, address)| match address {
            engine::snapshot::Address::Tcp(tcp) => tcp,
            _ => panic!("TCP only"),
        });
    (ports.next().unwrap(), ports.next().unwrap())
}

/// Refuses every socket.
struct Full;

impl Behaviour for Full {
    fn opened(&mut self, _at: &mut Table, _id: ConnId, _accepted: &Accepted) -> bool {
        false
    }
    fn closed(&mut self, _at: &mut Table, _id: ConnId, _closed: Closed) {}
}

#[test]
fn refused_sockets_are_closed() {
    let host = launch(workers(1), &[tcp()], |_| Full);
    let mut client = connect(port(&host));
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    end(&host);
}

/// Writes its last words at the end of each connection, mail or not.
struct Slow;

impl Behaviour for Slow {
    fn read(&mut self, at: &mut Table, id: ConnId, _bytes: &[u8]) {
        at.close(id, How::Flush(pattern(2 << 20)));
    }
}

#[test]
fn a_slow_reader_gets_the_whole_last_answer() {
    let host = launch(workers(1), &[tcp()], |_| Slow);
    let mut client = connect(port(&host));
    client.write_all(b"x").unwrap();
    let mut back = Vec::new();
    let mut piece = vec![0; 100_000];
    loop {
        std::thread::sleep(Duration::from_millis(2));
        match client.read(&mut piece).unwrap() {
            0 => break,
            bytes => back.extend_from_slice(&piece[..bytes]),
        }
    }
    assert!(back == pattern(2 << 20));
    end(&host);
}
