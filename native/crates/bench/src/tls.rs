//! TLS of the load generator and of the simulated engine, by rustls: one version, one suite and one
//! group, so that what two peers do for it is the same.
//!
//! Invariant: `write` takes what TLS has room for and sends what the socket takes; what is left
//! goes out with the next `push`, which every event of the socket brings.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
};

use mio::net::TcpStream;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    client::{Resumption, Tls12Resumption},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::TLS13,
};

use crate::{Error, engine::TlsFiles, load::TlsOptions};

/// Sessions that are kept to be resumed.
const SESSIONS_MAX: usize = 1024;

/// What new connections begin with.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    pub(crate) fn new(options: &TlsOptions, http2: bool) -> Result<Self, Error> {
        let pem = pem(&options.ca)?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| wrong(format!("ca: {error}")))?;
            let added = roots.add(certificate);
            added.map_err(|error| wrong(format!("ca: {error}")))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider()));
        let builder = builder.with_protocol_versions(&[&TLS13]);
        let mut config = builder
            .map_err(|error| wrong(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![if http2 { b"h2" } else { &b"http/1.1"[..] }.to_vec()];
        config.resumption = if options.resume {
            let kept = Resumption::in_memory_sessions(SESSIONS_MAX);
            kept.tls12_resumption(Tls12Resumption::Disabled)
        } else {
            Resumption::disabled()
        };
        let name = ServerName::try_from(options.server_name.clone());
        Ok(Self {
            config: Arc::new(config),
            name: name.map_err(|error| wrong(format!("server_name: {error}")))?,
        })
    }

    /// Begins a connection over a socket that may still be connecting.
    pub(crate) fn begin(&self, socket: TcpStream) -> io::Result<TlsStream> {
        let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        Ok(TlsStream {
            socket,
            session: session.map_err(io::Error::other)?.into(),
        })
    }
}

/// What accepted connections begin with: one certificate, and both versions of HTTP by ALPN.
#[derive(Clone, Debug)]
pub(crate) struct Identity(Arc<ServerConfig>);

impl Identity {
    pub(crate) fn new(files: &TlsFiles) -> Result<Self, Error> {
        let certificates = pem(&files.cert)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificates).collect();
        let chain = chain.map_err(|error| wrong(format!("cert: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(&pem(&files.key)?);
        let key = key.map_err(|error| wrong(format!("key: {error}")))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
        let builder = builder.with_protocol_versions(&[&TLS13]);
        let mut config = builder
            .map_err(|error| wrong(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| wrong(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Begins a connection whose handshake goes on with its reads.
    pub(crate) fn begin(&self, socket: TcpStream) -> io::Result<TlsStream> {
        let session = ServerConnection::new(Arc::clone(&self.0)).map_err(io::Error::other)?;
        Ok(TlsStream {
            socket,
            session: session.into(),
        })
    }
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    }
}

fn pem(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

fn wrong(why: String) -> Error {
    Error::Option { name: "tls", why }
}

/// A connection under TLS, at either end.
#[derive(Debug)]
pub(crate) struct TlsStream {
    pub(crate) socket: TcpStream,
    session: Connection,
}

impl TlsStream {
    /// Goes on with the handshake; true when it is over.
    pub(crate) fn shake(&mut self) -> io::Result<bool> {
        loop {
            self.push()?;
            if !self.session.is_handshaking() {
                return Ok(true);
            }
            match self.pull() {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether this handshake resumed a session.
    pub(crate) fn resumed(&self) -> bool {
        self.session.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    fn pull(&mut self) -> io::Result<usize> {
        let taken = self.session.read_tls(&mut self.socket)?;
        let processed = self.session.process_new_packets();
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(taken)
    }

    /// Sends what TLS has ready, as far as the socket takes it.
    pub(crate) fn push(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says that nothing more will be sent, as far as the socket takes it.
    pub(crate) fn goodbye(&mut self) {
        self.session.send_close_notify();
        // A socket that fails or is full leaves the peer with less to read, and no more.
        let _ = self.push();
    }

    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            match self.session.reader().read(&mut into[filled..]) {
                Ok(0) => return Ok(filled),
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.pull() {
                    // What came may want an answer: a server's part of a handshake goes out here.
                    Ok(_) => self.push()?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if filled == 0 => return Err(error),
                    Err(_) => return Ok(filled),
                },
                Err(error) if filled == 0 => return Err(error),
                Err(_) => return Ok(filled),
            }
            if filled == into.len() {
                return Ok(filled);
            }
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            self.push()?;
            if taken == bytes.len() {
                return Ok(taken);
            }
            if self.session.wants_write() {
                // The socket is full, and an event will come.
                return match taken {
                    0 => Err(io::ErrorKind::WouldBlock.into()),
                    _ => Ok(taken),
                };
            }
            taken += self.session.writer().write(&bytes[taken..])?;
        }
    }
}
