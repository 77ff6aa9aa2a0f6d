"""A running proxy: as a process, as `fastproxy serve` starts it, or inside the test's own loop."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from harness.address import free_port
from harness.client import RawClient, ask
from harness.http import Message
from harness.metrics import Metrics

START_S = 20
Settings = dict[str, Any]
TOKEN = "test-admin-token"


@dataclass
class RunningProxy:
    """What a test needs of a proxy process."""

    address: str
    admin: str
    folder: Path
    config: Settings
    process: asyncio.subprocess.Process | None = None
    output: bytearray = field(default_factory=bytearray)

    @property
    def url(self) -> str:
        """Base URL for clients."""
        return f"http://{self.address}"

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid if self.process else os.getpid()

    @property
    def process_ended(self) -> bool:
        """Whether the process has ended by itself."""
        return self.process is not None and self.process.returncode is not None

    @property
    def file(self) -> Path:
        """The configuration file."""
        return self.folder / "fastproxy.yaml"

    def client(self, *, buffer: int | None = None, source: str | None = None) -> RawClient:
        """A connection to the first listener."""
        return RawClient(self.address, buffer=buffer, source=source)

    async def ask(
        self,
        method: str = "GET",
        target: str = "/",
        fields: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Message:
        """One request on a fresh connection."""
        return await ask(self.address, method, target, fields, body)

    async def ask_admin(
        self, target: str, method: str = "GET", body: bytes = b"", token: str | None = TOKEN
    ) -> Message:
        """One request to the admin listener."""
        fields = {"host": self.admin} | ({"authorization": f"Bearer {token}"} if token else {})
        return await ask(self.admin, method, target, fields, body)

    async def metrics(self) -> Metrics:
        """All metrics now."""
        return Metrics.parse((await self.ask_admin("/metrics")).body.decode())

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples that carry the labels."""
        return (await self.metrics()).total(name, **labels)

    async def endpoints(self) -> Any:
        """The admin view of pools and endpoints."""
        return json.loads((await self.ask_admin("/endpoints")).body)

    def log(self) -> list[dict[str, Any]]:
        """The access log so far."""
        path = self.folder / "access.log"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]

    async def logged(self, count: int = 1, seconds: float = 5) -> list[dict[str, Any]]:
        """The access log once it has that many records."""
        await eventually(lambda: len(self.log()) >= count, seconds, f"{count} log records")
        return self.log()

    async def rewrite(self, config: Settings) -> None:
        """Replace the configuration file and ask for a reload by signal."""
        self.config = complete(config, self.folder, self.address, self.admin)
        self.file.write_text(yaml.safe_dump(self.config, sort_keys=False))
        self.signal(signal.SIGHUP)

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)

    async def wait(self, seconds: float = 20) -> int:
        """Wait for the process to end."""
        assert self.process is not None
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def quiet(self, seconds: float = 5) -> None:
        """Wait until no exchange is left and every permit is back."""

        async def nothing() -> bool:
            return await in_flight(self) == 0

        await eventually_async(nothing, seconds, "every permit returned")


def walk(value: Any, key: str) -> list[float]:
    """Every number under that key, at any depth."""
    found: list[float] = []
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name == key and isinstance(inner, int | float):
                found.append(inner)
            found += walk(inner, key)
    elif isinstance(value, list):
        for inner in value:
            found += walk(inner, key)
    return found


async def in_flight(proxy: RunningProxy) -> float:
    """Permits out and waiters queued, over all pools."""
    document = await proxy.endpoints()
    return sum(walk(document, "in_flight")) + sum(walk(document, "depth"))


async def eventually_async(holds: Any, seconds: float, what: str) -> None:
    """Wait until an async condition holds."""
    until = time.monotonic() + seconds
    while not await holds():
        if time.monotonic() > until:
            msg = f"not within {seconds} s: {what}"
            raise AssertionError(msg)
        await asyncio.sleep(0.02)


async def eventually(holds: Any, seconds: float, what: str) -> None:
    """Wait until a condition holds."""

    async def again() -> bool:
        return bool(holds())

    await eventually_async(again, seconds, what)


def complete(config: Settings, folder: Path, address: str, admin: str) -> Settings:
    """Add what every test's configuration has: addresses, admin, log."""
    return {
        "listen": address,
        "admin": {"listen": admin, "token": TOKEN},
        "access_log": str(folder / "access.log"),
        "drain": {"deadline": "1s"},
    } | config


