//! What TLS costs a proxy that runs elsewhere: handshakes per CPU second, CPU per event of a
//! stream.
//!
//! `tls_load full|resumed HOST:PORT NAME CA.pem PID COUNT` shakes hands COUNT times, one after
//! another, over TLS 1.3 with a P-256 key exchange, and reads one small answer each time.
//! `tls_load stream HOST:PORT NAME|- CA.pem|- PID CONNECTIONS` reads one event stream on each
//! connection, begun one after another over a second; `-` for the name is cleartext. CPU is that of
//! PID, by /proc.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool run by hand: it ends where anything fails"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

static EVENTS: AtomicU64 = AtomicU64::new(0);

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Time on a CPU of all threads of a process. The scheduler counts it in nanoseconds, where
/// `/proc/PID/stat` counts ticks.
fn cpu_s(pid: &str) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let ns: u64 = tasks
        .map(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            stat.split(' ').next().unwrap().parse::<u64>().unwrap()
        })
        .sum();
    ns as f64 / 1e9
}

fn config(bundle: &str, resumed: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(bundle).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::SECP256R1];
    provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if !resumed {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

fn secure(
    to: &str,
    name: &str,
    config: &Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let socket = TcpStream::connect(to).unwrap();
    socket.set_nodelay(true).unwrap();
    let name = name.to_owned().try_into().unwrap();
    StreamOwned::new(
        ClientConnection::new(Arc::clone(config), name).unwrap(),
        socket,
    )
}

fn shake(arguments: &[String], resumed: bool) {
    let [to, name, bundle, pid, count] = arguments else {
        panic!("HOST:PORT NAME CA.pem PID COUNT");
    };
    let config = config(bundle, resumed);
    let count: u32 = count.parse().unwrap();
    let mut kinds = [0; 2];
    let mut one = || {
        let mut stream = secure(to, name, &config);
        let request = format!("GET /none HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let kind = stream.conn.handshake_kind();
        kinds[usize::from(kind == Some(rustls::HandshakeKind::Resumed))] += 1;
    };
    for _ in 0..50 {
        one();
    }
    let (before, began) = (cpu_s(pid), Instant::now());
    for _ in 0..count {
        one();
    }
    let spent = cpu_s(pid) - before;
    println!(
        "{count} connections, full {} resumed {}: {:.1} us CPU each, {:.0} per CPU second, \
         {:.0} per second",
        kinds[0],
        kinds[1],
        spent / f64::from(count) * 1e6,
        f64::from(count) / spent,
        f64::from(count) / began.elapsed().as_secs_f64(),
    );
}

fn stream(arguments: &[String]) {
    let [to, name, bundle, pid, connections] = arguments else {
        panic!("HOST:PORT NAME|- CA.pem|- PID CONNECTIONS");
    };
    let tls = (name != "-").then(|| config(bundle, true));
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let connections: u32 = connections.parse().unwrap();
    let peers: Vec<Box<dyn Stream>> = (0..connections)
        .map(|_| match &tls {
            Some(config) => {
                let mut peer = secure(to, name, config);
                peer.conn.complete_io(&mut peer.sock).unwrap();
                Box::new(peer) as Box<dyn Stream>
            }
            None => Box::new(TcpStream::connect(to).unwrap()),
        })
        .collect();
    // Handshakes must not set the pace of requests: tokens of streams that begin together come
    // together, and many at one wake are cheap.
    let threads: Vec<_> = peers
        .into_iter()
        .map(|mut peer| {
            std::thread::sleep(Duration::from_secs(1) / connections);
            peer.write_all(request.as_bytes()).unwrap();
            peer.flush().unwrap();
            std::thread::spawn(move || events(&mut *peer))
        })
        .collect();
    // Heads are behind them by then.
    std::thread::sleep(Duration::from_secs(1));
    let before = cpu_s(pid);
    let began = Instant::now();
    let early = EVENTS.load(Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    let spent = cpu_s(pid) - before;
    let total = EVENTS.load(Ordering::Relaxed) - early;
    println!(
        "{total} events: {:.2} us CPU each in {:.1} s",
        spent / total as f64 * 1e6,
        began.elapsed().as_secs_f64()
    );
}

fn events(peer: &mut dyn Stream) {
    let mut held = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let bytes = peer.read(&mut buffer).unwrap_or(0);
        held.extend_from_slice(&buffer[..bytes]);
        let count = held.windows(6).filter(|part| part == b"data: ").count();
        EVENTS.fetch_add(count as u64, Ordering::Relaxed);
        let done = held.windows(6).any(|part| part == b"[DONE]");
        if bytes == 0 || done {
            return;
        }
        held.drain(..held.len().saturating_sub(5));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((mode, rest)) if mode == "full" => shake(rest, false),
        Some((mode, rest)) if mode == "resumed" => shake(rest, true),
        Some((mode, rest)) if mode == "stream" => stream(rest),
        _ => println!("tls_load full|resumed|stream ..."),
    }
}
