"""The admin listener: who may look, and what is there."""

import asyncio
import json
import re

import pytest

from harness.address import free_port
from harness.client import ask
from harness.proxy import pool, running_proxy
from harness.upstream import ScriptedUpstream

pytestmark = pytest.mark.asyncio
OPEN = ("/metrics", "/healthz", "/readyz")
CLOSED = ("/endpoints", "/config", "/")


async def test_who_may_look() -> None:
    """Three pages are open on loopback, the rest wants the token."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        for path in OPEN:
            assert (await proxy.ask_admin(path, token=None)).status == 200, path
        for path in CLOSED:
            assert (await proxy.ask_admin(path, token=None)).status in (401, 403), path
            assert (await proxy.ask_admin(path, token="wrong")).status in (401, 403), path
            assert (await proxy.ask_admin(path)).status == 200, path


async def test_a_foreign_host_is_refused() -> None:
    """DNS rebinding: a page in a browser cannot read the admin listener under its own name."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        fields = {"host": "evil.test", "authorization": "Bearer test-admin-token"}
        assert (await ask(proxy.admin, "GET", "/config", fields)).status in (400, 403, 421)


async def test_a_made_token_is_printed_once() -> None:
    """Without a configured token one is made, and said at start."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url)
        config["admin"] = {"listen": f"127.0.0.1:{free_port()}"}
        async with running_proxy(config) as proxy:
            text = proxy.output.decode()
            found = re.findall(r"[A-Za-z0-9_-]{24,}", text)
            statuses = [(await proxy.ask_admin("/config", token=word)).status for word in found]
            assert 200 in statuses, text


async def test_the_pages_say_what_is() -> None:
    """Metrics parse, endpoints name the engines, unknown pages are 404."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        await proxy.ask("GET", "/x")
        metrics = await proxy.metrics()
        assert metrics.total("fastproxy_requests_total") == 1
        assert metrics.select("fastproxy_build_info") or metrics.select("fastproxy_build")
        assert metrics.total("process_resident_memory_bytes") > 0 or metrics.total(
            "fastproxy_resident_memory_bytes"
        )
        assert upstream.address in str(await proxy.endpoints())
        assert (await proxy.ask_admin("/nothing")).status == 404
        shown = json.loads((await proxy.ask_admin("/config")).body)
        assert shown["pools"]["main"]["endpoints"][0]["url"] == upstream.url
        assert "test-admin-token" not in str(shown)


async def test_explain_over_the_admin_listener() -> None:
    """Where a request would go, without sending it."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url) | {"routes": [{"match": {"model": "a*"}, "pool": "main"}]}
        async with running_proxy(config) as proxy:
            question = json.dumps({"path": "/v1/chat/completions", "model": "abc"}).encode()
            said = await proxy.ask_admin("/explain", "POST", question)
            assert said.status == 200, said.body
            assert "main" in said.body.decode()
            assert not upstream.requests


async def test_health_does_not_need_python() -> None:
    """The process's loop may be stopped; liveness is answered natively."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        for _ in range(20):
            said = await asyncio.gather(*(proxy.ask_admin("/healthz") for _ in range(10)))
            assert {one.status for one in said} == {200}
