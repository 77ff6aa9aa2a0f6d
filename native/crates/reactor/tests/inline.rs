//! The driver without a thread, under a plain poll loop such as an event loop of Python has.
#![allow(
    clippy::unwrap_used,
    reason = "test code outside of the test functions"
)]

mod harness;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::clock::MS;
use engine::ids::{ConnId, WorkerId};
use harness::*;
use reactor::{Host, Inline, Machine, limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// An outer event loop that knows one descriptor only, level-triggered like those of Python.
struct Outer<M: Machine> {
    inline: Inline<M>,
    watched: OwnedFd,
}

impl<M: Machine + 'static> Outer<M> {
    fn new(host: &Host<M>) -> Self {
        let inline = host.inline().expect("the first time").expect("it starts");
        assert!(host.inline().is_none(), "only once");
        let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        let watched = pidfd_getfd(own, inline.fileno(), PidfdGetfdFlags::empty()).unwrap();
        Self { inline, watched }
    }

    fn run(&mut self, until: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !until() {
            assert!(Instant::now() < end, "the outer loop hangs");
            if self.readable() && !self.inline.turn() {
                return;
            }
        }
    }

    fn readable(&self) -> bool {
        let short = Timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        };
        let mut fds = [PollFd::new(&self.watched, PollFlags::IN)];
        poll(&mut fds, Some(&short)).unwrap() > 0
    }
}

fn in_thread(body: impl FnOnce() + Send + 'static) -> impl Fn() -> bool {
    let thread = std::thread::spawn(body);
    move || thread.is_finished()
}

#[test]
fn it_serves_under_an_outer_loop() {
    let host = launch(workers(0), &[tcp()], |_| Echo::bounded());
    let to = port(&host);
    let mut outer = Outer::new(&host);
    outer.run(in_thread(move || {
        let mut clients: Vec<TcpStream> = (0..100).map(|_| connect(to)).collect();
        for client in &mut clients {
            exchange(client, &pattern(5000));
        }
        let mut writer = clients[0].try_clone().unwrap();
        let thread = std::thread::spawn(move || writer.write_all(&pattern(4 << 20)).unwrap());
        let mut back = vec![0; 4 << 20];
        clients[0].read_exact(&mut back).unwrap();
        thread.join().unwrap();
        assert!(back == pattern(4 << 20));
    }));
    host.stop();
    outer.run(|| false);
    assert!(host.join(PATIENCE));
    assert_eq!(host.bugs(), 0);
}

struct Ticker {
    fired: Arc<AtomicUsize>,
    next_ns: u64,
}

impl Behaviour for Ticker {
    fn ended(&mut self, at: &mut Table) {
        if at.now.mono_ns >= self.next_ns {
            self.fired.fetch_add(1, Ordering::Relaxed);
            self.next_ns = at.now.mono_ns + 5 * MS;
        }
        at.deadline_ns = Some(self.next_ns);
    }
}

#[test]
fn its_deadlines_make_the_descriptor_readable() {
    let fired = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fired);
    let host = launch(workers(0), &[], move |_| Ticker {
        fired: Arc::clone(&count),
        next_ns: 0,
    });
    let mut outer = Outer::new(&host);
    outer.run(|| fired.load(Ordering::Relaxed) >= 20);
    host.stop();
    outer.run(|| false);
    assert!(host.join(PATIENCE));
}

#[test]
fn an_idle_driver_is_not_turned() {
    let host = launch(workers(0), &[tcp()], |_| Echo::default());
    let mut outer = Outer::new(&host);
    while outer.readable() {
        outer.inline.turn();
    }
    std::thread::sleep(Duration::from_millis(20));
    assert!(!outer.readable());
}

/// Has a bug; counts the machines that it was made in place of.
struct Buggy(Arc<AtomicUsize>);

impl Behaviour for Buggy {
    fn read(&mut self, at: &mut Table, id: ConnId, bytes: &[u8]) {
        assert!(bytes[0] != b'!', "a bug, on purpose");
        at.write(id, bytes);
    }
    fn outlived(&mut self, _worker: WorkerId) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn after_a_bug_a_new_machine_serves() {
    let outlived = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&outlived);
    let host = launch(workers(0), &[tcp()], move |_| Buggy(Arc::clone(&count)));
    let to = port(&host);
    let mut outer = Outer::new(&host);
    outer.run(in_thread(move || {
        for _ in 0..20 {
            let mut client = connect(to);
            exchange(&mut client, b"fine");
            client.write_all(b"!").unwrap();
            assert!(client.read(&mut [0; 1]).is_err());
        }
    }));
    assert_eq!(host.bugs(), 20);
    let replaced = usize::from(limits::SPARE_WORKERS);
    assert_eq!(outlived.load(Ordering::Relaxed), replaced);
}
