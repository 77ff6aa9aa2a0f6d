"""Bar 4.9: fuzzing, added up over all runs, and the simulator with HTTP/2 on both sides.

Each run adds its CPU minutes and executions to `native/fuzz/ledger.json`, which is committed; the
figure of a target is what stands there. `FP_FUZZ_SECONDS`, `FP_SIM_RUNS` and `FP_SIM_FROM` (first
seed) change the long ones; `FP_PROOF=fuzz,sim` runs only some.
"""

import json
import os
import sys

import _path
from bar10_proof import CARGO, Stage, fuzzed, run, rust_passed, seeds

from benches.harness.acceptance import main
from benches.harness.verdict import Bar

TITLE = "fuzz targets to 30 CPU minutes each, 100,000 simulated seeds with HTTP/2 on both sides"

LEDGER = _path.ROOT / "native/fuzz/ledger.json"
MINUTES = 30
"""CPU minutes that a target owes, over all runs."""
OWING = ["chunked", "engine_ops", "h1_request", "h1_response", "h2_client", "h2_server", "hpack"]
"""Frames, HPACK, heads of HTTP/1, chunks, and operations on the engine."""

CHECKED = {
    "CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS": "true",
    "CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS": "true",
}
"""As in `make long`."""


def stages(*, quick: bool) -> list[Stage]:
    """A slice of fuzzing, the replayed seeds, and the simulator."""
    fuzz_s = os.environ.get("FP_FUZZ_SECONDS", "10" if quick else "60")
    runs = int(os.environ.get("FP_SIM_RUNS", "1000" if quick else "100000"))
    first = int(os.environ.get("FP_SIM_FROM", "0"))
    return [
        Stage(
            "fuzz",
            f"fuzz targets, another {fuzz_s} s each",
            [sys.executable, "tools/fuzz.py", "--ledger", "--seconds", fuzz_s, *OWING],
            {},
            fuzzed,
            len(OWING),
            "targets clean",
        ),
        Stage(
            "wire-seeds",
            "committed seeds of the targets of wire, replayed",
            [*CARGO, "-p", "wire", "--release", "--test", "seeds"],
            {},
            rust_passed,
            9,
            "tests",
        ),
        Stage(
            "engine-seeds",
            "committed seeds of operations on the engine, replayed, and drawn ones",
            [*CARGO, "-p", "engine", "--release", "--test", "seeds"],
            {},
            rust_passed,
            2,
            "tests",
        ),
        Stage(
            "sim",
            f"simulator, HTTP/1.1 and HTTP/2 on both sides, seeds {first} to {first + runs - 1}",
            [*CARGO, "--target-dir", "native/target/checked", "-p", "engine", "--release",
             "--test", "sim", "--", "--nocapture"],
            {**CHECKED, "FASTPROXY_SIM_RUNS": str(runs), "FASTPROXY_SIM_FROM": str(first)},
            seeds,
            runs,
            "seeds",
        ),
    ]  # fmt: skip


def accumulated(bar: Bar) -> None:
    """What the ledger says of each target."""
    ledger = json.loads(LEDGER.read_text())
    bar.data["ledger"] = ledger
    for target in OWING:
        row = ledger.get(target, {"cpu_minutes": 0.0, "executions": 0, "open_findings": 0})
        note = f"{row['executions']:,} executions counted"
        minutes = row["cpu_minutes"]
        bar.add(f"{target}: fuzzed in all", minutes, ">=", MINUTES, unit="CPU min", note=note)
        bar.add(f"{target}: open findings", row["open_findings"], "==", 0)


def measure(bar: Bar) -> None:
    """Every stage, whatever became of the one before, and then the account."""
    chosen = [name for name in os.environ.get("FP_PROOF", "").split(",") if name]
    for stage in stages(quick=bar.quick):
        if not chosen or stage.name in chosen:
            run(bar, stage)
    accumulated(bar)


if __name__ == "__main__":
    main("4.9", TITLE, measure, pin=False)
