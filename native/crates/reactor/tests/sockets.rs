//! One worker, real sockets: bytes, back-pressure, ends of connections, dials.
#![allow(
    clippy::unwrap_used,
    reason = "test code outside of the test functions"
)]

mod harness;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use engine::ids::ConnId;
use engine::input::{Accepted, Closed, Connected, DialError};
use engine::output::How;
use engine::snapshot::Address;
use harness::*;
use socket2::SockRef;

#[test]
fn echoes_over_tcp() {
    let host = launch(workers(1), &[tcp()], |_| Echo::default());
    let mut client = connect(port(&host));
    for size in [1, 100, 4096, 32 * 1024, 32 * 1024 + 1, 100_000] {
        exchange(&mut client, &pattern(size));
    }
    end(&host);
}

#[test]
fn echoes_over_a_unix_socket() {
    let path = path("echo");
    let host = launch(workers(1), &[unix(&path)], |_| Echo::bounded());
    let mut client = UnixStream::connect(&path).unwrap();
    exchange(&mut client, b"hello");
    large_echo(client.try_clone().unwrap(), client, |stream| {
        stream.shutdown(Shutdown::Write).unwrap();
    });
    end(&host);
    assert!(!path.exists(), "the file goes with the listener");
}

fn large_echo<S: Read + Write + Send + 'static>(mut sender: S, mut reader: S, fin: fn(&S)) {
    let sent = pattern(8 << 20);
    let copy = sent.clone();
    let thread = std::thread::spawn(move || {
        sender.write_all(&copy).unwrap();
        fin(&sender);
    });
    let mut back = Vec::new();
    reader.read_to_end(&mut back).unwrap();
    thread.join().unwrap();
    assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
}

#[test]
fn large_bytes_and_a_fin_behind_them_come_back_whole() {
    let host = launch(workers(1), &[tcp()], |_| Echo::bounded());
    let client = connect(port(&host));
    large_echo(client.try_clone().unwrap(), client, |stream| {
        stream.shutdown(Shutdown::Write).unwrap();
    });
    end(&host);
}

#[test]
fn a_fin_with_the_bytes_is_not_lost() {
    let host = launch(workers(1), &[tcp()], |_| Echo::default());
    for _ in 0..200 {
        let mut client = connect(port(&host));
        client.write_all(b"last words").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert_eq!(back, b"last words");
    }
    end(&host);
}

#[test]
fn five_hundred_connections() {
    let host = launch(workers(1), &[tcp()], |_| Echo::default());
    let mut clients: Vec<TcpStream> = (0..500).map(|_| connect(port(&host))).collect();
    for round in 0..4_u8 {
        for client in &mut clients {
            client.write_all(&[round; 100]).unwrap();
        }
        for client in &mut clients {
            let mut back = [0; 100];
            client.read_exact(&mut back).unwrap();
            assert_eq!(back, [round; 100]);
        }
    }
    end(&host);
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Open(ConnId),
    Bytes(usize),
    Closed(Closed),
    FinAhead,
    Connected(Result<Connected, DialError>),
}

/// Reports what it sees; commands arrive as first bytes.
struct Watcher {
    seen: Sender<Seen>,
    pause: bool,
    commands: Option<Receiver<Command>>,
    last: Option<ConnId>,
}

impl Watcher {
    fn new(seen: &Sender<Seen>) -> Self {
        Self {
            seen: seen.clone(),
            pause: false,
            commands: None,
            last: None,
        }
    }
}

impl Behaviour for Watcher {
    fn opened(&mut self, at: &mut Table, id: ConnId, _accepted: &Accepted) -> bool {
        self.last = Some(id);
        if self.pause {
            at.pause(id);
        }
        self.seen.send(Seen::Open(id)).unwrap();
        true
    }
    fn read(&mut self, _at: &mut Table, _id: ConnId, bytes: &[u8]) {
        self.seen.send(Seen::Bytes(bytes.len())).unwrap();
    }
    fn closed(&mut self, at: &mut Table, id: ConnId, closed: Closed) {
        self.seen.send(Seen::Closed(closed)).unwrap();
        if closed != Closed::Eof {
            at.close(id, How::Now);
        }
    }
    fn fin_ahead(&mut self, _at: &mut Table, _id: ConnId) {
        self.seen.send(Seen::FinAhead).unwrap();
    }
    fn ended(&mut self, at: &mut Table) {
        at.deadline_ns = Some(at.now.mono_ns + 5_000_000);
        if let (Some(commands), Some(id)) = (&self.commands, self.last) {
            while let Ok(command) = commands.try_recv() {
                command(at, id);
            }
        }
    }
}

type Command = fn(&mut Table, ConnId);

