"""Which route and pool?"""

import json

import pytest

from harness.client import CHAT, JSON, chat
from harness.proxy import Settings, running_proxy
from harness.upstream import ScriptedUpstream, always, answer

pytestmark = pytest.mark.asyncio


def two_pools(one: ScriptedUpstream, two: ScriptedUpstream, routes: list[Settings]) -> Settings:
    """Pools `one` and `two`."""
    return {
        "pools": {"one": {"endpoints": [one.url]}, "two": {"endpoints": [two.url]}},
        "routes": routes,
    }


def saying(text: str) -> ScriptedUpstream:
    """An engine that says its name."""
    return ScriptedUpstream(always(answer(text.encode())))


async def test_by_model() -> None:
    """Globs of the body's model, first match wins; names with slashes are names."""
    async with saying("one") as one, saying("two") as two:
        routes: list[Settings] = [
            {"match": {"model": ["llama-*", "org/name"]}, "pool": "one"},
            {"match": {"model": "*-mini"}, "pool": "two"},
        ]
        async with running_proxy(two_pools(one, two, routes)) as proxy:
            for model, wanted in {
                "llama-3": b"one",
                "org/name": b"one",
                "gpt-mini": b"two",
                "llama-mini": b"one",
            }.items():
                said = await proxy.ask("POST", CHAT, JSON, chat(model=model))
                assert said.body == wanted, model
            said = await proxy.ask("POST", CHAT, JSON, chat(model="unknown"))
            assert said.status == 404
            assert json.loads(said.body)["error"]["code"] == "model_not_found"


async def test_the_model_may_come_late() -> None:
    """The model is found behind a long prompt, wherever it stands."""
    async with saying("one") as one, saying("two") as two:
        routes: list[Settings] = [
            {"match": {"model": "a"}, "pool": "one"},
            {"match": {"model": "b"}, "pool": "two"},
        ]
        async with running_proxy(two_pools(one, two, routes)) as proxy:
            nested = {"messages": [{"content": "x" * 200_000, "model": "a"}], "model": "b"}
            said = await proxy.ask("POST", CHAT, JSON, json.dumps(nested).encode())
            assert said.body == b"two"


async def test_by_path_method_and_header() -> None:
    """All conditions of a route must hold."""
    async with saying("one") as one, saying("two") as two:
        routes: list[Settings] = [
            {"match": {"path": "/only", "method": "POST"}, "pool": "one"},
            {"match": {"headers": {"x-team": "blue"}}, "pool": "one"},
            {"match": {"path": "/v1/*"}, "pool": "two"},
        ]
        async with running_proxy(two_pools(one, two, routes)) as proxy:
            assert (await proxy.ask("POST", "/only")).body == b"one"
            assert (await proxy.ask("GET", "/only")).status == 404
            assert (await proxy.ask("GET", "/v1/x", {"X-Team": "blue"})).body == b"one"
            assert (await proxy.ask("GET", "/v1/x", {"X-Team": "red"})).body == b"two"
            assert (await proxy.ask("GET", "/v1")).status == 404


async def test_the_default_pool_takes_the_rest() -> None:
    """Requests that no route takes go there, GET /v1/models of one pool included."""
    async with saying("one") as one, saying("two") as two:
        config = two_pools(one, two, [{"match": {"model": "a"}, "pool": "one"}])
        async with running_proxy(config | {"default_pool": "two"}) as proxy:
            assert (await proxy.ask("GET", "/elsewhere")).body == b"two"
            assert (await proxy.ask("POST", CHAT, JSON, chat(model="z"))).body == b"two"


async def test_models_are_merged_over_pools() -> None:
    """Clients see one list."""

    def listing(*names: str) -> bytes:
        data = [{"id": name, "object": "model", "owned_by": "x"} for name in names]
        return json.dumps({"object": "list", "data": data}).encode()

    async with (
        ScriptedUpstream(always(answer(listing("a", "org/b")))) as one,
        ScriptedUpstream(always(answer(listing("org/b", "c")))) as two,
    ):
        routes: list[Settings] = [
            {"match": {"model": "a"}, "pool": "one"},
            {"match": {"model": "c"}, "pool": "two"},
        ]
        async with running_proxy(two_pools(one, two, routes)) as proxy:
            said = await proxy.ask("GET", "/v1/models")
            assert said.status == 200, said.body
            listed = json.loads(said.body)
            assert listed["object"] == "list"
            assert sorted(item["id"] for item in listed["data"]) == ["a", "c", "org/b"]


async def test_errors_speak_the_dialect_of_the_path() -> None:
    """Anthropic's error form on its path, OpenAI's elsewhere, problem+json where asked for."""
    async with saying("one") as one, saying("two") as two:
        config = two_pools(one, two, [{"match": {"model": "a"}, "pool": "one"}])
        config["routes"].append(
            {"match": {"path": "/plain", "model": "b"}, "pool": "two", "dialect": "problem"}
        )
        async with running_proxy(config) as proxy:
            said = await proxy.ask("POST", "/v1/messages", JSON, chat(model="none"))
            document = json.loads(said.body)
            assert document["type"] == "error"
            assert document["error"]["type"] == "not_found_error"
            said = await proxy.ask("POST", CHAT, JSON, chat(model="none"))
            assert set(json.loads(said.body)["error"]) >= {"message", "type", "param", "code"}
