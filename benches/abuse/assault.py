"""Starts attackers and the sink, and turns them from one target to another."""

import contextlib
import json
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benches.harness import machine
from benches.harness.processes import Child, StartError

HERE = Path(__file__).resolve().parent


@dataclass(slots=True)
class Came:
    """What came of an attacker's connections to a proxy, over all windows."""

    opened: int = 0
    refused: int = 0
    sent: int = 0
    closed: int = 0
    survived: int = 0
    answered: int = 0
    codes: Counter[str] = field(default_factory=Counter)

    def add(self, tally: dict[str, Any]) -> None:
        """One window more."""
        for name in ("opened", "refused", "sent", "closed", "survived", "answered"):
            setattr(self, name, getattr(self, name) + tally[name])
        self.codes.update(tally["codes"])


@dataclass(slots=True)
class Attackers:
    """A process that attacks."""

    child: Child

    def aim(self, address: str | None, *, sink: bool = False) -> dict[str, Any]:
        """Turn it to a target, or to none; what came of the last one."""
        stdin = self.child.process.stdin
        assert stdin is not None
        stdin.write(json.dumps(["aim", address, sink]).encode() + b"\n")
        stdin.flush()
        found: dict[str, Any] = json.loads(_line(self.child))
        return found


def _line(child: Child) -> bytes:
    stdout = child.process.stdout
    line = stdout.readline() if stdout else b""
    if not line:
        raise StartError(child.tail())
    return line


@contextlib.contextmanager
def _script(name: str, *arguments: str) -> Iterator[Child]:
    """A script of this folder on the core of the load, for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="fp-abuse-") as place:
        child = Child(
            [sys.executable, str(HERE / name), *arguments],
            cores=set(machine.cores().rest),
            directory=Path(place),
            name=Path(name).stem,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            yield child
        finally:
            child.kill()


@contextlib.contextmanager
def attackers(name: str) -> Iterator[Attackers]:
    """Attackers of one class, aiming at nothing yet."""
    with _script("generator.py", json.dumps({"class": name})) as child:
        _line(child)
        yield Attackers(child)


def say(
    address: str, script: bytes, enough: Callable[[bytes], bool], *, patience_s: float = 10.0
) -> bytes:
    """One connection that says a script: what is answered until that is enough, or the end."""
    host, _, port = address.rpartition(":")
    data = bytearray()
    with socket.create_connection((host, int(port)), timeout=patience_s) as sock:
        sock.setblocking(False)
        waiting = memoryview(script)
        deadline = time.monotonic() + patience_s
        while not enough(bytes(data)) and (left := deadline - time.monotonic()) > 0:
            _, writable, _ = select.select([sock], [sock] if waiting else [], [], left)
            with contextlib.suppress(BlockingIOError):
                try:
                    if writable:
                        waiting = waiting[sock.send(waiting) :]
                except ConnectionError:
                    waiting = memoryview(b"")
                try:
                    part = sock.recv(65_536)
                except ConnectionError:
                    break
                if not part:
                    break
                data += part
    return bytes(data)


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """A server that only reads; its address."""
    with _script("sink.py") as child:
        yield _line(child).decode().strip()
