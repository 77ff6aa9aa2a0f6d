"""The load generator over TLS, in both versions of HTTP, through the whole proxy."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fastproxy import _native
from harness.engine import SimEngine
from harness.pki import Authority
from harness.proxy import pool, running_proxy

pytestmark = pytest.mark.asyncio

NAME = "api.example"
STREAMS, TOKENS = 20, 10


async def load(**options: Any) -> dict[str, Any]:
    """A load to its end; what it reports in all."""
    document = json.dumps(options).encode()
    report = await asyncio.to_thread(_native.bench_run, document, lambda _: True)
    total: dict[str, Any] = json.loads(report)["total"]
    return total


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("protocol", ["http1", "http2"])
async def test_streams_and_sessions(tmp_path: Path, protocol: str, *, resume: bool) -> None:
    """Every token comes; sessions are resumed only by clients that want to."""
    authority = Authority(tmp_path)
    tls = {"ca": str(authority.bundle), "server_name": NAME, "resume": resume}
    with SimEngine() as engine:
        settings = pool(engine.url)
        settings["listen"] = {"tls": {"certificates": [authority.issue(NAME).pair]}}
        async with running_proxy(settings) as proxy:
            total = await load(
                targets=[proxy.address],
                protocol=protocol,
                tls=tls,
                streams_per_connection=5,
                mode={"kind": "streams", "streams": 4, "tokens": TOKENS},
                requests_max=STREAMS,
                new_connection_ratio=1.0 if protocol == "http1" else 0.0,
                body={"kind": "model", "stream": True, "bytes": 100_000},
            )
    assert (total["good"], total["tokens"]) == (STREAMS, STREAMS * TOKENS), total["outcomes"]
    shaken = total["handshakes_full"] + total["handshakes_resumed"]
    assert shaken == (STREAMS if protocol == "http1" else 1)
    assert (total["handshakes_resumed"] > 0) == (resume and protocol == "http1")


async def test_a_certificate_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """No request goes to a server that cannot say who it is."""
    authority = Authority(tmp_path)
    other = Authority(tmp_path, "other")
    with SimEngine() as engine:
        settings = pool(engine.url)
        settings["listen"] = {"tls": {"certificates": [authority.issue(NAME).pair]}}
        async with running_proxy(settings) as proxy:
            total = await load(
                targets=[proxy.address],
                tls={"ca": str(other.bundle), "server_name": NAME},
                mode={"kind": "concurrency", "connections": 2},
                requests_max=4,
            )
        assert engine.stats()["requests"] == 0
    assert total["outcomes"]["connect_error"] == 4
