//! One connection's TLS: ciphertext of the socket to plaintext for the machine, and back.
//!
//! **Invariants:** plaintext is taken out as it is decrypted, so none waits here while the machine
//! has paused the connection. Ciphertext that the socket has not taken is at most `SEAL_BYTES_MAX`
//! and its overhead: while any waits, nothing more is sealed. An idle session holds rustls's
//! smallest buffer only.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use engine::input::{Alpn, Connected, Secured, TlsFault, TlsVersion};
use engine::snapshot::plan::ClientTlsPlan;
use rustls::pki_types::CertificateDer;
use rustls::{
    ClientConnection, Connection, Error, HandshakeKind, ProtocolVersion, ServerConnection,
};
use socket2::Socket;

use super::client::{self, Client};
use super::files;
use super::server::{self, Server};
use super::x509::Facts;
use crate::limits::SEAL_BYTES_MAX;
use crate::socket::{self, Sent};

/// What came of bytes from the socket, in the order in which it is to be told.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// Bytes of the PROXY protocol header that is complete now.
    pub(crate) prelude: Option<Vec<u8>>,
    /// The handshake was completed by these bytes.
    pub(crate) completed: bool,
    /// Bytes of plaintext.
    pub(crate) plain: usize,
    /// The peer says that nothing follows (`close_notify`).
    pub(crate) closed: bool,
    pub(crate) failed: Option<Error>,
}

/// See the module's text.
pub(crate) struct Session {
    tls: Connection,
    pub(crate) handshaking: bool,
    /// What there is of the PROXY protocol header; `None` when none is waited for.
    prelude: Option<Vec<u8>>,
    /// It failed: what still goes out is the alert that says so.
    failed: bool,
    /// The peer has said nothing yet.
    silent: bool,
    /// Its first words were a request of HTTP in clear: what goes out is an answer to that.
    in_clear: bool,
}

impl Session {
    /// For an accepted connection. `None` cannot happen with a configuration that was made.
    pub(crate) fn accepted(server: &Server) -> Option<Box<Self>> {
        let tls = ServerConnection::new(Arc::clone(&server.config)).ok()?;
        let prelude = server.prelude.then(Vec::new);
        Some(Self::new(Connection::Server(tls), prelude))
    }

    /// For a dial that offers the protocols of `plan`.
    pub(crate) fn dialled(client: &Client, plan: &ClientTlsPlan) -> Option<Box<Self>> {
        let (config, name) = (Arc::clone(&client.config), client.name.clone());
        let alpn = plan.alpn.iter().map(|p| p.clone().into_bytes()).collect();
        let tls = ClientConnection::new_with_alpn(config, name, alpn).ok()?;
        Some(Self::new(Connection::Client(tls), None))
    }

    fn new(mut tls: Connection, prelude: Option<Vec<u8>>) -> Box<Self> {
        tls.set_buffer_limit(Some(SEAL_BYTES_MAX));
        Box::new(Self {
            tls,
            handshaking: true,
            prelude,
            failed: false,
            silent: true,
            in_clear: false,
        })
    }

    /// Takes bytes of the socket. `plain` has room for them and for one record that was begun.
    pub(crate) fn open(&mut self, cipher: &[u8], plain: &mut [u8]) -> Opened {
        let mut opened = Opened::default();
        if let Some(mut begun) = self.prelude.take() {
            begun.extend_from_slice(cipher);
            match engine::proxy_header(&begun) {
                Some(taken) => {
                    let behind = begun.split_off(taken.min(begun.len()));
                    opened.prelude = Some(begun);
                    self.feed(&behind, plain, &mut opened);
                }
                None => self.prelude = Some(begun),
            }
            return opened;
        }
        self.feed(cipher, plain, &mut opened);
        opened
    }

    fn feed(&mut self, mut cipher: &[u8], plain: &mut [u8], opened: &mut Opened) {
        let large = cipher.len() > IDLE_BYTES;
        let in_clear = self.silent && server::is_request(cipher);
        self.silent &= cipher.is_empty();
        while !cipher.is_empty() && !opened.closed {
            if self.tls.read_tls(&mut cipher).is_err() {
                opened.failed = Some(Error::General("a record is too long".to_owned()));
                break;
            }
            let state = self.tls.process_new_packets();
            opened.plain += self.take(&mut plain[opened.plain..]);
            match state {
                Ok(state) => opened.closed = state.peer_has_closed(),
                Err(error) => {
                    opened.failed = Some(error);
                    break;
                }
            }
        }
        if large {
            // A look for more, of which there is none: rustls shrinks its buffer on the way.
            let _ = self.tls.read_tls(&mut Nothing);
        }
        self.failed |= opened.failed.is_some();
        self.in_clear |= in_clear && self.failed && matches!(self.tls, Connection::Server(_));
        if self.handshaking && !self.tls.is_handshaking() && !self.failed {
            self.handshaking = false;
            opened.completed = true;
        }
    }

