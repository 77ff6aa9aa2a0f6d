"""What happened? One record for each exchange, at the single end of every path."""

import asyncio
import signal

import pytest

from harness.client import CHAT, JSON, chat
from harness.http import Message
from harness.proxy import eventually, pool, running_proxy
from harness.upstream import Peer, ScriptedUpstream, always

pytestmark = pytest.mark.asyncio


async def test_a_record_says_what_happened() -> None:
    """Who, what, where, how long."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        await proxy.ask("POST", CHAT + "?key=secret", JSON, chat(model="org/m"))
        record = (await proxy.logged())[0]
        assert record["method"] == "POST"
        assert record["path"] == CHAT, "never the query: people put keys into it"
        assert record["status"] == 200
        assert record["flag"] == ""
        assert record["pool"] == "main"
        assert upstream.address in record["endpoint"]
        assert record["attempts"] == 1
        assert record["client"] == "127.0.0.1"
        assert 0 <= record["queue_ms"] <= record["duration_ms"]
        assert "secret" not in str(record)


async def test_every_local_reply_has_a_flag() -> None:
    """An answer of ours can be told from the engine's by the record alone."""

    async def dies(peer: Peer, _asked: Message) -> None:
        peer.reset()

    async with ScriptedUpstream(always(dies)) as upstream:
        config = pool(upstream.url, retry={"attempts": 1}) | {
            "routes": [{"match": {"path": "/v1/*"}, "pool": "main"}]
        }
        async with running_proxy(config) as proxy:
            await proxy.ask("GET", "/nowhere")
            await proxy.ask("GET", "/v1/x")
            async with proxy.client() as client:
                await client.send(b"BAD\r\n\r\n")
                await client.response()
            records = await proxy.logged(3)
            flags = {record["status"]: record["flag"] for record in records}
            assert set(flags) == {404, 502, 400}
            assert all(flags.values())
            assert len(set(flags.values())) == 3
            total = await proxy.metric("fastproxy_local_replies_total")
            assert total == 3


async def test_named_headers_only() -> None:
    """Headers are logged when they are asked for, and never otherwise."""
    async with ScriptedUpstream() as upstream:
        config = pool(upstream.url)
        async with running_proxy(config) as proxy:
            config["access_log"] = {
                "path": str(proxy.folder / "access.log"),
                "headers": ["user-agent"],
            }
            await proxy.rewrite(config)
            await asyncio.sleep(0.5)
            await proxy.ask("GET", "/x", {"user-agent": "me/1", "cookie": "secret=1"})
            text = str((await proxy.logged())[-1])
            assert "me/1" in text
            assert "secret" not in text


async def test_the_log_is_reopened() -> None:
    """Rotation: rename, SIGUSR1, and the next record is in the new file."""
    async with ScriptedUpstream() as upstream, running_proxy(pool(upstream.url)) as proxy:
        await proxy.ask("GET", "/x")
        await proxy.logged()
        old = proxy.folder / "access.log"
        old.rename(proxy.folder / "access.log.1")
        proxy.signal(signal.SIGUSR1)
        await eventually(old.exists, 5, "the new log file")
        await proxy.ask("GET", "/x")
        assert len(await proxy.logged(1)) == 1
        assert len((proxy.folder / "access.log.1").read_text().splitlines()) == 1
