//! A successor that adopts the listening sockets of a host (RFD 0011).
#![allow(
    clippy::unwrap_used,
    reason = "test code outside of the test functions"
)]

mod harness;

use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use engine::snapshot::Address;
use harness::*;
use reactor::{Adopted, Adoption, Host, Listen, Options};

/// What a successor is given.
fn adoption<M: reactor::Machine + 'static>(host: &Host<M>) -> Adoption {
    let offered = host.offer().unwrap().into_iter();
    Adoption::new(
        offered
            .map(|offered| Adopted {
                name: offered.name,
                address: offered.address,
                socket: offered.socket,
            })
            .collect(),
    )
}

fn successor(workers_count: u16, adoption: &Adoption) -> Options {
    Options {
        adoption: adoption.clone(),
        ..workers(workers_count)
    }
}

#[test]
fn a_successor_takes_over_the_sockets_and_their_files() {
    for count in [1, 2] {
        let (kept, gone) = (path("kept"), path("gone"));
        let unwanted = Listen {
            name: "gone".into(),
            ..unix(&gone)
        };
        let listeners = [tcp(), unix(&kept), unwanted];
        let old = launch(workers(count), &listeners, |_| Echo::default());
        let address = port(&old);
        let mut early = connect(address);
        exchange(&mut early, b"with the old one");

        let adoption = adoption(&old);
        let options = successor(count, &adoption);
        let new = launch(options, &listeners[..2], |_| Echo::default());
        assert_eq!(port(&new), address, "the port that the system chose");
        // Both accept now.
        let mut between: Vec<_> = (0..20).map(|_| connect(address)).collect();
        let adopted: Vec<_> = new.addresses().into_iter().map(|(_, at)| at).collect();
        old.hand_over(&adopted, drain(60_000));
        adoption.confirm();
        eventually("the unwanted file is gone", || !gone.exists());

        exchange(&mut connect(address), b"with the new one");
        exchange(&mut UnixStream::connect(&kept).unwrap(), b"by its file");
        for stream in &mut between {
            exchange(stream, b"with either");
        }
        exchange(&mut early, b"still with the old one");
        assert!(!old.drained());
        drop((early, between));
        eventually("drained", || old.drained());
        end(&old);
        assert!(kept.exists(), "the successor's");
        exchange(&mut connect(address), b"and nothing else is left");
        end(&new);
        drop(new);
        assert!(!kept.exists());
    }
}

#[test]
fn what_clients_have_queued_is_served() {
    let old = launch(workers(1), &[tcp()], |_| Echo::default());
    let address = port(&old);
    let adoption = adoption(&old);
    old.hand_over(&[Address::Tcp(address)], drain(60_000));
    eventually("nobody accepts", || old.drained());
    // The kernel completes handshakes as long as any process has the socket.
    let mut queued: Vec<_> = (0..20).map(|_| connect(address)).collect();
    let new = launch(successor(1, &adoption), &[tcp()], |_| Echo::default());
    for stream in &mut queued {
        exchange(stream, b"late but served");
    }
    end(&old);
    end(&new);
}

#[test]
fn a_successor_that_fails_takes_no_file_along() {
    let path = path("mine");
    let old = launch(workers(1), &[unix(&path)], |_| Echo::default());
    let options = successor(1, &adoption(&old));
    drop(launch(options, &[unix(&path)], |_| Echo::default()));
    std::thread::sleep(Duration::from_millis(50));
    exchange(&mut UnixStream::connect(&path).unwrap(), b"as before");
    end(&old);
    assert!(!path.exists());
}

#[test]
fn a_socket_that_no_listener_claims_is_closed() {
    let old = launch(workers(1), &[tcp()], |_| Echo::default());
    let address = port(&old);
    let new = launch(successor(1, &adoption(&old)), &[], |_| Echo::default());
    end(&old);
    drop(old);
    eventually("refused", || std::net::TcpStream::connect(address).is_err());
    end(&new);
}

#[test]
fn a_socket_that_is_bound_elsewhere_is_refused() {
    let (path, other) = (path("asked"), path("given"));
    let adoption = Adoption::new(vec![Adopted {
        name: "unix".into(),
        address: Address::Unix(path.clone()),
        socket: UnixListener::bind(&other).unwrap().into(),
    }]);
    let make = factory(|_| Echo::default());
    let Err(error) = Host::launch(successor(1, &adoption), None, &[unix(&path)], make) else {
        panic!("it started")
    };
    assert!(error.to_string().contains("bound elsewhere"), "{error}");
    std::fs::remove_file(other).unwrap();
}
