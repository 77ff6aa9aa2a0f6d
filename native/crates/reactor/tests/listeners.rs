//! Addresses: binding, errors that help, reload, descriptors running out.
#![allow(
    clippy::unwrap_used,
    reason = "test code outside of the test functions"
)]

mod harness;

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use engine::ids::{AskId, ConnId, ExchangeId};
use engine::input::{Accepted, Answer, Mail};
use engine::snapshot::{Address, ListenerKind};
use harness::*;
use reactor::{Host, Listen, StartError};

fn named(name: &str, listen: Listen) -> Listen {
    Listen {
        name: name.into(),
        ..listen
    }
}

fn failure(listeners: &[Listen]) -> String {
    let host = Host::launch(workers(1), None, listeners, factory(|_| Echo::default()));
    match host {
        Err(StartError::Listen(error)) => error.to_string(),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listen = Listen {
        name: "front".into(),
        address: Address::Tcp(address),
        ..tcp()
    };
    let text = failure(&[tcp(), listen]);
    assert!(text.starts_with(&format!(
        "cannot listen on {address} (listener \"front\"): "
    )));
    assert!(text.contains("choose another port"), "{text}");
}

#[test]
fn a_foreign_address_and_a_missing_directory_are_named() {
    let foreign = Address::Tcp("192.0.2.1:80".parse().unwrap());
    assert!(
        failure(&[Listen {
            address: foreign,
            ..tcp()
        }])
        .contains("no interface")
    );
    let nowhere = unix("/nonexistent-directory/socket".as_ref());
    assert!(failure(&[nowhere]).contains("create its directory"));
    let long = unix(format!("/tmp/{}", "x".repeat(200)).as_ref());
    assert!(failure(&[long]).contains("SUN_LEN"));
}

#[test]
fn a_unix_socket_replaces_a_stale_file_but_no_living_one() {
    let path = path("stale");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a file without a listener");
    let host = launch(workers(1), &[unix(&path)], |_| Echo::default());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert!(failure(&[unix(&path)]).contains("another process answers"));
    exchange(&mut UnixStream::connect(&path).unwrap(), b"still ours");
    end(&host);
    assert!(!path.exists());
    std::fs::write(&path, "not a socket").unwrap();
    assert!(failure(&[unix(&path)]).contains("not a socket"));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_successors_file_is_left_alone() {
    let path = path("successor");
    let host = launch(workers(1), &[unix(&path)], |_| Echo::default());
    std::fs::remove_file(&path).unwrap();
    let _successor = UnixListener::bind(&path).unwrap();
    end(&host);
    assert!(path.exists());
}

#[test]
fn ipv6_and_ipv4_wildcards_live_side_by_side() {
    let any = |text: &str| Address::Tcp(text.parse().unwrap());
    let first = Listen {
        address: any("0.0.0.0:0"),
        ..tcp()
    };
    let host = launch(workers(1), std::slice::from_ref(&first), |_| {
        Echo::default()
    });
    let port = port(&host).port();
    let second = Listen {
        name: "six".into(),
        address: any(&format!("[::]:{port}")),
        ..tcp()
    };
    host.rearrange(&[first, second], || |_| None).unwrap();
    exchange(
        &mut connect(SocketAddr::new("127.0.0.1".parse().unwrap(), port)),
        b"four",
    );
    exchange(
        &mut connect(SocketAddr::new("::1".parse().unwrap(), port)),
        b"six",
    );
    end(&host);
}

/// Says the listener, and the generation of the configuration that it was accepted under.
#[derive(Default)]
struct Teller {
    generation: u16,
    told: Vec<(ConnId, u32, u16)>,
}

impl Behaviour for Teller {
    fn opened(&mut self, _at: &mut Table, id: ConnId, accepted: &Accepted) -> bool {
        let peer = accepted.peer.expect("TCP");
        assert!(peer.ip().is_loopback() && accepted.local.expect("TCP").ip().is_loopback());
        self.told.push((id, accepted.listener.0, self.generation));
        true
    }
    fn mail(&mut self, _at: &mut Table, mail: Mail) {
        if let Mail::Answer(_, answer) = mail {
            self.generation = answer.status;
        }
    }
    fn ended(&mut self, at: &mut Table) {
        for (id, listener, generation) in self.told.drain(..) {
            if at.is_open(id) {
                at.write(id, &[listener as u8, generation as u8]);
            }
        }
    }
}

fn told(to: SocketAddr) -> (u8, u8) {
    let mut told = [0; 2];
    connect(to).read_exact(&mut told).unwrap();
    (told[0], told[1])
}

#[test]
fn a_reload_moves_listeners_and_tells_workers_in_order() {
    for count in [1, 2] {
        let (one, two) = (named("one", tcp()), named("two", tcp()));
        let both = [one.clone(), two.clone()];
        let host = launch(workers(count), &both, |_| Teller::default());
        let address = |name: &str| {
            let found = host
                .addresses()
                .into_iter()
                .find(|(found, _)| found == name);
            match found.expect("bound").1 {
                Address::Tcp(tcp) => tcp,
                _ => panic!("TCP only"),
            }
        };
        let (first, second) = (address("one"), address("two"));
        assert_eq!((told(first), told(second)), ((0, 0), (1, 0)));
        for generation in 1..100 {
            let turned = if generation % 2 == 0 {
                both.clone()
            } else {
                [two.clone(), one.clone()]
            };
            let mail = |worker| {
                let exchange = ExchangeId {
                    index: 0,
                    generation: 0,
                };
                let answer = Answer {
                    status: generation,
                    fields: Vec::new(),
                    body: Vec::new(),
                };
                Some(Mail::Answer(AskId { worker, exchange }, answer))
            };
            host.rearrange(&turned, || mail).unwrap();
            let (listener, seen) = told(first);
            assert_eq!(
                u16::from(listener),
                u16::from(seen) % 2,
                "id and configuration agree"
            );
        }
        host.rearrange(&[two], || |_| None).unwrap();
        eventually("the first is closed", || TcpStream::connect(first).is_err());
        assert_eq!(told(second).0, 0);
        assert_eq!(address("two"), second);
        end(&host);
    }
}

#[test]
fn a_reload_that_cannot_bind_changes_nothing() {
    let host = launch(workers(2), &[tcp()], |_| Echo::default());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(taken.local_addr().unwrap());
    let bad = Listen {
        name: "bad".into(),
        address,
        ..tcp()
    };
    let mut committed = false;
    let commit = || {
        committed = true;
        |_| None
    };
    assert!(host.rearrange(&[bad], commit).is_err());
    assert!(!committed);
    exchange(&mut connect(port(&host)), b"as before");
    end(&host);
}

/// Serves with 64 descriptors until its standard input ends. Says its ports first.
fn scarce_server() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(64),
            maximum: Some(64),
        },
    )
    .unwrap();
    let count = std::env::var("REACTOR_WORKERS").unwrap().parse().unwrap();
    let admin = Listen {
        name: "admin".into(),
        kind: ListenerKind::Admin,
        ..tcp()
    };
    let host = launch(workers(count), &[named("data", tcp()), admin], |_| {
        Echo::default()
    });
    let ports = host
        .addresses()
        .into_iter()
        .map(|(_, address)| match address {
            Address::Tcp(tcp) => tcp.to_string(),
            _ => panic!("TCP only"),
        });
    let ports = ports.collect::<Vec<_>>().join(" ");
    std::io::stdout()
        .write_all(format!("\nports {ports}\n").as_bytes())
        .unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    end(&host);
}