    fn take(&mut self, into: &mut [u8]) -> usize {
        let mut taken = 0;
        while taken < into.len() {
            match self.tls.reader().read(&mut into[taken..]) {
                Ok(bytes) if bytes > 0 => taken += bytes,
                // Nothing now, or nothing any more.
                _ => break,
            }
        }
        taken
    }

    /// Seals as much of the machine's bytes as one send may have. How much that was.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> usize {
        if plain.is_empty() {
            return 0;
        }
        let most = &plain[..plain.len().min(SEAL_BYTES_MAX)];
        self.tls.writer().write(most).unwrap_or(0)
    }

    /// Ciphertext waits for the socket.
    pub(crate) fn has_ciphertext(&self) -> bool {
        self.tls.wants_write()
    }

    /// Sends ciphertext until there is no more, or no more room.
    pub(crate) fn send(&mut self, socket: &Socket) -> Sent {
        let mut sent = 0;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Wire(socket)) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent::Blocked,
                Err(error) => return Sent::Lost(socket::closed_by(&error)),
            }
        }
        Sent::Bytes(sent)
    }

    /// What is left to send when the connection ends: `rest`, then `close_notify`; or, when TLS
    /// failed, the alert that says so, in words for who spoke HTTP in clear.
    pub(crate) fn finish(mut self, rest: &[u8]) -> Vec<u8> {
        if self.in_clear {
            return server::SAID_IN_CLEAR.to_vec();
        }
        self.tls.set_buffer_limit(None);
        if !self.handshaking && !self.failed {
            // Into memory: it cannot fail.
            let _ = self.tls.writer().write_all(rest);
            self.tls.send_close_notify();
        }
        let mut out = Vec::new();
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut out).is_err() {
                break;
            }
        }
        out
    }

    /// TLS failed, and the peer is to be told.
    pub(crate) fn has_alert(&self) -> bool {
        self.failed && self.tls.wants_write()
    }

    fn alpn(&self) -> Alpn {
        match self.tls.alpn_protocol() {
            Some(b"h2") => Alpn::H2,
            Some(b"http/1.1") => Alpn::Http11,
            _ => Alpn::None,
        }
    }

    fn version(&self) -> TlsVersion {
        match self.tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::V13,
            _ => TlsVersion::V12,
        }
    }

    fn resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What the engine is told of a dial whose handshake is complete.
    pub(crate) fn connected(&self, peer: Option<SocketAddr>) -> Connected {
        Connected {
            peer,
            alpn: self.alpn(),
            tls: Some((self.version(), self.resumed())),
        }
    }

    /// What the engine is told of a client whose handshake is complete.
    pub(crate) fn secured(&mut self) -> Result<Box<Secured>, TlsFault> {
        let certificate = self.tls.peer_certificates().and_then(<[_]>::first);
        let facts = certificate.map(CertificateDer::as_ref).and_then(Facts::of);
        // A resumed session brings its certificate along, which was good when it began.
        if facts
            .as_ref()
            .is_some_and(|facts| facts.not_after_s < files::now_s())
        {
            return Err(TlsFault::BadCertificate);
        }
        let server_name = match &self.tls {
            Connection::Server(server) => server.server_name(),
            Connection::Client(_) => None,
        };
        Ok(Box::new(Secured {
            alpn: self.alpn(),
            server_name: server_name.map(str::to_ascii_lowercase),
            principal: facts.as_ref().and_then(Facts::principal).map(Arc::from),
            version: self.version(),
            resumed: self.resumed(),
        }))
    }

    /// What an error means to the engine: of a client's handshake, or of a later record.
    pub(crate) fn fault(&self, error: &Error) -> TlsFault {
        if self.handshaking {
            server::fault(error)
        } else {
            TlsFault::Broken
        }
    }

    /// What an error of a dial's handshake means.
    pub(crate) fn reason(error: &Error) -> &'static str {
        client::reason(error)
    }
}

/// Bytes that rustls's buffer has when it is empty.
const IDLE_BYTES: usize = 4096;

/// A reader that has nothing now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// The socket, as rustls wants to see it: several records go in one call.
struct Wire<'a>(&'a Socket);

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        socket::send_all(self.0, &[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        socket::send_all(self.0, parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
