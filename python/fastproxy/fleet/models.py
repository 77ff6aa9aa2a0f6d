"""`GET /v1/models` over all pools: ask the endpoints, merge, remember for a while.

One endpoint of each pool that answers is enough. A pool without credentials of its own is asked
with the client's, so lists are kept by those. A pool whose endpoints do not answer keeps its last
answer, else its configured names. Concurrent askers share one round (single flight).

**Invariant:** a list that one client's authorization opened is never given to another's.
"""

import asyncio
import hashlib
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

import orjson

from fastproxy.config.address import parse_url
from fastproxy.config.model import Config, Endpoint, Pool, UpstreamTls
from fastproxy.config.tls import upstream_tls

__all__ = ["Fetch", "Models", "fetch"]

_FRESH_S = 10.0
_TIMEOUT_S = 2.0
_ENDPOINTS_ASKED_MAX = 3
_BODY_BYTES_MAX = 4 * 1024 * 1024
# Clients whose lists are remembered; beyond it the oldest is forgotten.
_CLIENTS_MAX = 256

Json = dict[str, object]
Fetch = Callable[[Pool, Endpoint, dict[str, str]], Awaitable[bytes]]


async def fetch(pool: Pool, endpoint: Endpoint, headers: dict[str, str]) -> bytes:
    """The endpoint's own answer.

    Raises:
        OSError: it gave none, or another status than 200.
    """
    import httpx  # noqa: PLC0415 - 60 ms that a proxy without this question never pays

    place = parse_url(endpoint.url)
    scheme = "https" if place.secure else "http"
    url = f"{scheme}://{place.authority}{place.prefix}/v1/models"
    try:
        verify: ssl.SSLContext | bool = False
        if place.secure:
            # A bundle of all public issuers takes its time: not on the loop, which may drive data.
            verify = await asyncio.to_thread(_context, upstream_tls(pool, endpoint))
        transport = httpx.AsyncHTTPTransport(uds=place.unix or None, verify=verify)
        async with httpx.AsyncClient(transport=transport, timeout=_TIMEOUT_S) as client:
            named = upstream_tls(pool, endpoint).server_name
            extensions = {"sni_hostname": named} if named else {}
            response = await client.get(url, headers=headers, extensions=extensions)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(str(error)) from error
    if response.status_code != 200 or len(response.content) > _BODY_BYTES_MAX:
        msg = f"status {response.status_code}"
        raise OSError(msg)
    return response.content


def _context(tls: UpstreamTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.verify == "off":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context


@dataclass(slots=True)
class _View:
    """The list as clients with one authorization see it."""

    pools: dict[str, list[Json]] = field(default_factory=dict)
    body: bytes = b""
    fresh_until: float = 0.0
    round: asyncio.Task[bytes] | None = None


class Models:
    """The merged lists of one proxy."""

    def __init__(
        self, fetch_one: Fetch = fetch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Ask by `fetch_one`, age by `clock`."""
        self._fetch = fetch_one
        self._clock = clock
        self._views: dict[bytes, _View] = {}

    def forget(self) -> None:
        """After a reload: the next asker gets a new round; old answers stay as a fallback."""
        for view in self._views.values():
            view.fresh_until = 0.0

    async def answer(self, config: Config, authorization: bytes | None = None) -> bytes:
        """The list, JSON, at most ten seconds old unless endpoints fail."""
        view = self._view(authorization)
        if view.body and self._clock() < view.fresh_until:
            return view.body
        if view.round is None or view.round.done():
            view.round = asyncio.create_task(self._ask(config, view, authorization))
        return await asyncio.shield(view.round)

    def _view(self, authorization: bytes | None) -> _View:
        key = hashlib.blake2b(authorization or b"", digest_size=16).digest()
        view = self._views.pop(key, None) or _View()
        self._views[key] = view
        while len(self._views) > _CLIENTS_MAX:
            self._views.pop(next(iter(self._views)))
        return view

    async def _ask(self, config: Config, view: _View, authorization: bytes | None) -> bytes:
        pools = list(config.pools.items())
        asking = (self._pool(name, pool, view, authorization) for name, pool in pools)
        lists = await asyncio.gather(*asking)
        view.pools = {name: found for (name, _), found in zip(pools, lists, strict=True)}
        view.body = orjson.dumps({"object": "list", "data": _merged(lists)})
        view.fresh_until = self._clock() + _FRESH_S
        return view.body

    async def _pool(
        self, name: str, pool: Pool, view: _View, authorization: bytes | None
    ) -> list[Json]:
        headers = _credentials(pool)
        if not headers and authorization is not None:
            headers = {"authorization": authorization.decode("latin-1")}
        for endpoint in pool.endpoints[:_ENDPOINTS_ASKED_MAX]:
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    return _listed(await self._fetch(pool, endpoint, headers))
            except (OSError, ValueError):
                continue
        configured = [_model(model, name) for model in pool.models]
        return view.pools.get(name) or configured


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
        raise ValueError(msg)
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
