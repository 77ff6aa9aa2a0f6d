"""TLS towards clients and endpoints, through the whole proxy, against Python's own `ssl`."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.address import split
from harness.client import CHAT, JSON, chat
from harness.http import Message, event, read_body, read_chunk, read_head, reply, request
from harness.pki import Authority, Issued
from harness.proxy import RunningProxy, eventually_async, pool, running_proxy
from harness.upstream import ScriptedUpstream, always, answer, stream

pytestmark = pytest.mark.asyncio

NAME = "api.example"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The issuer that everybody trusts."""
    return Authority(tmp_path)


def secured(url: str, *certificates: Issued, **tls: Any) -> dict[str, Any]:
    """A pool behind a listener with TLS."""
    pairs = [certificate.pair for certificate in certificates]
    settings = pool(url)
    settings["listen"] = {"tls": {"certificates": pairs, **tls}}
    return settings


@contextlib.asynccontextmanager
async def connected(
    proxy: RunningProxy, context: ssl.SSLContext, name: str = NAME
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection whose handshake is complete."""
    host, port = split(proxy.address)
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


async def asked(
    proxy: RunningProxy, context: ssl.SSLContext, name: str = NAME, target: str = "/x"
) -> Message:
    """One request over TLS."""
    async with connected(proxy, context, name) as (reader, writer):
        writer.write(request("GET", target, {"host": name}))
        head = await read_head(reader)
        assert head is not None
        await read_body(reader, head, until_close=False)
        return head


async def test_requests_and_streams(authority: Authority) -> None:
    """Plain answers, streams by event, and what the endpoint and the log are told."""
    script = always(stream([str(n) for n in range(5)], gap_s=0.05))
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(secured(upstream.url, authority.issue(NAME))) as proxy,
        connected(proxy, authority.client()) as (reader, writer),
    ):
        writer.write(request("POST", CHAT, JSON, chat(stream=True)))
        head = await read_head(reader)
        assert head is not None
        for number in range(5):
            assert await read_chunk(reader) == event(str(number))
        assert await read_chunk(reader) == b""
        told = upstream.requests[0].header("x-forwarded-proto")
        assert told == "https"
        record = (await proxy.logged())[0]
        assert record["tls"] == "1.3"
        assert "principal" not in record


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_sessions_resume_on_every_worker(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    """One ticket is good for all workers; metrics tell full handshakes from resumed ones."""
    async with (
        ScriptedUpstream(always(answer(b"one"))) as upstream,
        running_proxy(secured(upstream.url, authority.issue(NAME)), workers=3) as proxy,
    ):
        context = authority.client()
        context.minimum_version = context.maximum_version = version

        def resumed() -> list[bool]:
            session, reused = None, []
            for _ in range(8):
                with (
                    socket.create_connection(split(proxy.address), 5) as plain,
                    context.wrap_socket(plain, server_hostname=NAME, session=session) as client,
                ):
                    client.sendall(request("GET", "/x", {"host": NAME}))
                    assert client.recv(65536)
                    reused.append(bool(client.session_reused))
                    session = client.session
            return reused

        assert await asyncio.to_thread(resumed) == [False] + [True] * 7
        shown = "tls1.2" if version == ssl.TLSVersion.TLSv1_2 else "tls1.3"
        name = "fastproxy_tls_handshakes_total"
        assert await proxy.metric(name, outcome=shown) == 1
        assert await proxy.metric(name, outcome=f"{shown}_resumed") == 7
        assert await proxy.metric("fastproxy_tls_handshake_seconds_count") == 8


async def test_names_choose_certificates(authority: Authority) -> None:
    """Exact, by wildcard, and the first where none fits; expiry by name."""
    one, wild = authority.issue(NAME), authority.issue("*.pool.example")
    async with (
        ScriptedUpstream(always(answer(b"one"))) as upstream,
        running_proxy(secured(upstream.url, one, wild)) as proxy,
    ):
        for name in (NAME, "a.pool.example"):
            assert (await asked(proxy, authority.client(), name)).body == b"one"
        with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'other"):
            await asked(proxy, authority.client(), "other.example")
        found = (await proxy.metrics()).select("fastproxy_tls_certificate_expiry_timestamp_seconds")
        assert {sample.labels["name"] for sample in found} == {NAME, "*.pool.example"}
        assert all(sample.value > 1.7e9 for sample in found)


async def test_client_certificates(authority: Authority) -> None:
    """Required: none or a stranger's is refused; a good one is the principal of the record."""
    config = {"client_ca": str(authority.bundle)}
    strange = Authority(authority.folder, "stranger").issue("spiffe://mesh.example/bad", stem="bad")
    own = authority.issue("spiffe://mesh.example/team", stem="team")
    async with (
        ScriptedUpstream(always(answer(b"one"))) as upstream,
        running_proxy(secured(upstream.url, authority.issue(NAME), **config)) as proxy,
    ):
        assert (await asked(proxy, authority.client(own))).body == b"one"
        assert (await proxy.logged())[0]["principal"] == "spiffe://mesh.example/team"
        for context in (authority.client(), authority.client(strange)):
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                await asked(proxy, context)
        for outcome in ("no_certificate", "bad_certificate"):
            assert await proxy.metric("fastproxy_tls_handshakes_total", outcome=outcome) == 1


async def test_certificates_are_replaced_under_load(authority: Authority) -> None:
    """The watch sees the new files; old connections live on and no handshake fails."""
    own = authority.issue(NAME, "old.example", stem="own")
    async with (
        ScriptedUpstream(always(answer(b"one"))) as upstream,
        running_proxy(secured(upstream.url, own)) as proxy,
        connected(proxy, authority.client()) as (reader, writer),
    ):
        stop = asyncio.Event()

        async def hammer() -> int:
            count = 0
            while not stop.is_set():
                assert (await asked(proxy, authority.client())).body == b"one"
                count += 1
            return count

        load = asyncio.create_task(hammer())
        authority.issue(NAME, "new.example", stem="own")

        async def shown() -> bool:
            with contextlib.suppress(ssl.SSLCertVerificationError):
                return (await asked(proxy, authority.client(), "new.example")).status == 200
            return False

        await eventually_async(shown, 15, "the new certificate")
        stop.set()
        assert await load > 0
        writer.write(request("GET", "/x", {"host": NAME}))
        head = await read_head(reader)
        assert head is not None
        assert head.status == 200


async def test_a_slow_handshake_ends(authority: Authority) -> None:
    """The time for a head covers the handshake; who speaks no TLS is counted as such."""
    config = secured("http://127.0.0.1:9", authority.issue(NAME))
    config["listen"]["head_timeout"] = "300ms"
    async with running_proxy(config) as proxy:
        async with proxy.client() as silent:
            assert await asyncio.wait_for(silent.reader.read(), 5) == b""
        async with proxy.client() as plain:
            told = await asyncio.wait_for(plain.ask("GET", "/", {"host": "x"}), 5)
            assert (told.status, told.header("connection")) == (400, "close")
            assert b"use https://" in told.body
        for outcome in ("timeout", "not_tls"):
            assert await proxy.metric("fastproxy_tls_handshakes_total", outcome=outcome) == 1


@contextlib.asynccontextmanager
async def https_engine(
    context: ssl.SSLContext, *, cut: bool = False
) -> AsyncIterator[tuple[str, list[Message]]]:
    """An engine behind TLS; with `cut` its answer has no length, and no goodbye either."""
    seen: list[Message] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while (head := await read_head(reader)) is not None:
                await read_body(reader, head, until_close=False)
                seen.append(head)
                if not cut:
                    writer.write(reply(200, b"secure"))
                    continue
                writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhalf")
                await writer.drain()
                # Under TLS's nose: a FIN without `close_notify`.
                writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
                return
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"https://127.0.0.1:{port}", seen


def behind(url: str, **tls: Any) -> dict[str, Any]:
    """A pool over one https endpoint."""
    settings = pool(url)
    settings["pools"][next(iter(settings["pools"]))]["tls"] = tls
    return settings


async def test_https_endpoints(authority: Authority) -> None:
    """Own issuer, own certificate, connections kept, handshakes counted."""
    server = authority.server(authority.issue("127.0.0.1", stem="engine"), clients=True)
    own = authority.issue("gateway")
    async with (
        https_engine(server) as (url, seen),
        running_proxy(behind(url, ca=str(authority.bundle), **own.pair)) as proxy,
    ):
        for _ in range(3):
            assert (await proxy.ask("GET", "/v1/x")).body == b"secure"
        assert len(seen) == 3
        assert await proxy.metric("fastproxy_connects_total") == 1
        name = "fastproxy_upstream_tls_handshakes_total"
        assert await proxy.metric(name, outcome="tls1.3") == 1


async def test_a_wrong_endpoint_is_refused_and_named(authority: Authority) -> None:
    """A stranger's certificate and another name: 502, and the log says what to do."""
    stranger = Authority(authority.folder, "stranger")
    cases = [
        (stranger.server(stranger.issue("127.0.0.1", stem="s")), "set tls.ca"),
        (authority.server(authority.issue("other.example")), "set tls.server_name"),
        (authority.server(authority.issue("127.0.0.1", days=-1, stem="old")), "has expired"),
    ]
    for context, words in cases:
        async with (
            https_engine(context) as (url, seen),
            running_proxy(behind(url, ca=str(authority.bundle))) as proxy,
        ):
            refused = await proxy.ask("GET", "/v1/x")
            assert refused.status == 502
            error = json.loads(refused.body)["error"]
            assert error["code"] == "upstream_tls"
            assert error["message"].endswith("Tell the operator.")
            record = (await proxy.logged())[0]
            assert record["flag"] == "UT"
            assert words in record["detail"]
            assert not seen
            assert await proxy.metric("fastproxy_upstream_tls_handshakes_total", outcome="failed")


@pytest.mark.parametrize("own", [True, False])
async def test_sessions_with_endpoints_outlive_a_reload(authority: Authority, *, own: bool) -> None:
    """With issuers of their own and with the system's, while nothing about them changes."""
    server = authority.server(authority.issue("127.0.0.1", stem="engine"))
    name = "fastproxy_upstream_tls_handshakes_total"
    issuers = {"ca": str(authority.bundle)} if own else {}
    async with https_engine(server) as (url, _seen):
        config = behind(url, **issuers)
        config["pools"]["main"]["idle"] = "50ms"
        env = {"SSL_CERT_FILE": str(authority.bundle)}
        async with running_proxy(config, env=env) as proxy:
            assert (await proxy.ask("GET", "/v1/x")).body == b"secure"
            await proxy.rewrite(config)

            async def reloaded() -> bool:
                idle = await proxy.metric("fastproxy_upstream_connections_open") == 0
                return idle and await proxy.metric("fastproxy_config_generation") == 2

            await eventually_async(reloaded, 10, "the second generation, and no connection")
            assert (await proxy.ask("GET", "/v1/x")).body == b"secure"
            assert await proxy.metric(name, outcome="tls1.3") == 1
            assert await proxy.metric(name, outcome="tls1.3_resumed") == 1


async def test_the_lowest_version_is_kept_to(authority: Authority) -> None:
    """With `tls1.3` neither a client nor an endpoint that has only 1.2 comes through."""
    old = authority.client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    server = authority.server(authority.issue("127.0.0.1", stem="engine"))
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    async with https_engine(server) as (url, seen):
        config = behind(url, ca=str(authority.bundle), min_version="tls1.3")
        pair = authority.issue(NAME).pair
        config["listen"] = {"tls": {"certificates": pair, "min_version": "tls1.3"}}
        async with running_proxy(config) as proxy:
            with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
                await asked(proxy, old)
            outcome = "incompatible"
            assert await proxy.metric("fastproxy_tls_handshakes_total", outcome=outcome) == 1
            assert (await asked(proxy, authority.client())).status == 502
            record = (await proxy.logged())[0]
            assert (record["tls"], record["flag"]) == ("1.3", "UT")
            assert not seen


async def test_a_cut_answer_is_no_answer(authority: Authority) -> None:
    """An answer delimited by the connection's end, without `close_notify`, is not whole."""
    context = authority.server(authority.issue("127.0.0.1", stem="engine"))
    async with (
        https_engine(context, cut=True) as (url, _seen),
        running_proxy(behind(url, ca=str(authority.bundle))) as proxy,
    ):
        with contextlib.suppress(Exception):
            await proxy.ask("GET", "/v1/x")
        record = (await proxy.logged())[0]
        assert record["flag"], "the end is ours, not the endpoint's"


async def test_httpx_and_models(authority: Authority) -> None:
    """A real client; and lists of models come from https endpoints, too."""
    context = authority.server(authority.issue("127.0.0.1", stem="engine"))
    listen = authority.issue("127.0.0.1", stem="front")
    async with https_engine(context) as (url, _seen):
        config = behind(url, ca=str(authority.bundle))
        config["listen"] = {"tls": {"certificates": listen.pair}}
        async with (
            running_proxy(config) as proxy,
            httpx.AsyncClient(verify=authority.client()) as client,
        ):
            for _ in range(2):
                response = await client.get(f"https://{proxy.address}/v1/x")
                assert (response.status_code, response.content) == (200, b"secure")
