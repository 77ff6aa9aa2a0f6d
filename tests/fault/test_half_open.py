"""A peer whose packets are lost without a word: what SO_KEEPALIVE and TCP_USER_TIMEOUT are for.

The engine runs in a network namespace; its answers are dropped there, as a dead host, a cut cable
or a forgetful firewall would. The first test shows what a plain socket does: it waits. The others
show that the proxy does not.
"""

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator

import pytest

from harness import netns
from harness.client import CHAT, JSON, chat
from harness.http import Message, TruncatedError, request
from harness.proxy import pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream, always, stream

REASON = netns.missing()
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
    pytest.mark.timeout(120),
]
DETECTED_S = 25
"""Promised within 20 s; the rest is the machine's."""
ENGINE = """
import socket, sys, threading, time
def serve(peer):
    peer.recv(65536)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\n"
                 b"transfer-encoding: chunked\\r\\n\\r\\n")
    while True:
        try:
            peer.sendall(b"a\\r\\ndata: tok\\n\\r\\n1\\r\\n\\n\\r\\n")
        except OSError:
            time.sleep(300)
        time.sleep(0.2)
listener = socket.create_server((sys.argv[1], 8000))
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


@contextlib.asynccontextmanager
async def engine(space: netns.Namespace) -> AsyncIterator[str]:
    """A streaming engine inside the namespace; its `HOST:PORT`."""
    process = await asyncio.create_subprocess_exec(
        *space.command(sys.executable, "-c", ENGINE, space.theirs), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 10) == b"listening\n"
        yield f"{space.theirs}:8000"
    finally:
        process.kill()
        await process.wait()


async def test_a_plain_socket_waits() -> None:
    """Without tuning, a reader of a half-open connection learns nothing for as long as we look."""
    with netns.namespace() as space:
        async with engine(space) as address:
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port)), 5) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert plain.recv(65536)
                space.cut()
                plain.settimeout(8)

                def read_on() -> None:
                    while plain.recv(65536):
                        pass

                with pytest.raises(TimeoutError):
                    read_on()


async def test_a_stream_from_a_dead_host_ends() -> None:
    """With every token timeout off, the connection itself is found dead, and the client is told."""
    off = {"inter_token": "off", "first_token": "off", "stream_total": "off"}
    with netns.namespace() as space:
        async with engine(space) as address:
            config = pool(f"http://{address}", timeouts=off)
            async with running_proxy(config) as proxy, proxy.client() as client:
                await client.send(request("POST", CHAT, JSON, chat(stream=True)))
                said = await client.head()
                assert await client.chunk()
                space.cut()
                began = time.monotonic()
                with pytest.raises(TruncatedError) as caught:
                    await asyncio.wait_for(client.body(said), DETECTED_S)
                took = time.monotonic() - began
                assert b'"error"' in caught.value.partial
                assert took < DETECTED_S
                await proxy.quiet()


async def test_a_request_to_a_dead_host_on_a_kept_connection() -> None:
    """A request written into a half-open connection is found unsent, and answered 502 or 504."""
    with netns.namespace() as space:
        async with engine(space) as address:
            config = pool(
                f"http://{address}", idle="60s", retry={"attempts": 1},
                timeouts={"connect": "1s", "first_token": "off", "total": "off"},
            )  # fmt: skip
            async with running_proxy(config) as proxy:
                async with proxy.client() as first:
                    await first.send(request("POST", CHAT, JSON, chat(stream=True)))
                    await first.head()
                    space.cut()
                    async with proxy.client() as second:
                        await second.send(request("POST", CHAT, JSON, chat()))
                        async with asyncio.timeout(DETECTED_S):
                            said = await second.head()
                        assert said.status in (502, 504)
                    first.reset()
                await proxy.quiet(DETECTED_S)


async def test_a_client_whose_host_died_frees_its_engine() -> None:
    """The other side: a client that vanished without FIN holds its slot for seconds."""
    script = (
        "import socket,sys,time\n"
        "s=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
        "s.sendall(sys.stdin.buffer.read())\n"
        "s.recv(100)\nprint('reading',flush=True)\ntime.sleep(300)\n"
    )

    async def endless(peer: Peer, asked: Message) -> None:
        await stream(["x" * 100] * 10_000, gap_s=0.1)(peer, asked)

    with netns.namespace() as space:
        async with ScriptedUpstream(always(endless)) as upstream:
            config = pool(upstream.url, timeouts={"client_stall": "off"})
            address = f"{space.ours}:8123"
            async with running_proxy(config, address=address) as proxy:
                client = await asyncio.create_subprocess_exec(
                    *space.command(sys.executable, "-c", script, space.ours, "8123"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
                assert client.stdin is not None
                assert client.stdout is not None
                client.stdin.write(request("POST", CHAT, JSON, chat(stream=True)))
                client.stdin.close()
                assert await client.stdout.readline() == b"reading\n"
                space.cut()
                await asyncio.wait_for(upstream.peers[0].gone.wait(), DETECTED_S + 5)
                await proxy.quiet()
                client.kill()
                await client.wait()
