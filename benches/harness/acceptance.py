"""The frame of an acceptance script: arguments, pinning, and an exit status that hides no miss."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable

from benches.harness import machine
from benches.harness.processes import raise_nofile
from benches.harness.verdict import Bar

QUICK_SCALE = "0.15"


ROUNDS = 9
ROUNDS_QUICK = 3


def rounds(bar: Bar) -> int:
    """How many interleaved rounds a bar takes."""
    return int(os.environ.get("FP_BENCH_ROUNDS", ROUNDS_QUICK if bar.quick else ROUNDS))


def run(number: int | str, title: str, measure: Callable[[Bar], None], *, pin: bool = True) -> int:
    """Parse the command line, measure, print; the exit status.

    0 even when a limit is missed (the miss is printed); 2 when a figure could not be measured.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="a look in a fraction of the time")
    asked = parser.parse_args()
    if asked.quick:
        os.environ.setdefault("FP_BENCH_SCALE", QUICK_SCALE)
    bar = Bar(number, title, quick=asked.quick)
    print(f"bar {number}: {title}{' (quick)' if asked.quick else ''}", flush=True)
    raise_nofile()
    if pin:
        machine.pin_here(machine.cores().rest)
    try:
        measure(bar)
    except KeyboardInterrupt:
        raise
    except Exception as why:  # noqa: BLE001 - a bar that breaks is said to be unmeasured
        traceback.print_exc()
        bar.add("the bar ran to its end", None, note=f"{type(why).__name__}: {why}"[:300])
    return bar.finish()


def main(
    number: int | str, title: str, measure: Callable[[Bar], None], *, pin: bool = True
) -> None:
    """`run`, then leave with its status."""
    sys.exit(run(number, title, measure, pin=pin))
