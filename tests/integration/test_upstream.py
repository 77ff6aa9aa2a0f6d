"""Which connection? Again? And what the engine sees of the request."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from harness.client import CHAT, JSON, chat
from harness.http import Message, head, reply
from harness.proxy import eventually, pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream, always, answer

pytestmark = pytest.mark.asyncio


async def test_connections_are_used_again() -> None:
    """Fifty requests in a row need one connection."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        async with proxy.client() as client:
            for _ in range(50):
                assert (await client.ask("POST", CHAT, JSON, chat())).status == 200
        assert len(upstream.peers) == 1
        assert await proxy.metric("fastproxy_connection_reuse_total") == 49


async def test_idle_connections_are_closed_before_the_engine_would() -> None:
    """After `idle` the proxy closes; the engine sees the end of the connection."""
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(pool(upstream.url, idle="400ms")) as proxy,
    ):
        await proxy.ask("GET", "/x")
        await asyncio.wait_for(upstream.peers[0].gone.wait(), 5)


async def test_a_stale_connection_costs_one_safe_retry() -> None:
    """An engine that closes a kept connection as the next request goes out is asked again."""

    async def once(peer: Peer) -> None:
        asked = await peer.request()
        if asked is not None:
            await peer.send(reply(200, b"yes"))
            if await peer.head() is not None:
                peer.reset()

    async with (
        ScriptedUpstream(once) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        for _ in range(4):
            assert (await client.ask("POST", CHAT, JSON, chat())).body == b"yes"
        assert len(upstream.peers) == 4


async def test_a_request_that_may_have_run_is_not_sent_twice() -> None:
    """An upload is never replayed: the client is told."""

    async def dies(peer: Peer, _asked: Message) -> None:
        peer.reset()

    async with (
        ScriptedUpstream(always(dies)) as one,
        ScriptedUpstream(always(dies)) as two,
        running_proxy(pool(one.url, two.url)) as proxy,
    ):
        said = await proxy.ask("POST", "/v1/files", {"content-type": "text/plain"}, b"a file")
        assert said.status == 502
        assert len(one.requests) + len(two.requests) == 1


async def test_a_dead_engine_is_replaced_unseen() -> None:
    """Connection refused, then the other endpoint; the client sees one clean answer."""
    async with ScriptedUpstream() as gone:
        url = gone.url
    async with (
        ScriptedUpstream(always(answer(b"alive"))) as alive,
        running_proxy(pool(url, alive.url)) as proxy,
    ):
        for _ in range(10):
            assert (await proxy.ask("POST", CHAT, JSON, chat())).body == b"alive"


async def test_statuses_of_retry_are_tried_elsewhere() -> None:
    """503 of one engine, 200 of the other; when all say 503 the client gets it."""
    async with (
        ScriptedUpstream(always(answer(b"busy", 503))) as busy,
        ScriptedUpstream(always(answer(b"fine"))) as fine,
        running_proxy(pool(busy.url, fine.url, balance="round_robin")) as proxy,
    ):
        for _ in range(4):
            assert (await proxy.ask("POST", CHAT, JSON, chat())).body == b"fine"
    async with (
        ScriptedUpstream(always(answer(b"busy", 503))) as busy,
        running_proxy(pool(busy.url)) as proxy,
    ):
        assert (await proxy.ask("POST", CHAT, JSON, chat())).status == 503


async def test_the_retry_budget_ends() -> None:
    """When everything fails, retries stay a share of the requests: no storm."""

    async def dies(peer: Peer, _asked: Message) -> None:
        peer.reset()

    async with ScriptedUpstream(always(dies)) as one, ScriptedUpstream(always(dies)) as two:
        config = pool(
            one.url, two.url,
            retry={"attempts": 3, "budget": "20%", "min_per_second": 1}, eject={"consecutive": 0},
        )  # fmt: skip
        async with running_proxy(config) as proxy, proxy.client() as client:
            for _ in range(100):
                assert (await client.ask("POST", CHAT, JSON, chat())).status == 502
        attempts = len(one.requests) + len(two.requests)
        assert 100 <= attempts <= 145, attempts


async def test_after_our_own_retries_the_sdk_is_told_to_stop() -> None:
    """`x-should-retry: false`, so that a client does not multiply what we already tried."""

    async def dies(peer: Peer, _asked: Message) -> None:
        peer.reset()

    async with (
        ScriptedUpstream(always(dies)) as one,
        ScriptedUpstream(always(dies)) as two,
        running_proxy(pool(one.url, two.url)) as proxy,
    ):
        said = await proxy.ask("POST", CHAT, JSON, chat())
        assert said.status == 502
        assert said.header("x-should-retry") == "false"


async def test_host_prefix_and_headers_by_pool() -> None:
    """What the engine sees is what the pool says."""
    async with ScriptedUpstream(always(answer(b"{}", fields={"server": "secret"}))) as upstream:
        config = pool(
            upstream.url + "/base",
            host="engine.internal",
            strip_prefix="/llama",
            headers={
                "request": {"set": {"x-added": "1"}, "remove": ["x-gone"]},
                "response": {"set": {"x-seen": "2"}, "remove": ["server"]},
            },
        )
        config["pools"]["main"]["endpoints"] = [{"url": upstream.url + "/base"}]
        async with running_proxy(config) as proxy:
            said = await proxy.ask("GET", "/llama/v1/x?q=1", {"X-Gone": "a", "X-Kept": "b"})
            seen = upstream.requests[0]
            assert seen.target == "/base/v1/x?q=1"
            assert seen.headers("host") == ["engine.internal"]
            assert seen.header("x-added") == "1"
            assert seen.header("x-gone") is None
            assert seen.header("x-kept") == "b"
            assert said.header("x-seen") == "2"
            assert said.header("server") is None


@pytest.mark.parametrize(("policy", "wanted"), [("client", "of.the.client"), ("endpoint", None)])
async def test_host_policies(policy: str, wanted: str | None) -> None:
    """The client's Host, or the endpoint's own."""
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(pool(upstream.url, host=policy)) as proxy,
    ):
        await proxy.ask("GET", "/x", {"host": "of.the.client"})
        assert upstream.requests[0].headers("host") == [wanted or upstream.address]


