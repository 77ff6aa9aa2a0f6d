"""Bar 4.1: h2spec against `fastproxy serve` with a simulated engine behind it, ten runs.

`FP_H2SPEC_RUNS` changes their number.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import _path

from benches.harness.acceptance import main
from benches.harness.verdict import Bar

sys.path.insert(0, str(_path.ROOT / "tests"))
from harness import h2spec
from harness.background import in_background
from harness.engine import SimEngine
from harness.pki import Authority, Issued
from harness.programs import no_go
from harness.proxy import RunningProxy, pool, running_proxy

TITLE = "h2spec, every case, strict"

RUNS = 10


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


def runs(bar: Bar, where: str, own: Issued | None, listed: set[str]) -> None:
    """One proxy for all runs, so that what one leaves behind meets the next."""
    count = int(os.environ.get("FP_H2SPEC_RUNS", "1" if bar.quick else RUNS))
    what = "cases that pass or are listed" if listed else "cases that pass"
    with in_background(lambda: staged(own)) as (_background, proxy):
        for number in range(1, count + 1):
            cases = h2spec.run(proxy.address, "/v1/models", tls=own is not None)
            passed = {case.name for case in cases if case.verdict == "passed"}
            good = len(passed | listed)
            note = f"{len(passed)} pass, {len(cases) - len(passed)} do not"
            bar.add(f"{where}, run {number}: {what}", good, "==", h2spec.CASES, note=note)
            bar.data[f"{where} {number}"] = {case.name: case.verdict for case in cases}


def measure(bar: Bar) -> None:
    """On a port that speaks both versions, and by ALPN."""
    if missing := no_go():
        bar.add("cases that pass", None, note=missing)
        return
    for name, why in h2spec.ON_A_SHARED_PORT.items():
        bar.say(f"listed on cleartext: {name}, {' '.join(why.split())}")
    runs(bar, "cleartext", None, set(h2spec.ON_A_SHARED_PORT))
    with tempfile.TemporaryDirectory(prefix="fp-pki-") as folder:
        runs(bar, "TLS", Authority(Path(folder)).issue("127.0.0.1"), set())


if __name__ == "__main__":
    main("4.1", TITLE, measure, pin=False)
