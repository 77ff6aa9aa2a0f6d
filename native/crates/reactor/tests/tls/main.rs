//! TLS over real sockets, against rustls's own peers: handshakes, names, sessions, ends, dials.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    reason = "test code outside of the test functions"
)]

#[path = "../harness/mod.rs"]
mod harness;
mod pki;
mod upstream;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use engine::ids::ConnId;
use engine::input::{Accepted, Alpn, Closed, Mail, Secured, TlsFault, TlsVersion};
use engine::output::How;
use engine::shared::Shared;
use engine::snapshot::Snapshot;
use harness::*;
use pki::*;
use reactor::tls::{Keyring, Tickets, check_bundle, check_pair};
use reactor::{Host, Options};
use rustls::HandshakeKind;
use serde_json::json;

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Secured(Secured),
    Bytes(Vec<u8>),
    Closed(Closed),
}

/// Echoes, and says what it saw.
struct Witness {
    seen: Sender<Seen>,
}

impl Behaviour for Witness {
    fn opened(&mut self, _at: &mut Table, _id: ConnId, _accepted: &Accepted) -> bool {
        true
    }
    fn secured(&mut self, _at: &mut Table, _id: ConnId, secured: &Secured) {
        self.seen.send(Seen::Secured(secured.clone())).unwrap();
    }
    fn read(&mut self, at: &mut Table, id: ConnId, bytes: &[u8]) {
        self.seen.send(Seen::Bytes(bytes.to_vec())).unwrap();
        at.write(id, bytes);
    }
    fn closed(&mut self, at: &mut Table, id: ConnId, closed: Closed) {
        self.seen.send(Seen::Closed(closed)).unwrap();
        let how = match closed {
            Closed::Eof => How::Flush(at.take_unsent(id)),
            _ => How::Now,
        };
        at.close(id, how);
    }
}

fn secured_by(keyring: Keyring) -> Options {
    Options {
        tls: keyring,
        ..workers(1)
    }
}

fn witness(keyring: Keyring) -> (Host<Scripted<Witness>>, Receiver<Seen>) {
    let (sender, receiver) = channel();
    let host = launch(secured_by(keyring), &[tcp()], move |_| Witness {
        seen: sender.clone(),
    });
    (host, receiver)
}

fn next(seen: &Receiver<Seen>) -> Seen {
    seen.recv_timeout(PATIENCE).expect("something is seen")
}

fn tickets() -> Arc<Tickets> {
    Arc::new(Tickets::new())
}

#[test]
fn plaintext_follows_the_handshake() {
    let authority = Authority::new("issuer");
    let plan = server(&[&authority.issue(&["api.example"])], &json!({}));
    let (host, seen) = witness(keyring(&plan, &tickets()));
    let mut config = authority.client();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut client = secure(port(&host), &Arc::new(config), "api.example").unwrap();
    exchange(&mut client, b"hello");
    let Seen::Secured(secured) = next(&seen) else {
        panic!("the handshake comes first")
    };
    let expected = Secured {
        alpn: Alpn::Http11,
        server_name: Some("api.example".to_owned()),
        principal: None,
        version: TlsVersion::V13,
        resumed: false,
    };
    assert_eq!(secured, expected);
    assert_eq!(next(&seen), Seen::Bytes(b"hello".to_vec()));
    finish(&mut client);
    assert_eq!(next(&seen), Seen::Closed(Closed::Eof));
    assert_eq!(read_all(&mut client), (Vec::new(), None));
    end(&host);
}

#[test]
fn bytes_of_any_size_come_back() {
    let authority = Authority::new("issuer");
    let plan = server(&[&authority.issue(&["api.example"])], &json!({}));
    let options = secured_by(keyring(&plan, &tickets()));
    let host = launch(options, &[tcp()], |_| Echo::bounded());
    let config = Arc::new(authority.client());
    let mut client = secure(port(&host), &config, "api.example").unwrap();
    for size in [1, 100, 16 * 1024, 16 * 1024 + 1, 100_000] {
        exchange(&mut client, &pattern(size));
    }
    end(&host);
}

