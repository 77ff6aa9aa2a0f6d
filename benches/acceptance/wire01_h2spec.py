"""Bar 4.1: h2spec against `fastproxy serve` with a simulated engine behind it, ten runs.

`FP_H2SPEC_RUNS` changes their number.
"""

import contextlib
import os
import sys
from collections.abc import AsyncIterator

import _path

from benches.harness.acceptance import main
from benches.harness.verdict import Bar

sys.path.insert(0, str(_path.ROOT / "tests"))
from harness import h2spec
from harness.background import in_background
from harness.engine import SimEngine
from harness.programs import no_go
from harness.proxy import RunningProxy, pool, running_proxy

TITLE = "h2spec, every case, strict"

RUNS = 10


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[RunningProxy]:
    """A proxy in front of a simulated engine."""
    with SimEngine() as engine:
        async with running_proxy(pool(engine.url)) as proxy:
            yield proxy
            await proxy.quiet()


def measure(bar: Bar) -> None:
    """One proxy for all runs, so that what one leaves behind meets the next."""
    if missing := no_go():
        bar.add("cases that pass", None, note=missing)
        return
    listed = h2spec.ON_A_SHARED_PORT
    for name, why in listed.items():
        bar.say(f"listed: {name}, {' '.join(why.split())}")
    runs = int(os.environ.get("FP_H2SPEC_RUNS", "1" if bar.quick else RUNS))
    with in_background(stage) as (_background, proxy):
        for number in range(1, runs + 1):
            cases = h2spec.run(proxy.address, "/v1/models")
            passed = {case.name for case in cases if case.verdict == "passed"}
            what = f"cleartext, run {number}: cases that pass or are listed"
            note = f"{len(passed)} pass, {len(cases) - len(passed)} do not"
            bar.add(what, len(passed | set(listed)), "==", h2spec.CASES, note=note)
            bar.data[f"cleartext {number}"] = {case.name: case.verdict for case in cases}


if __name__ == "__main__":
    main("4.1", TITLE, measure, pin=False)
