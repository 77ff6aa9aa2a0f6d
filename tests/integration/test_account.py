"""How much? Tokens, times and bytes, as metrics and in the record."""

import json

import pytest

from harness.client import CHAT, JSON, chat
from harness.http import request
from harness.proxy import pool, running_proxy
from harness.upstream import ScriptedUpstream, always, answer, stream

pytestmark = pytest.mark.asyncio


def token(text: str) -> str:
    """An event as engines send them."""
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]})


USAGE = json.dumps({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}})


async def test_a_streams_tokens_are_counted() -> None:
    """Events, the engine's own usage, first-token and inter-token times."""
    tokens = [token(text) for text in "abcde"] + [USAGE, "[DONE]"]
    async with (
        ScriptedUpstream(always(stream(tokens, gap_s=0.02))) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
        proxy.client() as client,
    ):
        await client.send(request("POST", CHAT, JSON, chat(stream=True)))
        await client.response()
        record = (await proxy.logged())[0]
        assert record["stream"] is True
        assert record["prompt_tokens"] == 7
        assert record["completion_tokens"] == 5
        assert 5 <= record["tokens"] <= 7
        metrics = await proxy.metrics()
        assert metrics.total("fastproxy_completion_tokens_total") == 5
        assert metrics.total("fastproxy_prompt_tokens_total") == 7
        assert metrics.total("fastproxy_first_token_seconds_count") == 1
        assert 3 <= metrics.total("fastproxy_inter_token_seconds_count") <= 7
        assert metrics.total("fastproxy_token_delay_seconds_count") >= 4


async def test_a_unary_answers_usage_is_counted() -> None:
    """The same from a JSON body."""
    body = json.dumps({"id": "x", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}).encode()
    async with (
        ScriptedUpstream(always(answer(body))) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
    ):
        said = await proxy.ask("POST", CHAT, JSON, chat())
        assert said.body == body
        record = (await proxy.logged())[0]
        assert (record["prompt_tokens"], record["completion_tokens"]) == (3, 2)
        assert record["bytes_out"] == len(body)
        assert record["bytes_in"] == len(chat())


async def test_labels_come_from_the_configuration_only() -> None:
    """What a client writes never becomes a label."""
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(pool(upstream.url)) as proxy,
    ):
        before = len((await proxy.metrics()).samples)
        for number in range(20):
            await proxy.ask("POST", f"/path-{number}", JSON, chat(model=f"model-{number}"))
        after = await proxy.metrics()
        assert "model-3" not in after.text
        assert "path-3" not in after.text
        assert len(after.samples) < before * 3 + 500


async def test_counters_agree_with_the_log() -> None:
    """One record and one count for each exchange."""
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(pool(upstream.url), workers=2) as proxy,
    ):
        for _ in range(25):
            await proxy.ask("GET", "/x")
        await proxy.logged(25)
        assert len(proxy.log()) == 25
        assert await proxy.metric("fastproxy_requests_total") == 25
