"""The official clients, through a served proxy, to the simulated engine."""

import asyncio
import json
import time
from typing import Any

import anthropic
import openai
import pytest

from harness.engine import SimEngine
from harness.http import Message, reply
from harness.proxy import RunningProxy, embedded_proxy, eventually, pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream, always

pytestmark = pytest.mark.asyncio
MIB = 1024 * 1024


def client_of(proxy: RunningProxy, retries: int = 0) -> openai.AsyncOpenAI:
    """The official client."""
    return openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="k", max_retries=retries)


async def test_stream_unary_embeddings_and_models() -> None:
    """The four calls that everybody makes."""
    with SimEngine(models=["sim", "org/name"], tokens=12) as engine:
        async with running_proxy(pool(engine.url)) as proxy, client_of(proxy) as client:
            said = await client.chat.completions.create(
                model="sim", messages=[{"role": "user", "content": "hi"}]
            )
            assert said.choices[0].message.content
            assert said.usage is not None
            streamed = await client.chat.completions.create(
                model="org/name",
                messages=[{"role": "user", "content": "hi"}],
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in streamed]
            assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) >= 11
            assert chunks[-1].usage is not None
            vectors = await client.embeddings.create(model="sim", input=["a", "b"])
            assert len(vectors.data) == 2
            models = [model.id async for model in client.models.list()]
            assert models == ["sim", "org/name"]


async def test_a_model_with_a_slash_is_found_by_its_name() -> None:
    """The slash inside the name reaches the engine as the client wrote it."""

    async def one(peer: Peer, asked: Message) -> None:
        body = {"id": "org/name", "object": "model", "created": 1, "owned_by": asked.target}
        await peer.send(reply(200, json.dumps(body).encode(), {"content-type": "application/json"}))

    async with (
        ScriptedUpstream(always(one)) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        client_of(proxy) as client,
    ):
        found = await client.models.retrieve("org/name")
        assert found.id == "org/name"
        assert upstream.requests[0].target in ("/v1/models/org%2Fname", "/v1/models/org/name")


async def test_errors_are_the_clients_own_exceptions() -> None:
    """404, 429 and 502 of ours become what the client raises for them."""

    async def dies(peer: Peer, _asked: Message) -> None:
        peer.reset()

    async with ScriptedUpstream(always(dies)) as upstream:
        config = pool(upstream.url, retry={"attempts": 1}) | {
            "routes": [{"match": {"model": "known"}, "pool": "main"}]
        }
        async with running_proxy(config) as proxy, client_of(proxy) as client:
            messages: list[Any] = [{"role": "user", "content": "hi"}]
            with pytest.raises(openai.NotFoundError) as missing:
                await client.chat.completions.create(model="unknown", messages=messages)
            assert missing.value.code == "model_not_found"
            assert missing.value.request_id
            with pytest.raises(openai.InternalServerError) as broken:
                await client.chat.completions.create(model="known", messages=messages)
            assert broken.value.status_code == 502


async def test_the_client_acts_on_our_429() -> None:
    """It waits as long as `retry-after-ms` says, tries again, and succeeds."""
    gate = asyncio.Event()

    async def waits(peer: Peer, _asked: Message) -> None:
        await gate.wait()
        vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
        body = {"object": "list", "data": [vector], "model": "m", "usage": {}}
        await peer.send(reply(200, json.dumps(body).encode(), {"content-type": "application/json"}))

    async with ScriptedUpstream(always(waits)) as upstream:
        config = pool(upstream.url, concurrency=1, channel={"capacity": 0})
        async with running_proxy(config) as proxy, client_of(proxy, retries=8) as client:
            first = asyncio.create_task(client.embeddings.create(model="m", input="a"))
            await eventually(lambda: upstream.requests, 5, "the first at the engine")
            async with client_of(proxy) as impatient:
                with pytest.raises(openai.RateLimitError) as shed:
                    await impatient.embeddings.create(model="m", input="b")
                assert shed.value.response.headers["retry-after-ms"]
            second = asyncio.create_task(client.embeddings.create(model="m", input="b"))
            await asyncio.sleep(0.3)
            gate.set()
            await asyncio.gather(first, second)
            assert len(upstream.requests) == 2


