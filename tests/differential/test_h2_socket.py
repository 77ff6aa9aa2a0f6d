"""Every kind of wrong request once more, to a served proxy: the codec's verdict is the proxy's.

Bytes go out in pieces cut at random. A head that is refused never reaches the engine behind.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import hpack
import pytest

from harness.background import in_background
from harness.client import RawClient
from harness.frames import ACK, END_STREAM, PREFACE, Kind, frames, ping, settings
from harness.http import Message, reply
from harness.proxy import RunningProxy, pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream, always

from .h2_ends import compare, judged
from .h2_scripts import WRONG, Step, Talk

pytestmark = pytest.mark.timeout(120)
FENCE = b"at-fence"
TARGET = b"/x?y"
ANSWER_S = 0.3
"""The engine takes this long, so that what follows a request is judged before its answer."""
GRACE_S = 0.1
AT_ONCE = 16
ELSEWHERE = {"DATA beyond the stream's window"}
"""The proxy opens the window again as the engine takes the bytes: there is no beyond."""
LABELS = sorted(set(WRONG) - ELSEWHERE)


@dataclass(frozen=True, slots=True)
class Met:
    """What came of one script."""

    verdict: str
    reached: bool
    """Whether its last request got to the engine."""


async def slow_yes(peer: Peer, _asked: Message) -> None:
    """Answers in its time."""
    await asyncio.sleep(ANSWER_S)
    await peer.send(reply(200, b"yes"))


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[dict[str, Met]]:
    """All scripts, some at a time, to one proxy."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(proxy: RunningProxy, label: str, number: int) -> tuple[str, str]:
        async with gate:
            return label, await converse(proxy, WRONG[label](Talk()), number)

    async with (
        ScriptedUpstream(always(slow_yes)) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
    ):
        calls = [one(proxy, label, number) for number, label in enumerate(LABELS)]
        verdicts = dict(await asyncio.gather(*calls))
        await proxy.quiet()
        seen = {asked.target for asked in upstream.requests}
    yield {
        label: Met(verdicts[label], target(number).decode() in seen)
        for number, label in enumerate(LABELS)
    }


def target(number: int) -> bytes:
    """A target of its own for each script, as long as the one that it replaces."""
    return b"/%03d" % number


async def converse(proxy: RunningProxy, steps: list[Step], number: int) -> str:
    """The verdict on the last step."""
    cut = random.Random(number)
    got = bytearray()
    async with asyncio.timeout(20), RawClient(proxy.address) as client:
        await client.send(PREFACE + settings())
        for step in steps:
            before = len(frames(bytes(got))[0])
            if step.answers:
                await until_ended(client, got, step.answers)
            else:
                await send(client, step.sent.replace(TARGET, target(number)), cut)
        await send(client, ping(FENCE), cut)
        with contextlib.suppress(ConnectionError, TimeoutError):
            await until_fence(client, got)
    return verdict(bytes(got), before)


async def send(client: RawClient, data: bytes, cut: random.Random) -> None:
    """Send in pieces, until the proxy has had enough."""
    with contextlib.suppress(ConnectionError):
        while data:
            size = cut.choice([1, 2, 7, 9, 10, 100, 20_000])
            await client.send(data[:size])
            data = data[size:]
            await asyncio.sleep(0)


async def until_ended(client: RawClient, got: bytearray, stream: int) -> None:
    """Read until a stream has been answered."""
    while not any(
        one.stream == stream and one.kind <= 1 and one.flags & END_STREAM
        for one in frames(bytes(got))[0]
    ):
        part = await client.reader.read(65_536)
        assert part, "closed before the answer"
        got += part


async def until_fence(client: RawClient, got: bytearray) -> None:
    """Read until the proxy closes, or has answered the PING behind the script."""
    while part := await client.reader.read(65_536):
        got += part
        if any(one.kind == Kind.PING and one.payload == FENCE for one in frames(bytes(got))[0]):
            async with asyncio.timeout(GRACE_S):
                while part := await client.reader.read(65_536):
                    got += part


def verdict(got: bytes, before: int) -> str:
    """As in memory; `refused` if the proxy answered the last request by itself."""
    found, rest = frames(got)
    assert not rest, "whole frames"
    decoder = hpack.Decoder(max_header_list_size=2**20)
    heads = [one for one in found if one.kind == Kind.HEADERS]
    statuses = {one: int(dict(decoder.decode(one.payload, raw=True))[b":status"]) for one in heads}
    last = found[before:]
    acks = (Kind.PING, Kind.SETTINGS)
    said = judged(b"".join(one.bytes for one in last if not (one.kind in acks and one.flags & ACK)))
    own = any(statuses.get(one, 0) >= 400 for one in last)
    return "refused" if own and said in {"accepted", "stream NO_ERROR"} else said


@pytest.fixture(scope="module")
def met() -> Iterator[dict[str, Met]]:
    """All of them, taken once."""
    with in_background(stage) as (_background, found):
        yield found


@pytest.mark.parametrize("label", LABELS)
def test_the_proxy_judges_as_its_codec(met: dict[str, Met], label: str) -> None:
    """The verdict in memory, through sockets, worker and engine."""
    steps = WRONG[label](Talk())
    us, _ = compare(steps, lambda _step, _us, _them: None)
    assert met[label].verdict == us.partition(":")[0]
    if len(steps) == 1 and us != "accepted":
        assert not met[label].reached
