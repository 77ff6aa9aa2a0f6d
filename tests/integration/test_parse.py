"""What was said? The head, the body's framing, and the model inside the body."""

import asyncio
import json

import pytest

from harness.client import CHAT, JSON, chat
from harness.http import LAST_CHUNK, Message, chunk, head, reply, request
from harness.proxy import pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream, always, answer

pytestmark = pytest.mark.asyncio


async def test_any_splitting_gives_the_same_request() -> None:
    """A request cut at every byte reaches the engine as the same bytes."""
    body = chat("split me, gently: é")
    start = head(f"POST {CHAT} HTTP/1.1", {"host": "a", "content-length": str(len(body))} | JSON)
    data = start + body
    async with (
        ScriptedUpstream(always(answer(b"yes"))) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        for cut in range(1, len(data), 7):
            await client.send(data[:cut])
            await asyncio.sleep(0.002)
            await client.send(data[cut:])
            assert (await client.response()).body == b"yes", cut
        seen = {(one.start, one.body) for one in upstream.whole}
        assert seen == {(f"POST {CHAT} HTTP/1.1", body)}


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Twelve requests in one write, answers in their order though the engine's delays differ."""

    async def slow_first(peer: Peer, asked: Message) -> None:
        await asyncio.sleep(0.1 if asked.target == "/0" else 0)
        await peer.send(reply(200, asked.target.encode()))

    async with (
        ScriptedUpstream(always(slow_first)) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        await client.send(b"".join(request("GET", f"/{number}") for number in range(12)))
        for number in range(12):
            assert (await client.response()).body == f"/{number}".encode()


async def test_bodies_of_both_framings_arrive_whole() -> None:
    """Length and chunks, small and large, both ways."""

    async def echo(peer: Peer, asked: Message) -> None:
        if asked.header("x-as") == "chunks":
            parts = [asked.body[at : at + 5000] for at in range(0, len(asked.body), 5000)]
            start = head("HTTP/1.1 200 OK", {"transfer-encoding": "chunked"})
            await peer.send(start + b"".join(chunk(part) for part in parts) + LAST_CHUNK)
        else:
            await peer.send(reply(200, asked.body))

    async with (
        ScriptedUpstream(always(echo)) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        for size in (1, 1000, 70_000, 3_000_000):
            body = bytes(number % 251 for number in range(size))
            for back in ("length", "chunks"):
                said = await client.ask("POST", "/echo", {"x-as": back}, body)
                assert said.body == body, (size, back)
                start = head(
                    "POST /echo HTTP/1.1",
                    {"host": "a", "transfer-encoding": "chunked", "x-as": back},
                )
                await client.send(start + chunk(body[:1]) + chunk(body[1:] or b"x") + LAST_CHUNK)
                assert (await client.response()).body == body[:1] + (body[1:] or b"x")


async def test_head_has_no_body_and_the_connection_goes_on() -> None:
    """HEAD is answered with the length of what GET would have, and nothing behind it."""

    async def script(peer: Peer, asked: Message) -> None:
        if asked.method == "HEAD":
            await peer.send(head("HTTP/1.1 200 OK", {"content-length": "5"}))
        else:
            await peer.send(reply(200, b"hello"))

    async with (
        ScriptedUpstream(always(script)) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        said = await client.ask("HEAD", "/x")
        assert said.header("content-length") == "5"
        assert (await client.ask("GET", "/x")).body == b"hello"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "a", "model": "b"}',
        b'{"mod\\u0065l": "a"}',
        b'{"model": 5}',
        b'{"model": "a',
        b"[1]",
    ],
    ids=["twice", "escaped key", "no string", "cut short", "no object"],
)
async def test_a_model_that_could_be_read_in_two_ways_is_refused(body: bytes) -> None:
    """What two parsers could read differently is 400 where the model decides."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url) | {"routes": [{"match": {"model": "*"}, "pool": "main"}]}
        async with running_proxy(config) as proxy:
            said = await proxy.ask("POST", CHAT, JSON, body)
            assert said.status == 400, said.body
            assert json.loads(said.body)["error"]["type"] == "invalid_request_error"
            assert not upstream.requests
