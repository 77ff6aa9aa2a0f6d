"""Minutes of mixed load with faults: memory and descriptors stay flat. `make long` runs it."""

import asyncio
import os
import random
import time

import pytest

from harness.client import CHAT, JSON, chat
from harness.engine import SimEngine
from harness.http import TruncatedError, request
from harness.leaks import descriptors, resident_bytes
from harness.proxy import RunningProxy, pool, running_proxy

SECONDS = float(os.environ.get("FASTPROXY_SOAK_S", "0"))
MIB = 1024 * 1024
pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(SECONDS + 120),
    pytest.mark.skipif(SECONDS == 0, reason="set FASTPROXY_SOAK_S, as `make long` does"),
]


async def one_client(proxy: RunningProxy, dice: random.Random, until: float) -> int:
    """Requests of every kind, some of them left early; how many were answered."""
    answered = 0
    while time.monotonic() < until:
        async with proxy.client() as client:
            for _ in range(dice.randrange(1, 20)):
                stream = dice.random() < 0.5
                await client.send(request("POST", CHAT, JSON, chat(stream=stream, max_tokens=20)))
                if dice.random() < 0.05:
                    client.reset()
                    break
                try:
                    said = await client.response()
                except (TruncatedError, ConnectionError):
                    break
                answered += 1
                if said.header("connection") == "close":
                    break
    return answered


async def test_soak() -> None:
    """One percent of faults at the engines, clients that vanish, a reload every five seconds."""
    faults = [{"fault": "reset:3", "ratio": 0.005}, {"fault": "status:500", "ratio": 0.005}]
    with SimEngine(faults=faults) as one, SimEngine(faults=faults) as two:
        async with running_proxy(pool(one.url, two.url), workers=2) as proxy:
            until = time.monotonic() + SECONDS
            clients = [
                asyncio.create_task(one_client(proxy, random.Random(seed), until))
                for seed in range(16)
            ]
            await asyncio.sleep(SECONDS * 0.2)
            memory, opened = resident_bytes(proxy.pid), descriptors(proxy.pid)
            while time.monotonic() < until:
                assert (await proxy.ask_admin("/reload", "POST")).status == 200
                await asyncio.sleep(min(5, SECONDS / 4))
            answered = sum(await asyncio.gather(*clients))
            await proxy.quiet(10)
            assert answered > 0
            assert resident_bytes(proxy.pid) - memory < 8 * MIB
            assert descriptors(proxy.pid) <= opened + 8
            assert await proxy.metric("fastproxy_bugs_total") == 0