def pool(*urls: str, **more: Any) -> Settings:
    """A configuration with one pool that takes everything."""
    return {"pools": {"main": {"endpoints": [{"url": url} for url in urls]} | more}}


def command(*arguments: str) -> list[str]:
    """How the tool is started: with this interpreter, whatever PATH says."""
    return [sys.executable, "-m", "fastproxy", *arguments]


@contextlib.asynccontextmanager
async def running_proxy(
    config: Settings,
    *,
    workers: int = 1,
    address: str | None = None,
    prefix: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
) -> AsyncIterator[RunningProxy]:
    """`fastproxy serve FILE` as a process of its own, ready before the body runs."""
    with tempfile.TemporaryDirectory(prefix="fastproxy-test-") as name:
        folder = Path(name)
        proxy = RunningProxy(
            address or f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", folder, {}
        )
        proxy.config = complete(config, folder, proxy.address, proxy.admin) | {"workers": workers}
        if isinstance(proxy.config["listen"], dict):
            proxy.config["listen"].setdefault("address", proxy.address)
        proxy.admin = proxy.config["admin"]["listen"]
        proxy.file.write_text(yaml.safe_dump(proxy.config, sort_keys=False))
        async with serving(proxy, prefix=prefix, env=env):
            if not prefix:
                await until_ready(proxy)
            yield proxy


@contextlib.asynccontextmanager
async def serving(
    proxy: RunningProxy,
    *arguments: str,
    prefix: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
) -> AsyncIterator[RunningProxy]:
    """`fastproxy serve` on the proxy's file, for the length of a block."""
    proxy.process = await asyncio.create_subprocess_exec(
        *prefix,
        *command("serve", *arguments, str(proxy.file)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | (env or {}),
    )
    reading = asyncio.create_task(_keep(proxy))
    try:
        yield proxy
    finally:
        await _end(proxy, reading)


@contextlib.asynccontextmanager
async def taking_over(
    old: RunningProxy, *, env: dict[str, str] | None = None
) -> AsyncIterator[RunningProxy]:
    """A process that has taken over from `old`, with whatever the file says now."""
    new = replace(old, process=None, output=bytearray())
    async with serving(new, "--takeover", env=env):
        await eventually(lambda: b"open files" in new.output or new.process_ended, 20, "it starts")
        yield new


async def until_ready(proxy: RunningProxy) -> None:
    """Wait for `/readyz` to say yes."""
    until = time.monotonic() + START_S
    while True:
        assert proxy.process is not None
        if proxy.process.returncode is not None:
            await asyncio.sleep(0.1)
            msg = f"fastproxy ended: {proxy.output.decode(errors='replace')}"
            raise AssertionError(msg)
        with contextlib.suppress(OSError, AssertionError, ValueError):
            if (await ask(proxy.admin, "GET", "/readyz", {"host": proxy.admin})).status == 200:
                return
        if time.monotonic() > until:
            msg = f"not ready: {proxy.output.decode(errors='replace')}"
            raise AssertionError(msg)
        await asyncio.sleep(0.02)


async def _keep(proxy: RunningProxy) -> None:
    """Keep what the process prints."""
    assert proxy.process is not None
    assert proxy.process.stdout is not None
    while part := await proxy.process.stdout.read(65536):
        proxy.output += part


async def _end(proxy: RunningProxy, reading: "asyncio.Task[None]") -> None:
    assert proxy.process is not None
    if proxy.process.returncode is None:
        proxy.process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(3):
                await proxy.process.wait()
        except TimeoutError:
            proxy.process.kill()
            await proxy.process.wait()
    await reading
    text = proxy.output.decode(errors="replace")
    assert "panicked" not in text, text
    assert "Traceback" not in text, text


@contextlib.asynccontextmanager
async def embedded_proxy(config: Settings, *, workers: int = 0) -> AsyncIterator[RunningProxy]:
    """`fastproxy.Proxy` inside the test's own event loop."""
    import fastproxy

    with tempfile.TemporaryDirectory(prefix="fastproxy-test-") as name:
        folder = Path(name)
        settings = complete(config, folder, "127.0.0.1:0", "127.0.0.1:0") | {"workers": workers}
        async with fastproxy.Proxy(settings) as proxy:
            assert proxy.admin_address is not None
            yield RunningProxy(proxy.address, proxy.admin_address, folder, settings)
