"""Bar 4.5: our HTTP/2 codec beside libnghttp2 and the `h2` crate, both ends in memory."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import _path  # noqa: F401

from benches.harness import machine
from benches.harness.acceptance import main, rounds
from benches.harness.rounds import Sample, Table, interleave
from benches.harness.stats import Estimate, estimate
from benches.harness.verdict import Bar

TITLE = "the HTTP/2 codec beside libnghttp2 and the h2 crate"

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "benches" / "codec"
COUNTS = SOURCE / "instructions.json"

OURS, NGHTTP2, HYPER = "wire", "nghttp2", "h2 crate"

OPERATIONS = {
    "tokens": 2_000_000,
    "head_steady": 60_000,
    "head_first": 25_000,
    "connect": 100_000,
    "hpack_steady": 200_000,
    "hpack_first": 60_000,
}
"""A quarter of a second of the slower ones; what a case is stands in benches/codec/src/main.rs."""

COUNTED = {case: max(200, count // 1000 * 2) for case, count in OPERATIONS.items()}
"""Operations under a simulator, which is fifty times slower; a multiple of the streams."""

TOKENS_MAX = 0.65
"""Our time for a token over libnghttp2's, at most."""


def built(bar: Bar) -> dict[str, list[str]]:
    """How to run each contender; says which cannot be built here."""
    cargo = [sys.executable, str(ROOT / "tools" / "cargo_lock.py"), "thaw"]
    subprocess.run(cargo, check=True)
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=SOURCE, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", SOURCE / "target"))
    codec = str(target / "release" / "codec")
    found = {OURS: [codec, "wire"], HYPER: [codec, "hyper"]}
    theirs = target / "nghttp2"
    compiler = shutil.which("cc")
    if compiler is None:
        bar.say("libnghttp2 is left out: no C compiler")
        return found
    done = subprocess.run(
        [compiler, "-O2", "-Wall", "-Wextra", "-o", str(theirs), "nghttp2.c", "-lnghttp2"],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        bar.say(f"libnghttp2 is left out (apt-get install libnghttp2-dev): {done.stderr[-200:]}")
        return found
    return {**found, NGHTTP2: [str(theirs)]}


def has(contender: str, case: str) -> bool:
    """The `h2` crate keeps its HPACK to itself."""
    return contender != HYPER or not case.startswith("hpack")


def run(argv: list[str], case: str, count: int, before: list[str] | None = None) -> str:
    """One run of one case; what it printed, and what a tool around it said."""
    command = [*(before or []), *argv, case, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def timed(contenders: dict[str, list[str]], case: str, scale: float) -> Callable[[str], Sample]:
    """Runs a contender and gives its CPU nanoseconds an operation."""
    count = max(COUNTED[case], int(OPERATIONS[case] * scale) // 100 * 100)

    def once(contender: str) -> Sample:
        said = json.loads(run(contenders[contender], case, count).splitlines()[0])
        if case == "tokens" and said["data_bytes"] != 64 * count:
            msg = f"{contender}: {said['data_bytes']} bytes came of {count} tokens"
            raise RuntimeError(msg)
        return {"ns": said["ns"] / count}

    return once


def instructions(argv: list[str], case: str) -> float | None:
    """Instructions an operation in user space: the difference of two lengths of a run.

    From the hardware's counter where there is one, else from valgrind's simulator.
    """
    counts = []
    for times in (1, 3):
        count = COUNTED[case] * times
        if hardware_counts():
            said = run(argv, case, count, ["perf", "stat", "-x,", "-e", "instructions:u"])
            found = re.search(r"(\d+),,instructions", said)
        elif shutil.which("valgrind"):
            tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
            said = run(argv, case, count, tool)
            found = re.search(r"Collected : (\d+)", said)
        else:
            return None
        if found is None:
            return None
        counts.append(int(found[1]))
    return (counts[1] - counts[0]) / (2 * COUNTED[case])


def hardware_counts() -> bool:
    """Whether this machine lets us count instructions."""
    if shutil.which("perf") is None:
        return False
    argv = ["perf", "stat", "-x,", "-e", "instructions:u", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return re.search(r"^\d+,,instructions", done.stderr, re.MULTILINE) is not None


def tables(bar: Bar, contenders: dict[str, list[str]]) -> dict[str, Table]:
    """All cases in interleaved rounds."""
    scale = 0.3 if bar.quick else 1.0
    return {
        case: interleave(
            [name for name in contenders if has(name, case)],
            rounds(bar),
            timed(contenders, case, scale),
        )
        for case in OPERATIONS
    }


def heads_alone(measured: dict[str, Table], contender: str) -> Estimate:
    """The first heads of a connection without the connection."""
    both = measured["head_first"].values(contender, "ns")
    bare = measured["connect"].values(contender, "ns")
    return estimate([whole - part for whole, part in zip(both, bare, strict=True)])


def compare(bar: Bar, measured: dict[str, Table], contenders: dict[str, list[str]]) -> None:
    """Ratios against the bar, the others' for information, and the times."""
    limits = {"tokens": TOKENS_MAX, "connect": None}
    for case, table in measured.items():
        limit = limits.get(case, 1.0)
        if NGHTTP2 in contenders:
            ratio = table.ratio(OURS, NGHTTP2, "ns")
            bar.add(f"{case}: time / libnghttp2", ratio, "<=" if limit else None, limit)
        else:
            bar.add(
                f"{case}: time / libnghttp2", None, "<=", limit, note="libnghttp2-dev is absent"
            )
        if has(HYPER, case):
            bar.add(f"{case}: time / h2 crate", table.ratio(OURS, HYPER, "ns"))
        for name in contenders:
            if has(name, case):
                bar.add(f"{case}: {name}", table.estimate(name, "ns"), unit="ns")
    for name in contenders:
        bar.add(f"first heads without connect: {name}", heads_alone(measured, name), unit="ns")


def count(bar: Bar, contenders: dict[str, list[str]]) -> None:
    """Instructions an operation, beside those that were committed."""
    known = json.loads(COUNTS.read_text())["instructions"] if COUNTS.exists() else {}
    how = "hardware counter" if hardware_counts() else "callgrind"
    found: dict[str, dict[str, float]] = {}
    for name, argv in contenders.items():
        for case in OPERATIONS:
            if not has(name, case):
                continue
            counted = instructions(argv, case)
            if counted is None:
                bar.say("instructions are not counted: neither perf counts here nor is valgrind")
                return
            found.setdefault(name, {})[case] = round(counted, 1)
            before = known.get(name, {}).get(case)
            note = f"{how}; {before} in the repository" if before else how
            bar.add(f"{case}: instructions, {name}", round(counted), note=note)
    bar.data["instructions"] = found
    if os.environ.get("FP_BENCH_KEEP"):
        document = {"how": how, "machine": machine.as_dict()["cpu"], "instructions": found}
        COUNTS.write_text(json.dumps(document, indent=1) + "\n")


def measure(bar: Bar) -> None:
    """Times, then instructions."""
    contenders = built(bar)
    for argv in contenders.values():
        said = json.loads(run(argv, "connect", 1).splitlines()[0])
        if version := said.get("version"):
            bar.say(f"libnghttp2 {version}, h2 crate {hyper_version()}")
    measured = tables(bar, contenders)
    bar.data["samples"] = {case: table.samples for case, table in measured.items()}
    compare(bar, measured, contenders)
    count(bar, contenders)


def hyper_version() -> str:
    """The `h2` crate that was built."""
    found = re.search(r'^h2 = "=(.+)"', (SOURCE / "Cargo.toml").read_text(), re.MULTILINE)
    return found[1] if found else "unknown"


if __name__ == "__main__":
    main("4.5", TITLE, measure)
