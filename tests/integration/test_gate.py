"""May it come in? Decided from the head alone, then our own 100-continue."""

import asyncio

import pytest

from harness.client import CHAT, JSON, chat
from harness.http import head
from harness.proxy import pool, running_proxy
from harness.upstream import ScriptedUpstream, always, answer

pytestmark = pytest.mark.asyncio


async def test_continue_is_ours_to_say() -> None:
    """The client gets 100 from us; the engine sees no expectation."""
    body = chat()
    fields = {"host": "a", "expect": "100-continue", "content-length": str(len(body))} | JSON
    async with (
        ScriptedUpstream(always(answer(b"yes"))) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        await client.send(head(f"POST {CHAT} HTTP/1.1", fields))
        assert (await client.interim()).status == 100
        await client.send(body)
        assert (await client.response()).body == b"yes"
        assert upstream.whole[0].header("expect") is None


async def test_a_refusal_comes_instead_of_continue() -> None:
    """A body that the route would refuse is not asked for."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url) | {"routes": [{"pool": "main", "body_max": "1KiB"}]}
        async with running_proxy(config) as proxy, proxy.client() as client:
            fields = {"host": "a", "expect": "100-continue", "content-length": "5000"}
            await client.send(head(f"POST {CHAT} HTTP/1.1", fields))
            assert (await client.interim()).status == 413
            assert not upstream.requests


async def test_an_old_client_gets_no_interim_response() -> None:
    """HTTP/1.0 knows no 100: its expectation is ignored."""
    async with (
        ScriptedUpstream(always(answer(b"yes"))) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        fields = {"host": "a", "expect": "100-continue", "content-length": "2"}
        await client.send(head("POST /ok HTTP/1.0", fields) + b"{}")
        said = await client.interim()
        assert said.status == 200
        assert (await client.body(said)).body == b"yes"


async def test_the_bytes_held_in_all_are_bounded() -> None:
    """Beyond the bound for held bodies a request is refused with 429, and later ones pass."""
    async with ScriptedUpstream(always(answer(b"yes"))) as upstream:
        config = pool(upstream.url) | {
            "limits": {"held_bytes": "1MiB", "held_body": "1MiB"},
            "routes": [{"match": {"model": "*"}, "pool": "main"}],
        }
        async with running_proxy(config) as proxy, proxy.client() as first:
            half = b'{"messages": "' + b"x" * 900_000
            fields = {"host": "a", "content-length": "1000000"} | JSON
            await first.send(head(f"POST {CHAT} HTTP/1.1", fields) + half)
            await asyncio.sleep(0.3)
            late = b'{"messages": "' + b"y" * 500_000 + b'", "model": "m"}'
            assert (await proxy.ask("POST", CHAT, JSON, late)).status == 429
            early = await proxy.ask("POST", CHAT, JSON, chat("y" * 500_000))
            assert early.status == 200, "what need not be held flows on"
            first.reset()
            await asyncio.sleep(0.3)
            assert (await proxy.ask("POST", CHAT, JSON, late)).status == 200
