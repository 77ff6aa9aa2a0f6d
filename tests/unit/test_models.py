"""Merged lists of models: who is asked, what is remembered, what is never shared."""

import asyncio

import orjson

from fastproxy.config.load import load
from fastproxy.config.model import Config, Endpoint, Pool
from fastproxy.fleet.models import Models

CONFIG = load(
    {
        "pools": {
            "a": {"endpoints": ["http://a1", "http://a2"], "models": ["configured"]},
            "b": {"endpoints": ["http://b"], "credentials": {"bearer": "own"}},
        },
        "default_pool": "a",
    }
).config


class Fleet:
    """Endpoints that answer from a table; an exception is raised."""

    def __init__(self, **answers: list[str] | Exception) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.now = 0.0

    async def fetch(self, pool: Pool, endpoint: Endpoint, headers: dict[str, str]) -> bytes:
        assert endpoint in pool.endpoints
        name = endpoint.url.removeprefix("http://")
        self.asked.append((name, headers))
        await asyncio.sleep(0)
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return orjson.dumps({"object": "list", "data": [{"id": model} for model in answer]})

    def clock(self) -> float:
        return self.now


async def names(
    models: Models, config: Config = CONFIG, authorization: bytes | None = None
) -> list[str]:
    """Ids in the answer."""
    body = orjson.loads(await models.answer(config, authorization))
    return [entry["id"] for entry in body["data"]]


async def test_merged_without_duplicates() -> None:
    """One endpoint a pool is enough; the first pool wins."""
    fleet = Fleet(a1=["x", "y"], b=["y", "z"])
    assert await names(Models(fleet.fetch, fleet.clock)) == ["x", "y", "z"]
    assert sorted(name for name, _ in fleet.asked) == ["a1", "b"]


async def test_another_endpoint_then_what_is_known() -> None:
    """A dead endpoint is passed over; a dead pool keeps its last list, else its configured one."""
    fleet = Fleet(a1=OSError("down"), a2=["x"], b=["z"])
    models = Models(fleet.fetch, fleet.clock)
    assert await names(models) == ["x", "z"]
    fleet.answers = {"a1": OSError("down"), "a2": ValueError("no JSON"), "b": ["z2"]}
    assert await names(models) == ["x", "z"]
    fleet.now = 11
    assert await names(models) == ["x", "z2"]
    fresh = Models(fleet.fetch, fleet.clock)
    assert await names(fresh) == ["configured", "z2"]


async def test_one_round_for_many_askers() -> None:
    """And none within ten seconds, unless the configuration changed."""
    fleet = Fleet(a1=["x"], b=["z"])
    models = Models(fleet.fetch, fleet.clock)
    await asyncio.gather(*(names(models) for _ in range(20)))
    assert len(fleet.asked) == 2
    await names(models)
    assert len(fleet.asked) == 2
    models.forget()
    await names(models)
    assert len(fleet.asked) == 4


async def test_credentials_do_not_mix() -> None:
    """The client's are passed to pools that have none, and its list is its own."""
    fleet = Fleet(a1=["x"], b=["z"])
    models = Models(fleet.fetch, fleet.clock)
    await names(models, authorization=b"Bearer one")
    assert dict(fleet.asked) == {
        "a1": {"authorization": "Bearer one"},
        "b": {"authorization": "Bearer own"},
    }
    fleet.answers["a1"] = ["private"]
    assert await names(models, authorization=b"Bearer two") == ["private", "z"]
    assert await names(models, authorization=b"Bearer one") == ["x", "z"]
    for n in range(300):
        await names(models, authorization=b"Bearer %d" % n)
    assert len(models._views) <= 256
