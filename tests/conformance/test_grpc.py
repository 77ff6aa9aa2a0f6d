"""gRPC end to end with grpcio on both ends: client, proxy, server.

The service has no generated code: its messages are bytes.
"""

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from harness.address import free_port
from harness.background import Background, in_background
from harness.pki import Authority
from harness.proxy import RunningProxy, pool, running_proxy

pytestmark = pytest.mark.timeout(120)
MIB = 1024 * 1024
SERVICE = "test.Echo"
WAIT_S = 10
BIG = [("grpc.max_receive_message_length", 8 * MIB), ("grpc.max_send_message_length", 8 * MIB)]
CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


class Echo:
    """What the server does, and what it saw."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self.cancelled = threading.Event()
        self.held = threading.Event()
        self.remaining_s: float | None = None

    def unary(self, message: bytes, context: Any) -> bytes:
        """Give the message back, and its metadata as ours."""
        self.remaining_s = context.time_remaining()
        fields = [(name, value) for name, value in context.invocation_metadata() if "x-" in name]
        context.send_initial_metadata([one for one in fields if one[0].startswith("x-first")])
        context.set_trailing_metadata([one for one in fields if one[0].startswith("x-last")])
        return message

    def collect(self, messages: Iterator[bytes], _context: Any) -> bytes:
        """Say how many came, and how long they were."""
        lengths = [len(one) for one in messages]
        return b"%d %d" % (len(lengths), sum(lengths))

    def spread(self, message: bytes, _context: Any) -> Iterator[bytes]:
        """As many messages as asked for, 5 ms apart."""
        for number in range(int(message)):
            yield b"%d" % number
            time.sleep(0.005)

    def chat(self, messages: Iterator[bytes], _context: Any) -> Iterator[bytes]:
        """Answer each message as it comes."""
        for one in messages:
            yield one.upper()

    def fail(self, message: bytes, context: Any) -> bytes:
        """End with the status asked for, before any message."""
        context.abort(CODES[int(message)], f"reason {int(message)}: 100 % für die Katz")
        raise AssertionError

    def break_off(self, message: bytes, context: Any) -> Iterator[bytes]:
        """Some messages, then a status."""
        yield from (b"%d" % number for number in range(int(message)))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")

    def hold(self, message: bytes, context: Any) -> Iterator[bytes]:
        """One message, then nothing until the client has left."""
        gone = threading.Event()
        context.add_callback(gone.set)
        self.remaining_s = context.time_remaining()
        yield message
        self.held.set()
        if gone.wait(WAIT_S) and not context.is_active():
            self.cancelled.set()

    def handlers(self) -> Any:
        """The table that grpcio serves from."""
        methods = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Collect": grpc.stream_unary_rpc_method_handler(self.collect),
            "Spread": grpc.unary_stream_rpc_method_handler(self.spread),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "BreakOff": grpc.unary_stream_rpc_method_handler(self.break_off),
            "Hold": grpc.unary_stream_rpc_method_handler(self.hold),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)


class Calls:
    """A client of the service."""

    def __init__(self, address: str, authority: Path | None = None) -> None:
        """A channel of its own, not shared with another of the same address."""
        options = [*BIG, ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        if authority is None:
            self.channel = grpc.insecure_channel(address, options)
        else:
            trust = grpc.ssl_channel_credentials(authority.read_bytes())
            self.channel = grpc.secure_channel(address, trust, options)
        name = f"/{SERVICE}/{{}}".format
        self.unary = self.channel.unary_unary(name("Unary"))
        self.collect = self.channel.stream_unary(name("Collect"))
        self.spread = self.channel.unary_stream(name("Spread"))
        self.chat = self.channel.stream_stream(name("Chat"))
        self.fail = self.channel.unary_unary(name("Fail"))
        self.break_off = self.channel.unary_stream(name("BreakOff"))
        self.hold = self.channel.unary_stream(name("Hold"))
        self.missing = self.channel.unary_unary(name("Missing"))


@dataclass(frozen=True, slots=True)
class Served:
    """One server and one proxy for all tests."""

    background: Background
    proxy: RunningProxy
    echo: Echo
    authority: Path | None


@pytest.fixture(scope="module", params=[False, True], ids=["cleartext", "TLS"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Cleartext on both sides, then TLS on both."""
    echo = Echo()
    server = grpc.server(futures.ThreadPoolExecutor(64), options=BIG)
    server.add_generic_rpc_handlers((echo.handlers(),))
    authority = Authority(tmp_path_factory.mktemp("pki")) if request.param else None
    if authority is None:
        settings = pool(f"h2c://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    else:
        own = authority.issue("127.0.0.1")
        keys = grpc.ssl_server_credentials([(own.key.read_bytes(), own.cert.read_bytes())])
        port = server.add_secure_port("127.0.0.1:0", keys)
        settings = pool(f"https://127.0.0.1:{port}", tls={"ca": str(authority.bundle)})
        settings["listen"] = {"tls": {"certificates": [own.pair]}}

    @contextlib.asynccontextmanager
    async def stage() -> AsyncIterator[RunningProxy]:
        async with running_proxy(settings) as proxy:
            yield proxy
            await proxy.quiet()

    with in_background(stage) as (background, proxy):
        server.start()
        yield Served(background, proxy, echo, authority.bundle if authority else None)
    server.stop(0).wait(WAIT_S)


@pytest.fixture
def calls(served: Served) -> Iterator[Calls]:
    """A channel through the proxy; at the end no permit is out."""
    for event in (served.echo.cancelled, served.echo.held):
        event.clear()
    client = Calls(served.proxy.address, served.authority)
    yield client
    client.channel.close()
    served.background.run(served.proxy.quiet())


@pytest.fixture
def echo(served: Served) -> Echo:
    """What the server saw."""
    return served.echo


def test_unary_with_metadata(calls: Calls) -> None:
    """Text and binary metadata, in the head and in the trailers."""
    sent = [("x-first", "a"), ("x-first-bin", b"\x00\xff\x80"), ("x-last-bin", b"\x01\xfe")]
    said, call = calls.unary.with_call(b"hello", metadata=sent, timeout=WAIT_S)
    assert said == b"hello"
    assert dict(call.initial_metadata())["x-first"] == "a"
    assert dict(call.initial_metadata())["x-first-bin"] == b"\x00\xff\x80"
    assert dict(call.trailing_metadata())["x-last-bin"] == b"\x01\xfe"


def test_an_empty_message(calls: Calls) -> None:
    """No bytes are a message too."""
    assert calls.unary(b"", timeout=WAIT_S) == b""


def test_a_client_streams(calls: Calls) -> None:
    """500 messages, one answer."""
    sent = [b"x" * number for number in range(500)]
    assert calls.collect(iter(sent), timeout=WAIT_S) == b"500 %d" % sum(map(len, sent))


def test_a_server_streams(calls: Calls) -> None:
    """Messages come one by one, not all at the end."""
    times = []
    for number, message in enumerate(calls.spread(b"40", timeout=WAIT_S)):
        assert message == b"%d" % number
        times.append(time.monotonic())
    assert len(times) == 40
    assert times[-1] - times[0] > 0.1


def test_both_stream(calls: Calls) -> None:
    """Each message is answered before the next is sent, 100 times."""
    answered = threading.Semaphore(1)

    def messages() -> Iterator[bytes]:
        for number in range(100):
            assert answered.acquire(timeout=WAIT_S)
            yield b"m%d" % number

    got = []
    for message in calls.chat(messages(), timeout=WAIT_S):
        got.append(message)
        answered.release()
    assert got == [b"M%d" % number for number in range(100)]


def test_messages_of_4_mb(calls: Calls) -> None:
    """Both ways, alone and in streams, through windows that are far smaller."""
    message = bytes(range(256)) * (4 * MIB // 256)
    assert calls.unary(message, timeout=WAIT_S) == message
    assert list(calls.chat(iter([message] * 3), timeout=WAIT_S)) == [message.upper()] * 3


@pytest.mark.parametrize("code", range(len(CODES)), ids=[code.name for code in CODES])
def test_a_status_without_a_message(calls: Calls, code: int) -> None:
    """Trailers-only: every code, with a text that needs percent signs."""
    with pytest.raises(grpc.RpcError) as failed:
        calls.fail(b"%d" % code, timeout=WAIT_S)
    assert failed.value.code() is CODES[code]
    assert failed.value.details() == f"reason {code}: 100 % für die Katz"


def test_a_status_after_messages(calls: Calls) -> None:
    """What came before it is kept."""
    got = []
    with pytest.raises(grpc.RpcError) as failed:
        got.extend(calls.break_off(b"7", timeout=WAIT_S))
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.value.details() == "no more"


def test_a_method_that_is_not_there(calls: Calls) -> None:
    """The server's own answer."""
    with pytest.raises(grpc.RpcError) as failed:
        calls.missing(b"", timeout=WAIT_S)
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_is_forwarded(calls: Calls, echo: Echo) -> None:
    """The server knows how long its client waits."""
    calls.unary(b"", timeout=7)
    assert echo.remaining_s is not None
    assert 5 < echo.remaining_s < 7.5, "clients round it up"


def test_a_deadline_that_passes(calls: Calls, echo: Echo) -> None:
    """The client says so in time, and the server is let go."""
    began = time.monotonic()
    stream = calls.hold(b"1", timeout=0.4)
    with pytest.raises(grpc.RpcError) as failed:
        assert list(stream) == []
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 2
    assert echo.cancelled.wait(3)


def test_a_client_cancels(calls: Calls, echo: Echo) -> None:
    """The server is told within a moment."""
    stream = calls.hold(b"1", timeout=WAIT_S)
    assert next(stream) == b"1"
    assert echo.held.wait(3)
    stream.cancel()
    assert echo.cancelled.wait(1)


def test_a_client_goes_away(calls: Calls, echo: Echo) -> None:
    """A closed channel cancels what ran on it."""
    stream = calls.hold(b"1", timeout=WAIT_S)
    assert next(stream) == b"1"
    assert echo.held.wait(3)
    calls.channel.close()
    assert echo.cancelled.wait(1)


def test_many_calls_share_a_connection(calls: Calls) -> None:
    """300 at once on one channel."""
    running = [calls.unary.future(b"%d" % number, timeout=WAIT_S) for number in range(300)]
    assert [one.result() for one in running] == [b"%d" % number for number in range(300)]


def test_a_held_stream_delays_nobody(calls: Calls, echo: Echo) -> None:
    """A stream whose client does not read leaves its siblings alone."""
    stopped = calls.chat(iter([b"x" * MIB] * 8), timeout=WAIT_S)
    slow: list[float] = []
    for _ in range(20):
        began = time.monotonic()
        calls.unary(b"hello", timeout=WAIT_S)
        slow.append(time.monotonic() - began)
    assert sorted(slow)[10] < 0.5
    stopped.cancel()


def test_an_error_of_ours_is_a_status() -> None:
    """Nobody listens behind the proxy: what it says of that is gRPC, not an HTTP error."""

    @contextlib.asynccontextmanager
    async def stage() -> AsyncIterator[RunningProxy]:
        async with running_proxy(pool(f"h2c://127.0.0.1:{free_port()}")) as proxy:
            yield proxy

    with in_background(stage) as (_background, proxy):
        client = Calls(proxy.address)
        with pytest.raises(grpc.RpcError) as failed:
            client.unary(b"x", timeout=WAIT_S)
        client.channel.close()
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
