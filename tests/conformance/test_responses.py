"""Each row of `responses.toml`: what an engine sends, and what the client may believe of it."""

import contextlib
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.background import Background, in_background
from harness.client import RawClient
from harness.http import TruncatedError, request
from harness.proxy import RunningProxy, pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream

Row = dict[str, Any]
ROWS: list[Row] = tomllib.loads((Path(__file__).parent / "responses.toml").read_text())["row"]
BY_TARGET = {f"/row/{number}": row for number, row in enumerate(ROWS)}

Stage = tuple[Background, RunningProxy]


async def play(peer: Peer) -> None:
    """Send what the row says, then close as it says."""
    asked = await peer.request()
    if asked is None:
        return
    row = BY_TARGET[asked.target]
    reply = row["reply"].replace("@filler@", "x" * row.get("filler", 0))
    await peer.send(reply.encode("latin-1"))
    if row.get("end") == "reset":
        peer.reset()
    else:
        await peer.fin()
        peer.close()


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[RunningProxy]:
    """No retries and no ejection: each row meets the engine once."""
    async with (
        ScriptedUpstream(play) as upstream,
        running_proxy(
            pool(upstream.url, retry={"attempts": 1}, eject={"consecutive": 0}),
        ) as proxy,
    ):
        yield proxy


@pytest.fixture(scope="module")
def served() -> Iterator[Stage]:
    """One proxy for all rows."""
    with in_background(stage) as (background, proxy):
        yield background, proxy


async def check(proxy: RunningProxy, target: str, row: Row) -> None:
    """Ask once and compare."""
    async with RawClient(proxy.address) as client:
        await client.send(request("GET", target))
        head = await client.head()
        assert head.status == row["status"], head.raw_head
        assert [one.status for one in head.interims] == row.get("interims", [])
        for name in row.get("lacks", []):
            assert head.header(name) is None, name
        if row.get("whole", True):
            whole = await client.body(head)
            if "body" in row:
                assert whole.body.decode() == row["body"]
            return
        # A body until close has no frame of its own: the proxy must give it one, or reset.
        with pytest.raises((TruncatedError, ConnectionError)):
            await client.body(head)


@pytest.mark.parametrize("target", BY_TARGET, ids=[row["name"] for row in ROWS])
def test_response(served: Stage, target: str) -> None:
    """The row's status and whether the client can tell that it is whole."""
    background, proxy = served
    background.run(check(proxy, target, BY_TARGET[target]))
