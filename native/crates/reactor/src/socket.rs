//! One socket: options, non-blocking connect, receive and send, and what the errors mean.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use engine::input::{Closed, DialError};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};

/// Options of every TCP connection, client side and upstream side. With the defaults a peer whose
/// machine has vanished is noticed within 15 to 25 seconds; the system's own take hours.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// `TCP_NODELAY`: we batch by turns, Nagle would only delay tokens.
    pub nodelay: bool,
    /// `SO_KEEPALIVE` for connections with nothing under way.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT` in milliseconds, for unacknowledged bytes.
    pub user_timeout_ms: Option<u32>,
    /// `TCP_NOTSENT_LOWAT` in bytes: with that much unsent the kernel takes no more. What it has
    /// taken cannot be put in another order, and its send buffer grows to 4 MiB.
    pub unsent_bytes: Option<u32>,
}

/// When an idle TCP peer is probed.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// Seconds of silence before the first probe.
    pub idle_s: u32,
    /// Seconds between probes.
    pub interval_s: u32,
    /// Probes unanswered after which the connection is dead.
    pub probes: u32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: Some(Keepalive {
                idle_s: 10,
                interval_s: 5,
                probes: 3,
            }),
            user_timeout_ms: Some(15_000),
            unsent_bytes: Some(64 * 1024),
        }
    }
}

impl SocketOptions {
    /// On a listener the accepted sockets inherit them (Linux and the BSDs), which saves seven
    /// calls per accepted connection.
    pub(crate) fn apply(&self, socket: &Socket) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        if let Some(keepalive) = self.keepalive {
            socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(Duration::from_secs(keepalive.idle_s.into()))
                    .with_interval(Duration::from_secs(keepalive.interval_s.into()))
                    .with_retries(keepalive.probes),
            )?;
        }
        #[cfg(target_os = "linux")]
        if let Some(timeout) = self.user_timeout_ms {
            socket.set_tcp_user_timeout(Some(Duration::from_millis(timeout.into())))?;
        }
        #[cfg(target_os = "linux")]
        if let Some(bytes) = self.unsent_bytes {
            socket.set_tcp_notsent_lowat(bytes)?;
        }
        Ok(())
    }
}

/// TCP or unix: they differ in when the poller reports room to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Unix,
}

/// What a connect came to at once.
pub(crate) enum Dialled {
    /// It is connected (unix sockets, always).
    Connected(Socket, Kind),
    /// The poller will say.
    UnderWay(Socket, Kind),
    Failed(DialError),
}

pub(crate) fn dial_tcp(address: SocketAddr, options: &SocketOptions) -> Dialled {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
    let prepared = socket.and_then(|socket| options.apply(&socket).map(|()| socket));
    connect(prepared, Kind::Tcp, &address.into())
}

pub(crate) fn dial_unix(path: &Path) -> Dialled {
    match SockAddr::unix(path) {
        Ok(address) => connect(
            Socket::new(Domain::UNIX, Type::STREAM, None),
            Kind::Unix,
            &address,
        ),
        Err(_) => Dialled::Failed(DialError::Unreachable),
    }
}

fn connect(socket: io::Result<Socket>, kind: Kind, to: &SockAddr) -> Dialled {
    let prepared = socket.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
    let socket = match prepared {
        Ok(socket) => socket,
        Err(error) => return Dialled::Failed(dial_error(&error)),
    };
    match socket.connect(to) {
        Ok(()) => Dialled::Connected(socket, kind),
        Err(error) if errno(&error) == Some(Errno::INPROGRESS) => Dialled::UnderWay(socket, kind),
        Err(error) => Dialled::Failed(dial_error(&error)),
    }
}

/// The meaning of a failed connect.
pub(crate) fn dial_error(error: &io::Error) -> DialError {
    match errno(error) {
        // EAGAIN: the backlog of a unix listener is full; it is the peer that takes no more.
        Some(
            Errno::CONNREFUSED
            | Errno::NOENT
            | Errno::CONNRESET
            | Errno::CONNABORTED
            | Errno::AGAIN,
        ) => DialError::Refused,
        Some(Errno::TIMEDOUT) => DialError::TimedOut,
        Some(Errno::MFILE | Errno::NFILE | Errno::ADDRNOTAVAIL | Errno::NOBUFS | Errno::NOMEM) => {
            DialError::Exhausted
        }
        _ => DialError::Unreachable,
    }
}

/// What a connection's error means to the engine.
pub(crate) fn closed_by(error: &io::Error) -> Closed {
    if errno(error) == Some(Errno::TIMEDOUT) {
        Closed::TimedOut
    } else {
        Closed::Reset
    }
}

/// What came of a receive.
#[derive(Debug)]
pub(crate) enum Received {
    Bytes(usize),
    Eof,
    Blocked,
    Lost(Closed),
}

pub(crate) fn receive(socket: &Socket, into: &mut [u8]) -> Received {
    debug_assert!(!into.is_empty(), "an empty receive looks like a FIN");
    loop {
        return match rustix::net::recv(socket, &mut *into, RecvFlags::empty()) {
            Ok((_, 0)) => Received::Eof,
            Ok((_, bytes)) => Received::Bytes(bytes),
            Err(Errno::AGAIN) => Received::Blocked,
            Err(Errno::INTR) => continue,
            Err(error) => Received::Lost(closed_by(&error.into())),
        };
    }
}

/// What came of a send.
#[derive(Debug)]
pub(crate) enum Sent {
    Bytes(usize),
    Blocked,
    Lost(Closed),
}

pub(crate) fn send(socket: &Socket, bytes: &[u8]) -> Sent {
    loop {
        return match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => Sent::Bytes(sent),
            Err(Errno::AGAIN) => Sent::Blocked,
            Err(Errno::INTR) => continue,
            Err(error) => Sent::Lost(closed_by(&error.into())),
        };
    }
}

/// Sends several pieces in one call; how many bytes went.
pub(crate) fn send_all(socket: &Socket, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, sendmsg};
    loop {
        let sent = match parts {
            // A token is one record.
            [one] => rustix::net::send(socket, one, SendFlags::NOSIGNAL),
            several => {
                let mut none = SendAncillaryBuffer::default();
                sendmsg(socket, several, &mut none, SendFlags::NOSIGNAL)
            }
        };
        return match sent {
            Ok(sent) => Ok(sent),
            Err(Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// Sends our FIN. A socket that is already gone needs none.
pub(crate) fn finish(socket: &Socket) {
    let _ = rustix::net::shutdown(socket, Shutdown::Write);
}

/// Closes with RST, so that the peer cannot take what it has for a whole.
pub(crate) fn reset(socket: Socket) {
    let _ = socket.set_linger(Some(Duration::ZERO));
    drop(socket);
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}
