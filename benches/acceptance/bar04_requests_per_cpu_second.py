"""Bar 4: requests per CPU-second against the inference routers, small and middling bodies."""

import _path  # noqa: F401

from benches.harness.acceptance import main, rounds
from benches.harness.compare import compare
from benches.harness.results import text
from benches.harness.verdict import Bar
from benches.scenarios import SCENARIOS

TITLE = "requests per CPU-second against vllm-router and smg"

LIMITS = {"unary": 2.5, "unary_16k": 2.0}
"""Ours over theirs, at least."""


def measure(bar: Bar) -> None:
    """Both sizes of bodies."""
    for name, limit in LIMITS.items():
        scenario = SCENARIOS[name]
        bar.say(scenario.title)
        result = compare(scenario, ["fastproxy", "vllm_router", "smg"], rounds(bar), say=bar.say)
        result.save(suffix="-routers")
        print(text(result), flush=True)
        bar.data[name] = {"samples": result.table.samples, "versions": result.versions}
        for peer in ("vllm_router", "smg"):
            if result.table.has("fastproxy", peer):
                # CPU time of theirs over ours is requests per CPU-second of ours over theirs.
                found = result.table.ratio(peer, "fastproxy", "cpu_us")
                bar.add(f"{name}: requests per CPU-second / {peer}", found, ">=", limit)
            else:
                bar.add(
                    f"{name}: requests per CPU-second / {peer}",
                    None,
                    ">=",
                    limit,
                    note="not installed",
                )


if __name__ == "__main__":
    main(4, TITLE, measure)
