//! Binding and releasing the addresses we listen on.
//!
//! One descriptor per address, never `SO_REUSEPORT`: closing one of several such sockets resets
//! the connections queued on it, and unix sockets refuse the option.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::ids::ListenerId;
use engine::snapshot::plan::{Address, ListenerKind, ListenerPlan};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::adopt::Adoption;
use crate::limits::BACKLOG;
use crate::socket::SocketOptions;

/// What the reactor needs to know of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Identity over reloads.
    pub name: String,
    /// Where.
    pub address: Address,
    /// Admin listeners may use the descriptors kept in reserve.
    pub kind: ListenerKind,
}

impl From<&ListenerPlan> for Listen {
    fn from(plan: &ListenerPlan) -> Self {
        Self {
            name: plan.name.clone(),
            address: plan.address.clone(),
            kind: plan.kind,
        }
    }
}

/// A listener could not be bound. The message says which, why, and what to do.
#[derive(Debug)]
pub struct ListenError {
    /// The listener's name.
    pub name: String,
    /// The address as configured.
    pub address: String,
    /// Why.
    pub source: io::Error,
    hint: &'static str,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            address,
            source,
            hint,
        } = self;
        write!(
            f,
            "cannot listen on {address} (listener {name:?}): {source}"
        )?;
        if hint.is_empty() {
            Ok(())
        } else {
            write!(f, "; {hint}")
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl ListenError {
    fn new(listen: &Listen, source: io::Error) -> Self {
        let unix = matches!(listen.address, Address::Unix(_));
        let hint = match Errno::from_io_error(&source) {
            Some(Errno::ADDRINUSE) if unix => "another process answers on it: stop it first",
            Some(Errno::ADDRINUSE) => {
                "another socket has it: stop that process or choose another port (port 0 lets the \
                 system choose)"
            }
            Some(Errno::ACCESS | Errno::PERM) if unix => "the directory must be writable for us",
            Some(Errno::ACCESS | Errno::PERM) => {
                "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one or grant it"
            }
            Some(Errno::ADDRNOTAVAIL) => {
                "no interface of this machine has the address: use 0.0.0.0 or [::] for all"
            }
            Some(Errno::NOENT | Errno::NOTDIR) => "create its directory first",
            Some(Errno::EXIST) => "something that is not a socket lies there: remove it or move it",
            Some(Errno::INVAL) => "the socket that was handed over is bound elsewhere",
            Some(Errno::AFNOSUPPORT) => "this machine has no such address family",
            Some(Errno::MFILE | Errno::NFILE) => "raise the limit of open files (ulimit -n)",
            _ => "",
        };
        let address = show(&listen.address);
        Self {
            name: listen.name.clone(),
            address,
            source,
            hint,
        }
    }
}

/// `HOST:PORT` or `unix:PATH`.
pub fn show(address: &Address) -> String {
    match address {
        Address::Tcp(tcp) => tcp.to_string(),
        Address::Unix(path) => format!("unix:{}", path.display()),
        Address::Name { host, port, .. } => format!("{host}:{port}"),
    }
}

/// A bound and listening socket. A unix socket's file goes with it, if it is still ours.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) id: ListenerId,
    pub(crate) kind: ListenerKind,
    /// Shared with the host, which may offer it to a successor.
    pub(crate) socket: Arc<Socket>,
    /// The address in use, with the port the system chose. Of a wildcard it is `None`: the local
    /// address differs per connection.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) unix: bool,
    file: Option<SocketFile>,
}

impl Listening {
    /// Of a unix socket: whether its file is removed with it; `None` of others.
    pub(crate) fn owns_file(&self) -> Option<Arc<AtomicBool>> {
        self.file.as_ref().map(|file| Arc::clone(&file.ours))
    }
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// While a predecessor or a successor has the same socket, the file is theirs.
    ours: Arc<AtomicBool>,
}

impl SocketFile {
    fn of(path: &Path, ours: Arc<AtomicBool>) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
            ours,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its own socket there.
        if self.ours.load(Ordering::Acquire)
            && let Ok(found) = fs::symlink_metadata(&self.path)
            && (found.dev(), found.ino()) == (self.device, self.inode)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds and listens, or adopts what a predecessor bound. Returns the address in use, too.
pub(crate) fn bind(
    listen: &Listen,
    id: ListenerId,
    options: &SocketOptions,
    unix_mode: u32,
    adoption: &Adoption,
) -> Result<(Listening, Address), ListenError> {
    let adopted = adoption.take(listen).map(Socket::from);
    let bound = match (&listen.address, adopted) {
        (Address::Tcp(tcp), None) => bind_tcp(*tcp, options).map(|(socket, at)| (socket, at, None)),
        (Address::Tcp(tcp), Some(socket)) => {
            adopt_tcp(&socket, *tcp, options).map(|at| (socket, at, None))
        }
        (Address::Unix(path), None) => bind_unix(path, unix_mode)
            .map(|(socket, file)| (socket, listen.address.clone(), Some(file))),
        (Address::Unix(path), Some(socket)) => adopt_unix(&socket, path, adoption.confirmed())
            .map(|file| (socket, listen.address.clone(), Some(file))),
        // The plan is refused before.
        (Address::Name { .. }, _) => Err(io::ErrorKind::InvalidInput.into()),
    };
    let (socket, address, file) = bound.map_err(|error| ListenError::new(listen, error))?;
    let local = match &address {
        Address::Tcp(local) => (!local.ip().is_unspecified()).then_some(*local),
        Address::Unix(_) | Address::Name { .. } => None,
    };
    Ok((
        Listening {
            id,
            kind: listen.kind,
            socket: Arc::new(socket),
            local,
            unix: file.is_some(),
            file,
        },
        address,
    ))
}

fn adopt_tcp(socket: &Socket, asked: SocketAddr, options: &SocketOptions) -> io::Result<Address> {
    socket.set_nonblocking(true)?;
    options.apply(socket)?;
    let local = socket.local_addr()?.as_socket();
    let fits = |local: &SocketAddr| {
        local.ip() == asked.ip() && (asked.port() == 0 || local.port() == asked.port())
    };
    let local = local.filter(fits).ok_or(Errno::INVAL)?;
    // It listens already; this sets the length of its queue to ours.
    socket.listen(BACKLOG)?;
    Ok(Address::Tcp(local))
}

fn adopt_unix(socket: &Socket, path: &Path, ours: Arc<AtomicBool>) -> io::Result<SocketFile> {
    socket.set_nonblocking(true)?;
    if socket.local_addr()?.as_pathname() != Some(path) {
        return Err(Errno::INVAL.into());
    }
    socket.listen(BACKLOG)?;
    SocketFile::of(path, ours)
}

fn bind_tcp(address: SocketAddr, options: &SocketOptions) -> io::Result<(Socket, Address)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Without it a restart fails for a minute, while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two listeners, on every system alike.
        socket.set_only_v6(true)?;
    }
    options.apply(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let local = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket, Address::Tcp(local)))
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<(Socket, SocketFile)> {
    let address = SockAddr::unix(path)?;
    remove_stale(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Before the bind, so that the file is never more open than it should be, not for a moment.
    #[cfg(target_os = "linux")]
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(mode & 0o777))?;
    socket.bind(&address)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o777))?;
    let file = SocketFile::of(path, Arc::new(AtomicBool::new(true)))?;
    socket.listen(BACKLOG)?;
    Ok((socket, file))
}

/// Removes a socket file that nobody answers on.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(Errno::EXIST.into());
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        // It answers, or its backlog is full.
        _ => Err(Errno::ADDRINUSE.into()),
    }
}
