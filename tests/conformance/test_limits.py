"""Every limit plus one is refused as documented; the limit itself is served."""

import asyncio

import pytest

from harness.client import RawClient
from harness.http import Message, TruncatedError, chunk, head, request
from harness.leaks import resident_bytes
from harness.proxy import pool, running_proxy
from harness.upstream import ScriptedUpstream, always, answer

pytestmark = pytest.mark.asyncio
KIB = 1024


def line(bytes_: int) -> bytes:
    """A request whose line has that many bytes, CRLF not counted."""
    fixed = len("GET / HTTP/1.1")
    return request("GET", "/" + "a" * (bytes_ - fixed))


def one_field(bytes_: int) -> bytes:
    """A request with one field line of that many bytes."""
    return request("GET", "/ok", {"x-long": "a" * (bytes_ - len("x-long: "))})


def many_fields(count: int) -> bytes:
    """A request with that many fields, Host included."""
    return request("GET", "/ok", [(f"x-{number}", "a") for number in range(count - 1)])


def block(bytes_: int) -> bytes:
    """A request whose head has about that many bytes in fields of 8 KiB."""
    count = bytes_ // (8 * KIB)
    return request("GET", "/ok", [(f"x-{number}", "a" * 8 * KIB) for number in range(count)])


def trailers(count: int, size: int = 1) -> bytes:
    """A request with that many trailer fields."""
    lines = "".join(f"x-{number}: {'a' * size}\r\n" for number in range(count)).encode()
    start = head("POST /ok HTTP/1.1", {"host": "a", "transfer-encoding": "chunked"})
    return start + chunk(b"abc") + b"0\r\n" + lines + b"\r\n"


def extensions(count: int, size: int) -> bytes:
    """A request whose chunks of one byte carry extensions of that size."""
    start = head("POST /ok HTTP/1.1", {"host": "a", "transfer-encoding": "chunked"})
    return start + (b"1;" + b"a" * size + b"\r\nx\r\n") * count + b"0\r\n\r\n"


SERVED = [
    ("request line of 8,000 bytes", line(8000)),
    ("99 fields", many_fields(99)),
    ("32 trailers", trailers(32)),
]
REFUSED: list[tuple[str, bytes, set[int]]] = [
    ("request line over 16 KiB", line(16 * KIB + 1), {414}),
    ("field over 16 KiB", one_field(16 * KIB + 1), {431}),
    ("101 fields", many_fields(101), {431}),
    ("head over 64 KiB", block(72 * KIB), {431}),
    ("endless head", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 200 * KIB, {431}),
    ("endless request line", b"GET /" + b"a" * 200 * KIB, {414}),
    ("33 trailers", trailers(33), {400, 431}),
    ("trailers over 16 KiB", trailers(3, 6 * KIB), {400, 431}),
    ("chunk extensions over 16 KiB", extensions(40, 512), {400, 413, 431}),
]


async def say(proxy_address: str, data: bytes) -> Message | None:
    """Send all of it as far as the proxy takes it; its answer."""
    async with RawClient(proxy_address) as client:
        sending = asyncio.create_task(client.send(data))
        try:
            return await client.response()
        except (TruncatedError, ConnectionError):
            return None
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def test_limits() -> None:
    """All of them against one proxy."""
    async with (
        ScriptedUpstream(always(answer(b"yes"))) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
    ):
        for name, data in SERVED:
            said = await say(proxy.address, data)
            assert said is not None, name
            assert said.status == 200, (name, said.raw_head)
        before = len(upstream.whole)
        for name, data, statuses in REFUSED:
            said = await say(proxy.address, data)
            assert said is not None, f"{name}: closed without an answer"
            assert said.status in statuses, (name, said.raw_head)
        assert len(upstream.whole) == before


async def test_body_over_the_routes_limit() -> None:
    """413 by the announced length, before the body; and by counting where no length is given."""
    config = pool() | {
        "routes": [{"match": {"path": "/small*"}, "pool": "main", "body_max": "1KiB"}]
    }
    async with ScriptedUpstream() as upstream:
        config["pools"]["main"]["endpoints"] = [{"url": upstream.url}]
        async with running_proxy(config) as proxy:
            said = await say(
                proxy.address, head("POST /small HTTP/1.1", {"host": "a", "content-length": "1025"})
            )
            assert said is not None
            assert said.status == 413
            start = head("POST /small HTTP/1.1", {"host": "a", "transfer-encoding": "chunked"})
            said = await say(proxy.address, start + chunk(b"x" * 600) + chunk(b"x" * 600))
            assert said is not None
            assert said.status == 413
            assert not upstream.whole


async def test_a_huge_length_allocates_nothing() -> None:
    """A client that announces 30 MiB and sends nothing costs nothing."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        before = resident_bytes(proxy.pid)
        clients = [RawClient(proxy.address) for _ in range(20)]
        for client in clients:
            await client.__aenter__()
            fields = {"host": "a", "content-length": str(30 * KIB * KIB)}
            await client.send(head("POST /ok HTTP/1.1", fields))
        await asyncio.sleep(0.5)
        assert resident_bytes(proxy.pid) - before < 16 * KIB * KIB
        for client in clients:
            client.reset()


async def test_slow_head_times_out() -> None:
    """A head that does not come to its end in time is 408, and the connection closes."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url)
        config["listen"] = {"head_timeout": "500ms"}
        async with running_proxy(config) as proxy, proxy.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
            assert (await client.response()).status == 408
            assert await client.closed() == b""


async def test_idle_connection_is_closed_without_a_word() -> None:
    """An idle kept connection ends in order after its time."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url)
        config["listen"] = {"idle": "500ms"}
        async with running_proxy(config) as proxy, proxy.client() as client:
            assert (await client.ask("GET", "/ok")).status == 200
            assert await client.closed() == b""
