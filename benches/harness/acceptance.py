"""The frame of an acceptance script: arguments, pinning, and an exit status that hides no miss."""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping

from benches.harness import machine
from benches.harness.processes import raise_nofile
from benches.harness.verdict import Bar

QUICK_SCALE = "0.15"


ROUNDS = 9
ROUNDS_QUICK = 3


def rounds(bar: Bar) -> int:
    """How many interleaved rounds a bar takes."""
    return int(os.environ.get("FP_BENCH_ROUNDS", ROUNDS_QUICK if bar.quick else ROUNDS))


Measure = Callable[[Bar], None]


def run(
    number: int | str, title: str, measure: Measure | Mapping[str, Measure], *, pin: bool = True
) -> int:
    """Parse the command line, measure, print; the exit status.

    0 even when a limit is missed (the miss is printed); 2 when a figure could not be measured. A
    bar of several parts can be asked for some of them, and one that breaks leaves the others.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="a look in a fraction of the time")
    parts = dict(measure) if isinstance(measure, Mapping) else {}
    if parts:
        add = parser.add_argument
        add("--part", action="append", choices=[*parts], help="only this; may be given again")
    asked = parser.parse_args()
    if asked.quick:
        os.environ.setdefault("FP_BENCH_SCALE", QUICK_SCALE)
    chosen = (parts and asked.part) or [*parts]
    alone = chosen[0] if len(chosen) == 1 else ""
    bar = Bar(number, title, quick=asked.quick, part=alone)
    print(f"bar {number}: {title}{' (quick)' if asked.quick else ''}", flush=True)
    raise_nofile()
    if pin:
        machine.pin_here(machine.cores().rest)
    if not isinstance(measure, Mapping):
        _measure(bar, measure, "the bar ran to its end")
    for name in chosen:
        began = time.monotonic()
        _measure(bar, parts[name], f"{name} ran to its end")
        bar.say(f"{name}: {time.monotonic() - began:.0f} s")
    return bar.finish()


def _measure(bar: Bar, measure: Measure, what: str) -> None:
    try:
        measure(bar)
    except KeyboardInterrupt:
        raise
    except Exception as why:  # noqa: BLE001 - a bar that breaks is said to be unmeasured
        traceback.print_exc()
        bar.add(what, None, note=f"{type(why).__name__}: {why}"[:300])


def main(
    number: int | str, title: str, measure: Measure | Mapping[str, Measure], *, pin: bool = True
) -> None:
    """`run`, then leave with its status."""
    sys.exit(run(number, title, measure, pin=pin))