async def test_unix_socket_engine(tmp_path: Path) -> None:
    """The sidecar's natural link."""
    path = tmp_path / "engine.sock"
    async with (
        ScriptedUpstream(always(answer(b"yes")), path=path) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        for _ in range(3):
            assert (await client.ask("GET", "/x")).body == b"yes"
        assert len(upstream.peers) == 1
        assert upstream.requests[0].headers("host"), "HTTP/1.1 wants a Host here, too"


async def test_the_connection_cap_holds() -> None:
    """No more connections to an endpoint than allowed, over all workers."""
    async with ScriptedUpstream(always(answer(b"yes", delay_s=0.05))) as upstream:
        config = pool(upstream.url, connections_max=4, concurrency=4)
        async with running_proxy(config, workers=2) as proxy:
            async with contextlib.AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(proxy.client()) for _ in range(16)]
                for _ in range(3):
                    said = await asyncio.gather(*(one.ask("GET", "/x") for one in clients))
                    assert {one.status for one in said} == {200}
            assert sum(not peer.gone.is_set() for peer in upstream.peers) <= 4 + 1


async def test_an_early_answer_is_passed_on() -> None:
    """An engine that refuses before the body came: the client hears it, nothing is reused."""

    async def refuses(peer: Peer) -> None:
        if await peer.head() is not None:
            await peer.send(reply(413, b"too much", {"connection": "close"}))
            await peer.until_gone()

    async with ScriptedUpstream(refuses) as upstream, running_proxy(pool(upstream.url)) as proxy:
        async with proxy.client() as client:
            fields = {"host": "a", "content-length": "20000000"}
            await client.send(head("POST /v1/files HTTP/1.1", fields) + b"x" * 100_000)
            assert (await client.response()).status == 413
        await eventually(upstream.peers[0].gone.is_set, 5, "the engine's connection ends")


async def test_a_connect_that_hangs_is_504_or_502() -> None:
    """An address that never answers costs the connect timeout, not the client's patience."""
    async with ScriptedUpstream() as upstream:
        config = pool(
            "http://127.0.0.1:1", upstream.url,
            timeouts={"connect": "300ms"}, balance="round_robin",
        )  # fmt: skip
        async with running_proxy(config) as proxy:
            for _ in range(4):
                assert (await proxy.ask("GET", "/x")).status == 200
