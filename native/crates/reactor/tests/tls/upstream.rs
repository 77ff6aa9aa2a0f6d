//! TLS of our own dials.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use engine::ids::ConnId;
use engine::input::{Alpn, Closed, Connected, DialError, TlsVersion};
use engine::output::How;
use engine::snapshot::Address;
use engine::snapshot::plan::ClientTlsPlan;
use reactor::{Host, Options};
use serde_json::{Value, json};

use crate::harness::*;
use crate::pki::*;

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Connected(Result<Connected, DialError>),
    Bytes(Vec<u8>),
    Closed(Closed),
}

/// Dials what it is told, says `ping`, and says what it saw.
struct Dialer {
    seen: Sender<Seen>,
    orders: Receiver<(Address, ClientTlsPlan)>,
}

impl Behaviour for Dialer {
    fn ended(&mut self, at: &mut Table) {
        at.deadline_ns = Some(at.now.mono_ns + 2_000_000);
        while let Ok((address, tls)) = self.orders.try_recv() {
            at.dial_secured(address, tls);
        }
    }
    fn connected(&mut self, at: &mut Table, id: ConnId, outcome: Result<Connected, DialError>) {
        if outcome.is_ok() {
            at.write(id, b"ping");
        }
        self.seen.send(Seen::Connected(outcome)).unwrap();
    }
    fn read(&mut self, _at: &mut Table, _id: ConnId, bytes: &[u8]) {
        self.seen.send(Seen::Bytes(bytes.to_vec())).unwrap();
    }
    fn closed(&mut self, at: &mut Table, id: ConnId, closed: Closed) {
        self.seen.send(Seen::Closed(closed)).unwrap();
        at.close(id, How::Now);
    }
}

struct Rig {
    host: Host<Scripted<Dialer>>,
    seen: Receiver<Seen>,
    orders: Sender<(Address, ClientTlsPlan)>,
    tls: ClientTlsPlan,
}

impl Rig {
    fn new(authority: &Authority, tls: &Value) -> Self {
        let (sender, seen) = channel();
        let (orders, taken) = channel();
        let taken = std::sync::Mutex::new(Some(taken));
        // The keyring's listener is not used.
        let listener = server(&[&authority.issue(&["unused.example"])], &json!({}));
        let keys = Arc::new(reactor::tls::Tickets::new());
        let options = Options {
            tls: keyring_of(&listener, Some(tls), false, &keys),
            ..workers(1)
        };
        let host = launch(options, &[], move |_| Dialer {
            seen: sender.clone(),
            orders: taken.lock().unwrap().take().expect("one worker"),
        });
        Self {
            host,
            seen,
            orders,
            tls: upstream(tls.clone()),
        }
    }

    fn dial(&self, to: std::net::SocketAddr) {
        let order = (Address::Tcp(to), self.tls.clone());
        self.orders.send(order).unwrap();
    }

    fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("something is seen")
    }

    fn refused(&self) -> &'static str {
        match self.next() {
            Seen::Connected(Err(DialError::Tls(why))) => why,
            other => panic!("a dial that TLS refused, not {other:?}"),
        }
    }
}

fn settings(authority: &Authority, name: &str) -> Value {
    json!({"server_name": name, "ca": authority.bundle, "alpn": ["http/1.1"]})
}

type Stream = rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>;

fn pong(stream: &mut Stream) {
    let mut ping = [0; 4];
    stream.read_exact(&mut ping).unwrap();
    assert_eq!(&ping, b"ping");
    stream.write_all(b"pong").unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
}

#[test]
fn a_dial_shakes_hands_and_resumes() {
    let authority = Authority::new("issuer");
    let config = server_config(&authority.issue(&["engine.example"]), None);
    let rig = Rig::new(&authority, &settings(&authority, "engine.example"));
    for resumed in [false, true] {
        let (address, thread) = serve(Arc::clone(&config), pong);
        rig.dial(address);
        let connected = Connected {
            peer: None,
            alpn: Alpn::Http11,
            tls: Some((TlsVersion::V13, resumed)),
        };
        assert_eq!(rig.next(), Seen::Connected(Ok(connected)));
        assert_eq!(rig.next(), Seen::Bytes(b"pong".to_vec()));
        assert_eq!(rig.next(), Seen::Closed(Closed::Eof));
        thread.join().unwrap();
    }
    end(&rig.host);
}

