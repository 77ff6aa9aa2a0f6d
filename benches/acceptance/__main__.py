"""All bars, one after the other: `python -m benches.acceptance [--quick] [NAME...]`.

A name is `4.8`, for bar 8 of issue 4; `8` alone is `3.8`.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benches.harness.verdict import SERIES, bar_file, bar_name

FOLDER = Path(__file__).resolve().parent


def scripts() -> dict[str, Path]:
    """The bars by name, in order."""
    return {
        f"{series}.{int(path.stem[len(prefix) : len(prefix) + 2])}": path
        for series, prefix in SERIES.items()
        for path in sorted(FOLDER.glob(f"{prefix}[0-9][0-9]_*.py"))
    }


def result(name: str) -> dict[str, Any]:
    """What a bar wrote."""
    try:
        found: dict[str, Any] = json.loads(bar_file(name).read_text())
    except (OSError, ValueError):
        return {"title": "did not end", "figures": []}
    return found


def table(names: list[str], seconds: dict[str, float]) -> str:
    """One row a bar, and every miss by name."""
    lines = ["", f"{'bar':>4}  {'pass':>4} {'miss':>4} {'none':>4} {'s':>6}  title"]
    missed = []
    for name in names:
        found = result(name)
        verdicts = [figure["verdict"] for figure in found["figures"]]
        counts = [verdicts.count(word) for word in ("PASS", "MISS", "NONE")]
        lines.append(
            f"{name:>4}  {counts[0]:>4} {counts[1]:>4} {counts[2]:>4} "
            f"{seconds[name]:>6.0f}  {found['title']}"
        )
        missed += [
            f"  bar {name}: {figure['what']}: {figure['value']} "
            f"(bar {figure['sense']} {figure['limit']})"
            for figure in found["figures"]
            if figure["verdict"] in ("MISS", "NONE")
        ]
    return "\n".join(lines + (["", "missed:", *missed] if missed else ["", "none missed"]))


def main() -> int:
    """Run them; 0 if every figure could be taken, whether it passed or not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fraction of the time")
    known = scripts()
    parser.add_argument("bars", nargs="*", help=f"all when left out; {', '.join(known)}")
    asked = parser.parse_args()
    names = [bar_name(text) for text in asked.bars] or [*known]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no such bar: {', '.join(unknown)}; there are {', '.join(known)}")
    seconds: dict[str, float] = {}
    worst = 0
    for name in names:
        bar_file(name).unlink(missing_ok=True)
        began = time.monotonic()
        argv = [sys.executable, str(known[name]), *(["--quick"] if asked.quick else [])]
        worst = max(worst, abs(subprocess.run(argv, check=False).returncode))
        seconds[name] = time.monotonic() - began
        print(flush=True)
    print(table(names, seconds))
    return worst


if __name__ == "__main__":
    sys.exit(main())