struct Scarce {
    child: std::process::Child,
    ports: Vec<SocketAddr>,
}

impl Scarce {
    fn start(count: u16) -> Self {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "accepting_pauses_when_descriptors_run_out",
                "--nocapture",
            ])
            .env("REACTOR_WORKERS", count.to_string())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let line = lines
            .map(Result::unwrap)
            .find(|line| line.starts_with("ports "))
            .unwrap();
        let ports = line
            .split(' ')
            .skip(1)
            .map(|port| port.parse().unwrap())
            .collect();
        Self { child, ports }
    }

    /// Clock ticks of CPU that it used so far.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn accepting_pauses_when_descriptors_run_out() {
    if std::env::var_os("REACTOR_WORKERS").is_some() {
        return scarce_server();
    }
    for count in [1, 2] {
        let server = Scarce::start(count);
        let [data, admin] = server.ports[..] else {
            panic!("two ports")
        };
        let mut clients: Vec<TcpStream> = (0..150).map(|_| connect(data)).collect();
        for client in &mut clients {
            client.write_all(b"x").unwrap();
        }
        for client in &mut clients[..30] {
            client
                .read_exact(&mut [0; 1])
                .expect("the first are served");
        }
        clients[149]
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        assert!(
            clients[149].read(&mut [0; 1]).is_err(),
            "the last must wait"
        );
        exchange(
            &mut connect(admin),
            b"the admin listener answers from the reserve",
        );

        // Now the reserve is used up, too, and accept fails.
        let _admins: Vec<TcpStream> = (0..20).map(|_| connect(admin)).collect();
        let before = server.ticks();
        std::thread::sleep(Duration::from_millis(500));
        assert!(server.ticks() - before < 25, "it does not spin");

        clients.drain(..120);
        for client in &mut clients {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.read_exact(&mut [0; 1]).expect("served in the end");
        }
        drop(clients);
        server.end();
    }
}
