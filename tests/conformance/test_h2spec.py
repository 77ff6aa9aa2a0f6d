"""h2spec, every case of it, strict, against a served proxy with an engine behind it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness import h2spec
from harness.background import in_background
from harness.engine import SimEngine
from harness.pki import Authority, Issued
from harness.programs import no_go
from harness.proxy import RunningProxy, pool, running_proxy

pytestmark = pytest.mark.timeout(500)

REPORT = """<?xml version="1.0"?>
<testsuites><testsuite package="http2/6.9" id="6.9">
<testcase package="http2/6.9" classname="good" time="0.1"></testcase>
<testcase package="http2/6.9" classname="left out"><skipped></skipped></testcase>
<testcase package="http2/6.9" classname="bad"><error>Expect:
RST_STREAM
Actual: Timeout</error></testcase>
</testsuite></testsuites>"""


def staged(own: Issued | None) -> contextlib.AbstractAsyncContextManager[RunningProxy]:
    """A proxy in front of a simulated engine, with TLS if there is a certificate."""

    @contextlib.asynccontextmanager
    async def stage() -> AsyncIterator[RunningProxy]:
        with SimEngine() as engine:
            settings = pool(engine.url)
            if own is not None:
                settings["listen"] = {"tls": {"certificates": [own.pair]}}
            async with running_proxy(settings) as proxy:
                yield proxy
                await proxy.quiet()

    return stage()


@pytest.mark.parametrize("tls", [False, True], ids=["cleartext", "TLS"])
def test_every_case(tmp_path: Path, *, tls: bool) -> None:
    """All pass; none is skipped for want of a body, and none is missing."""
    if missing := no_go():
        pytest.skip(missing)
    own = Authority(tmp_path).issue("127.0.0.1") if tls else None
    with in_background(lambda: staged(own)) as (_background, proxy):
        cases = h2spec.run(proxy.address, "/v1/models", tls=tls)
    assert len(cases) == h2spec.CASES
    bad = [case for case in cases if case.verdict != "passed"]
    listed = set() if tls else set(h2spec.ON_A_SHARED_PORT)
    assert {case.name for case in bad} == listed, h2spec.table(bad)


async def test_no_preface_at_all() -> None:
    """What the one case means to see: the connection is closed, after an answer that says why."""
    async with running_proxy(pool("h2c://127.0.0.1:9")) as proxy, proxy.client() as client:
        await client.send(b"INVALID CONNECTION PREFACE\r\n\r\n")
        assert (await client.response()).status == 400
        assert await client.closed() == b""


async def test_a_broken_preface() -> None:
    """Bytes that begin as the preface does and go on otherwise are HTTP/2, or nothing."""
    async with running_proxy(pool("h2c://127.0.0.1:9")) as proxy, proxy.client() as client:
        await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX" + bytes(9))
        await client.closed()


def test_a_report_is_read_as_it_is() -> None:
    """A case that failed or was skipped is not taken for one that passed."""
    cases = h2spec.parsed(REPORT)
    assert [case.name for case in cases] == ["http2/6.9/1", "http2/6.9/2", "http2/6.9/3"]
    assert [case.verdict for case in cases] == [
        "passed", "skipped", "Expect: RST_STREAM Actual: Timeout",
    ]  # fmt: skip
