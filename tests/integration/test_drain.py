"""How the proxy ends: not ready, closing kept connections in order, streams finished or cut."""

import asyncio
import contextlib
import signal
import socket
import time
from pathlib import Path

import pytest

from harness.client import CHAT, JSON, RawClient, ask, chat
from harness.http import TruncatedError, event, request
from harness.proxy import eventually, eventually_async, pool, running_proxy
from harness.upstream import ScriptedUpstream, always, answer, stream

pytestmark = pytest.mark.asyncio
ASK = request("POST", CHAT, JSON, chat(stream=True))


async def test_streams_are_finished() -> None:
    """What runs may end; the process leaves with 0 when it has."""
    async with ScriptedUpstream(always(stream(["a", "b", "c"], gap_s=0.3))) as upstream:
        config = pool(upstream.url) | {"drain": {"deadline": "20s"}}
        async with running_proxy(config) as proxy, proxy.client() as client:
            await client.send(ASK)
            await client.head()
            proxy.signal(signal.SIGTERM)
            body = [await client.chunk() for _ in range(4)]
            assert body == [event("a"), event("b"), event("c"), b""]
            assert await proxy.wait() == 0


async def test_the_deadline_cuts_at_an_event() -> None:
    """What does not end is cut behind a whole event, with an error event, not a clean end."""
    async with ScriptedUpstream(always(stream(["x"] * 500, gap_s=0.05))) as upstream:
        config = pool(upstream.url) | {"drain": {"deadline": "500ms"}}
        async with running_proxy(config) as proxy, proxy.client() as client:
            await client.send(ASK)
            head = await client.head()
            await client.chunk()
            began = time.monotonic()
            proxy.signal(signal.SIGTERM)
            with pytest.raises(TruncatedError) as caught:
                await client.body(head)
            assert time.monotonic() - began < 5
            assert caught.value.partial.endswith(b"\n\n")
            assert b'"error"' in caught.value.partial
            await proxy.wait()


async def test_readiness_falls_first() -> None:
    """During `delay` requests are still served, on connections that are told to close."""
    async with ScriptedUpstream(always(answer(b"yes"))) as upstream:
        config = pool(upstream.url) | {"drain": {"delay": "1500ms", "deadline": "5s"}}
        async with running_proxy(config) as proxy, proxy.client() as client:
            await client.ask("GET", "/x")
            proxy.signal(signal.SIGTERM)

            async def fallen() -> bool:
                said = await ask(proxy.admin, "GET", "/readyz", {"host": proxy.admin})
                return said.status == 503

            await eventually_async(fallen, 3, "/readyz says no")
            assert (await ask(proxy.admin, "GET", "/healthz", {"host": proxy.admin})).status == 200
            said = await client.ask("GET", "/x")
            assert said.body == b"yes"
            assert await proxy.wait() == 0


async def test_kept_connections_are_told_to_close() -> None:
    """`Connection: close` on the answers that are still given, then the end."""
    async with ScriptedUpstream(always(answer(b"yes", delay_s=0.7))) as upstream:
        config = pool(upstream.url) | {"drain": {"deadline": "10s", "idle": "1500ms"}}
        async with (
            running_proxy(config) as proxy,
            proxy.client() as idle,
            proxy.client() as late,
            proxy.client() as busy,
        ):
            await idle.ask("GET", "/x")
            await late.ask("GET", "/x")
            await busy.send(request("GET", "/x"))
            await eventually(lambda: len(upstream.requests) == 3, 5, "the request at the engine")
            proxy.signal(signal.SIGTERM)
            await eventually(lambda: b"draining" in proxy.output, 5, "the drain")
            # It may have sent this before it could know.
            await late.send(request("GET", "/x"))
            for client in (busy, late):
                said = await client.response()
                assert said.status == 200
                assert (said.header("connection") or "").lower() == "close"
            assert await idle.closed() == b""
            assert await proxy.wait() == 0
            after = RawClient(proxy.address)
            with pytest.raises(OSError):
                await after.__aenter__()


async def test_systemd_is_told(tmp_path: Path) -> None:
    """READY=1 at start, STOPPING=1 at the end."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        said = b""
        async with (
            ScriptedUpstream() as upstream,
            running_proxy(pool(upstream.url), env={"NOTIFY_SOCKET": str(path)}) as proxy,
        ):
            await asyncio.sleep(0.2)
            proxy.signal(signal.SIGTERM)
            await proxy.wait()
        with contextlib.suppress(BlockingIOError):
            while True:
                said += listener.recv(4096) + b"\n"
        assert b"READY=1" in said
        assert b"STOPPING=1" in said


async def test_a_second_signal_ends_at_once() -> None:
    """An impatient operator is obeyed."""
    async with ScriptedUpstream(always(stream(["x"] * 500, gap_s=0.05))) as upstream:
        config = pool(upstream.url) | {"drain": {"deadline": "60s"}}
        async with running_proxy(config) as proxy, proxy.client() as client:
            await client.send(ASK)
            await client.head()
            proxy.signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            proxy.signal(signal.SIGTERM)
            await proxy.wait(5)
