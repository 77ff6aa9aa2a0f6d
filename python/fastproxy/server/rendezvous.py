"""Where a new process finds the old one: the path of the upgrade socket, and who may talk there.

The socket is in a folder that only we can write to, has mode 0600, and both ends ask the system who
the other one is: the same user, or root. **Invariant:** without such a folder there is no socket.
"""

import contextlib
import hashlib
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from fastproxy.config.address import parse_listen
from fastproxy.config.load import Loaded
from fastproxy.errors import UpgradeError

__all__ = ["answers", "bind", "connect", "folder", "peer_is_ours", "peer_pid", "place"]

_UCRED = struct.Struct("3i")
_BACKLOG = 16


def place(loaded: Loaded, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The path of the upgrade socket of `loaded`; None where there is none.

    `auto` names it after the configuration file, or without one after the first listener: the same
    command finds the same path. Port 0 names nobody.
    """
    upgrade = loaded.config.upgrade
    if upgrade is None or not hasattr(socket, "SO_PEERCRED"):
        return None
    if upgrade.socket != "auto":
        return Path(upgrade.socket)
    if loaded.file is not None:
        identity = str(loaded.file.resolve())
    else:
        identity = loaded.config.listen[0].address
        at = parse_listen(identity)
        if not at.unix and at.port == 0:
            return None
    found = folder(environment)
    name = hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()
    return None if found is None else found / f"fastproxy-{name}.sock"


def folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """A folder that only we write to: of the service, of the session, or one of our own in /tmp."""
    given = [
        environment.get("RUNTIME_DIRECTORY", "").partition(":")[0],
        environment.get("XDG_RUNTIME_DIR", ""),
        f"/run/user/{os.geteuid()}",
    ]
    for path in (Path(text) for text in given if text.startswith("/")):
        if _only_ours(path):
            return path
    own = Path(tempfile.gettempdir()) / f"fastproxy-{os.geteuid()}"
    with contextlib.suppress(OSError):
        own.mkdir(mode=0o700, exist_ok=True)
    return own if _only_ours(own) else None


def _only_ours(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    others = stat.S_IWGRP | stat.S_IWOTH
    return (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & others
    )


def bind(path: Path) -> socket.socket:
    """Listen at `path`, replacing a file that nobody answers on.

    Raises:
        OSError: somebody answers there, or the path cannot be used.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not answers(path):
            path.unlink(missing_ok=True)
        # From the bind on the file has this mode, not only after a chmod.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def answers(path: Path) -> bool:
    """Whether a process listens at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            # Its queue is full, or it is another user's: somebody is there.
            return True
        return True


@contextlib.contextmanager
def connect(path: Path, timeout_s: float) -> Iterator[socket.socket]:
    """A connection to the process at `path`, closed if the block fails.

    Raises:
        UpgradeError: somebody is there, but it is not our user.
        OSError: nobody answers.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect(str(path))
        _require_ours(sock, path)
        yield sock
    except BaseException:
        sock.close()
        raise


def _require_ours(sock: socket.socket, path: Path) -> None:
    if not peer_is_ours(sock):
        msg = f"{path}: the process there runs as another user"
        raise UpgradeError(msg)


def peer_is_ours(sock: socket.socket) -> bool:
    """Whether the other end runs as our user, or as root."""
    return _peer(sock)[1] in (os.geteuid(), 0)


def peer_pid(sock: socket.socket) -> int:
    """Process id of the other end, when it connected or listened."""
    return _peer(sock)[0]


def _peer(sock: socket.socket) -> tuple[int, int]:
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(raw)
    return pid, uid
