"""The border to the native load generator, simulated engine and relay.

Each runs in a process of its own, so that its CPU is its own and it can be pinned or killed: the
installed wheel's module under a small Python main, or, with `FP_BENCH_BINARY`, the standalone
program of the crate.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.harness import machine
from benches.harness.processes import Child, StartError, get, raise_nofile

ROOT = Path(__file__).resolve().parents[2]

Json = dict[str, Any]


def binary() -> str | None:
    """The standalone program, if the environment names one."""
    return os.environ.get("FP_BENCH_BINARY")


def version() -> str:
    """The tools have no version but the tree's."""
    return "of this tree"


def command(kind: str, options: str) -> list[str]:
    """How to start `engine`, `relay` or `load` with JSON options."""
    if program := binary():
        return [program, kind, options]
    return [sys.executable, str(ROOT / "benches" / "harness" / "native_main.py"), kind, options]


@dataclass(slots=True)
class Engine:
    """A simulated engine in a process of its own."""

    address: str
    """`HOST:PORT`."""
    unix: str
    """`unix:/PATH`: the same engine, on a unix socket."""
    child: Child

    def stats(self) -> Json:
        """Its counters, asked on a connection of their own (which they count).

        On the unix socket, which is always in cleartext.
        """
        _, body = get(self.unix, "/sim/stats", timeout=10.0)
        found: Json = json.loads(body)
        return found


@contextlib.contextmanager
def engine(
    options: Mapping[str, Any] | None = None,
    *,
    cores: frozenset[int] | None = None,
    port: int = 0,
) -> Iterator[Engine]:
    """A simulated engine for the length of a block, on the cores of the load.

    It listens on a TCP port (0: any) and on a unix socket.
    """
    raise_nofile()
    with tempfile.TemporaryDirectory(prefix="fp-engine-") as place:
        directory = Path(place)
        listen = [f"127.0.0.1:{port}", f"unix:{directory}/engine.sock"]
        text = json.dumps({"listen": listen, **(options or {})})
        child = Child(
            command("engine", text),
            cores=set(cores or machine.cores().rest),
            directory=directory,
            name="engine",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            addresses = _addresses(child, len(listen))
            started = Engine(addresses[0], addresses[1], child)
            child.wait_http(started.unix, "/health")
            yield started
        finally:
            child.stop()


def _addresses(child: Child, count: int) -> list[str]:
    """What an engine writes first: its addresses, as one line of JSON or a line each."""
    stdout = child.process.stdout
    found: list[str] = []
    while stdout and len(found) < count:
        line = stdout.readline().decode().strip()
        if line.startswith("{"):
            found += [str(address) for address in json.loads(line)["addresses"]]
        elif " on " in line:
            found.append(line.rpartition(" on ")[2])
        elif not line:
            child.kill()
            msg = f"the engine said no address: {child.tail()}"
            raise StartError(msg)
    return found


class LoadError(RuntimeError):
    """The load generator could not run; the text says why."""


def load(
    options: Mapping[str, Any], *, timeout: float = 600.0, cores: frozenset[int] | None = None
) -> Json:
    """Run one load to its end, on the cores of the load; returns its report.

    Raises:
        LoadError: it could not run. Failed requests are not that: they are in the report.
    """
    with loading(options, cores=cores) as running:
        return running.report(timeout)


@dataclass(slots=True)
class Loading:
    """A load that runs."""

    child: Child
    path: Path

    def report(self, timeout: float = 600.0) -> Json:
        """Wait for its end; returns its report."""
        status = self.child.process.wait(timeout)
        if status:
            raise LoadError(self.child.tail())
        found: Json = json.loads(self.path.read_text())
        return found

    def end(self, timeout: float = 60.0) -> Json:
        """Cut it short; what is under way then counts as our own leaving."""
        self.child.process.send_signal(signal.SIGINT)
        return self.report(timeout)


@contextlib.contextmanager
def loading(
    options: Mapping[str, Any], *, cores: frozenset[int] | None = None
) -> Iterator[Loading]:
    """A load that runs beside the block; it is ended with it."""
    raise_nofile()
    with tempfile.TemporaryDirectory(prefix="fp-load-") as place:
        path = Path(place) / "report.json"
        child = Child(
            [*command("load", json.dumps(dict(options))), str(path)],
            cores=set(cores or machine.cores().rest),
            directory=Path(place),
            name="load",
        )
        try:
            yield Loading(child, path)
        finally:
            child.kill()
