"""Each row of `requests.toml`: bytes in, verdict out, and what the engine saw of it."""

import contextlib
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.background import Background, in_background
from harness.client import RawClient
from harness.http import Message, TruncatedError
from harness.proxy import RunningProxy, pool, running_proxy
from harness.upstream import ScriptedUpstream, always, answer

Row = dict[str, Any]
HERE = Path(__file__).parent
ROWS: list[Row] = tomllib.loads((HERE / "requests.toml").read_text())["row"]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
REFUSED = 400

Stage = tuple[Background, RunningProxy, ScriptedUpstream]


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy in front of an engine that says yes to everything."""
    async with (
        ScriptedUpstream(always(answer(b"yes"))) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
    ):
        yield proxy, upstream


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    """One proxy for all rows."""
    with in_background(stage) as (background, (proxy, upstream)):
        yield background, proxy, upstream


async def converse(proxy: RunningProxy, row: Row) -> tuple[Message, bytes, bool]:
    """The answer, what came behind it, and whether the connection was closed."""
    refused = min([row["status"]] if isinstance(row["status"], int) else row["status"]) >= REFUSED
    async with RawClient(proxy.address) as client:
        await client.send(row["request"].encode("latin-1") + (SMUGGLED if refused else b""))
        said = await client.response()
        try:
            rest = await client.closed(3 if refused or row.get("closes") is True else 0.2)
        except TimeoutError:
            return said, b"", False
        return said, rest, True


def check_forwarded(row: Row, said: Message, before: int, upstream: ScriptedUpstream) -> None:
    """What the engine saw of a row that is accepted."""
    seen = upstream.whole[before:]
    assert len(seen) == 1, "exactly one request reaches the engine"
    if "target" in row:
        assert seen[0].target == row["target"]
    if "body" in row:
        assert seen[0].body.decode("latin-1") == row["body"]
    for name in row.get("lacks", []):
        assert seen[0].header(name) is None, name
    assert said.body == b"yes"


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_request(served: Stage, row: Row) -> None:
    """The row's status, the connection's fate, and nothing of it at the engine when refused."""
    background, proxy, upstream = served
    before = len(upstream.whole)
    wanted = [row["status"]] if isinstance(row["status"], int) else row["status"]
    try:
        said, rest, closed = background.run(converse(proxy, row))
    except TruncatedError:
        pytest.fail("closed without an answer")
    assert said.status in wanted, said.body
    if "has" in row:
        assert said.header(row["has"]) is not None
    if said.status < REFUSED:
        check_forwarded(row, said, before, upstream)
        if row.get("closes") is True:
            assert closed
        return
    seen = [one.target for one in upstream.whole[before:]]
    if row.get("closes") == "any":
        assert set(seen) <= {"/smuggled"}
        return
    assert not seen, seen
    assert closed, "a refused connection is closed"
    assert rest == b"", "nothing behind a refusal is served"
    assert (said.header("connection") or "").lower() == "close"


def test_every_row_cites_a_clause() -> None:
    """A verdict without a reason is a habit."""
    for name in ("requests.toml", "responses.toml"):
        for row in tomllib.loads((HERE / name).read_text())["row"]:
            assert row["clause"].startswith("RFC "), row["name"]
    names = [row["name"] for row in ROWS]
    assert len(names) == len(set(names))
