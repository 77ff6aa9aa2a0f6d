"""A reload is validate, compile, swap; or keep the old one and say why."""

import asyncio
import json

import pytest

from harness.address import free_port
from harness.client import CHAT, JSON, ask, chat
from harness.http import event, request
from harness.proxy import RunningProxy, eventually_async, pool, running_proxy
from harness.upstream import ScriptedUpstream, always, answer, stream

pytestmark = pytest.mark.asyncio


async def answered_by(proxy: RunningProxy, body: bytes, seconds: float = 8) -> None:
    """Wait until that engine answers."""

    async def holds() -> bool:
        return (await proxy.ask("GET", "/x")).body == body

    await eventually_async(holds, seconds, f"answers by {body!r}")


async def test_by_signal_by_file_and_by_admin() -> None:
    """All three ways lead to the new configuration."""
    async with (
        ScriptedUpstream(always(answer(b"one"))) as one,
        ScriptedUpstream(always(answer(b"two"))) as two,
        running_proxy(pool(one.url)) as proxy,
    ):
        await answered_by(proxy, b"one")
        await proxy.rewrite(pool(two.url))
        await answered_by(proxy, b"two")
        text = proxy.file.read_text().replace(two.url, one.url)
        proxy.file.write_text(text)
        await answered_by(proxy, b"one", 15)
        proxy.file.write_text(text.replace(one.url, two.url))
        assert (await proxy.ask_admin("/reload", "POST")).status == 200
        await answered_by(proxy, b"two")


async def test_a_bad_file_changes_nothing_and_says_why() -> None:
    """The old configuration goes on; the answer names line and key."""
    async with (
        ScriptedUpstream(always(answer(b"one"))) as one,
        running_proxy(pool(one.url)) as proxy,
    ):
        good = proxy.file.read_text()
        proxy.file.write_text(good.replace("endpoints", "endpionts"))
        said = await proxy.ask_admin("/reload", "POST")
        assert said.status == 422
        mistakes = " ".join(json.loads(said.body)["mistakes"])
        assert "endpionts" in mistakes
        assert "endpoints" in mistakes, "says what was allowed"
        assert f"{proxy.file}:" in mistakes
        assert (await proxy.ask("GET", "/x")).body == b"one"
        proxy.file.write_text("{half a file")
        assert (await proxy.ask_admin("/reload", "POST")).status == 422
        assert (await proxy.ask("GET", "/x")).body == b"one"


async def test_what_runs_is_not_disturbed() -> None:
    """A stream goes on through a reload that removes its endpoint."""
    async with (
        ScriptedUpstream(always(stream([str(n) for n in range(20)], gap_s=0.1))) as one,
        ScriptedUpstream(always(answer(b"two"))) as two,
        running_proxy(pool(one.url)) as proxy,
        proxy.client() as client,
    ):
        await client.send(request("POST", CHAT, JSON, chat(stream=True)))
        await client.head()
        assert await client.chunk() == event("0")
        await proxy.rewrite(pool(two.url))
        await answered_by(proxy, b"two")
        for number in range(1, 20):
            assert await client.chunk() == event(str(number))
        assert await client.chunk() == b""
        await proxy.quiet()


async def test_a_listener_may_come_and_go() -> None:
    """New addresses are bound, old ones closed, the rest keep their sockets."""
    async with ScriptedUpstream(always(answer(b"yes"))) as upstream:
        config = pool(upstream.url)
        async with running_proxy(config) as proxy:
            second = f"127.0.0.1:{free_port()}"
            async with proxy.client() as kept:
                await kept.ask("GET", "/x")
                await proxy.rewrite(config | {"listen": [proxy.address, second]})

                async def bound() -> bool:
                    try:
                        return (await ask(second, "GET", "/x")).status == 200
                    except OSError:
                        return False

                await eventually_async(bound, 8, "the new listener")
                assert (await kept.ask("GET", "/x")).status == 200
            await proxy.rewrite(config | {"listen": [proxy.address]})

            async def closed() -> bool:
                return not await bound()

            await eventually_async(closed, 8, "the old listener's end")
            assert (await proxy.ask("GET", "/x")).status == 200


async def test_reloads_under_load_lose_nothing() -> None:
    """Sixty swaps between two engines while requests flow: no failure, no counter falls."""
    async with (
        ScriptedUpstream(always(answer(b"one"))) as one,
        ScriptedUpstream(always(answer(b"two"))) as two,
        running_proxy(pool(one.url, two.url), workers=2) as proxy,
    ):
        done = asyncio.Event()
        statuses: list[int] = []

        async def load() -> None:
            async with proxy.client() as client:
                while not done.is_set():
                    statuses.append((await client.ask("POST", CHAT, JSON, chat())).status)

        loading = [asyncio.create_task(load()) for _ in range(4)]
        counted = 0.0
        text = proxy.file.read_text()
        for number in range(60):
            proxy.file.write_text(text + f"# generation {number}\n")
            said = await proxy.ask_admin("/reload", "POST")
            assert said.status == 200, said.body
            now = await proxy.metric("fastproxy_requests_total")
            assert now >= counted
            counted = now
        done.set()
        await asyncio.gather(*loading)
        assert set(statuses) == {200}
        assert await proxy.metric("fastproxy_requests_total") >= len(statuses)
