//! TCP, TLS and unix sockets behind one type, as every loop of this crate uses them.
//!
//! Never blocks. `reset` is the only way a connection here ends in RST on purpose.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    path::PathBuf,
    time::Duration,
};

use mio::{Interest, Registry, Token, event::Source, net};
use socket2::{Domain, SockRef, Socket, Type};

use crate::{
    Address, Error,
    tls::{Identity, Tls, TlsStream},
};

/// Connections waiting for `accept`; beyond it the kernel drops SYNs and the client retries.
const BACKLOG: i32 = 4096;

/// A connected (or connecting) stream socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(net::TcpStream),
    Unix(net::UnixStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Starts a connection; `finish_connect`, asked at each event, tells its end. TLS is for TCP.
    pub(crate) fn connect(address: &Address, tls: Option<&Tls>) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = net::TcpStream::connect(*address)?;
                stream.set_nodelay(true)?;
                Ok(match tls {
                    Some(tls) => Self::Tls(Box::new(tls.begin(stream)?)),
                    None => Self::Tcp(stream),
                })
            }
            Address::Unix(path) => Ok(Self::Unix(net::UnixStream::connect(path)?)),
        }
    }

    /// The server's end of TLS, on TCP; its handshake goes on with the reads.
    pub(crate) fn under(self, identity: Option<&Identity>) -> io::Result<Self> {
        match (self, identity) {
            (Self::Tcp(stream), Some(identity)) => Ok(Self::Tls(Box::new(identity.begin(stream)?))),
            (stream, _) => Ok(stream),
        }
    }

    /// After an event: `Ok(true)` when connected and past a handshake, `Ok(false)` when not yet.
    pub(crate) fn finish_connect(&mut self) -> io::Result<bool> {
        let (error, peer) = match self {
            Self::Tls(stream) => (
                stream.socket.take_error()?,
                stream.socket.peer_addr().map(drop),
            ),
            Self::Tcp(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Self::Unix(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
        };
        match (error, peer) {
            (None, Ok(())) => match self {
                Self::Tls(stream) => stream.shake(),
                Self::Tcp(_) | Self::Unix(_) => Ok(true),
            },
            (None, Err(error)) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            (Some(error), _) | (None, Err(error)) => Err(error),
        }
    }

    #[inline]
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        }
    }

    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    /// After an event: sends what TLS holds back. An error shows in the next read.
    #[inline]
    pub(crate) fn push(&mut self) {
        if let Self::Tls(stream) = self {
            let _ = stream.push();
        }
    }

    /// Whether it is under TLS, and if so whether its handshake resumed a session.
    pub(crate) fn resumed(&self) -> Option<bool> {
        match self {
            Self::Tls(stream) => Some(stream.resumed()),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// Under TLS: says that nothing more will be sent.
    pub(crate) fn goodbye(&mut self) {
        if let Self::Tls(stream) = self {
            stream.goodbye();
        }
    }

    /// Sends FIN and keeps the reading half.
    pub(crate) fn shutdown_write(&self) {
        // A peer that is already gone makes this fail; the next read says so.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream) => stream.socket.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Closes with RST, so that the peer sees a reset and not an end. Unix sockets know no RST:
    /// there it is a plain close.
    pub(crate) fn reset(self) {
        let socket = match &self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(stream) => Some(&stream.socket),
            Self::Unix(_) => None,
        };
        if let Some(socket) = socket {
            // Failing to set it leaves a FIN, which the peer's framing notices as well.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
        drop(self);
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => &mut stream.socket,
            Self::Unix(stream) => stream,
        }
    }

    /// Both directions, edge-triggered, once for the life of the connection.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(self.source(), token, both)
    }
}

/// A listening socket; a unix one removes its path when dropped.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(net::TcpListener),
    Unix(net::UnixListener, PathBuf),
}

impl Listener {
    /// Binds and registers. A stale unix path is replaced only if nobody listens on it.
    pub(crate) fn open(
        address: &Address,
        registry: &Registry,
        token: Token,
    ) -> Result<(Self, Address), Error> {
        let failed = |source| Error::Listen {
            address: address.to_string(),
            source,
        };
        let (mut listener, bound) = Self::bind(address).map_err(failed)?;
        let source: &mut dyn Source = match &mut listener {
            Self::Tcp(listener) => listener,
            Self::Unix(listener, _) => listener,
        };
        registry
            .register(source, token, Interest::READABLE)
            .map_err(failed)?;
        Ok((listener, bound))
    }

    fn bind(address: &Address) -> io::Result<(Self, Address)> {
        match address {
            Address::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
                socket.set_reuse_address(true)?;
                socket.set_nonblocking(true)?;
                socket.bind(&(*address).into())?;
                socket.listen(BACKLOG)?;
                let listener = net::TcpListener::from_std(socket.into());
                let bound = Address::Tcp(listener.local_addr()?);
                Ok((Self::Tcp(listener), bound))
            }
            Address::Unix(path) => {
                if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
                    std::fs::remove_file(path)?;
                }
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                socket.bind(&socket2::SockAddr::unix(path)?)?;
                socket.listen(BACKLOG)?;
                let listener = net::UnixListener::from_std(socket.into());
                Ok((
                    Self::Unix(listener, path.clone()),
                    Address::Unix(path.clone()),
                ))
            }
        }
    }

    /// One connection, `WouldBlock` when there is none.
    pub(crate) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept()?.0)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Gone already is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}
