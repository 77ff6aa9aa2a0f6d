"""How fast? Bounded both ways, flushed at once, cancelled at once, never falsely whole."""

import asyncio
import contextlib
import time

import pytest

from harness.client import CHAT, JSON, chat
from harness.http import (
    EVENT_STREAM,
    LAST_CHUNK,
    Message,
    TruncatedError,
    chunk,
    event,
    head,
    request,
)
from harness.leaks import resident_bytes
from harness.proxy import eventually, pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream, always, stream

pytestmark = pytest.mark.asyncio
ASK = request("POST", CHAT, JSON, chat(stream=True))
MIB = 1024 * 1024


async def test_every_event_goes_out_when_it_comes() -> None:
    """The first of two events is there long before the second."""
    async with (
        ScriptedUpstream(always(stream(["one", "two"], gap_s=0.7))) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        await client.send(ASK)
        head_ = await client.head()
        assert head_.header("content-type") == "text/event-stream"
        assert head_.header("x-accel-buffering") == "no"
        assert await client.chunk() == event("one")
        first = time.monotonic()
        assert await client.chunk() == event("two")
        assert time.monotonic() - first > 0.4
        assert await client.chunk() == b""


async def test_the_bytes_are_the_engines_bytes() -> None:
    """However the engine's writes are cut, the client's body is what was written."""
    body = "".join(f"id: {n}\ndata: tokén {n}\r\n\r\n" for n in range(50)).encode()
    body += b": comment\n\nevent: x\ndata: 1\ndata: 2\n\ndata: [DONE]\n\n"

    async def sliced(peer: Peer, _asked: Message) -> None:
        await peer.send(EVENT_STREAM)
        for at in range(0, len(body), 7):
            await peer.send(chunk(body[at : at + 7]))
        await peer.send(LAST_CHUNK)

    async with (
        ScriptedUpstream(always(sliced)) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        await client.send(ASK)
        assert (await client.response()).body == body


@pytest.mark.parametrize("leave", ["reset", "fin", "half-close"])
async def test_a_client_that_leaves_cancels_the_engine(leave: str) -> None:
    """The engine's connection ends at once, and the permit is back."""
    async with (
        ScriptedUpstream(always(stream(["x"] * 1000, gap_s=0.05))) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
    ):
        async with proxy.client() as client:
            await client.send(ASK)
            await client.head()
            await client.chunk()
            began = time.monotonic()
            if leave == "reset":
                client.reset()
            elif leave == "half-close":
                client.half_close()
            else:
                client.writer.close()
            peer = upstream.peers[0]
            await eventually(peer.gone.is_set, 5, "the engine is told")
            assert time.monotonic() - began < 2
        await proxy.quiet()
        records = await proxy.logged()
        assert len(records) == 1
        assert records[0]["flag"]


async def test_half_close_may_be_allowed() -> None:
    """A listener may let clients close their side and still listen."""
    async with ScriptedUpstream(always(stream(["a", "b"], gap_s=0.2))) as upstream:
        config = pool(upstream.url)
        config["listen"] = {"half_close": "allow"}
        async with running_proxy(config) as proxy, proxy.client() as client:
            await client.send(ASK)
            client.half_close()
            assert (await client.response()).body == event("a") + event("b")


@pytest.mark.parametrize("moment", ["head", "body", "queue", "before-token"])
async def test_a_client_may_leave_at_any_moment(moment: str) -> None:
    """No orphan at the engine, no permit lost, one record for each request."""
    release = asyncio.Event()

    async def slow(peer: Peer, _asked: Message) -> None:
        await release.wait()
        await stream(["a"])(peer, _asked)

    async with ScriptedUpstream(always(slow)) as upstream:
        config = pool(upstream.url, concurrency=1, channel={"max_wait": "20s"})
        async with running_proxy(config) as proxy, contextlib.AsyncExitStack() as stack:
            if moment == "queue":
                other = await stack.enter_async_context(proxy.client())
                await other.send(ASK)
                await eventually(lambda: upstream.requests, 5, "the first at the engine")
            client = await stack.enter_async_context(proxy.client())
            cut = {"head": 20, "body": len(ASK) - 5}.get(moment, len(ASK))
            await client.send(ASK[:cut])
            if moment == "before-token":
                await eventually(lambda: upstream.requests, 5, "the request at the engine")
            await asyncio.sleep(0.1)
            client.reset()
            await asyncio.sleep(0.2)
            release.set()
            await proxy.quiet()
            wanted = {"head": 0, "body": 0, "queue": 1, "before-token": 1}[moment]
            assert len(upstream.whole) == wanted
            if moment != "head":
                records = await proxy.logged(wanted if moment != "queue" else 2)
                assert len(records) <= 2


async def test_a_stopped_client_stops_the_engine() -> None:
    """Back-pressure: the proxy buffers a little, then reads no more; nothing is lost."""
    sent = 0

    async def flood(peer: Peer, _asked: Message) -> None:
        nonlocal sent
        await peer.send(head("HTTP/1.1 200 OK", {"content-length": str(64 * MIB)}))
        while sent < 64 * MIB:
            await peer.send(b"x" * 65536)
            sent += 65536

    async with ScriptedUpstream(always(flood)) as upstream:
        config = pool(upstream.url, timeouts={"client_stall": "60s"})
        async with running_proxy(config) as proxy, proxy.client(buffer=65536) as client:
            before = resident_bytes(proxy.pid)
            await client.send(request("GET", "/x"))
            await client.head()
            await asyncio.sleep(1.5)
            paused = sent
            assert paused < 32 * MIB
            assert resident_bytes(proxy.pid) - before < 4 * MIB
            rest = 0
            while rest < 64 * MIB:
                part = await asyncio.wait_for(client.reader.read(MIB), 20)
                assert part, "cut short"
                rest += len(part)
            assert rest == 64 * MIB


async def test_an_upload_to_a_stopped_engine_is_paused() -> None:
    """Back-pressure the other way: a streaming upload fills no memory."""

    async def reads_nothing(peer: Peer) -> None:
        await peer.head()
        await asyncio.sleep(2.5)
        await peer.until_gone(30)

    async with ScriptedUpstream(reads_nothing) as upstream:
        config = pool(upstream.url) | {
            "limits": {"held_body": "64KiB", "held_bytes": "1MiB"},
            "routes": [{"pool": "main", "body_max": "1GiB"}],
        }
        async with running_proxy(config) as proxy, proxy.client() as client:
            before = resident_bytes(proxy.pid)
            fields = {"host": "a", "content-length": str(200 * MIB)}
            await client.send(head("POST /v1/files HTTP/1.1", fields))
            sending = asyncio.create_task(client.send(b"x" * (100 * MIB)))
            await asyncio.sleep(1.5)
            assert resident_bytes(proxy.pid) - before < 8 * MIB
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            client.reset()
            await proxy.quiet()


async def test_a_slow_reader_that_moves_lives() -> None:
    """The stall timer watches bytes moving, not speed."""
    async with ScriptedUpstream(always(stream(["x" * 1000] * 60, gap_s=0.02))) as upstream:
        config = pool(upstream.url, timeouts={"client_stall": "700ms"})
        async with running_proxy(config) as proxy, proxy.client(buffer=4096) as client:
            await client.send(ASK)
            await client.head()
            count = 0
            while await client.chunk():
                count += 1
                await asyncio.sleep(0.02)
            assert count >= 1


async def test_a_reader_that_stops_is_cut() -> None:
    """And its engine is cancelled."""

    async def flood(peer: Peer, _asked: Message) -> None:
        await peer.send(EVENT_STREAM)
        while True:
            await peer.send(chunk(event("x" * 4000)))

    async with ScriptedUpstream(always(flood)) as upstream:
        config = pool(upstream.url, timeouts={"client_stall": "700ms"})
        async with running_proxy(config) as proxy, proxy.client(buffer=4096) as client:
            await client.send(ASK)
            await client.head()
            await eventually(upstream.peers[0].gone.is_set, 10, "the engine is told")
            await proxy.quiet()


async def dies_after(count: int, peer: Peer, how: str) -> None:
    """Send some events, half of another one, and end badly."""
    await peer.send(EVENT_STREAM)
    for number in range(count):
        await peer.send(chunk(event(f"t{number}")))
        await asyncio.sleep(0.02)
    await peer.send(chunk(b'data: {"half'))
    await asyncio.sleep(0.1)
    if how == "reset":
        peer.reset()
    else:
        peer.close()


@pytest.mark.parametrize("how", ["reset", "fin"])
async def test_a_truncated_stream_never_looks_complete(how: str) -> None:
    """Whole events, then an error event, then no last chunk."""

    async def dies(peer: Peer, _asked: Message) -> None:
        await dies_after(3, peer, how)

    async with (
        ScriptedUpstream(always(dies)) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        await client.send(ASK)
        said = await client.head()
        with pytest.raises((TruncatedError, ConnectionError)) as caught:
            await client.body(said)
        assert isinstance(caught.value, TruncatedError)
        body = caught.value.partial
        assert body.startswith(event("t0") + event("t1") + event("t2") + b"data: ")
        assert b'"error"' in body
        assert b"half" not in body
        assert body.endswith(b"\n\n"), "the error event is whole"
        assert b"[DONE]" not in body
        assert await proxy.metric("fastproxy_truncated_total") == 1


async def test_an_engine_that_dies_before_its_first_event_is_replaced_unseen() -> None:
    """Its 200 was never shown to the client."""

    async def dies(peer: Peer, _asked: Message) -> None:
        await peer.send(EVENT_STREAM)
        await asyncio.sleep(0.05)
        peer.reset()

    async with (
        ScriptedUpstream(always(dies)) as bad,
        ScriptedUpstream(always(stream(["alive"]))) as good,
        running_proxy(pool(bad.url, good.url, balance="round_robin")) as proxy,
    ):
        for _ in range(4):
            async with proxy.client() as client:
                await client.send(ASK)
                assert (await client.response()).body == event("alive")
        assert bad.requests


async def test_heartbeats_fill_the_silence() -> None:
    """Comments while the engine says nothing; SDKs ignore them."""

    async def silent(peer: Peer, _asked: Message) -> None:
        await peer.send(EVENT_STREAM)
        await asyncio.sleep(1.2)
        await peer.send(chunk(event("late")) + LAST_CHUNK)

    async with (
        ScriptedUpstream(always(silent)) as upstream,
        running_proxy(pool(upstream.url, heartbeat="250ms")) as proxy,
        proxy.client() as client,
    ):
        await client.send(ASK)
        body = (await client.response()).body
        assert body.count(b":\n\n") >= 2
        assert body.endswith(event("late"))


@pytest.mark.parametrize(("limit", "moment"), [("first_token", 0), ("inter_token", 2)])
async def test_silence_has_its_own_timeouts(limit: str, moment: int) -> None:
    """Before the first token 504; in the middle an error event and a cut."""

    async def stops(peer: Peer, _asked: Message) -> None:
        await peer.send(EVENT_STREAM)
        for number in range(moment):
            await peer.send(chunk(event(str(number))))
        await peer.until_gone(20)

    async with ScriptedUpstream(always(stops)) as upstream:
        config = pool(upstream.url, timeouts={limit: "400ms"}, retry={"attempts": 1})
        async with running_proxy(config) as proxy, proxy.client() as client:
            await client.send(ASK)
            said = await client.head()
            if moment == 0:
                assert said.status == 504
            else:
                with pytest.raises(TruncatedError) as caught:
                    await client.body(said)
                assert b'"error"' in caught.value.partial
            await proxy.quiet()


async def test_a_unary_answer_has_a_total() -> None:
    """504 in the dialect of the route."""

    async def never(peer: Peer, _asked: Message) -> None:
        await peer.until_gone(20)

    async with ScriptedUpstream(always(never)) as upstream:
        config = pool(upstream.url, timeouts={"total": "400ms"}, retry={"attempts": 1})
        async with running_proxy(config) as proxy:
            said = await proxy.ask("POST", CHAT, JSON, chat())
            assert said.status == 504


async def test_a_long_line_passes_in_the_end() -> None:
    """An event larger than what is held for it still arrives whole."""
    big = event("y" * 300_000)

    async def says(peer: Peer, _asked: Message) -> None:
        await peer.send(EVENT_STREAM + chunk(big) + chunk(event("z")) + LAST_CHUNK)

    async with (
        ScriptedUpstream(always(says)) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        await client.send(ASK)
        assert (await client.response()).body == big + event("z")


async def test_an_unfinished_tail_of_a_clean_end_is_passed_on() -> None:
    """An engine that forgets the last blank line and ends cleanly loses nothing."""

    async def says(peer: Peer, _asked: Message) -> None:
        await peer.send(EVENT_STREAM + chunk(event("a")) + chunk(b"data: tail\n") + LAST_CHUNK)

    async with (
        ScriptedUpstream(always(says)) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        await client.send(ASK)
        assert (await client.response()).body == event("a") + b"data: tail\n"
