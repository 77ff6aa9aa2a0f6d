//! An issuer made for the tests, what it issues, and peers that speak TLS by rustls.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use engine::snapshot::plan::{ClientTlsPlan, Plan};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use reactor::tls::{Keyring, Tickets};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, connect};

/// An issuer with its bundle on disk.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub folder: PathBuf,
    pub bundle: PathBuf,
}

/// Where a certificate and its key lie.
#[derive(Clone)]
pub struct Issued {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let folder = crate::harness::path(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let bundle = folder.join("ca.pem");
        std::fs::write(&bundle, own.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            folder,
            bundle,
        }
    }

    /// A certificate for these names; `spiffe://` ones are URIs. `bend` changes it before.
    pub fn issue_with(&self, names: &[&str], bend: impl FnOnce(&mut CertificateParams)) -> Issued {
        let (uris, dns): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| name.starts_with("spiffe:"));
        let dns: Vec<String> = dns.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(dns).unwrap();
        for uri in uris {
            let uri = uri.try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        }
        params.distinguished_name.push(DnType::CommonName, names[0]);
        bend(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        let stem = names[0].replace(['*', ':', '/'], "_");
        let issued = Issued {
            cert: self.folder.join(format!("{stem}.pem")),
            key: self.folder.join(format!("{stem}.key")),
        };
        std::fs::write(&issued.cert, made.pem()).unwrap();
        std::fs::write(&issued.key, key.serialize_pem()).unwrap();
        issued
    }

    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    /// A client that trusts this issuer alone.
    pub fn client(&self) -> ClientConfig {
        self.client_as(None)
    }

    /// The same, with a certificate of its own.
    pub fn client_as(&self, own: Option<&Issued>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&self.bundle).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let cert = CertificateDer::from_pem_file(&own.cert).unwrap();
                let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The TLS part of a listener's plan.
pub fn server(certificates: &[&Issued], more: &Value) -> Value {
    let pairs: Vec<Value> = certificates
        .iter()
        .map(|c| json!({"cert": c.cert, "key": c.key}))
        .collect();
    let mut plan = json!({"certificates": pairs, "alpn": ["http/1.1"]});
    for (key, value) in more.as_object().unwrap() {
        plan[key] = value.clone();
    }
    plan
}

/// A keyring whose one listener has this TLS.
pub fn keyring(server: &Value, tickets: &Arc<Tickets>) -> Keyring {
    keyring_of(server, None, false, tickets)
}

/// A keyring with one listener and one endpoint.
pub fn keyring_of(
    server: &Value,
    client: Option<&Value>,
    proxy_protocol: bool,
    tickets: &Arc<Tickets>,
) -> Keyring {
    let plan = plan(server, client, proxy_protocol);
    Keyring::load(&plan, tickets, &Keyring::default()).expect("good files")
}

pub fn plan(server: &Value, client: Option<&Value>, proxy_protocol: bool) -> Plan {
    let endpoint = |tls: &Value| {
        json!({"name": "e", "address": {"tcp": "127.0.0.1:1"}, "authority": "e", "weight": 1,
               "concurrency": 1, "tls": tls})
    };
    let pools: Vec<Value> = client
        .iter()
        .map(|tls| {
            json!({
                "name": "p", "modality": "chat", "balance": "least_loaded",
                "endpoints": [endpoint(tls)],
                "channel": {"capacity": 1, "bytes_max": 1, "max_wait_ms": 1},
                "timeouts": {"connect_ms": 1, "head_ms": 1, "first_token_ms": 1,
                             "inter_token_ms": 1, "unary_total_ms": 1, "stream_total_ms": 1,
                             "client_stall_ms": 1},
                "retry": {"attempts_max": 1, "budget_ratio": 0.0, "budget_min_per_s": 0,
                          "statuses": []},
                "eject": {"consecutive": 0, "base_ms": 1, "max_ms": 1, "max_percent": 0},
                "host": "endpoint", "connections_max": 1, "idle_ms": 1, "commit": "head",
            })
        })
        .collect();
    serde_json::from_value(json!({
        "via": "test",
        "listeners": [{
            "name": "tcp", "address": {"tcp": "127.0.0.1:0"}, "kind": "data",
            "connections_max": 1000, "idle_ms": 1000, "head_ms": 1000,
            "proxy_protocol": proxy_protocol, "tls": server,
        }],
        "pools": pools, "routes": [], "default_pool": null,
        "held_bytes_max": 1, "held_body_bytes_max": 1, "access_log": null,
    }))
    .expect("a plan")
}

/// The TLS part of an endpoint's plan.
pub fn upstream(value: Value) -> ClientTlsPlan {
    serde_json::from_value(value).expect("a plan")
}

pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// Connects and shakes hands.
pub fn secure(
    to: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> Result<Secure, std::io::Error> {
    let mut stream = open(to, config, name);
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(stream)
}

/// Connects; the handshake comes with the first bytes.
pub fn open(to: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Secure {
    let name = name.to_owned().try_into().expect("a name");
    let conn = ClientConnection::new(Arc::clone(config), name).unwrap();
    StreamOwned::new(conn, connect(to))
}

/// A server of one connection, on a thread of its own: it shakes hands, then does `then`.
pub fn serve<T: Send + 'static>(
    config: Arc<rustls::ServerConfig>,
    then: impl FnOnce(&mut StreamOwned<rustls::ServerConnection, TcpStream>) -> T + Send + 'static,
) -> (SocketAddr, std::thread::JoinHandle<T>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (sock, _) = listener.accept().unwrap();
        sock.set_read_timeout(Some(PATIENCE)).unwrap();
        let conn = rustls::ServerConnection::new(config).unwrap();
        let mut stream = StreamOwned::new(conn, sock);
        // A handshake that fails is what some tests are about.
        let _ = stream.conn.complete_io(&mut stream.sock);
        then(&mut stream)
    });
    (address, thread)
}

/// The same server for dials of ours.
pub fn server_config(own: &Issued, client_ca: Option<&Authority>) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(&ca.bundle).unwrap())
                .unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let cert = CertificateDer::from_pem_file(&own.cert).unwrap();
    let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
    let mut config = builder.with_single_cert(vec![cert], key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Reads to the end; `UnexpectedEof` is an end without `close_notify`.
pub fn read_all(stream: &mut impl Read) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    let mut all = Vec::new();
    let error = stream.read_to_end(&mut all).err();
    (all, error.map(|error| error.kind()))
}

/// Says goodbye and closes the sending side.
pub fn finish(stream: &mut Secure) {
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut stream.sock).unwrap();
    }
    stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
}