fn watched(
    pause: bool,
) -> (
    reactor::Host<Scripted<Watcher>>,
    Receiver<Seen>,
    Sender<Command>,
) {
    let (sender, receiver) = channel();
    let (commander, commands) = channel::<Command>();
    let commands = std::sync::Mutex::new(Some(commands));
    let host = launch(workers(1), &[tcp()], move |_| Watcher {
        pause,
        commands: commands.lock().unwrap().take(),
        ..Watcher::new(&sender)
    });
    (host, receiver, commander)
}

fn next(seen: &Receiver<Seen>) -> Seen {
    seen.recv_timeout(PATIENCE).expect("something is seen")
}

fn opened(seen: &Receiver<Seen>) {
    assert!(matches!(next(seen), Seen::Open(_)));
}

#[test]
fn an_rst_is_a_reset() {
    let (host, seen, _commands) = watched(false);
    let mut client = connect(port(&host));
    client.write_all(b"x").unwrap();
    opened(&seen);
    assert_eq!(next(&seen), Seen::Bytes(1));
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    assert_eq!(next(&seen), Seen::Closed(Closed::Reset));
    end(&host);
}

#[test]
fn an_rst_is_seen_while_reading_is_paused() {
    let (host, seen, _commands) = watched(true);
    let mut client = connect(port(&host));
    opened(&seen);
    client.write_all(&[0; 1000]).unwrap();
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    assert_eq!(next(&seen), Seen::Closed(Closed::Reset));
    end(&host);
}

#[test]
fn a_fin_is_seen_while_reading_is_paused() {
    let (host, seen, _commands) = watched(true);
    let client = connect(port(&host));
    opened(&seen);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(next(&seen), Seen::Closed(Closed::Eof));
    end(&host);
}

#[test]
fn a_fin_behind_unread_bytes_is_told_ahead_and_again_in_its_place() {
    let (host, seen, commands) = watched(true);
    let mut client = connect(port(&host));
    opened(&seen);
    client.write_all(&[0; 1000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(next(&seen), Seen::FinAhead);
    commands.send(Table::resume).unwrap();
    assert_eq!(next(&seen), Seen::Bytes(1000));
    assert_eq!(next(&seen), Seen::Closed(Closed::Eof));
    end(&host);
}

#[test]
fn half_closed_connections_still_get_answers() {
    let (host, seen, commands) = watched(false);
    let mut client = connect(port(&host));
    opened(&seen);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(next(&seen), Seen::Closed(Closed::Eof));
    commands
        .send(|at, id| at.write(id, b"late answer"))
        .unwrap();
    let mut back = [0; 11];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"late answer");
    commands
        .send(|at, id| at.close(id, How::Flush(b"!".to_vec())))
        .unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"!");
    end(&host);
}

#[test]
fn paused_bytes_stay_in_the_kernel_and_none_is_lost() {
    let (host, seen, commands) = watched(true);
    let client = connect(port(&host));
    opened(&seen);
    let sent = 8 << 20;
    let writer = std::thread::spawn({
        let mut client = client.try_clone().unwrap();
        move || client.write_all(&vec![7; sent]).unwrap()
    });
    assert!(
        seen.recv_timeout(Duration::from_millis(100)).is_err(),
        "nothing while paused"
    );
    assert!(!writer.is_finished(), "the kernel pushes back");
    commands.send(Table::resume).unwrap();
    let mut got = 0;
    while got < sent {
        match next(&seen) {
            Seen::Bytes(bytes) => {
                assert!(bytes <= engine::limits::READ_BYTES);
                got += bytes;
            }
            other => panic!("{other:?}"),
        }
    }
    writer.join().unwrap();
    end(&host);
}

#[test]
fn a_reset_close_is_an_rst() {
    let (host, seen, commands) = watched(false);
    let mut client = connect(port(&host));
    opened(&seen);
    commands.send(|at, id| at.close(id, How::Reset)).unwrap();
    let error = client.read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    end(&host);
}