/// A client that sends 4 MiB before it reads a byte, over a machine that pauses: nothing is lost,
/// and no more than one read comes at a time (`Echo` sees to that).
#[test]
fn back_pressure_holds() {
    let authority = Authority::new("issuer");
    let plan = server(&[&authority.issue(&["api.example"])], &json!({}));
    let options = secured_by(keyring(&plan, &tickets()));
    let host = launch(options, &[tcp()], |_| Echo::bounded());
    let config = Arc::new(authority.client());
    let mut client = secure(port(&host), &config, "api.example").unwrap();
    let sent = pattern(4 << 20);
    client.conn.set_buffer_limit(None);
    client.sock.set_nonblocking(true).unwrap();
    client.conn.writer().write_all(&sent).unwrap();
    let mut back = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    eventually("all of it is back", || {
        while client.conn.wants_write() && client.conn.write_tls(&mut client.sock).is_ok() {}
        while matches!(client.conn.read_tls(&mut client.sock), Ok(1..)) {
            client.conn.process_new_packets().unwrap();
            while let Ok(bytes @ 1..) = client.conn.reader().read(&mut piece) {
                back.extend_from_slice(&piece[..bytes]);
            }
        }
        back.len() == sent.len()
    });
    assert!(back == sent, "the same bytes");
    end(&host);
}

