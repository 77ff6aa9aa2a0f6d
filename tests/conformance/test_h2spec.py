"""h2spec, every case of it, strict, against a served proxy with an engine behind it."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from harness import h2spec
from harness.background import in_background
from harness.engine import SimEngine
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


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[RunningProxy]:
    """A proxy in front of a simulated engine."""
    with SimEngine() as engine:
        async with running_proxy(pool(engine.url)) as proxy:
            yield proxy
            await proxy.quiet()


def test_every_case() -> None:
    """All pass; none is skipped for want of a body, and none is missing."""
    if missing := no_go():
        pytest.skip(missing)
    with in_background(stage) as (_background, proxy):
        cases = h2spec.run(proxy.address, "/v1/models")
    assert len(cases) == h2spec.CASES
    bad = [case for case in cases if case.verdict != "passed"]
    assert {case.name for case in bad} == set(h2spec.ON_A_SHARED_PORT), h2spec.table(bad)


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
