"""One worker thread, the reactor inline on uvloop, and on asyncio: CPU of a request and a token.

Answers what `workers: auto` should mean. Run as a program; writes JSON as `measure.py` does.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benches.harness import machine
from benches.harness.compare import compare
from benches.harness.results import text
from benches.scenarios import SCENARIOS

KINDS = ["fastproxy", "fastproxy_inline", "fastproxy_asyncio", "relay"]


def main() -> int:
    """Compare the three drivers under each scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    machine.pin_here(machine.cores().rest)
    for scenario in SCENARIOS.values():
        print(f"\n{scenario.title}", flush=True)
        result = compare(
            scenario, KINDS, asked.rounds, calls=True, say=lambda line: print(f"  {line}")
        )
        print(text(result), f"\n-> {result.save(suffix='-drivers')}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
