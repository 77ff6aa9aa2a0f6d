"""Compares proxies under one scenario: `measure.py unary streams --peers fastproxy,nginx,relay`.

Every contender is started anew in every round, pinned to the first core; engine and load have the
second. Prints a table and writes JSON to benches/out/; `report.py` makes a dated report of it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches.harness import machine
from benches.harness.compare import UNIX, compare
from benches.harness.results import text
from benches.peers import PEERS
from benches.scenarios import SCENARIOS

ALL = "fastproxy,relay,nginx,nginx_system,haproxy,envoy,vllm_router,smg"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("scenario", nargs="+", choices=[*SCENARIOS, "all"])
    parser.add_argument("--peers", default=ALL, help=f"some of {', '.join(PEERS)} (comma)")
    parser.add_argument("--unix", action="store_true", help="unix-socket engines as well")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", action="store_true", help="count system calls, too")
    return parser.parse_args()


def main() -> int:
    """Run the scenarios asked for."""
    asked = arguments()
    labels = [name for name in asked.peers.split(",") if name]
    names = list(SCENARIOS) if "all" in asked.scenario else asked.scenario
    machine.pin_here(machine.cores().rest)
    for name in names:
        scenario = SCENARIOS[name]
        print(f"\n{scenario.title}", flush=True)
        chosen = list(labels)
        if asked.unix and scenario.unix:
            chosen += [label + UNIX for label in labels if PEERS[label].unix_engines]
        result = compare(
            scenario,
            chosen,
            asked.rounds,
            calls=asked.calls,
            say=lambda line: print(f"  {line}", flush=True),
        )
        print(text(result))
        print(f"-> {result.save()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
