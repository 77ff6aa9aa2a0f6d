"""Which endpoint?"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from harness.client import CHAT, JSON, chat
from harness.http import Message
from harness.proxy import Settings, eventually, pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream, always, answer, hold

pytestmark = pytest.mark.asyncio


@contextlib.asynccontextmanager
async def engines(count: int) -> AsyncIterator[list[ScriptedUpstream]]:
    """Engines that say yes."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(ScriptedUpstream()) for _ in range(count)]


async def test_weights_are_kept_smoothly() -> None:
    """Weighted: 5:1:1 gives exactly that, and never five in a row where it need not be."""
    async with engines(3) as (one, two, three):
        config: Settings = {
            "pools": {
                "main": {
                    "balance": "weighted",
                    "endpoints": [
                        {"url": one.url, "weight": 5},
                        {"url": two.url, "weight": 1},
                        {"url": three.url, "weight": 1},
                    ],
                }
            }
        }
        async with running_proxy(config) as proxy, proxy.client() as client:
            for _ in range(28):
                assert (await client.ask("POST", CHAT, JSON, chat())).status == 200
        assert [len(engine.requests) for engine in (one, two, three)] == [20, 4, 4]


async def test_the_least_loaded_one_is_chosen() -> None:
    """While one engine is busy the other takes what comes."""
    async with (
        ScriptedUpstream(always(hold)) as busy,
        ScriptedUpstream() as idle,
        running_proxy(pool(busy.url, idle.url)) as proxy,
        contextlib.AsyncExitStack() as held,
    ):
        while not busy.requests:
            client = await held.enter_async_context(proxy.client())
            await client.send(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.sleep(0.05)
        before = len(idle.requests)
        for _ in range(10):
            await proxy.ask("GET", "/x")
        assert len(idle.requests) == before + 10


async def test_a_failing_engine_is_left_alone() -> None:
    """After failures in a row an endpoint is ejected; clients see nothing of it."""

    async def fails(peer: Peer, _asked: Message) -> None:
        peer.reset()

    async with ScriptedUpstream(always(fails)) as bad, ScriptedUpstream() as good:
        config = pool(bad.url, good.url, eject={"consecutive": 3, "base": "30s"})
        async with running_proxy(config) as proxy:
            for _ in range(30):
                assert (await proxy.ask("GET", "/x")).status == 200
            assert len(bad.requests) <= 4, "ejected after three failures"
            assert await proxy.metric("fastproxy_ejections_total") == 1
            assert await proxy.metric("fastproxy_retries_total") >= 3


async def test_an_ejected_engine_comes_back() -> None:
    """When its time is over and a trial goes well, it takes its share again."""
    healthy = False

    async def sick_then_well(peer: Peer, asked: Message) -> None:
        if healthy:
            await answer(b"well")(peer, asked)
        else:
            peer.reset()

    async with ScriptedUpstream(always(sick_then_well)) as bad, ScriptedUpstream() as good:
        config = pool(
            bad.url, good.url, balance="round_robin", eject={"consecutive": 2, "base": "300ms"}
        )
        async with running_proxy(config) as proxy:
            for _ in range(8):
                assert (await proxy.ask("GET", "/x")).status == 200
            healthy = True
            await asyncio.sleep(0.8)
            before = len(bad.whole)
            for _ in range(10):
                assert (await proxy.ask("GET", "/x")).status == 200
            assert len(bad.whole) > before + 2


async def test_the_last_engine_is_never_ejected() -> None:
    """A pool of one goes on trying: an honest 502 beats a pool with nobody in it."""

    async def fails(peer: Peer, _asked: Message) -> None:
        peer.reset()

    async with ScriptedUpstream(always(fails)) as bad:
        config = pool(bad.url, eject={"consecutive": 1}, retry={"attempts": 1})
        async with running_proxy(config) as proxy:
            for number in range(5):
                assert (await proxy.ask("GET", "/x")).status == 502
                assert len(bad.requests) == number + 1


async def test_peak_ewma_prefers_the_quick_one() -> None:
    """By first-token time, the slow engine gets a small share."""
    async with (
        ScriptedUpstream(always(answer(b"slow", delay_s=0.1))) as slow,
        ScriptedUpstream(always(answer(b"quick"))) as quick,
    ):
        async with running_proxy(pool(slow.url, quick.url, balance="peak_ewma")) as proxy:
            for _ in range(30):
                await proxy.ask("POST", CHAT, JSON, chat())
        await eventually(lambda: quick.requests, 1, "anything at all")
        assert len(quick.requests) > 2 * len(slow.requests)


async def test_explain_says_which() -> None:
    """The admin view and the command agree with what happens."""
    async with engines(2) as (one, two):
        config = pool(one.url, two.url)
        async with running_proxy(config) as proxy:
            document = await proxy.endpoints()
            text = str(document)
            assert one.url in text
            assert two.url in text
