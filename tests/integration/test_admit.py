"""Now, later or 429?"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from harness.client import CHAT, JSON, RawClient, chat
from harness.http import Message, reply, request
from harness.proxy import RunningProxy, Settings, eventually, pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream, always

pytestmark = pytest.mark.asyncio


class Turnstile:
    """An engine that answers only when it is told to."""

    def __init__(self) -> None:
        """Nothing is waiting."""
        self.waiting: list[tuple[Message, asyncio.Event]] = []
        self.order: list[str] = []

    async def handle(self, peer: Peer, asked: Message) -> None:
        """Wait to be let through."""
        event = asyncio.Event()
        self.waiting.append((asked, event))
        self.order.append(asked.header("x-name") or "")
        await event.wait()
        await peer.send(reply(200, b"done"))

    def let_one(self) -> None:
        """Let the oldest one through."""
        _, event = self.waiting.pop(0)
        event.set()


def narrow(url: str, **channel: object) -> Settings:
    """One request at a time, a channel of two."""
    return pool(url, concurrency=1, channel={"capacity": 2, "max_wait": "10s"} | channel)


@dataclass
class Crowd:
    """Clients that have asked and wait."""

    proxy: RunningProxy
    stack: contextlib.AsyncExitStack

    async def post(self, name: str, **fields: str) -> "tuple[RawClient, asyncio.Task[Message]]":
        """Send a request; its answer later."""
        client = await self.stack.enter_async_context(self.proxy.client())
        names = {"x-name": name} | {key.replace("_", "-"): value for key, value in fields.items()}
        await client.send(request("POST", CHAT, JSON | names, chat()))
        return client, asyncio.create_task(self._response(client))

    @staticmethod
    async def _response(client: RawClient) -> Message:
        return await client.response()


@contextlib.asynccontextmanager
async def crowd(proxy: RunningProxy) -> AsyncIterator[Crowd]:
    """Everybody leaves in the end."""
    async with contextlib.AsyncExitStack() as stack:
        yield Crowd(proxy, stack)


async def waiters(proxy: RunningProxy, count: int) -> None:
    """Until that many wait in the channel."""

    async def depth() -> int:
        document = await proxy.endpoints()
        return int(document["pools"][0]["channel"]["depth"])

    for _ in range(200):
        if await depth() == count:
            return
        await asyncio.sleep(0.02)
    msg = f"the channel's depth never was {count}"
    raise AssertionError(msg)


async def test_a_full_channel_is_429_at_once() -> None:
    """One runs, two wait, the fourth is refused within milliseconds and says when to return."""
    gate = Turnstile()
    async with (
        ScriptedUpstream(always(gate.handle)) as upstream,
        running_proxy(narrow(upstream.url)) as proxy,
        crowd(proxy) as clients,
    ):
        kept = [await clients.post(f"r{number}") for number in range(3)]
        await waiters(proxy, 2)
        began = time.monotonic()
        said = await proxy.ask("POST", CHAT, JSON, chat())
        took = time.monotonic() - began
        assert said.status == 429
        assert took < 0.5
        assert 1 <= int(said.header("retry-after") or 0) <= 120
        assert 1 <= int(said.header("retry-after-ms") or 0) <= 120_000
        assert said.header("ratelimit") is not None
        assert said.header("ratelimit-policy") is not None
        error = json.loads(said.body)["error"]
        assert set(error) >= {"message", "type", "param", "code"}
        assert len(upstream.requests) == 1, "the engine never heard of the rest"
        for _ in range(3):
            await eventually(lambda: gate.waiting, 5, "the next one at the engine")
            gate.let_one()
        assert [(await task).status for _, task in kept] == [200, 200, 200]
        assert gate.order == ["r0", "r1", "r2"], "first in, first out"
        await proxy.quiet()
        assert await proxy.metric("fastproxy_sheds_total") == 1


async def test_max_wait_is_429_too() -> None:
    """Who waited as long as is allowed is told to come back."""
    gate = Turnstile()
    async with (
        ScriptedUpstream(always(gate.handle)) as upstream,
        running_proxy(narrow(upstream.url, max_wait="300ms")) as proxy,
        crowd(proxy) as clients,
    ):
        _, first = await clients.post("runs")
        await eventually(lambda: gate.waiting, 5, "the first one at the engine")
        began = time.monotonic()
        said = await proxy.ask("POST", CHAT, JSON, chat())
        assert said.status == 429
        assert 0.2 < time.monotonic() - began < 3
        assert len(upstream.requests) == 1
        gate.let_one()
        assert (await first).status == 200


async def test_a_class_goes_first_and_a_client_may_only_lower_it() -> None:
    """High before normal before low; a header lowers, and never raises."""
    gate = Turnstile()
    async with ScriptedUpstream(always(gate.handle)) as upstream:
        config = narrow(upstream.url, capacity=8) | {
            "routes": [
                {"match": {"headers": {"x-tier": "gold"}}, "pool": "main", "priority": "high"},
                {"pool": "main", "priority": "normal", "priority_header": "x-priority"},
            ]
        }
        async with running_proxy(config) as proxy, crowd(proxy) as clients:
            tasks = [await clients.post("runs")]
            await eventually(lambda: gate.waiting, 5, "the first one at the engine")
            for count, (name, fields) in enumerate(
                [
                    ("low", {"x_priority": "low"}),
                    ("liar", {"x_priority": "high"}),
                    ("normal", {}),
                    ("gold", {"x_tier": "gold"}),
                ]
            ):
                tasks.append(await clients.post(name, **fields))
                await waiters(proxy, count + 1)
            for _ in range(5):
                await eventually(lambda: gate.waiting, 5, "the next one")
                gate.let_one()
            await asyncio.gather(*(task for _, task in tasks))
            assert gate.order == ["runs", "gold", "liar", "normal", "low"]


async def test_a_waiter_that_leaves_gives_its_place_up() -> None:
    """The permit goes to the next one, and the engine never hears of who left."""
    gate = Turnstile()
    async with (
        ScriptedUpstream(always(gate.handle)) as upstream,
        running_proxy(narrow(upstream.url)) as proxy,
        crowd(proxy) as clients,
    ):
        _, first = await clients.post("runs")
        await eventually(lambda: gate.waiting, 5, "the first one at the engine")
        leaver, leaving = await clients.post("leaves")
        await waiters(proxy, 1)
        _, stays = await clients.post("stays")
        await waiters(proxy, 2)
        leaver.reset()
        leaving.cancel()
        await waiters(proxy, 1)
        gate.let_one()
        assert (await first).status == 200
        await eventually(lambda: gate.waiting, 5, "the one who stayed")
        gate.let_one()
        assert (await stays).status == 200
        assert gate.order == ["runs", "stays"]
        await proxy.quiet()


async def test_a_channel_of_nothing_never_waits() -> None:
    """Capacity 0: what cannot run now is refused now."""
    gate = Turnstile()
    async with (
        ScriptedUpstream(always(gate.handle)) as upstream,
        running_proxy(narrow(upstream.url, capacity=0)) as proxy,
        crowd(proxy) as clients,
    ):
        _, first = await clients.post("runs")
        await eventually(lambda: gate.waiting, 5, "the first one at the engine")
        assert (await proxy.ask("POST", CHAT, JSON, chat())).status == 429
        gate.let_one()
        assert (await first).status == 200


async def test_two_workers_share_one_channel() -> None:
    """Permits and places are counted once over all workers."""
    gate = Turnstile()
    async with (
        ScriptedUpstream(always(gate.handle)) as upstream,
        running_proxy(narrow(upstream.url), workers=2) as proxy,
        crowd(proxy) as clients,
    ):
        kept = [await clients.post(f"r{number}") for number in range(3)]
        await waiters(proxy, 2)
        assert (await proxy.ask("POST", CHAT, JSON, chat())).status == 429
        for _ in range(3):
            await eventually(lambda: gate.waiting, 5, "the next one at the engine")
            assert len(gate.waiting) == 1
            gate.let_one()
        assert {(await task).status for _, task in kept} == {200}