async def test_the_client_stops_when_we_say_so() -> None:
    """`x-should-retry: false` after our own attempts: one call of the client is one exchange."""

    async def dies(peer: Peer, _asked: Message) -> None:
        peer.reset()

    async with (
        ScriptedUpstream(always(dies)) as one,
        ScriptedUpstream(always(dies)) as two,
        running_proxy(pool(one.url, two.url)) as proxy,
        client_of(proxy, retries=5) as client,
    ):
        began = time.monotonic()
        with pytest.raises(openai.InternalServerError):
            await client.embeddings.create(model="m", input="a")
        assert time.monotonic() - began < 5
        assert len(one.requests) + len(two.requests) <= 3


async def test_an_engine_that_dies_mid_stream_is_a_clean_error() -> None:
    """The client raises; it never believes that the answer was whole."""
    with SimEngine(tokens=50, faults=[{"fault": "reset:5", "ratio": 1.0}]) as engine:
        async with running_proxy(pool(engine.url)) as proxy, client_of(proxy) as client:
            streamed = await client.chat.completions.create(
                model="sim", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            seen = []

            async def read() -> None:
                async for chunk in streamed:
                    seen.append(chunk)  # noqa: PERF401 - what came before the error counts

            with pytest.raises(openai.APIError):
                await read()
            assert 1 <= len(seen) <= 7


async def test_a_client_that_disconnects_frees_the_engine() -> None:
    """Closing the client's stream ends the engine's request."""
    with SimEngine(tokens=5000, gap_us=20_000) as engine:
        async with running_proxy(pool(engine.url)) as proxy:
            async with client_of(proxy) as client:
                streamed = await client.chat.completions.create(
                    model="sim",
                    messages=[{"role": "user", "content": "hi"}],
                    stream=True,
                    max_tokens=5000,
                )
                async for _ in streamed:
                    break
                await streamed.close()
            await proxy.quiet()
            await eventually(lambda: engine.stats().get("running", 0) == 0, 5, "nothing runs")


async def test_a_body_of_16_mib_arrives() -> None:
    """In both directions of the client's own encoding."""
    with SimEngine(body_bytes_max=64 * MIB) as engine:
        async with running_proxy(pool(engine.url)) as proxy, client_of(proxy) as client:
            said = await client.chat.completions.create(
                model="sim", messages=[{"role": "user", "content": "x" * (16 * MIB)}]
            )
            assert said.choices
            record = (await proxy.logged())[0]
            assert record["bytes_in"] > 16 * MIB


async def test_the_anthropic_client() -> None:
    """Messages, streamed and whole, and an error in its own form."""
    with SimEngine(tokens=8) as engine:
        config = pool(engine.url) | {
            "routes": [{"match": {"model": "sim"}, "pool": "main"}],
        }
        async with (
            running_proxy(config) as proxy,
            anthropic.AsyncAnthropic(base_url=proxy.url, api_key="k", max_retries=0) as client,
        ):
            said = await client.messages.create(
                model="sim", max_tokens=8, messages=[{"role": "user", "content": "hi"}]
            )
            assert said.content
            async with client.messages.stream(
                model="sim", max_tokens=8, messages=[{"role": "user", "content": "hi"}]
            ) as streamed:
                text = "".join([part async for part in streamed.text_stream])
            assert text
            with pytest.raises(anthropic.NotFoundError):
                await client.messages.create(
                    model="none", max_tokens=8, messages=[{"role": "user", "content": "hi"}]
                )


async def test_the_client_inside_the_same_loop_as_the_proxy() -> None:
    """`workers: 0` beside the client, in one asyncio program."""
    with SimEngine(tokens=20) as engine:
        async with embedded_proxy(pool(engine.url), workers=0) as proxy, client_of(proxy) as client:
            streamed = await client.chat.completions.create(
                model="sim", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            assert len([chunk async for chunk in streamed]) >= 20
