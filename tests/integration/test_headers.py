"""Hop-by-hop fields, forwarding fields and request ids: who may say what."""

import contextlib

import pytest

from harness.client import CHAT, JSON, chat
from harness.http import Message, reply, request
from harness.proxy import pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream, always

pytestmark = pytest.mark.asyncio
FORGED = {
    "x-forwarded-for": "1.2.3.4",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "evil.test",
    "forwarded": "for=1.2.3.4",
    "x-real-ip": "1.2.3.4",
    "x-request-id": "chosen-by-the-client",
}


async def test_forged_forwarding_fields_are_replaced() -> None:
    """Nobody outside `trusted_peers` says where a request came from."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        said = await proxy.ask("GET", "/x", FORGED)
        seen = upstream.requests[0]
        assert seen.header("x-forwarded-for") == "127.0.0.1"
        assert seen.header("x-forwarded-proto") == "http"
        assert "1.2.3.4" not in seen.raw_head.decode()
        assert "evil.test" not in (seen.header("x-forwarded-host") or "")
        ours = seen.header("x-request-id")
        assert ours
        assert ours != "chosen-by-the-client"
        assert said.header("x-request-id") == ours
        record = (await proxy.logged())[0]
        assert record["request_id"] == ours
        assert record["client_request_id"] == "chosen-by-the-client"


async def test_request_ids_differ_over_workers() -> None:
    """Two workers never give the same id."""
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(pool(upstream.url), workers=2) as proxy,
        contextlib.AsyncExitStack() as stack,
    ):
        clients = [await stack.enter_async_context(proxy.client()) for _ in range(8)]
        seen = [(await client.ask("GET", "/x")).header("x-request-id") for client in clients * 5]
        assert len(set(seen)) == len(seen)


async def test_a_trusted_peer_is_believed_and_appended_to() -> None:
    """The chain grows; the request id is kept."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url)
        config["listen"] = {"trusted_peers": ["127.0.0.0/8"]}
        async with running_proxy(config) as proxy:
            said = await proxy.ask("GET", "/x", FORGED)
            seen = upstream.requests[0]
            assert seen.header("x-forwarded-for") == "1.2.3.4, 127.0.0.1"
            assert seen.header("x-forwarded-proto") == "https"
            assert seen.header("x-request-id") == "chosen-by-the-client"
            assert said.header("x-request-id") == "chosen-by-the-client"


async def test_via_goes_both_ways() -> None:
    """RFC 9110 §7.6.3."""
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(pool(upstream.url) | {"via": "gate-7"}) as proxy,
    ):
        said = await proxy.ask("GET", "/x", {"via": "1.0 first"})
        assert upstream.requests[0].headers("via") in (
            ["1.0 first, 1.1 gate-7"],
            ["1.0 first", "1.1 gate-7"],
        )
        assert (said.header("via") or "").endswith("gate-7")


async def test_hop_by_hop_fields_stop_here() -> None:
    """And so does everything that Connection names."""
    fields = {
        "connection": "keep-alive, x-private",
        "keep-alive": "timeout=5",
        "proxy-connection": "keep-alive",
        "proxy-authorization": "Basic eA==",
        "te": "trailers",
        "x-private": "a",
        "x-public": "b",
    }
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        await proxy.ask("GET", "/x", fields)
        seen = upstream.requests[0]
        for name in ("keep-alive", "proxy-connection", "proxy-authorization", "x-private"):
            assert seen.header(name) is None, name
        assert seen.header("te") in (None, "trailers")
        assert seen.header("x-public") == "b"


async def test_tracing_context_passes() -> None:
    """`traceparent` and `tracestate` are the engine's business."""
    fields = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=b",
    }
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        await proxy.ask("GET", "/x", fields)
        for name, value in fields.items():
            assert upstream.requests[0].header(name) == value


async def test_a_stream_is_never_asked_for_compressed() -> None:
    """`Accept-Encoding` is stripped where a stream is asked for, and kept elsewhere."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        fields = JSON | {"accept-encoding": "gzip"}
        await proxy.ask("POST", CHAT, fields, chat(stream=True))
        await proxy.ask("POST", CHAT, fields, chat(stream=False))
        assert upstream.requests[0].header("accept-encoding") in (None, "identity")
        assert upstream.requests[1].header("accept-encoding") == "gzip"


async def test_many_values_of_one_name_keep_their_order() -> None:
    """Set-Cookie and friends are neither joined nor reordered."""

    async def cookies(peer: Peer, _asked: Message) -> None:
        fields = [("set-cookie", "a=1"), ("x-n", "1"), ("set-cookie", "b=2"), ("x-n", "2")]
        await peer.send(reply(200, b"{}", fields))

    async with (
        ScriptedUpstream(always(cookies)) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        await client.send(request("GET", "/x", [("x-m", "1"), ("x-m", "2")]))
        said = await client.response()
        assert said.headers("set-cookie") == ["a=1", "b=2"]
        assert said.headers("x-n") == ["1", "2"]
        assert upstream.requests[0].headers("x-m") == ["1", "2"]


async def test_timing_and_endpoint_on_request_only() -> None:
    """`expose` tells; otherwise nothing about the fleet leaves."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url) | {
            "routes": [
                {"match": {"path": "/open*"}, "pool": "main", "expose": True},
                {"pool": "main"},
            ]
        }
        async with running_proxy(config) as proxy:
            told = await proxy.ask("GET", "/open/x")
            assert upstream.address in (told.header("x-fastproxy-endpoint") or "")
            assert "dur=" in (told.header("server-timing") or "")
            quiet = await proxy.ask("GET", "/x")
            assert quiet.header("x-fastproxy-endpoint") is None
            assert upstream.address.encode() not in quiet.raw_head


@pytest.mark.parametrize(
    "preface",
    [
        b"PROXY TCP4 203.0.113.9 10.0.0.1 5555 80\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\x0a\x00\x00\x01\x15\xb3\x00\x50",
    ],
    ids=["v1", "v2"],
)
async def test_the_proxy_protocol_says_who_the_client_is(preface: bytes) -> None:
    """The address in it is the client's, in the log and in X-Forwarded-For."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url)
        config["listen"] = {"proxy_protocol": True}
        async with running_proxy(config) as proxy, proxy.client() as client:
            await client.send(preface + request("GET", "/x"))
            assert (await client.response()).status == 200
            assert upstream.requests[0].header("x-forwarded-for") == "203.0.113.9"
            assert (await proxy.logged())[0]["client"] == "203.0.113.9"


async def test_without_the_preface_such_a_listener_serves_nobody() -> None:
    """A listener that expects it takes nothing else, and no other listener takes it."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url)
        config["listen"] = {"proxy_protocol": True}
        async with running_proxy(config) as proxy, proxy.client() as client:
            await client.send(request("GET", "/x"))
            assert b"200" not in await client.closed()
        async with running_proxy(pool(upstream.url)) as proxy, proxy.client() as client:
            await client.send(b"PROXY TCP4 203.0.113.9 10.0.0.1 5555 80\r\n" + request("GET", "/x"))
            assert (await client.response()).status == 400
        assert not upstream.requests
