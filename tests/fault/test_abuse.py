"""Every way of abuse, once, against a served proxy: closed for what it was, nobody else notices.

`python -m benches.acceptance 4.7` does the same at full speed, and measures.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from harness.abuse import (
    ANSWERED,
    ASKED,
    ATTACKS,
    OPENING,
    farewell,
)
from harness.client import CHAT, JSON, RawClient, chat
from harness.engine import SimEngine
from harness.frames import Code, Kind, frame
from harness.leaks import resident_bytes
from harness.proxy import RunningProxy, pool, running_proxy

MIB = 1024 * 1024
GROWTH_MAX = 64 * MIB
CLOSURES = "fastproxy_http2_closures_total"
PATIENCE_S = 10.0


@contextlib.asynccontextmanager
async def stage(*trusted: str) -> AsyncIterator[RunningProxy]:
    """A proxy in front of an engine, and a listener that trusts those peers."""
    with SimEngine(gap_us=20_000) as engine:
        config = pool(engine.url) | {"listen": {"trusted_peers": list(trusted)}}
        async with running_proxy(config) as proxy:
            yield proxy
            await proxy.quiet()


async def received(client: RawClient, until: bytes = b"\0never\0") -> bytes:
    """All that comes until the connection ends, or until those bytes have come."""
    data = bytearray()
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE_S):
            while until not in data and (part := await client.reader.read(65_536)):
                data += part
    return bytes(data)


async def assault(proxy: RunningProxy, script: bytes, until: bytes = b"\0never\0") -> bytes:
    """Sends a script as fast as it is taken; gives what was answered."""
    async with proxy.client() as client:
        sending = asyncio.create_task(client.send(script))
        data = await received(client, until)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        return data


async def closures(proxy: RunningProxy) -> dict[str, float]:
    """Closures by cause."""
    samples = (await proxy.metrics()).select(CLOSURES)
    return {sample.labels["cause"]: sample.value for sample in samples if sample.value}


async def neighbour(proxy: RunningProxy) -> int:
    """A token stream on a connection of its own; how many bytes it had."""
    async with proxy.client() as client:
        said = await client.ask("POST", CHAT, JSON, chat(stream=True, max_tokens=40))
        assert said.status == 200
        assert said.body.endswith(b"data: [DONE]\n\n")
        return len(said.body)


async def slow_head(proxy: RunningProxy) -> Code | None:
    """A header block that is begun and never ended."""
    data = await assault(proxy, OPENING + frame(Kind.HEADERS, 0, 1, b"\x82"))
    return farewell(data)


async def test_every_attack() -> None:
    """One connection each, one after the other, beside streams that come to their end."""
    async with stage() as proxy:
        await neighbour(proxy)
        before = resident_bytes(proxy.pid)
        slow = asyncio.create_task(slow_head(proxy))
        beside = asyncio.create_task(neighbour(proxy))
        expected: dict[str, float] = {}
        highest = before
        for attack in ATTACKS:
            if beside.done():
                await beside
                beside = asyncio.create_task(neighbour(proxy))
            code = farewell(await assault(proxy, attack.script()))
            assert code == attack.code, attack.name
            expected[attack.cause] = expected.get(attack.cause, 0) + 1
            assert await closures(proxy) == expected, attack.name
            highest = max(highest, resident_bytes(proxy.pid))
        await beside
        assert highest - before < GROWTH_MAX
        assert await slow == Code.ENHANCE_YOUR_CALM
        expected["continuation"] += 1
        assert await closures(proxy) == expected


async def test_a_trusted_peer_may_do_more() -> None:
    """What ends a stranger's connection is borne from a gateway of ours, and it is still served."""
    async with stage("127.0.0.0/8") as proxy:
        for attack in [one for one in ATTACKS if one.widened]:
            script = attack.script(attack.enough) + ASKED
            assert ANSWERED in await assault(proxy, script, ANSWERED), attack.name
        assert await closures(proxy) == {}


async def test_within_the_budget_nobody_is_closed() -> None:
    """The last unit that passes, and then an answer."""
    async with stage() as proxy:
        for attack in ATTACKS:
            if not attack.widened:
                continue
            script = attack.script(attack.borne) + ASKED
            assert ANSWERED in await assault(proxy, script, ANSWERED), attack.name
        assert await closures(proxy) == {}
