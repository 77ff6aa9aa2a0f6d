"""The proxy object in an asyncio program, on both drivers and both loops."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import orjson
import pytest
import uvloop

from fastproxy import Proxy, errors
from fastproxy._native import bench_engine
from fastproxy.demo.client import stream_chat
from fastproxy.demo.table import Flow, line, reading, table
from fastproxy.observe.metrics import decode
from fastproxy.server.notify import Notifier


@pytest.fixture
def engine() -> Iterator[str]:
    """URL of a quick simulated engine."""
    running = bench_engine(orjson.dumps({"gap_us": 1000, "first_token_us": 1000}))
    yield f"http://{running.addresses()[0]}"
    running.stop()


def config(engine: str, workers: int, **more: object) -> dict[str, object]:
    """One pool on a port of the system's choice."""
    return {
        "listen": "127.0.0.1:0",
        "workers": workers,
        "pools": {"a": {"endpoints": engine}},
    } | more


async def tokens(address: str, count: int = 5) -> list[str]:
    """One streamed completion."""
    host, _, port = address.rpartition(":")
    stream: AsyncIterator[str] = stream_chat(
        host, int(port), model="sim", prompt="hello", tokens=count
    )
    return [text async for text in stream]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_streams(
    engine: str, workers: int, run: Callable[[Coroutine[None, None, None]], None]
) -> None:
    """Tokens arrive, and everything ends."""

    async def program() -> None:
        async with Proxy(config(engine, workers)) as proxy:
            assert proxy.addresses == [proxy.address]
            assert proxy.admin_address is None
            found = await asyncio.gather(*(tokens(proxy.address) for _ in range(8)))
            assert [len(each) for each in found] == [5] * 8
            assert await proxy.drain()
            await proxy.wait()

    run(program())


async def test_reload(engine: str, tmp_path: Path) -> None:
    """Kept listeners keep their port; a mistake changes nothing."""
    async with Proxy(config(engine, 1)) as proxy:
        first = proxy.address
        assert await proxy.reload() == 2
        with pytest.raises(errors.ConfigError, match="at least one pool"):
            await proxy.reload({"pools": {}})
        assert (proxy.reloads.succeeded, proxy.reloads.failed) == (1, 1)
        assert (
            await proxy.reload(config(engine, 1, listen=["127.0.0.1:0", f"unix:{tmp_path}/s"])) == 3
        )
        assert proxy.addresses[0] == first
        assert proxy.addresses[1] == f"unix:{tmp_path}/s"
        assert len(await tokens(first)) == 5
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(errors.StartError, match=str(port)):
                await proxy.reload(config(engine, 1, listen=["127.0.0.1:0", f"127.0.0.1:{port}"]))
        assert len(await tokens(first)) == 5
        assert orjson.loads(proxy.state())["generation"] == 3


async def test_a_taken_address(engine: str) -> None:
    """The error says which, and nothing is left running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(errors.StartError, match=str(port)):
            async with Proxy(config(engine, 1, listen=f"127.0.0.1:{port}")):
                pass


async def test_the_wrong_moment(engine: str) -> None:
    """Before, twice, after."""
    proxy = Proxy(config(engine, 0))
    with pytest.raises(errors.StateError, match="not running"):
        _ = proxy.address
    async with proxy:
        with pytest.raises(errors.StateError, match="starts once"):
            await proxy.start()
    with pytest.raises(errors.StateError, match="not running"):
        _ = proxy.address
    await proxy.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_fork(engine: str) -> None:
    """The child is told what to do instead."""
    async with Proxy(config(engine, 1)) as proxy:
        child = os.fork()
        if child == 0:
            try:
                _ = proxy.address
            except errors.StateError as error:
                os._exit(0 if "after forking" in str(error) else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222 - it ends at once
        assert proxy.address


async def test_an_upstream_is_enough(engine: str) -> None:
    """One endpoint's URL is a whole configuration."""
    async with Proxy(engine) as proxy:
        assert len(await tokens(proxy.address)) == 5


async def test_the_table(engine: str) -> None:
    """What the demo shows comes from the native cells."""
    flow = Flow()
    async with Proxy(config(engine, 1)) as proxy:
        flow.update(reading(decode(proxy.cells())))
        await tokens(proxy.address)
        await asyncio.sleep(0.05)
        flow.update(reading(decode(proxy.cells())))
    assert flow.now is not None
    assert flow.now.requests == {engine: 1}
    assert flow.now.tokens >= 5
    assert flow.tokens_per_s > 0
    assert line(flow).startswith("requests 1, in flight 0, tokens ")
    assert table(flow, (engine,)).row_count == 1


def test_the_service_manager(tmp_path: Path) -> None:
    """Messages as sd_notify(3) wants them; silence when nobody asked."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(2)
        environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000"}
        notifier = Notifier.of(environment)
        assert notifier.watchdog_s == 3
        notifier.ready("serving")
        assert manager.recv(100) == b"READY=1\nSTATUS=serving"
        notifier.reloading()
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        notifier.stopping("draining")
        assert manager.recv(100) == b"STOPPING=1\nSTATUS=draining"
        notifier.succeeded(12)
        assert manager.recv(100) == b"MAINPID=12\nREADY=1\nSTATUS=process 12 has taken over"
    notifier.ready("nobody listens any more")
    Notifier.of({}).ready("nobody asked")
    assert Notifier.of({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}).watchdog_s == 0
