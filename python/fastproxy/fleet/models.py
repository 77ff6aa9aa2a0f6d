"""`GET /v1/models` over all pools: ask the endpoints, merge, remember for a while.

One endpoint of each pool that answers is enough. A pool whose endpoints do not answer keeps its
last answer, else its configured names. Concurrent askers share one round (single flight).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import cast

import orjson

from fastproxy.config.address import parse_url
from fastproxy.config.model import Config, Endpoint, Pool

__all__ = ["Fetch", "Models", "fetch"]

_FRESH_S = 10.0
_TIMEOUT_S = 2.0
_ENDPOINTS_ASKED_MAX = 3
_BODY_BYTES_MAX = 4 * 1024 * 1024

Json = dict[str, object]
Fetch = Callable[[Endpoint, dict[str, str]], Awaitable[bytes]]


async def fetch(endpoint: Endpoint, headers: dict[str, str]) -> bytes:
    """The endpoint's own answer.

    Raises:
        OSError: it gave none, or another status than 200.
    """
    import httpx  # noqa: PLC0415 - 60 ms that a proxy without this question never pays

    place = parse_url(endpoint.url)
    transport = httpx.AsyncHTTPTransport(uds=place.unix or None)
    url = f"http://{place.authority}{place.prefix}/v1/models"
    try:
        async with httpx.AsyncClient(transport=transport, timeout=_TIMEOUT_S) as client:
            response = await client.get(url, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(str(error)) from error
    if response.status_code != 200 or len(response.content) > _BODY_BYTES_MAX:
        msg = f"status {response.status_code}"
        raise OSError(msg)
    return response.content


class Models:
    """The merged list of one proxy."""

    def __init__(
        self, fetch_one: Fetch = fetch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Ask by `fetch_one`, age by `clock`."""
        self._fetch = fetch_one
        self._clock = clock
        self._last: dict[str, list[Json]] = {}
        self._body = b""
        self._fresh_until = 0.0
        self._round: asyncio.Task[bytes] | None = None

    def forget(self) -> None:
        """After a reload: the next asker gets a new round; old answers stay as a fallback."""
        self._fresh_until = 0.0

    async def answer(self, config: Config) -> bytes:
        """The list, JSON, at most ten seconds old unless endpoints fail."""
        if self._body and self._clock() < self._fresh_until:
            return self._body
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._ask(config))
        return await asyncio.shield(self._round)

    async def _ask(self, config: Config) -> bytes:
        pools = list(config.pools.items())
        lists = await asyncio.gather(*(self._pool(name, pool) for name, pool in pools))
        self._last = {name: found for (name, _), found in zip(pools, lists, strict=True)}
        self._body = orjson.dumps({"object": "list", "data": _merged(lists)})
        self._fresh_until = self._clock() + _FRESH_S
        return self._body

    async def _pool(self, name: str, pool: Pool) -> list[Json]:
        headers = _credentials(pool)
        for endpoint in pool.endpoints[:_ENDPOINTS_ASKED_MAX]:
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    found = _listed(await self._fetch(endpoint, headers))
            except (OSError, ValueError):
                continue
            return found
        configured = [_model(model, name) for model in pool.models]
        return self._last.get(name) or configured


def _credentials(pool: Pool) -> dict[str, str]:
    given = pool.credentials
    if given is not None and given.bearer is not None:
        return {"authorization": f"Bearer {given.bearer.reveal()}"}
    if given is not None and given.header is not None and given.value is not None:
        return {given.header: given.value.reveal()}
    return {}


def _model(name: str, owner: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}


def _listed(body: bytes) -> list[Json]:
    document = orjson.loads(body)
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        msg = "no list of models"
        raise ValueError(msg)  # noqa: TRY004 - whatever is wrong with it, it is no list
    return [
        cast("Json", entry)
        for entry in data
        if isinstance(entry, dict) and isinstance(entry.get("id"), str)
    ]


def _merged(lists: Iterable[list[Json]]) -> list[Json]:
    found: dict[object, Json] = {}
    for entries in lists:
        for entry in entries:
            found.setdefault(entry["id"], entry)
    return list(found.values())
