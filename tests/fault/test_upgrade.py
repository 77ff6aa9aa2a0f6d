"""One process takes over from another, under load: nothing is refused, reset, lost or set back."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from fastproxy import _native
from fastproxy.server import rendezvous
from fastproxy.server.link import receive, receive_descriptors, send
from harness.address import split
from harness.client import CHAT, JSON, RawClient, ask, chat
from harness.engine import SimEngine
from harness.http import event, request
from harness.metrics import Metrics
from harness.pki import Authority
from harness.proxy import RunningProxy, Settings, eventually, pool, running_proxy, taking_over
from harness.upstream import ScriptedUpstream, always, answer, stream

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="upgrades are for Linux"),
]
ASK = request("POST", CHAT, JSON, chat(stream=True))


def upgradable(tmp_path: Path, **more: Any) -> Settings:
    """Where the processes meet."""
    return {"upgrade": {"socket": str(tmp_path / "up.sock")} | more}


# What is under way when the load is told to stop counts as left.
FINE = ("ok", "aborted")


class Load:
    """Clients that keep connections and clients that make new ones, unary and streams."""

    def __init__(self, address: str, *parts: dict[str, Any]) -> None:
        self._stop = threading.Event()
        self._options = [
            {"targets": [address], "duration_s": 600.0, "drain_s": 20.0} | p for p in parts
        ]
        self._tasks: list[asyncio.Task[bytes]] = []

    async def __aenter__(self) -> Self:
        for options in self._options:
            run = asyncio.to_thread(
                _native.bench_run, json.dumps(options).encode(), lambda _: not self._stop.is_set()
            )
            self._tasks.append(asyncio.create_task(run))
        await asyncio.sleep(0.5)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def end(self) -> list[dict[str, Any]]:
        """What each part came to."""
        self._stop.set()
        return [json.loads(report)["total"] for report in await asyncio.gather(*self._tasks)]


UNARY = {
    "mode": {"kind": "concurrency", "connections": 8},
    "new_connection_ratio": 0.2,
    "body": {"kind": "model", "bytes": 256, "stream": False, "tokens": 1},
}
STREAMS = {
    "mode": {"kind": "streams", "streams": 8, "tokens": 60},
    "body": {"kind": "model", "bytes": 256, "stream": True, "tokens": 60},
}


@contextlib.asynccontextmanager
async def watched(admin: str) -> AsyncIterator[list[str]]:
    """Scrapes on new and on kept connections; every rising series that fell or vanished."""
    fallen: list[str] = []
    last: dict[str, float] = {}
    scrapes = 0
    kept: RawClient | None = None

    async def scrape() -> str:
        nonlocal kept
        fields = {"host": admin}
        if scrapes % 2:
            return (await ask(admin, "GET", "/metrics", fields)).body.decode()
        if kept is None:
            kept = RawClient(admin)
            await kept.__aenter__()
        said = await kept.ask("GET", "/metrics", fields)
        if (said.header("connection") or "") == "close":
            await kept.__aexit__(None, None, None)
            kept = None
        return said.body.decode()

    async def run() -> None:
        nonlocal scrapes
        while True:
            now = rising(await scrape())
            for name, value in last.items():
                if now.get(name, -1.0) < value:
                    fallen.append(f"{name}: {value} -> {now.get(name)}")
            last.update(now)
            scrapes += 1
            await asyncio.sleep(0.01)

    task = asyncio.create_task(run())
    try:
        yield fallen
    finally:
        if task.done():
            task.result()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if kept is not None:
            await kept.__aexit__(None, None, None)
        assert scrapes > 3


def rising(text: str) -> dict[str, float]:
    """Every series that must not fall."""
    endings = ("_total", "_count", "_bucket", "_sum")
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for sample in Metrics.parse(text).samples
        if sample.name.endswith(endings)
    }


def handed_over(proxy: RunningProxy) -> bool:
    """It said so."""
    return b"has taken over" in proxy.output


@pytest.mark.parametrize("workers", [0, 1, 2])
async def test_nothing_is_lost_under_load(tmp_path: Path, workers: int) -> None:
    """Three processes in a row; kept connections, new ones, streams, and scrapes all the while."""
    with SimEngine(tokens=60, gap_us=10_000, unary_us=500) as engine:
        config = pool(engine.url) | upgradable(tmp_path)
        async with contextlib.AsyncExitStack() as stack:
            old = first = await stack.enter_async_context(running_proxy(config, workers=workers))
            async with watched(old.admin) as fallen, Load(old.address, UNARY, STREAMS) as load:
                for _ in range(2):
                    new = await stack.enter_async_context(taking_over(old))
                    assert handed_over(old), new.output.decode()
                    await asyncio.sleep(0.5)
                    old = new
                unary, streams = await load.end()
            for part in (unary, streams):
                bad = {k: v for k, v in part["outcomes"].items() if v and k not in FINE}
                assert not bad
                assert part["good"] > 10
            assert await first.wait(30) == 0
            asked = unary["good"] + streams["good"]
            assert await old.metric("fastproxy_requests_total") >= asked
            assert await old.metric("fastproxy_upgrades_total") == 2
            assert fallen == []


async def test_a_stream_outlives_two_upgrades(tmp_path: Path) -> None:
    """It goes on in the process that began it, which ends with it; its counts arrive in time."""
    words = [str(n) for n in range(60)]
    async with ScriptedUpstream(always(stream(words, gap_s=0.05))) as upstream:
        config = pool(upstream.url) | upgradable(tmp_path)
        async with running_proxy(config) as first, first.client() as client:
            await client.send(ASK)
            await client.head()
            async with taking_over(first) as second, taking_over(second) as third:
                assert not first.process_ended
                assert await third.metric("fastproxy_predecessor_draining") == 1
                # The one in between has nothing to do but to wait for the first one's counts.
                assert not second.process_ended
                before = await third.metric("fastproxy_stream_events_total")
                assert 0 < before < len(words)
                body = [await client.chunk() for _ in range(len(words) + 1)]
                assert body == [*(event(word) for word in words), b""]
                # Its head said that the connection stays, so it does until the client leaves.
                assert not first.process_ended
                client.half_close()
                assert await first.wait() == 0
                assert await second.wait() == 0
                assert await third.metric("fastproxy_stream_events_total") == len(words)
                assert await third.metric("fastproxy_predecessor_draining") == 0
                assert await third.metric("fastproxy_upgrades_total") == 2


async def test_kept_connections_are_served_and_told_to_close(tmp_path: Path) -> None:
    """What a client sends before it can know is answered; the admin's connections, too."""
    async with ScriptedUpstream(always(answer(b"yes"))) as upstream:
        config = pool(upstream.url) | upgradable(tmp_path)
        async with (
            running_proxy(config) as old,
            old.client() as kept,
            old.client() as fresh,
            RawClient(old.admin) as admin,
        ):
            await kept.ask("GET", "/x")
            await admin.ask("GET", "/readyz", {"host": old.admin})
            async with taking_over(old) as new:
                assert handed_over(old)
                for client in (kept, fresh):
                    said = await client.ask("GET", "/x")
                    assert (said.status, said.body) == (200, b"yes")
                    assert said.header("connection") == "close"
                assert (await new.ask()).header("connection") is None
                assert not old.process_ended
                ready = await admin.ask("GET", "/readyz", {"host": old.admin})
                assert (ready.status, ready.header("connection")) == (200, "close")
                assert await old.wait() == 0
                assert await new.metric("fastproxy_requests_total") == 4


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_sessions_of_tls_outlive_an_upgrade(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """The new process opens tickets of the old one: no client pays for a second full handshake."""
    authority = Authority(tmp_path)
    context = authority.client()
    context.minimum_version = context.maximum_version = version

    def session(address: str, before: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        with (
            socket.create_connection(split(address), 5) as plain,
            context.wrap_socket(plain, server_hostname="api.example", session=before) as client,
        ):
            client.sendall(request("GET", "/x", {"host": "api.example"}))
            assert client.recv(65536)
            return bool(client.session_reused), client.session

    async with ScriptedUpstream(always(answer(b"yes"))) as upstream:
        config = pool(upstream.url) | upgradable(tmp_path)
        config["listen"] = {"tls": {"certificates": authority.issue("api.example").pair}}
        async with running_proxy(config) as old:
            resumed, first = await asyncio.to_thread(session, old.address, None)
            assert not resumed
            async with taking_over(old) as new:
                assert handed_over(old)
                resumed, _ = await asyncio.to_thread(session, new.address, first)
                assert resumed
                shown = "tls1.2" if version == ssl.TLSVersion.TLSv1_2 else "tls1.3"
                name = "fastproxy_tls_handshakes_total"
                assert await new.metric(name, outcome=f"{shown}_resumed") == 1


async def test_unix_listeners_and_removed_ones(tmp_path: Path) -> None:
    """A unix socket's file stays with the successor; one that the new file leaves out goes."""
    kept, gone = tmp_path / "kept.sock", tmp_path / "gone.sock"
    async with ScriptedUpstream(always(answer(b"yes"))) as upstream:
        config = pool(upstream.url) | upgradable(tmp_path)
        listen = [f"unix:{kept}", f"unix:{gone}", "127.0.0.1:0"]
        async with running_proxy(config | {"listen": listen}) as old:
            inode = kept.stat().st_ino
            old.file.write_text(yaml.safe_dump(old.config | {"listen": listen[:1]}))
            async with taking_over(old) as new:
                assert await old.wait() == 0
                assert not gone.exists()
                assert kept.stat().st_ino == inode
                async with RawClient(f"unix:{kept}") as client:
                    assert (await client.ask("GET", "/x")).body == b"yes"
                assert b"listening on http" not in new.output
            assert not kept.exists()
            assert not (tmp_path / "up.sock").exists()


async def test_a_bad_file_leaves_the_old_process_alone(tmp_path: Path) -> None:
    """It is not even asked; an address that is taken comes after, and changes nothing either."""
    async with ScriptedUpstream(always(answer(b"yes"))) as upstream:
        config = pool(upstream.url) | upgradable(tmp_path)
        async with running_proxy(config) as old:
            old.file.write_text("pools: 5\n")
            async with taking_over(old) as new:
                assert await new.wait() == 2
                assert b"must be a mapping" in new.output
            with socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                taken.listen()
                address = f"127.0.0.1:{taken.getsockname()[1]}"
                wanted = [old.address, address]
                old.file.write_text(yaml.safe_dump(old.config | {"listen": wanted}))
                async with taking_over(old) as new:
                    assert await new.wait() == 2
                    assert b"cannot listen on" in new.output
            await eventually(lambda: b"this one goes on" in old.output, 5, "it says so")
            assert not handed_over(old)
            assert (await old.ask()).header("connection") is None
            old.file.write_text(yaml.safe_dump(old.config))
            async with taking_over(old):
                assert handed_over(old)


async def test_a_successor_that_dies_half_way_changes_nothing(tmp_path: Path) -> None:
    """It got the sockets and never said that it is ready."""
    path = tmp_path / "up.sock"
    async with (
        ScriptedUpstream(always(answer(b"yes"))) as upstream,
        running_proxy(pool(upstream.url) | upgradable(tmp_path)) as old,
    ):

        def die() -> int:
            with rendezvous.connect(path, 5) as sock:
                send(sock, {"type": "hello", "protocol": 1, "version": "x"})
                offer = receive(sock)
                assert [each["kind"] for each in offer["listeners"]] == ["data", "admin"]
                found = receive_descriptors(sock, len(offer["listeners"]) + 1)
                with rendezvous.connect(path, 5) as second:
                    send(second, {"type": "hello", "protocol": 1})
                    assert "takes over" in receive(second)["refused"]
                    second.close()
                for descriptor in found:
                    os.close(descriptor)
                sock.close()
            return len(found)

        assert await asyncio.to_thread(die) == 3
        await eventually(lambda: b"this one goes on" in old.output, 5, "it notices")
        for _ in range(20):
            assert (await old.ask()).status == 200
        assert await old.metric("fastproxy_requests_total") == 20

        def speak(message: dict[str, object]) -> dict[str, Any]:
            with rendezvous.connect(path, 5) as sock:
                send(sock, message)
                found = receive(sock)
                sock.close()
            return found

        said = await asyncio.to_thread(speak, {"type": "hello", "protocol": 99})
        assert "protocol 1" in said["refused"]
        async with taking_over(old) as new:
            assert handed_over(old)
            assert (await new.ask()).status == 200


async def test_a_killed_successor_process_changes_nothing(tmp_path: Path) -> None:
    """`kill -9` as soon as the old process has begun to deal with it, before it can be ready."""
    async with ScriptedUpstream(always(answer(b"yes"))) as upstream:
        config = pool(upstream.url) | upgradable(tmp_path)
        # A name that takes its time to look up is between the offer and the start.
        async with running_proxy(config) as old:
            slow = (
                "import time\n"
                "from fastproxy.__main__ import main\n"
                "from fastproxy.config.load import Loaded\n"
                "Loaded.plan = lambda *_: time.sleep(30)\n"
                "main()\n"
            )
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", slow, "serve", "--takeover", str(old.file)),
                stderr=asyncio.subprocess.DEVNULL,
            )
            await eventually(lambda: b"about to take over" in old.output, 10, "the offer")
            assert (await old.metric("fastproxy_upgrades_total")) == 0
            process.kill()
            await process.wait()
            await eventually(lambda: b"this one goes on" in old.output, 5, "it notices")
            for _ in range(20):
                assert (await old.ask()).status == 200


async def test_a_signal_starts_the_successor(tmp_path: Path) -> None:
    """SIGUSR2: as the old one was started; the service manager hears of the new main process."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        async with ScriptedUpstream(always(answer(b"yes"))) as upstream:
            config = pool(upstream.url) | upgradable(tmp_path)
            env = {"NOTIFY_SOCKET": str(path)}
            async with running_proxy(config, env=env) as old:
                assert manager.recv(1000).startswith(b"READY=1")
                old.signal(signal.SIGUSR2)
                # Its output goes on, in its successor: `wait` would wait for that, too.
                await eventually(lambda: old.process_ended, 20, "the old one ends")
                assert old.process is not None
                assert old.process.returncode == 0
                named = (await asyncio.to_thread(manager.recv, 1000)).decode().splitlines()
                pid = int(named[0].removeprefix("MAINPID="))
                try:
                    assert (await old.ask()).status == 200
                    assert await old.metric("fastproxy_upgrades_total") == 1
                    assert (await asyncio.to_thread(manager.recv, 1000)).startswith(b"READY=1")
                finally:
                    os.kill(pid, signal.SIGTERM)
                assert (await asyncio.to_thread(manager.recv, 1000)).startswith(b"STOPPING=1")
                await eventually(lambda: not (tmp_path / "up.sock").exists(), 10, "it ends")


async def test_without_being_told_a_second_one_does_not_take_over(tmp_path: Path) -> None:
    """The address is taken, and the message says how it could be had."""
    async with (
        ScriptedUpstream(always(answer(b"yes"))) as upstream,
        running_proxy(pool(upstream.url) | upgradable(tmp_path)) as old,
    ):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fastproxy", "serve", str(old.file)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert process.returncode == 2
        assert b"--takeover" in said
        assert (await old.ask()).status == 200
        # That one only looked.
        assert b"upgrade" not in old.output


async def test_the_simple_command_needs_no_configuration(tmp_path: Path) -> None:
    """`serve --upstream URL` twice, the second with `--takeover`; the printed token stays good."""
    (tmp_path / "run").mkdir(mode=0o700)
    env = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "PYTHONUNBUFFERED": "1"}
    env.pop("RUNTIME_DIRECTORY", None)
    from harness.address import free_port

    listen, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    async with ScriptedUpstream(always(answer(b"yes"))) as upstream:
        command = [sys.executable, "-m", "fastproxy", "serve", "--upstream", upstream.url]
        command += ["--listen", listen, "--admin", admin, "--workers", "1"]
        processes = []
        tokens = set()
        try:
            for extra in ([], ["--takeover"], ["--takeover"]):
                process = await asyncio.create_subprocess_exec(
                    *command, *extra, env=env, stderr=asyncio.subprocess.PIPE
                )
                processes.append(process)
                assert process.stderr is not None
                async with asyncio.timeout(20):
                    while b"open files" not in (line := await process.stderr.readline()):
                        assert line, "it ended"
                        if b"admin token" in line:
                            tokens.add(line.split()[-1])
                assert (await ask(listen, "GET", "/x")).body == b"yes"
            assert len(tokens) == 1
            async with asyncio.timeout(20):
                assert [await process.wait() for process in processes[:2]] == [0, 0]
        finally:
            for process in processes:
                if process.returncode is None:
                    process.terminate()
                    await process.wait()
