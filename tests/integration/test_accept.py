"""May this socket exist?"""

import asyncio
import contextlib
from pathlib import Path

import pytest

from harness.address import free_port
from harness.client import RawClient, ask
from harness.leaks import descriptors, settles_to
from harness.proxy import pool, running_proxy
from harness.upstream import ScriptedUpstream, always, answer

pytestmark = pytest.mark.asyncio


async def test_several_listeners_of_every_kind(tmp_path: Path) -> None:
    """IPv4, IPv6 and a unix socket lead to the same engine."""
    addresses = [
        f"127.0.0.1:{free_port()}",
        f"[::1]:{free_port('::1')}",
        f"unix:{tmp_path / 'front.sock'}",
    ]
    async with ScriptedUpstream(always(answer(b"yes"))) as upstream:
        config = pool(upstream.url) | {"listen": addresses}
        async with running_proxy(config, workers=2) as proxy:
            for address in addresses:
                assert (await ask(address, "GET", "/ok")).body == b"yes", address
            assert proxy.process is not None
    assert not (tmp_path / "front.sock").exists(), "a unix socket is removed at the end"


async def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    """A socket file that a killed process left does not stop the next one."""
    path = tmp_path / "front.sock"
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url) | {"listen": [f"unix:{path}"]}
        async with running_proxy(config) as proxy:
            assert proxy.process is not None
            proxy.process.kill()
            await proxy.wait()
        assert path.exists()
        async with running_proxy(config):
            assert (await ask(f"unix:{path}", "GET", "/ok")).status == 200


async def test_connections_per_source_are_capped() -> None:
    """One address cannot take all the connections; others are served meanwhile."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url)
        config["listen"] = {"connections_per_source_max": 3}
        async with running_proxy(config) as proxy, contextlib.AsyncExitStack() as held:
            for _ in range(3):
                client = await held.enter_async_context(proxy.client())
                assert (await client.ask("GET", "/ok")).status == 200
            async with proxy.client() as fourth:
                assert await fourth.closed() == b"", "closed at once, or answered not at all"
            async with proxy.client(source="127.0.0.2") as other:
                assert (await other.ask("GET", "/ok")).status == 200


async def test_no_descriptor_is_lost() -> None:
    """Clients that come and go in every way leave nothing behind."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        await proxy.ask("GET", "/ok")
        await asyncio.sleep(0.2)
        before = descriptors(proxy.pid)
        for number in range(60):
            async with proxy.client() as client:
                await client.send(b"GET /ok HTTP/1.1\r\nHost: a\r\n"[: 5 + number % 27])
                if number % 3 == 0:
                    client.reset()
                elif number % 3 == 1:
                    client.half_close()
        await settles_to(proxy.pid, before)


async def test_out_of_descriptors_is_survived() -> None:
    """With few descriptors the proxy pauses accepting, answers its health, and recovers."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url)
        prefix = ("prlimit", "--nofile=96:96")
        async with running_proxy(config, prefix=prefix) as proxy:
            await asyncio.sleep(0)
            await _ready(proxy.admin)
            clients = [RawClient(proxy.address) for _ in range(150)]
            async with contextlib.AsyncExitStack() as held:
                for client in clients:
                    await held.enter_async_context(client)
                await asyncio.sleep(0.5)
                said = await ask(proxy.admin, "GET", "/healthz", {"host": proxy.admin})
                assert said.status == 200
            await asyncio.sleep(1)
            assert (await proxy.ask("GET", "/ok")).status == 200


async def _ready(address: str) -> None:
    for _ in range(400):
        with contextlib.suppress(OSError):
            if (await ask(address, "GET", "/readyz", {"host": address})).status == 200:
                return
        await asyncio.sleep(0.05)
    msg = "not ready"
    raise AssertionError(msg)


async def test_an_address_in_use_is_a_clear_error() -> None:
    """The message says which address, why, and what to do."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as first:
        with pytest.raises(AssertionError, match="fastproxy ended") as caught:
            async with running_proxy(pool(upstream.url), address=first.address):
                pass
        assert first.address in str(caught.value)
