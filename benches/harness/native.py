"""The border to the native load generator, simulated engine and relay.

Each runs in a process of its own, so that its CPU is its own and it can be pinned or killed: the
installed wheel's module under a small Python main, or, with `FP_BENCH_BINARY`, the standalone
program of the crate.
"""

import contextlib
import json
import os
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
    """Revision of the tree that the tools are of."""
    return machine.revision()


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
        """Its counters, asked on a connection of their own (which they count)."""
        _, body = get(self.address, "/sim/stats", timeout=10.0)
        found: Json = json.loads(body)
        return found

    def inflight(self) -> Any:
        """What runs in it now."""
        _, body = get(self.address, "/sim/inflight", timeout=10.0)
        return json.loads(body)


@contextlib.contextmanager
def engine(
    *, cores: frozenset[int] | None = None, port: int = 0, **options: Any
) -> Iterator[Engine]:
    """A simulated engine for the length of a block, on the cores of the load.

    It listens on a TCP port (0: any) and on a unix socket.
    """
    raise_nofile()
    with tempfile.TemporaryDirectory(prefix="fp-engine-") as place:
        directory = Path(place)
        listen = [f"127.0.0.1:{port}", f"unix:{directory}/engine.sock"]
        text = json.dumps({"listen": listen, **options})
        child = Child(
            command("engine", text),
            cores=set(cores or machine.cores().rest),
            directory=directory,
            name="engine",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            addresses = _addresses(child)
            started = Engine(addresses[0], addresses[1], child)
            child.wait_http(started.address, "/health")
            yield started
        finally:
            child.stop()


def _addresses(child: Child) -> list[str]:
    """The first line that an engine writes: its addresses as JSON."""
    stdout = child.process.stdout
    line = stdout.readline() if stdout else b""
    try:
        found = json.loads(line)
    except ValueError:
        child.kill()
        raise StartError(f"engine said {line!r}: {child.tail()}") from None
    addresses = found["addresses"] if isinstance(found, dict) else found
    return [str(address) for address in addresses]


class LoadFailed(RuntimeError):
    """The load generator could not run; the text says why."""


def load(
    options: Mapping[str, Any], *, timeout: float = 600.0, cores: frozenset[int] | None = None
) -> Json:
    """Run one load to its end, on the cores of the load; returns its report.

    Raises:
        LoadFailed: it could not run. Failed requests are not that: they are in the report.
    """
    with loading(options, cores=cores) as running:
        return running.report(timeout)


@dataclass(slots=True)
class Loading:
    """A load that runs."""

    process: subprocess.Popen[bytes]

    def report(self, timeout: float = 600.0) -> Json:
        """Wait for its end; returns its report."""
        out, err = self.process.communicate(timeout=timeout)
        if self.process.returncode:
            raise LoadFailed(err.decode(errors="replace")[-2000:])
        found: Json = json.loads(out)
        return found


@contextlib.contextmanager
def loading(
    options: Mapping[str, Any], *, cores: frozenset[int] | None = None
) -> Iterator[Loading]:
    """A load that runs beside the block; it is ended with it."""
    raise_nofile()
    mask = ",".join(str(core) for core in sorted(cores or machine.cores().rest))
    argv = ["taskset", "-c", mask, *command("load", json.dumps(dict(options)))]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield Loading(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
