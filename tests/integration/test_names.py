"""Endpoints with names: real sockets on loopback's many addresses, an injected resolver for DNS."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from harness.client import CHAT, JSON, chat
from harness.http import LAST_CHUNK, Message, chunk, event, request
from harness.proxy import RunningProxy, Settings, embedded_proxy, eventually_async, pool
from harness.upstream import Peer, ScriptedUpstream, always, answer, stream

pytestmark = pytest.mark.asyncio

Dns = dict[str, list[str]]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    """What names mean; an absent one does not resolve."""
    table: Dns = {}

    def look_up(name: str) -> list[str]:
        if name not in table:
            raise OSError(-2, "Name or service not known")
        return table[name]

    monkeypatch.setattr("fastproxy.fleet.names.system_look_up", look_up)
    return table


def named(port: int, **more: object) -> Settings:
    """One endpoint with a name that is looked up often."""
    often = {"interval": "100ms", "retry": "100ms"}
    return pool(f"http://engine.test:{port}", **more) | {"resolve": often}


def port_of(upstream: ScriptedUpstream) -> int:
    """Its port."""
    return int(upstream.address.rpartition(":")[2])


async def ask(proxy: RunningProxy) -> Message:
    """One request that may be repeated."""
    return await proxy.ask("POST", CHAT, JSON, chat())


@contextlib.contextmanager
def black_hole(host: str, port: int) -> Iterator[None]:
    """An address that answers no SYN: a listener whose queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((host, port))
        time.sleep(0.05)
        yield


async def test_an_address_that_refuses_costs_nothing(dns: Dns) -> None:
    """The next one is tried at once; the one that answered is the first of the next dial."""
    async with ScriptedUpstream() as upstream:
        dns["engine.test"] = ["127.0.0.3", "127.0.0.4", "127.0.0.1"]
        async with embedded_proxy(named(port_of(upstream), idle="50ms")) as proxy:
            began = time.monotonic()
            assert (await ask(proxy)).status == 200
            assert time.monotonic() - began < 0.2
            attempts = "fastproxy_dial_attempts_total"
            assert await proxy.metric(attempts, family="ipv4") == 3
            await asyncio.wait_for(upstream.peers[0].gone.wait(), 5)
            assert (await ask(proxy)).status == 200
            assert await proxy.metric(attempts, family="ipv4") == 4
            assert await proxy.metric("fastproxy_connects_total") == 2
            assert await proxy.metric("fastproxy_endpoint_addresses") == 3


async def test_an_address_that_says_nothing_costs_a_quarter_of_a_second(dns: Dns) -> None:
    """Happy eyeballs: the next address is tried beside it, and the loser is closed."""
    async with ScriptedUpstream() as upstream:
        port = port_of(upstream)
        dns["engine.test"] = ["127.0.0.2", "127.0.0.1"]
        with black_hole("127.0.0.2", port):
            async with embedded_proxy(named(port)) as proxy:
                began = time.monotonic()
                assert (await ask(proxy)).status == 200
                assert 0.2 < time.monotonic() - began < 1
                assert await proxy.metric("fastproxy_upstream_connections_open") == 1


async def test_the_connect_timeout_bounds_all_of_it(dns: Dns) -> None:
    """Two addresses that say nothing are one dial that times out."""
    async with ScriptedUpstream() as upstream:
        port = port_of(upstream)
        dns["engine.test"] = ["127.0.0.2", "127.0.0.3"]
        config = named(port, timeouts={"connect": "600ms"}, retry={"attempts": 1})
        with black_hole("127.0.0.2", port), black_hole("127.0.0.3", port):
            async with embedded_proxy(config) as proxy:
                began = time.monotonic()
                assert (await ask(proxy)).status == 504
                assert 0.5 < time.monotonic() - began < 1.5
                assert await proxy.metric("fastproxy_upstream_connections_open") == 0


async def test_both_families_of_localhost(dns: Dns) -> None:
    """An engine that listens on one of them is found, whichever is first."""
    async with ScriptedUpstream() as upstream:
        for found in (["::1", "127.0.0.1"], ["127.0.0.1", "::1"]):
            dns["engine.test"] = found
            async with embedded_proxy(named(port_of(upstream))) as proxy:
                assert (await ask(proxy)).status == 200
                ipv6 = await proxy.metric("fastproxy_dial_attempts_total", family="ipv6")
                assert ipv6 == (found[0] == "::1")


async def test_a_new_answer_needs_no_reload(dns: Dns) -> None:
    """New requests go to the new address; a stream on the old one goes on to its end."""
    go_on = asyncio.Event()

    async def wait(peer: Peer) -> None:
        await go_on.wait()
        await peer.send(chunk(event("last")) + LAST_CHUNK)

    async def old(peer: Peer, asked: Message) -> None:
        streams = b"true" in asked.body
        await (stream(["first"], end=wait) if streams else answer(b"old"))(peer, asked)

    async with ScriptedUpstream(always(old)) as before:
        port = port_of(before)
        new = always(answer(b"new"))
        async with ScriptedUpstream(new, at=("127.0.0.2", port)):
            dns["engine.test"] = ["127.0.0.1"]
            async with embedded_proxy(named(port)) as proxy, proxy.client() as client:
                assert (await ask(proxy)).body == b"old"
                await client.send(request("POST", CHAT, JSON, chat(stream=True)))
                head = await client.head()
                dns["engine.test"] = ["127.0.0.2"]

                async def moved() -> bool:
                    return (await ask(proxy)).body == b"new"

                await eventually_async(moved, 5, "requests go to the new address")
                assert (await ask(proxy)).body == b"new"
                go_on.set()
                assert b"last" in (await client.body(head)).body
                changed = await proxy.metric("fastproxy_resolutions_total", outcome="changed")
                assert changed == 1


async def test_dns_may_go_away(dns: Dns) -> None:
    """The last good answer is used for as long as there is no other."""
    async with ScriptedUpstream() as upstream:
        dns["engine.test"] = ["127.0.0.1"]
        async with embedded_proxy(named(port_of(upstream), idle="50ms")) as proxy:
            assert (await ask(proxy)).status == 200
            dns.clear()

            async def failed() -> bool:
                count = await proxy.metric("fastproxy_resolutions_total", outcome="failed")
                return count > 1

            await eventually_async(failed, 5, "lookups fail")
            assert (await ask(proxy)).status == 200
            assert len(upstream.peers) == 2


async def test_a_name_that_resolves_later(dns: Dns) -> None:
    """The proxy starts, says what is missing, and serves as soon as there is an address."""
    async with ScriptedUpstream() as upstream:
        eject = {"consecutive": 1, "base": "60s"}
        async with embedded_proxy(named(port_of(upstream), eject=eject)) as proxy:
            found = await ask(proxy)
            assert found.status == 502
            assert await proxy.metric("fastproxy_endpoint_addresses") == 0
            dns["engine.test"] = ["127.0.0.1"]

            async def served() -> bool:
                return (await ask(proxy)).status == 200

            await eventually_async(served, 5, "it is served, without waiting for an ejection's end")
