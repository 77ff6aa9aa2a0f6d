"""Starts child processes on chosen cores, waits until they answer, and ends them for certain."""

import contextlib
import http.client
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

NOFILE = 200_000
"""Open files that a child may have; 10,000 clients need two each."""


class StartError(RuntimeError):
    """A child did not become ready; the text holds the end of what it wrote."""


def raise_nofile() -> int:
    """Raise this process's limit of open files as far as allowed; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (NOFILE, max(hard, NOFILE)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, path: str, timeout: float = 5.0) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the path instead of to a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection(address: str, timeout: float = 5.0) -> http.client.HTTPConnection:
    """An HTTP connection to `HOST:PORT` or `unix:/PATH`."""
    if address.startswith("unix:"):
        return UnixConnection(address.removeprefix("unix:"), timeout)
    host, _, port = address.removeprefix("http://").rpartition(":")
    return http.client.HTTPConnection(host, int(port), timeout=timeout)


def get(
    address: str, path: str, *, timeout: float = 5.0, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """One GET on a connection of its own: status and body."""
    client = connection(address, timeout)
    try:
        client.request("GET", path, headers=dict(headers or {}))
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def descendants(pid: int) -> list[int]:
    """The process and all its living children, oldest first."""
    found = [pid]
    for known in found:
        for task in Path(f"/proc/{known}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found


class Child:
    """A child process in a group of its own, pinned to a set of cores."""

    def __init__(  # noqa: PLR0913 - as Popen
        self,
        argv: Sequence[str],
        *,
        cores: set[int],
        directory: Path,
        name: str,
        env: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
    ) -> None:
        self.argv = list(argv)
        self.name = name
        self.log = directory / f"{name}.log"
        self._out: IO[bytes] = self.log.open("ab")
        mask = ",".join(str(core) for core in sorted(cores))
        self.process = subprocess.Popen(
            ["taskset", "-c", mask, *self.argv],
            cwd=directory,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=self._out if stdout is None else stdout,
            stderr=self._out,
            start_new_session=True,
        )
        self.cores = cores

    @property
    def pid(self) -> int:
        """Process id of the parent of the group."""
        return self.process.pid

    def pids(self) -> list[int]:
        """The child and its children."""
        return descendants(self.pid)

    def tail(self, characters: int = 2000) -> str:
        """The end of what the child wrote."""
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")[-characters:]
        return ""

    def wait_http(
        self, address: str, path: str, *, seconds: float = 30.0, below: int = 500
    ) -> None:
        """Wait until a GET is answered with a status under `below`.

        Raises:
            StartError: the child ended, or did not answer in time.
        """
        last = "no answer"

        def answered() -> bool:
            nonlocal last
            try:
                status, _ = get(address, path, timeout=2.0)
            except (OSError, http.client.HTTPException) as error:
                last = repr(error)
                return False
            last = f"status {status}"
            return status < below

        self.wait(answered, seconds=seconds, why=lambda: last)

    def wait(
        self,
        ready: Callable[[], bool],
        *,
        seconds: float = 30.0,
        why: Callable[[], str] = lambda: "no answer",
    ) -> None:
        """Wait until it is ready.

        Raises:
            StartError: the child ended, or was not ready in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                text = f"{self.name} ended with {self.process.returncode}: {self.tail()}"
                raise StartError(text)
            if ready():
                return
            time.sleep(0.03)
        msg = f"{self.name} not ready after {seconds} s ({why()}): {self.tail()}"
        raise StartError(msg)

    def kill(self) -> None:
        """SIGKILL, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        self._out.close()

    def stop(self, seconds: float = 3.0) -> None:
        """SIGTERM, then SIGKILL to the whole group after `seconds`."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        self.kill()


@contextlib.contextmanager
def stopping(child: Child) -> Iterator[Child]:
    """Stops the child at the end of the block, whatever happens."""
    try:
        yield child
    finally:
        child.stop()
