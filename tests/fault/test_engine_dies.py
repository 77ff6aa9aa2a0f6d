"""Engines that are killed, reset and refuse: no truncated stream looks complete, nothing leaks."""

import asyncio
import random
import signal
import subprocess
import sys

from harness.address import free_port
from harness.client import CHAT, JSON, chat
from harness.http import TruncatedError, request
from harness.leaks import descriptors, settles_to
from harness.proxy import RunningProxy, eventually, eventually_async, pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream

ASK = request("POST", CHAT, JSON, chat(stream=True, max_tokens=400))
ENGINE = [sys.executable, "-m", "fastproxy", "engine"]


async def engine_process(port: int) -> asyncio.subprocess.Process:
    """A simulated engine in a process of its own, listening."""
    process = await asyncio.create_subprocess_exec(
        *ENGINE, "--listen", f"127.0.0.1:{port}", "--unary", "5",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    async def listening() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    await eventually_async(listening, 15, "the engine listens")
    return process


async def read_to_the_end(proxy: RunningProxy, started: asyncio.Event) -> tuple[bool, bytes]:
    """Whether the stream looked complete, and its bytes."""
    async with proxy.client() as client:
        await client.send(ASK)
        said = await client.head()
        if said.status != 200:
            await client.body(said)
            return True, said.body
        started.set()
        try:
            await client.body(said)
        except TruncatedError as error:
            return False, error.partial
        return True, said.body


async def test_kill_9_in_the_middle_of_streams() -> None:
    """Twenty streams at a time; the engine is killed; each client is told, within a second."""
    port = free_port()
    async with running_proxy(pool(f"http://127.0.0.1:{port}"), workers=2) as proxy:
        for _ in range(5):
            engine = await engine_process(port)
            started = [asyncio.Event() for _ in range(20)]
            reading = [asyncio.create_task(read_to_the_end(proxy, one)) for one in started]
            await asyncio.gather(*(one.wait() for one in started))
            await asyncio.sleep(random.uniform(0, 0.3))
            engine.send_signal(signal.SIGKILL)
            await engine.wait()
            ends = await asyncio.wait_for(asyncio.gather(*reading), 5)
            for whole, body in ends:
                assert not whole or body.rstrip().endswith(b"[DONE]") or b'"error"' in body
                assert whole or b'"error"' in body
                assert whole or body.endswith(b"\n\n")
        await proxy.quiet()


async def test_resets_at_random_points() -> None:
    """An engine that resets after any byte: whole answers are whole, all others say so."""
    dice = random.Random(7)
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 64\r\n\r\n" + b"x" * 64

    async def dies(peer: Peer) -> None:
        while await peer.request() is not None:
            cut = dice.randrange(len(whole) + 20)
            await peer.send(whole[:cut])
            if cut < len(whole):
                await asyncio.sleep(0.002)
                peer.reset()
                return

    async with ScriptedUpstream(dies) as upstream:
        config = pool(upstream.url, eject={"consecutive": 0}, retry={"min_per_second": 1000})
        async with running_proxy(config) as proxy:
            before = descriptors(proxy.pid)
            statuses = set()
            for _ in range(150):
                async with proxy.client() as client:
                    await client.send(request("POST", CHAT, JSON, chat()))
                    said = await client.head()
                    statuses.add(said.status)
                    try:
                        await client.body(said)
                    except (TruncatedError, ConnectionError):
                        continue
                    if said.status == 200:
                        assert said.body == b"x" * 64
            assert statuses <= {200, 502}
            await proxy.quiet()
            await settles_to(proxy.pid, before + 4)


async def test_one_of_several_engines_fails() -> None:
    """Clients of the others see nothing; the dead one's share moves; it is back when it is back."""
    ports = [free_port() for _ in range(3)]
    engines = [await engine_process(port) for port in ports]
    config = pool(
        *(f"http://127.0.0.1:{port}" for port in ports), eject={"base": "500ms", "consecutive": 3}
    )
    try:
        async with running_proxy(config) as proxy:
            for _ in range(10):
                assert (await proxy.ask("POST", CHAT, JSON, chat())).status == 200
            engines[1].kill()
            await engines[1].wait()
            for _ in range(40):
                assert (await proxy.ask("POST", CHAT, JSON, chat())).status == 200
            engines[1] = await engine_process(ports[1])
            await asyncio.sleep(1.2)
            for _ in range(20):
                assert (await proxy.ask("POST", CHAT, JSON, chat())).status == 200
            await proxy.quiet()
    finally:
        for engine in engines:
            if engine.returncode is None:
                engine.kill()
                await engine.wait()


async def test_a_name_that_does_not_resolve() -> None:
    """No answer from DNS is a clear message at start and in the log, not an end and not a hang."""
    async with running_proxy(pool("http://nowhere.invalid:8000")) as proxy:
        answer = await proxy.ask("POST", CHAT, JSON, chat())
        assert answer.status == 502
        assert b"nowhere.invalid cannot be resolved" in proxy.output
        assert b"Traceback" not in proxy.output
        await eventually(proxy.log, 5, "a record")
        (record,) = proxy.log()
        assert record["flag"] == "CR"
        assert "could not be resolved" in record["detail"]
