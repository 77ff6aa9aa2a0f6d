"""The admin API. The native side parses and writes HTTP; here is what each path answers.

`/healthz` and `/readyz` never come here: they are answered natively, so that an interpreter pause
does not fail a liveness probe.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from fastproxy.admin.access import Access
from fastproxy.config.dump import dump
from fastproxy.config.model import Config
from fastproxy.errors import ConfigError, Error

__all__ = ["Api", "Controls", "Reply", "Request"]

JSON = "application/json"
_EXPLAIN_BODY_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: the shape of the native `Ask`."""

    method: str
    target: str
    fields: list[tuple[str, bytes]]
    body: bytes
    loopback: bool
    authorization: bytes | None

    def header(self, name: str) -> str | None:
        """The first value of `name`, which is lower case."""
        for key, value in self.fields:
            if key.lower() == name:
                return value.decode("latin-1")
        return None


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int
    body: bytes
    content_type: str = JSON
    extra: list[tuple[str, str]] = field(default_factory=list)

    @property
    def fields(self) -> list[tuple[str, str]]:
        """All header fields."""
        return [
            ("content-type", self.content_type),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            *self.extra,
        ]


class Controls(Protocol):
    """What the API needs of the proxy."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    @property
    def version(self) -> str:
        """Of the build."""

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Metrics and their content type."""

    def state(self) -> bytes:
        """Native state, JSON."""

    def explain(self, request: bytes) -> bytes:
        """What would become of a request, JSON."""

    async def reload(self) -> int:
        """Read the configuration again; the generation."""

    def begin_drain(self) -> None:
        """Start to end."""


Handler = Callable[[Request], Reply | Awaitable[Reply]]


class Api:
    """Routes an admin request to its answer."""

    def __init__(self, controls: Controls, access: Access) -> None:
        """Answer for `controls` to whom `access` lets pass."""
        self._controls = controls
        self._access = access
        self._paths: dict[str, tuple[str, Handler, str]] = {
            "/": ("GET", self._index, "this list"),
            "/metrics": ("GET", self._metrics, "Prometheus metrics, or OpenMetrics when asked for"),
            "/endpoints": ("GET", self._endpoints, "pools, channels and endpoints as they are now"),
            "/config": ("GET", self._config, "the configuration in force, secrets masked"),
            "/version": ("GET", self._version, "the build"),
            "/reload": ("POST", self._reload, "read the configuration file again"),
            "/explain": (
                "POST",
                self._explain,
                "where a request would go: method, path, headers, model",
            ),
            "/drain": ("POST", self._drain, "stop accepting, finish, end"),
        }

    def access(self, access: Access) -> None:
        """Replace the rules, after a reload."""
        self._access = access

    async def answer(self, request: Request) -> Reply:
        """The reply to `request`; never raises for what a client sent."""
        path = request.target.partition("?")[0]
        denial = self._access.check(
            path, request.header("host"), request.authorization, loopback=request.loopback
        )
        if denial is not None:
            extra = [("www-authenticate", "Bearer")] if denial.status == 401 else []
            return _problem(denial.status, denial.reason, extra)
        found = self._paths.get(path)
        if found is None:
            return _problem(404, f"there is no {path} here; GET / lists what there is")
        method, handler, _ = found
        if request.method != method and not (method == "GET" and request.method == "HEAD"):
            allowed = "GET, HEAD" if method == "GET" else method
            return _problem(405, f"{path} takes {allowed}", [("allow", allowed)])
        reply = handler(request)
        if inspect.isawaitable(reply):
            reply = await reply
        return reply

    def _index(self, _: Request) -> Reply:
        lines = [f"{method:4} {path:11} {text}" for path, (method, _, text) in self._paths.items()]
        lines += [
            "GET  /healthz    200 while the process lives",
            "GET  /readyz     200 while it takes requests",
        ]
        body = f"fastproxy {self._controls.version}\n\n" + "\n".join(lines) + "\n"
        return Reply(200, body.encode(), "text/plain; charset=utf-8")

    async def _metrics(self, request: Request) -> Reply:
        body, content_type = await self._controls.scrape(request.header("accept") or "")
        return Reply(200, body, content_type)

    def _endpoints(self, _: Request) -> Reply:
        return Reply(200, self._controls.state())

    def _config(self, _: Request) -> Reply:
        return Reply(200, orjson.dumps(dump(self._controls.config), option=orjson.OPT_INDENT_2))

    def _version(self, _: Request) -> Reply:
        return Reply(200, orjson.dumps({"version": self._controls.version}))

    async def _reload(self, _: Request) -> Reply:
        try:
            generation = await self._controls.reload()
        except ConfigError as error:
            mistakes = [str(mistake) for mistake in error.mistakes]
            return Reply(422, orjson.dumps({"kept": True, "mistakes": mistakes}))
        except Error as error:
            return Reply(409, orjson.dumps({"kept": True, "mistakes": [str(error)]}))
        return Reply(200, orjson.dumps({"generation": generation}))

    def _explain(self, request: Request) -> Reply:
        if len(request.body) > _EXPLAIN_BODY_BYTES_MAX:
            return _problem(413, "a description of a request has at most 64KiB")
        try:
            question = orjson.loads(request.body)
            asked = _question(question)
        except ValueError as error:
            return _problem(400, f"send method, path, headers and model as JSON: {error}")
        return Reply(200, self._controls.explain(orjson.dumps(asked)))

    def _drain(self, _: Request) -> Reply:
        self._controls.begin_drain()
        return Reply(202, orjson.dumps({"draining": True}))


def _question(given: object) -> dict[str, object]:
    if not isinstance(given, dict):
        msg = "it is no object"
        raise ValueError(msg)
    unknown = set(given) - {"method", "path", "headers", "model"}
    if unknown:
        msg = f"unknown key {min(unknown)}"
        raise ValueError(msg)
    headers = given.get("headers", [])
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    asked = {
        "method": given.get("method", "POST"),
        "path": given.get("path", "/v1/chat/completions"),
        "headers": pairs,
        "model": given.get("model"),
    }
    good = isinstance(asked["method"], str) and isinstance(asked["path"], str)
    good = good and isinstance(asked["model"], str | None) and isinstance(pairs, list)
    if not good or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(x, str) for x in pair)
        for pair in pairs
    ):
        msg = "method, path and model are strings, headers is a list of pairs"
        raise ValueError(msg)
    return asked


def _problem(status: int, reason: str, extra: list[tuple[str, str]] | None = None) -> Reply:
    """RFC 9457."""
    body = orjson.dumps({"status": status, "detail": reason})
    return Reply(status, body, "application/problem+json", extra or [])
