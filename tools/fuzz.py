"""Run fuzz targets for a while and say in one table what came of it.

Needs the nightly toolchain and `cargo-fuzz` (installed on first use). A crash is a failure: its
input is printed with the command that replays it. `--ledger` adds what was done to the committed
account of all runs, `native/fuzz/ledger.json`.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "native/fuzz"
GROWN = FOLDER / "corpus-grown"
LEDGER = FOLDER / "ledger.json"
RSS_MB_MAX = 2048


@dataclass(frozen=True, slots=True)
class Outcome:
    """One target's run."""

    target: str
    executions: int
    edges: int
    crashed: bool
    cpu_s: float
    """Of the fuzzer, its build apart."""


def targets() -> list[str]:
    """Names of all targets."""
    return sorted(path.stem for path in (FOLDER / "fuzz_targets").glob("*.rs"))


def prepare(names: list[str]) -> None:
    """Install the runner when it is not there, and build: a run's time is to be the fuzzer's."""
    if shutil.which("cargo-fuzz") is None:
        subprocess.run(["cargo", "install", "--quiet", "cargo-fuzz"], check=True)
    for name in names:
        command = ["cargo", "+nightly", "fuzz", "build", name]
        subprocess.run(command, cwd=FOLDER, check=True, capture_output=True)


def children_cpu_s() -> float:
    """CPU seconds of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def enter(outcomes: list[Outcome]) -> None:
    """Add runs to the account: CPU minutes and executions of each target, and what is open."""
    ledger = json.loads(LEDGER.read_text())
    for one in outcomes:
        blank = {"cpu_minutes": 0.0, "executions": 0, "open_findings": 0}
        row = ledger.setdefault(one.target, blank)
        row["cpu_minutes"] = round(row["cpu_minutes"] + one.cpu_s / 60, 2)
        row["executions"] += one.executions
        row["open_findings"] += int(one.crashed)
    LEDGER.write_text(json.dumps(ledger, indent=2, sort_keys=True) + "\n")


def run_one(target: str, seconds: int) -> Outcome:
    """Fuzz one target from its committed seeds into a grown corpus that is not committed."""
    grown = GROWN / target
    grown.mkdir(parents=True, exist_ok=True)
    seeds = FOLDER / "seeds" / target
    seeds.mkdir(parents=True, exist_ok=True)
    command = [
        "cargo", "+nightly", "fuzz", "run", target, str(grown), str(seeds), "--",
        f"-max_total_time={seconds}", f"-rss_limit_mb={RSS_MB_MAX}", "-print_final_stats=1",
    ]  # fmt: skip
    before = children_cpu_s()
    done = subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, check=False, env=os.environ
    )
    if done.returncode:
        sys.stdout.write(done.stderr[-4000:])
    executed = re.findall(r"number_of_executed_units:\s*(\d+)", done.stderr)
    edges = re.findall(r"cov: (\d+)", done.stderr)
    return Outcome(
        target,
        int(executed[-1]) if executed else 0,
        int(edges[-1]) if edges else 0,
        done.returncode != 0,
        children_cpu_s() - before,
    )


def main() -> int:
    """Run the targets named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--ledger", action="store_true", help="add it to the committed account")
    parser.add_argument("targets", nargs="*")
    options = parser.parse_args()
    if not targets():
        sys.stderr.write("fuzz: no target under native/fuzz/fuzz_targets\n")
        return 1
    names = options.targets or targets()
    prepare(names)
    outcomes = [run_one(target, options.seconds) for target in names]
    if options.ledger:
        enter(outcomes)
    sys.stdout.write(f"{'target':<24}{'executions':>14}{'edges':>10}  outcome\n")
    for one in outcomes:
        word = "CRASH" if one.crashed else "clean"
        sys.stdout.write(f"{one.target:<24}{one.executions:>14,}{one.edges:>10,}  {word}\n")
    return 1 if any(one.crashed for one in outcomes) else 0


if __name__ == "__main__":
    raise SystemExit(main())
