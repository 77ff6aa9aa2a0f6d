"""Who says it? Anonymous so far: credentials pass, unless the pool has its own."""

import pytest

from harness.proxy import pool, running_proxy
from harness.upstream import ScriptedUpstream

pytestmark = pytest.mark.asyncio
CLIENT = {"authorization": "Bearer of-the-client"}


async def test_the_clients_credentials_pass() -> None:
    """Without credentials of the pool's own, the engine sees the client's."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        await proxy.ask("GET", "/ok", CLIENT)
        assert upstream.requests[0].header("authorization") == "Bearer of-the-client"


async def test_the_pools_credentials_replace_them() -> None:
    """A secret from the environment is what the engine sees, and nobody else."""
    secret = "canary-b0e2f4"
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url, credentials={"bearer": "${ENGINE_KEY}"})
        async with running_proxy(config, env={"ENGINE_KEY": secret}) as proxy:
            said = await proxy.ask("GET", "/ok", CLIENT)
            assert upstream.requests[0].headers("authorization") == [f"Bearer {secret}"]
            shown = (await proxy.ask_admin("/config")).body
            metrics = (await proxy.ask_admin("/metrics")).body
            await proxy.logged()
            log = (proxy.folder / "access.log").read_bytes()
            for place in (said.raw_head, said.body, shown, metrics, log, bytes(proxy.output)):
                assert secret.encode() not in place


async def test_another_header_can_carry_them() -> None:
    """`x-api-key` engines."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url, credentials={"header": "x-api-key", "value": "k"})
        async with running_proxy(config) as proxy:
            await proxy.ask("GET", "/ok", {"x-api-key": "of-the-client"})
            assert upstream.requests[0].headers("x-api-key") == ["k"]
