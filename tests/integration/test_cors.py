"""Cross-origin rules: an option of a listener."""

import pytest

from harness.proxy import pool, running_proxy
from harness.upstream import ScriptedUpstream, always, answer

pytestmark = pytest.mark.asyncio
RULES = {
    "origins": ["https://app.test"],
    "methods": ["GET", "POST"],
    "headers": ["authorization", "content-type"],
    "expose": ["x-request-id"],
    "max_age": "10m",
}
PREFLIGHT = {
    "origin": "https://app.test",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type",
}


async def test_a_preflight_is_answered_here() -> None:
    """The engine does not hear of it."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url)
        config["listen"] = {"cors": RULES}
        async with running_proxy(config) as proxy:
            said = await proxy.ask("OPTIONS", "/v1/chat/completions", PREFLIGHT)
            assert said.status in (200, 204)
            assert said.header("access-control-allow-origin") == "https://app.test"
            assert "POST" in (said.header("access-control-allow-methods") or "")
            assert "content-type" in (said.header("access-control-allow-headers") or "").lower()
            assert said.header("access-control-max-age") == "600"
            assert "origin" in (said.header("vary") or "").lower()
            assert not upstream.requests


async def test_answers_name_the_origin() -> None:
    """Ours, not the engine's; local errors, too."""
    wide = {"access-control-allow-origin": "*"}
    async with ScriptedUpstream(always(answer(b"{}", fields=wide))) as upstream:
        config = pool(upstream.url) | {"routes": [{"match": {"path": "/v1/*"}, "pool": "main"}]}
        config["listen"] = {"cors": RULES}
        async with running_proxy(config) as proxy:
            for target, status in (("/v1/x", 200), ("/none", 404)):
                said = await proxy.ask("GET", target, {"origin": "https://app.test"})
                assert said.status == status
                assert said.headers("access-control-allow-origin") == ["https://app.test"], target


async def test_a_foreign_origin_gets_nothing() -> None:
    """No permission header; the browser does the rest."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url)
        config["listen"] = {"cors": RULES}
        async with running_proxy(config) as proxy:
            foreign = PREFLIGHT | {"origin": "https://evil.test"}
            said = await proxy.ask("OPTIONS", "/v1/x", foreign)
            assert said.header("access-control-allow-origin") is None
            said = await proxy.ask("GET", "/v1/x", {"origin": "https://evil.test"})
            assert said.header("access-control-allow-origin") is None


async def test_without_rules_everything_passes() -> None:
    """The engine's own headers are the client's."""
    wide = {"access-control-allow-origin": "*"}
    async with (
        ScriptedUpstream(always(answer(b"{}", fields=wide))) as upstream,
        running_proxy(pool(upstream.url)) as proxy,
    ):
        said = await proxy.ask("OPTIONS", "/v1/x", PREFLIGHT)
        assert said.header("access-control-allow-origin") == "*"
        assert upstream.requests[0].method == "OPTIONS"
