"""All bars, one after the other: `python -m benches.acceptance [--quick] [NUMBER...]`."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benches.harness.verdict import OUT

FOLDER = Path(__file__).resolve().parent


def scripts() -> dict[int, Path]:
    """The bars by number."""
    return {int(path.stem[3:5]): path for path in sorted(FOLDER.glob("bar[0-9][0-9]_*.py"))}


def result(number: int) -> dict[str, Any]:
    """What a bar wrote."""
    try:
        found: dict[str, Any] = json.loads((OUT / f"bar{number:02d}.json").read_text())
    except (OSError, ValueError):
        return {"title": "did not end", "figures": []}
    return found


def table(numbers: list[int], seconds: dict[int, float]) -> str:
    """One row a bar, and every miss by name."""
    lines = ["", f"{'bar':>3}  {'pass':>4} {'miss':>4} {'none':>4} {'s':>6}  title"]
    missed = []
    for number in numbers:
        found = result(number)
        verdicts = [figure["verdict"] for figure in found["figures"]]
        counts = [verdicts.count(word) for word in ("PASS", "MISS", "NONE")]
        lines.append(
            f"{number:>3}  {counts[0]:>4} {counts[1]:>4} {counts[2]:>4} "
            f"{seconds[number]:>6.0f}  {found['title']}"
        )
        missed += [
            f"  bar {number}: {figure['what']}: {figure['value']} "
            f"(bar {figure['sense']} {figure['limit']})"
            for figure in found["figures"]
            if figure["verdict"] in ("MISS", "NONE")
        ]
    return "\n".join(lines + (["", "missed:", *missed] if missed else ["", "none missed"]))


def main() -> int:
    """Run them; 0 if every figure could be taken, whether it passed or not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fraction of the time")
    parser.add_argument("bars", nargs="*", type=int, help="numbers; all when left out")
    asked = parser.parse_args()
    known = scripts()
    numbers = asked.bars or sorted(known)
    seconds: dict[int, float] = {}
    worst = 0
    for number in numbers:
        (OUT / f"bar{number:02d}.json").unlink(missing_ok=True)
        began = time.monotonic()
        argv = [sys.executable, str(known[number]), *(["--quick"] if asked.quick else [])]
        worst = max(worst, abs(subprocess.run(argv, check=False).returncode))
        seconds[number] = time.monotonic() - began
        print(flush=True)
    print(table(numbers, seconds))
    return worst


if __name__ == "__main__":
    sys.exit(main())