#[test]
fn the_last_answer_arrives_although_request_bytes_are_unread() {
    let (host, seen, commands) = watched(true);
    for size in [10, 300_000] {
        let mut client = connect(port(&host));
        opened(&seen);
        client.write_all(&vec![0; 20_000]).unwrap();
        if size == 10 {
            commands
                .send(|at, id| at.close(id, How::Flush(vec![1; 10])))
                .unwrap();
        } else {
            commands
                .send(|at, id| at.close(id, How::Flush(vec![1; 300_000])))
                .unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
        client.write_all(&vec![0; 20_000]).unwrap();
        let mut back = Vec::new();
        client
            .read_to_end(&mut back)
            .expect("no RST before the end");
        assert_eq!(back.len(), size);
    }
    end(&host);
}

/// Dials at once and reports; the address is fixed.
struct Dialer {
    seen: Sender<Seen>,
    to: Vec<Address>,
    keep: bool,
}

impl Behaviour for Dialer {
    fn ended(&mut self, at: &mut Table) {
        for address in self.to.drain(..) {
            at.dial(address);
        }
    }
    fn connected(&mut self, at: &mut Table, id: ConnId, outcome: Result<Connected, DialError>) {
        if outcome.is_ok() && self.keep {
            at.pause(id);
        }
        if outcome.is_ok() {
            at.write(id, b"ping");
        }
        self.seen.send(Seen::Connected(outcome)).unwrap();
    }
    fn read(&mut self, at: &mut Table, id: ConnId, bytes: &[u8]) {
        self.seen.send(Seen::Bytes(bytes.len())).unwrap();
        at.deadline_ns = None;
        let _ = id;
    }
    fn wrote(&mut self, at: &mut Table, id: ConnId, _bytes: usize) {
        if self.keep {
            at.resume(id);
        }
    }
    fn closed(&mut self, at: &mut Table, id: ConnId, closed: Closed) {
        self.seen.send(Seen::Closed(closed)).unwrap();
        at.close(id, How::Now);
    }
}

fn dial(to: Address) -> (reactor::Host<Scripted<Dialer>>, Receiver<Seen>) {
    let (sender, receiver) = channel();
    let host = launch(workers(1), &[], move |_| Dialer {
        seen: sender.clone(),
        to: vec![to.clone()],
        keep: false,
    });
    (host, receiver)
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[test]
fn a_dial_to_nobody_is_refused() {
    for address in [Address::Tcp(free_port()), Address::Unix(path("nobody"))] {
        let (host, seen) = dial(address);
        assert_eq!(next(&seen), Seen::Connected(Err(DialError::Refused)));
        end(&host);
    }
}

#[test]
fn a_dial_without_a_route_is_unreachable() {
    let (host, seen) = dial(Address::Tcp("255.255.255.255:1".parse().unwrap()));
    assert_eq!(next(&seen), Seen::Connected(Err(DialError::Unreachable)));
    end(&host);
}

#[test]
fn dials_connect_and_carry_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (host, seen) = dial(Address::Tcp(listener.local_addr().unwrap()));
    let (mut upstream, _) = listener.accept().unwrap();
    answer(&mut upstream, &seen);
    end(&host);

    let path = path("upstream");
    let listener = UnixListener::bind(&path).unwrap();
    let (host, seen) = dial(Address::Unix(path));
    let (mut upstream, _) = listener.accept().unwrap();
    answer(&mut upstream, &seen);
    end(&host);
}

fn answer(upstream: &mut (impl Read + Write), seen: &Receiver<Seen>) {
    assert_eq!(next(seen), Seen::Connected(Ok(Connected::default())));
    let mut ping = [0; 4];
    upstream.read_exact(&mut ping).unwrap();
    upstream.write_all(b"pong").unwrap();
    assert_eq!(next(seen), Seen::Bytes(4));
}

#[test]
fn the_socket_options_are_set_on_both_sides() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (host, _seen) = dial(Address::Tcp(listener.local_addr().unwrap()));
    let (upstream, _) = listener.accept().unwrap();
    let ours = upstream.peer_addr().unwrap();
    check_options(&options_of(ours));
    end(&host);

    let host = launch(workers(1), &[tcp()], |_| Echo::default());
    let mut client = connect(port(&host));
    exchange(&mut client, b"x");
    check_options(&options_of(port(&host)));
    end(&host);
}

/// The timers column of `ss` would do; reading /proc needs no tool: find our descriptor.
fn options_of(local: SocketAddr) -> Vec<socket2::Socket> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Ok(fd) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        // A descriptor of this process by number: opened again through a duplicate.
        let Ok(copy) = duplicate(fd) else { continue };
        let socket = socket2::Socket::from(copy);
        let is = |address: std::io::Result<socket2::SockAddr>| {
            address.ok().and_then(|address| address.as_socket()) == Some(local)
        };
        if is(socket.local_addr()) && socket.peer_addr().is_ok() {
            found.push(socket);
        }
    }
    assert!(!found.is_empty());
    found
}

fn duplicate(fd: i32) -> std::io::Result<std::os::fd::OwnedFd> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(own, fd, PidfdGetfdFlags::empty())?)
}

fn check_options(sockets: &[socket2::Socket]) {
    for socket in sockets {
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(10)
        );
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(5)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(15))
        );
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 64 * 1024);
    }
}

#[test]
fn an_upstreams_last_bytes_come_before_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (host, seen) = dial(Address::Tcp(listener.local_addr().unwrap()));
    let (mut upstream, _) = listener.accept().unwrap();
    assert_eq!(next(&seen), Seen::Connected(Ok(Connected::default())));
    // The ping stays unread, so that the close becomes an RST behind the answer.
    std::thread::sleep(Duration::from_millis(20));
    upstream.write_all(b"413 and bye").unwrap();
    drop(upstream);
    assert_eq!(next(&seen), Seen::Bytes(11));
    assert!(matches!(next(&seen), Seen::Closed(_)));
    end(&host);
}