#[test]
fn a_name_chooses_its_certificate() {
    let authority = Authority::new("issuer");
    let exact = authority.issue(&["api.example"]);
    let wild = authority.issue(&["*.pool.example"]);
    let plan = server(&[&exact, &wild], &json!({}));
    let (host, _seen) = witness(keyring(&plan, &tickets()));
    let config = Arc::new(authority.client());
    for name in ["api.example", "API.example", "a.pool.example"] {
        secure(port(&host), &config, name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // The wildcard stands for one label; where no certificate fits, the first is shown.
    for name in ["a.b.pool.example", "pool.example", "other.example"] {
        let error = secure(port(&host), &config, name).map(drop).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("api.example"), "{name}: {text}");
    }
    end(&host);
}

#[test]
fn sessions_resume_on_any_worker_and_in_a_successor() {
    let authority = Authority::new("issuer");
    let plan = server(&[&authority.issue(&["api.example"])], &json!({}));
    let keys = tickets();
    for versions in [rustls::ALL_VERSIONS, &[&rustls::version::TLS12][..]] {
        let make = |keys: &Arc<Tickets>| {
            let options = Options {
                tls: keyring(&plan, keys),
                ..workers(3)
            };
            launch(options, &[tcp()], |_| Echo::default())
        };
        let host = make(&keys);
        let mut config = authority.client();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(
            rustls::pki_types::pem::PemObject::pem_file_iter(&authority.bundle)
                .unwrap()
                .map(Result::unwrap),
        );
        if versions.len() == 1 {
            config = rustls::ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(versions)
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        }
        let config = Arc::new(config);
        let mut kinds = Vec::new();
        for _ in 0..6 {
            let mut client = secure(port(&host), &config, "api.example").unwrap();
            exchange(&mut client, b"and the tickets behind it");
            kinds.push(client.conn.handshake_kind().unwrap());
            let version = client.conn.protocol_version();
            let new = u32::from(version == Some(rustls::ProtocolVersion::TLSv1_3));
            assert_eq!(client.conn.tls13_tickets_received(), new);
        }
        assert_eq!(kinds[0], HandshakeKind::Full);
        assert!(
            kinds[1..].iter().all(|k| *k == HandshakeKind::Resumed),
            "{kinds:?}"
        );
        end(&host);
        let heirs = tickets();
        heirs.import(&keys.export()).unwrap();
        let successor = make(&heirs);
        let client = secure(port(&successor), &config, "api.example").unwrap();
        assert_eq!(client.conn.handshake_kind(), Some(HandshakeKind::Resumed));
        end(&successor);
    }
}

#[test]
fn a_session_without_a_certificate_is_none_where_one_is_wanted() {
    let authority = Authority::new("issuer");
    let own = authority.issue(&["api.example"]);
    let keys = tickets();
    let open = keyring(&server(&[&own], &json!({})), &keys);
    let (host, _seen) = witness(open);
    let config = Arc::new(authority.client());
    let mut client = secure(port(&host), &config, "api.example").unwrap();
    exchange(&mut client, b"x");
    end(&host);
    let ca = json!({"client_ca": authority.bundle});
    let (host, seen) = witness(keyring(&server(&[&own], &ca), &keys));
    let mut client = open_and_write(&host, &config);
    assert!(client.read(&mut [0]).is_err());
    assert_eq!(
        next(&seen),
        Seen::Closed(Closed::Tls(TlsFault::NoCertificate))
    );
    end(&host);
}

fn open_and_write(host: &Host<Scripted<Witness>>, config: &Arc<rustls::ClientConfig>) -> Secure {
    let mut client = open(port(host), config, "api.example");
    client.write_all(b"x").unwrap();
    client
}

#[test]
fn a_client_certificate_names_the_principal() {
    let authority = Authority::new("issuer");
    let stranger = Authority::new("stranger");
    let own = authority.issue(&["api.example"]);
    let by_uri = authority.issue(&["team", "spiffe://mesh.example/team"]);
    let by_name = authority.issue(&["operator"]);
    let forged = stranger.issue(&["operator"]);
    let ca = json!({"client_ca": authority.bundle, "client_optional": true});
    let (host, seen) = witness(keyring(&server(&[&own], &ca), &tickets()));
    for (certificate, principal) in [
        (None, None),
        (Some(&by_uri), Some("spiffe://mesh.example/team")),
        (Some(&by_name), Some("operator")),
    ] {
        let config = Arc::new(authority.client_as(certificate));
        for resumed in [false, true] {
            let mut client = open_and_write(&host, &config);
            client.read_exact(&mut [0]).unwrap();
            let Seen::Secured(secured) = next(&seen) else {
                panic!("the handshake comes first")
            };
            assert_eq!(secured.principal.as_deref(), principal);
            assert_eq!(secured.resumed, resumed, "{principal:?}");
            assert_eq!(next(&seen), Seen::Bytes(b"x".to_vec()));
            finish(&mut client);
            assert_eq!(next(&seen), Seen::Closed(Closed::Eof));
        }
    }
    let config = Arc::new(authority.client_as(Some(&forged)));
    let mut client = open_and_write(&host, &config);
    let error = client.read(&mut [0]).unwrap_err().to_string();
    assert!(error.contains("alert"), "{error}");
    assert_eq!(
        next(&seen),
        Seen::Closed(Closed::Tls(TlsFault::BadCertificate))
    );
    end(&host);
}

#[test]
fn an_end_without_goodbye_is_a_truncation() {
    let authority = Authority::new("issuer");
    let plan = server(&[&authority.issue(&["api.example"])], &json!({}));
    let (host, seen) = witness(keyring(&plan, &tickets()));
    let config = Arc::new(authority.client());
    let mut client = secure(port(&host), &config, "api.example").unwrap();
    exchange(&mut client, b"half of it");
    assert!(matches!(next(&seen), Seen::Secured(_)));
    assert_eq!(next(&seen), Seen::Bytes(b"half of it".to_vec()));
    client.sock.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(next(&seen), Seen::Closed(Closed::Truncated));
    end(&host);
}

/// Answers once and ends, as told.
struct Ender {
    how: fn(Vec<u8>) -> How,
}

impl Behaviour for Ender {
    fn read(&mut self, at: &mut Table, id: ConnId, _bytes: &[u8]) {
        at.close(id, (self.how)(pattern(100_000)));
    }
}

type End = fn(Vec<u8>) -> How;

#[test]
fn a_last_answer_is_whole_and_a_cut_one_is_not() {
    let authority = Authority::new("issuer");
    let plan = server(&[&authority.issue(&["api.example"])], &json!({}));
    let config = Arc::new(authority.client());
    let ends: [(End, bool); 3] = [
        (How::Flush, true),
        (|_| How::Now, false),
        (|_| How::Reset, false),
    ];
    for (how, whole) in ends {
        let options = secured_by(keyring(&plan, &tickets()));
        let host = launch(options, &[tcp()], move |_| Ender { how });
        let mut client = secure(port(&host), &config, "api.example").unwrap();
        client.write_all(b"x").unwrap();
        let (bytes, error) = read_all(&mut client);
        assert_eq!(error.is_none(), whole, "{error:?}");
        assert_eq!(bytes == pattern(100_000), whole);
        end(&host);
    }
}

#[test]
fn what_is_no_tls_is_told_so() {
    let authority = Authority::new("issuer");
    let plan = server(&[&authority.issue(&["api.example"])], &json!({}));
    let (host, seen) = witness(keyring(&plan, &tickets()));
    for said in [
        "get it in",
        "GET\r\n\r\n",
        "\u{16}\u{3}\u{1}\0\u{1}G GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut client = connect(port(&host));
        client.write_all(said.as_bytes()).unwrap();
        // A fatal alert (RFC 8446 §6), then the end.
        let (bytes, _) = read_all(&mut client);
        assert_eq!(bytes.first(), Some(&21), "{bytes:?}");
        assert_eq!(next(&seen), Seen::Closed(Closed::Tls(TlsFault::NotTls)));
    }
    // A request in clear is told in words that its client shows.
    let mut client = connect(port(&host));
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let (bytes, error) = read_all(&mut client);
    let answer = String::from_utf8(bytes).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())));
    assert!(body.contains("use https://"), "{body}");
    assert_eq!(error, None);
    assert_eq!(next(&seen), Seen::Closed(Closed::Tls(TlsFault::NotTls)));
    let mut config = authority.client();
    config.alpn_protocols = vec![b"h3".to_vec()];
    secure(port(&host), &Arc::new(config), "api.example")
        .map(drop)
        .unwrap_err();
    assert_eq!(
        next(&seen),
        Seen::Closed(Closed::Tls(TlsFault::Incompatible))
    );
    // The client trusts another issuer.
    let stranger = Arc::new(Authority::new("stranger").client());
    secure(port(&host), &stranger, "api.example")
        .map(drop)
        .unwrap_err();
    assert_eq!(next(&seen), Seen::Closed(Closed::Tls(TlsFault::Refused)));
    end(&host);
}

