"""WebSocket: tunnelled after a valid 101, byte for byte, by real clients and servers."""

import asyncio
import contextlib

import pytest
import websockets

from harness.http import Message, head, reply
from harness.proxy import eventually, pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream, always

pytestmark = pytest.mark.asyncio
ASK = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
AGREE = head(
    "HTTP/1.1 101 Switching Protocols",
    {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    },
)


async def test_a_real_client_and_a_real_server() -> None:
    """Text, binary, a large message, ping and an orderly close with its code."""

    async def echo(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)
        assert connection.close_code == 4321

    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with running_proxy(pool(f"http://127.0.0.1:{port}")) as proxy:
            uri = f"ws://{proxy.address}/v1/realtime?model=x"
            async with websockets.connect(uri, max_size=None, proxy=None) as connection:
                for message in ("hé", b"\x00\xff", "x" * 3_000_000):
                    await connection.send(message)
                    assert await connection.recv() == message
                await asyncio.wait_for(await connection.ping(), 5)
                await connection.close(4321)
            await proxy.quiet()
            record = (await proxy.logged())[0]
            assert record["status"] == 101


async def test_no_byte_goes_up_before_the_101() -> None:
    """What a client sends too early waits; after a refusal it is thrown away."""
    early = b"too early"
    seen = bytearray()
    agreed = asyncio.Event()

    async def slow(peer: Peer) -> None:
        asked = await peer.head()
        assert asked is not None
        assert (asked.header("upgrade") or "").lower() == "websocket"
        with contextlib.suppress(TimeoutError):
            seen.extend(await asyncio.wait_for(peer.reader.read(100), 0.5))
        assert not seen
        await peer.send(AGREE)
        agreed.set()
        seen.extend(await peer.reader.readexactly(len(early)))
        await peer.send(b"pong")
        await peer.until_gone()

    async with (
        ScriptedUpstream(slow) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        await client.send(head("GET /ws HTTP/1.1", {"host": "a"} | ASK) + early)
        assert (await client.interim()).status == 101
        assert await client.reader.readexactly(4) == b"pong"
        assert bytes(seen) == early


async def test_a_refused_upgrade_is_an_ordinary_answer() -> None:
    """The engine says 403; so do we, and the connection is not a tunnel."""

    async def refuses(peer: Peer, _asked: Message) -> None:
        await peer.send(reply(403, b"no"))

    async with (
        ScriptedUpstream(always(refuses)) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        await client.send(head("GET /ws HTTP/1.1", {"host": "a"} | ASK))
        said = await client.response()
        assert (said.status, said.body) == (403, b"no")


async def test_either_end_closes_the_other() -> None:
    """An engine that vanishes is seen by the client, and the other way round."""

    async def agrees(peer: Peer, _asked: Message) -> None:
        await peer.send(AGREE + b"hello")
        got = await peer.reader.read(100)
        if got == b"die":
            peer.reset()
        else:
            await peer.until_gone()

    async with (
        ScriptedUpstream(always(agrees)) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
    ):
        async with proxy.client() as client:
            await client.send(head("GET /ws HTTP/1.1", {"host": "a"} | ASK))
            assert (await client.interim()).status == 101
            assert await client.reader.readexactly(5) == b"hello"
            await client.send(b"die")
            await client.closed()
        async with proxy.client() as client:
            await client.send(head("GET /ws HTTP/1.1", {"host": "a"} | ASK))
            assert (await client.interim()).status == 101
            client.reset()
        await eventually(lambda: all(peer.gone.is_set() for peer in upstream.peers[1:]), 5, "told")
        await proxy.quiet()


@pytest.mark.parametrize(
    "change",
    [{"sec-websocket-version": "8"}, {"upgrade": "h2c"}, {"connection": "close"}],
    ids=["old version", "another protocol", "not upgraded"],
)
async def test_only_a_valid_upgrade_is_one(change: dict[str, str]) -> None:
    """Anything else is an ordinary request, or refused; never a tunnel."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        said = await proxy.ask("GET", "/ws", ASK | change)
        assert said.status in (200, 400, 426)
        assert all(one.header("upgrade") is None for one in upstream.requests)


async def test_a_route_may_forbid_it() -> None:
    """`websocket: false`."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url) | {"routes": [{"pool": "main", "websocket": False}]}
        async with running_proxy(config) as proxy:
            said = await proxy.ask("GET", "/ws", ASK)
            assert said.status in (200, 403, 426, 502)
            assert all(one.header("upgrade") is None for one in upstream.requests)
