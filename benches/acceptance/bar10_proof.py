"""Bar 10: invariance, differential, rules, simulation, loom and fuzzing, run and summed up.

`FP_FUZZ_SECONDS`, `FP_SIM_RUNS` change the two long ones; `FP_PROOF=sim,loom` runs only some.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import _path

from benches.harness.acceptance import main
from benches.harness.verdict import OUT, Bar, bar_file

TITLE = "chunking invariance, differential, wire rules, simulator, loom, fuzzing"

CARGO = ["cargo", "test", "--manifest-path", "native/Cargo.toml", "--locked", "--quiet"]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One proof: its command, and what its output must say."""

    name: str
    what: str
    command: list[str]
    env: dict[str, str]
    count: Callable[[str], int]
    """How much was proven, from the output."""
    least: int
    unit: str


def rust_passed(text: str) -> int:
    """Tests that cargo says passed."""
    return sum(int(number) for number in re.findall(r"test result: ok\. (\d+) passed", text))


def python_passed(text: str) -> int:
    """Tests that pytest says passed."""
    return sum(int(number) for number in re.findall(r"(\d+) passed", text))


def seeds(text: str) -> int:
    """Seeds that the simulator says it ran."""
    found = [
        int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:seeds|runs)", text)
    ]
    return max(found, default=0)


def fuzzed(text: str) -> int:
    """Targets that ended clean."""
    return len(re.findall(r"^\w+\s+[\d,]+\s+[\d,]+\s+clean$", text, re.MULTILINE))


def stages(*, quick: bool) -> list[Stage]:
    """All of them; the quick ones prove less."""
    runs = os.environ.get("FP_SIM_RUNS", "500" if quick else "20000")
    fuzz_s = os.environ.get("FP_FUZZ_SECONDS", "10" if quick else "600")
    targets = len(list((_path.ROOT / "native/fuzz/fuzz_targets").glob("*.rs")))
    return [
        Stage(
            "invariance",
            "chunking invariance and linear time (wire)",
            [*CARGO, "-p", "wire", "--test", "properties", "--test", "linear"],
            {},
            rust_passed,
            5,
            "tests",
        ),
        Stage(
            "verdicts",
            "verdicts on bad bytes (wire)",
            [*CARGO, "-p", "wire", "--test", "request_verdicts", "--test", "response_verdicts"],
            {},
            rust_passed,
            2,
            "tests",
        ),
        Stage(
            "rules",
            "wire rules as data, over sockets",
            [*PYTEST, "tests/conformance"],
            {},
            python_passed,
            50,
            "tests",
        ),
        Stage(
            "differential",
            "differential against h11, h2 and hpack",
            [*PYTEST, "tests/differential"],
            {},
            python_passed,
            1,
            "tests",
        ),
        Stage(
            "sim",
            "simulator: two engines over one shared state",
            [*CARGO, "-p", "engine", "--release", "--test", "sim", "--", "--nocapture"],
            {"FASTPROXY_SIM_RUNS": runs},
            seeds,
            int(runs),
            "seeds",
        ),
        Stage("loom", "loom on the waiting room", ["make", "loom"], {}, rust_passed, 1, "tests"),
        Stage(
            "fuzz",
            f"fuzz targets, {fuzz_s} s each",
            [sys.executable, "tools/fuzz.py", "--seconds", fuzz_s],
            {},
            fuzzed,
            targets,
            "targets clean",
        ),
    ]


def run(bar: Bar, stage: Stage) -> None:
    """Run one proof; its whole output is kept beside the figures."""
    began = time.monotonic()
    done = subprocess.run(
        stage.command,
        cwd=_path.ROOT,
        env={**os.environ, **stage.env},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    OUT.mkdir(parents=True, exist_ok=True)
    log = OUT / f"{bar_file(bar.number).stem}-{stage.name}.log"
    log.write_text(done.stdout)
    took = time.monotonic() - began
    count = stage.count(done.stdout) if done.returncode == 0 else 0
    bar.data[stage.name] = {
        "command": stage.command,
        "status": done.returncode,
        "seconds": took,
        "tail": done.stdout[-1500:],
    }
    note = f"{took:.0f} s, exit {done.returncode}, {log.name}"
    bar.add(stage.what, count, ">=", stage.least, unit=stage.unit, note=note)


def measure(bar: Bar) -> None:
    """Every stage, whatever became of the one before."""
    chosen = [name for name in os.environ.get("FP_PROOF", "").split(",") if name]
    for stage in stages(quick=bar.quick):
        if not chosen or stage.name in chosen:
            run(bar, stage)


if __name__ == "__main__":
    main(10, TITLE, measure, pin=False)