#[test]
fn a_proxy_header_comes_before_tls() {
    let authority = Authority::new("issuer");
    let plan = server(&[&authority.issue(&["api.example"])], &json!({}));
    let (host, seen) = witness(keyring_of(&plan, None, true, &tickets()));
    let header = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n";
    let config = Arc::new(authority.client());
    for chunk in [1, 7, header.len()] {
        let mut client = open(port(&host), &config, "api.example");
        for piece in header.chunks(chunk) {
            client.sock.write_all(piece).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        client.write_all(b"x").unwrap();
        assert_eq!(next(&seen), Seen::Bytes(header.to_vec()));
        assert!(matches!(next(&seen), Seen::Secured(_)));
        assert_eq!(next(&seen), Seen::Bytes(b"x".to_vec()));
        let mut echoed = vec![0; 1];
        // The header was echoed in clear, for this machine knows no better.
        drop(client.sock.read(&mut echoed));
        drop(client);
        assert!(matches!(next(&seen), Seen::Closed(_)));
    }
    end(&host);
}

/// Handshakes go on while certificates are replaced; a new one is shown from then on.
#[test]
fn a_reload_under_handshakes_fails_none() {
    let authority = Authority::new("issuer");
    let keys = tickets();
    let first = authority.issue(&["api.example", "generation-0.example"]);
    let plan = server(&[&first], &json!({}));
    let options = Options {
        tls: keyring(&plan, &keys),
        ..workers(2)
    };
    let host = Arc::new(launch(options, &[tcp()], |_| Echo::default()));
    let config = {
        let mut config = authority.client();
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    };
    let mut old = secure(port(&host), &config, "api.example").unwrap();
    let to = port(&host);
    let (stop, stopped) = channel::<()>();
    let hammer = {
        let config = Arc::clone(&config);
        std::thread::spawn(move || {
            let mut count = 0;
            while stopped.try_recv().is_err() {
                let mut client = secure(to, &config, "api.example").expect("no handshake fails");
                exchange(&mut client, b"x");
                count += 1;
            }
            count
        })
    };
    for generation in 1..=20 {
        let name = format!("generation-{generation}.example");
        authority.issue(&["api.example", &name]);
        host.secure(generation, keyring(&plan, &keys));
        let snapshot = snapshot(&plan, generation);
        host.rearrange(&[tcp()], || {
            move |_| Some(Mail::Snapshot(Arc::clone(&snapshot)))
        })
        .unwrap();
        let shown = || secure(to, &config, &name).is_ok();
        eventually("the new certificate is shown", shown);
    }
    exchange(&mut old, b"still here");
    stop.send(()).unwrap();
    assert!(hammer.join().unwrap() > 0);
    end(&host);
}

fn snapshot(plan: &serde_json::Value, generation: u64) -> Arc<Snapshot> {
    let plan = pki::plan(plan, None, false);
    let shared = Shared::new(1);
    Arc::new(Snapshot::compile(&plan, &shared, 1, generation, 0).unwrap())
}

#[test]
fn files_are_judged_in_words() {
    let authority = Authority::new("issuer");
    let good = authority.issue(&["good.example"]);
    let other = authority.issue(&["other.example"]);
    let old = authority.issue_with(&["old.example"], |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let text = authority.folder.join("text");
    std::fs::write(&text, "no PEM").unwrap();
    assert_eq!(check_pair(&good.cert, &good.key), []);
    assert_eq!(check_bundle(&authority.bundle), []);
    let missing = authority.folder.join("missing");
    let cut = authority.folder.join("cut");
    std::fs::write(&cut, &std::fs::read(&good.cert).unwrap()[..200]).unwrap();
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let (noise, hollow) = (
        authority.folder.join("noise"),
        authority.folder.join("hollow"),
    );
    std::fs::write(&noise, format!("{begin}\n!!\n{end}\n")).unwrap();
    std::fs::write(&hollow, format!("{begin}\nAAAA\n{end}\n")).unwrap();
    for (cert, key, part, fatal, words) in [
        (&good.cert, &other.key, "key", true, "is not the key of"),
        (
            &missing,
            &good.key,
            "cert",
            true,
            "cannot be read: No such file",
        ),
        (&text, &good.key, "cert", true, "holds no certificate"),
        (&good.key, &good.cert, "cert", true, "cert and key swapped?"),
        (&cut, &good.key, "cert", true, "it ends within a section"),
        (&noise, &good.key, "cert", true, "a section is not base64"),
        (
            &hollow,
            &good.key,
            "cert",
            true,
            "first certificate is malformed",
        ),
        (&good.cert, &cut, "key", true, "it ends within a section"),
        (&good.cert, &text, "key", true, "holds no private key"),
        (&good.cert, &good.cert, "key", true, "holds no private key"),
        (&old.cert, &old.key, "cert", false, "expired"),
    ] {
        let remarks = check_pair(cert, key);
        assert_eq!(remarks.len(), 1, "{words}");
        let (found, why) = (&remarks[0], &remarks[0].why);
        assert_eq!((found.part, found.fatal), (part, fatal), "{why}");
        assert!(why.contains(words), "{why}");
    }
    assert!(check_bundle(&text)[0].why.contains("holds no certificate"));
    let why = &check_bundle(&hollow)[0].why;
    assert!(
        why.ends_with("certificate 1 of the bundle is malformed"),
        "{why}"
    );
}

#[test]
fn certificates_are_known_by_name_and_end() {
    let authority = Authority::new("issuer");
    let one = authority.issue_with(&["api.example"], |params| {
        params.not_after = rcgen::date_time_ymd(2077, 3, 1);
    });
    let views = keyring(&server(&[&one], &json!({})), &tickets()).certificates();
    assert_eq!(views.len(), 1);
    assert_eq!(views[0].name, "api.example");
    assert_eq!(views[0].expires_s, 3_381_782_400);
}
