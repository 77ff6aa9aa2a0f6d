"""The same proxy under every driver: worker threads, uvloop, plain asyncio."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

import pytest
import uvloop

import fastproxy
from harness.client import CHAT, JSON, chat
from harness.http import event, request
from harness.leaks import descriptors
from harness.proxy import embedded_proxy, pool
from harness.upstream import ScriptedUpstream, always, stream


def run_on(loop: str, work: Coroutine[Any, Any, None]) -> None:
    """Run on a loop of that kind."""
    if loop == "uvloop":
        uvloop.run(work)
    else:
        asyncio.run(work)


async def serves(workers: int) -> None:
    """Streams, unary requests and the admin listener, inside this loop."""
    async with (
        ScriptedUpstream(always(stream([str(n) for n in range(30)], gap_s=0.005))) as upstream,
        embedded_proxy(pool(upstream.url), workers=workers) as proxy,
    ):

        async def one() -> None:
            async with proxy.client() as client:
                for _ in range(3):
                    await client.send(request("POST", CHAT, JSON, chat(stream=True)))
                    body = (await client.response()).body
                    assert body == b"".join(event(str(n)) for n in range(30))

        await asyncio.gather(*(one() for _ in range(10)))
        assert await proxy.metric("fastproxy_requests_total") == 30
        await proxy.quiet()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_inside_an_asyncio_program(loop: str, workers: int) -> None:
    """`async with fastproxy.Proxy(config)`."""
    run_on(loop, serves(workers))


@pytest.mark.parametrize("workers", [0, 1])
def test_starting_and_stopping_leaves_nothing(workers: int) -> None:
    """Ten times, and as many descriptors as before."""

    async def once() -> None:
        async with (
            ScriptedUpstream() as upstream,
            embedded_proxy(pool(upstream.url), workers=workers) as proxy,
        ):
            assert (await proxy.ask("GET", "/x")).status == 200

    run_on("uvloop", once())
    before = descriptors(os.getpid())
    for _ in range(10):
        run_on("uvloop", once())
    assert descriptors(os.getpid()) <= before


def test_two_proxies_in_one_program() -> None:
    """A gateway in front of a gateway."""

    async def chain() -> None:
        async with (
            ScriptedUpstream() as upstream,
            embedded_proxy(pool(upstream.url), workers=0) as inner,
            embedded_proxy(pool(f"http://{inner.address}"), workers=1) as outer,
        ):
            said = await outer.ask("GET", "/x")
            assert said.status == 200
            assert len(upstream.requests[0].headers("via")) >= 1

    run_on("uvloop", chain())


def test_the_loop_stays_free() -> None:
    """With `workers: 0` other coroutines run while streams flow."""

    async def both() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        await serves(0)
        ticking.cancel()
        assert ticks > 10

    run_on("uvloop", both())


def test_after_a_fork_the_child_is_told() -> None:
    """Threads do not survive a fork: the child's calls say so instead of hanging."""

    async def forks() -> None:
        async with ScriptedUpstream() as upstream:
            config = pool(upstream.url) | {"listen": "127.0.0.1:0"}
            async with fastproxy.Proxy(config) as proxy:
                child = os.fork()
                if child == 0:
                    try:
                        proxy.state()
                    except fastproxy.errors.StateError:
                        os._exit(7)
                    finally:
                        os._exit(1)
                _, status = await asyncio.to_thread(os.waitpid, child, 0)
                assert os.waitstatus_to_exitcode(status) == 7

    asyncio.run(forks())


def test_run_serves_a_file(tmp_path: Any) -> None:
    """`fastproxy.run` is there and says what is wrong with a file that is not."""
    with pytest.raises(fastproxy.errors.ConfigError):
        fastproxy.run(str(tmp_path / "none.yaml"))
