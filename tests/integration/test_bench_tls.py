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


@pytest.mark.parametrize("http2", ["always", "never"])
async def test_the_engine_speaks_tls(tmp_path: Path, http2: str) -> None:
    """In both versions of HTTP, with its unix sockets in cleartext beside it."""
    authority = Authority(tmp_path)
    listen = ["127.0.0.1:0", f"unix:{tmp_path}/engine.sock"]
    with SimEngine(listen=listen, tls=authority.issue(NAME).pair) as engine:
        tls = {"ca": str(authority.bundle), "server_name": NAME}
        settings = pool(f"https://{engine.address}", http2=http2, tls=tls)
        async with running_proxy(settings) as proxy:
            asked = {
                "mode": {"kind": "streams", "streams": 4, "tokens": TOKENS},
                "requests_max": STREAMS,
                "body": {"kind": "model", "stream": True, "bytes": 100_000},
            }
            through = await load(targets=[proxy.address], **asked)
        beside = await load(targets=[listen[1]], **asked)
        opened = engine.stats()["connections_total"]
    for total in (through, beside):
        assert (total["good"], total["tokens"]) == (STREAMS, STREAMS * TOKENS), total["outcomes"]
    # Four at a time: on one connection of HTTP/2, or on a few of HTTP/1.1.
    assert opened == 5 if http2 == "always" else opened >= 8