/// The same settings with other protocols: what the dial says is offered.
#[test]
fn a_dial_says_what_it_speaks() {
    let authority = Authority::new("issuer");
    let mut config = (*server_config(&authority.issue(&["engine.example"]), None)).clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let mut rig = Rig::new(&authority, &settings(&authority, "engine.example"));
    for (offered, agreed) in [
        (vec!["h2", "http/1.1"], Alpn::H2),
        (vec!["http/1.1"], Alpn::Http11),
        (vec![], Alpn::None),
    ] {
        rig.tls.alpn = offered.into_iter().map(str::to_owned).collect();
        let (address, thread) = serve(Arc::clone(&config), pong);
        rig.dial(address);
        match rig.next() {
            Seen::Connected(Ok(connected)) => assert_eq!(connected.alpn, agreed),
            other => panic!("{other:?}"),
        }
        assert_eq!(rig.next(), Seen::Bytes(b"pong".to_vec()));
        assert_eq!(rig.next(), Seen::Closed(Closed::Eof));
        thread.join().unwrap();
    }
    end(&rig.host);
}

#[test]
fn an_answer_cut_short_is_seen() {
    let authority = Authority::new("issuer");
    let config = server_config(&authority.issue(&["engine.example"]), None);
    let rig = Rig::new(&authority, &settings(&authority, "engine.example"));
    let (address, thread) = serve(config, |stream| {
        stream.read_exact(&mut [0; 4]).unwrap();
        stream.write_all(b"half").unwrap();
        stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
    });
    rig.dial(address);
    assert!(matches!(rig.next(), Seen::Connected(Ok(_))));
    assert_eq!(rig.next(), Seen::Bytes(b"half".to_vec()));
    assert_eq!(rig.next(), Seen::Closed(Closed::Truncated));
    thread.join().unwrap();
    end(&rig.host);
}

#[test]
fn a_wrong_certificate_is_refused_in_words() {
    let authority = Authority::new("issuer");
    let stranger = Authority::new("stranger");
    let expired = authority.issue_with(&["engine.example"], |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let cases = [
        (server_config(&expired, None), "has expired"),
        (
            server_config(&authority.issue(&["other.example"]), None),
            "set tls.server_name",
        ),
        (
            server_config(&stranger.issue(&["engine.example"]), None),
            "set tls.ca",
        ),
    ];
    for (config, words) in cases {
        let rig = Rig::new(&authority, &settings(&authority, "engine.example"));
        let (address, thread) = serve(config, |_| ());
        rig.dial(address);
        let why = rig.refused();
        assert!(why.contains(words), "{why}");
        thread.join().unwrap();
        end(&rig.host);
    }
}

#[test]
fn without_verification_anybody_will_do() {
    let (authority, stranger) = (Authority::new("issuer"), Authority::new("stranger"));
    let config = server_config(&stranger.issue(&["other.example"]), None);
    let tls = json!({"server_name": "engine.example", "verify": false, "alpn": ["http/1.1"]});
    let rig = Rig::new(&authority, &tls);
    let (address, thread) = serve(config, pong);
    rig.dial(address);
    assert!(matches!(rig.next(), Seen::Connected(Ok(_))));
    assert_eq!(rig.next(), Seen::Bytes(b"pong".to_vec()));
    thread.join().unwrap();
    end(&rig.host);
}

#[test]
fn an_endpoint_may_want_our_certificate() {
    let authority = Authority::new("issuer");
    let config = server_config(&authority.issue(&["engine.example"]), Some(&authority));
    let own = authority.issue(&["gateway"]);
    let mut tls = settings(&authority, "engine.example");
    tls["certificate"] = json!({"cert": own.cert, "key": own.key});
    let rig = Rig::new(&authority, &tls);
    let (address, thread) = serve(config, pong);
    rig.dial(address);
    assert!(matches!(rig.next(), Seen::Connected(Ok(_))));
    assert_eq!(rig.next(), Seen::Bytes(b"pong".to_vec()));
    thread.join().unwrap();
    end(&rig.host);
}

#[test]
fn peers_that_speak_no_tls_are_found_out() {
    let authority = Authority::new("issuer");
    let rig = Rig::new(&authority, &settings(&authority, "engine.example"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rig.dial(listener.local_addr().unwrap());
    let (mut plain, _) = listener.accept().unwrap();
    plain
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .unwrap();
    let why = rig.refused();
    assert!(why.contains("does not speak TLS"), "{why}");
    rig.dial(listener.local_addr().unwrap());
    let (closer, _) = listener.accept().unwrap();
    drop(closer);
    let why = rig.refused();
    assert!(
        why.contains("closed the connection in the TLS handshake"),
        "{why}"
    );
    end(&rig.host);
}
