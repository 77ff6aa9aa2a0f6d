"""Results of interleaved rounds as they are kept: one JSON file for each scenario."""

import datetime as dt
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benches.harness import machine
from benches.harness.rounds import Table
from benches.harness.verdict import OUT

BASE = "fastproxy"
"""The contender that all others are compared with."""


@dataclass(slots=True)
class Result:
    """One scenario, measured for several contenders in the same rounds."""

    scenario: str
    title: str
    unit: str
    """What the CPU time is of: `request` or `token`."""
    options: dict[str, Any]
    versions: dict[str, str]
    table: Table
    commands: dict[str, list[str]] = field(default_factory=dict)
    syscalls: dict[str, dict[str, float]] = field(default_factory=dict)
    """System calls for each unit, by name."""
    machine: dict[str, Any] = field(default_factory=machine.as_dict)
    taken: str = field(
        default_factory=lambda: dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    )
    command: str = field(default_factory=lambda: " ".join(sys.argv))
    foreign_load: float = 0.0
    """Share of a core that others used just before."""

    def contenders(self) -> list[str]:
        """Names, the cheapest first."""
        measured = [name for name in self.table.samples if self.table.samples[name]]
        return sorted(measured, key=lambda name: self.table.estimate(name, "cpu_us").median)

    def figures(self) -> list[str]:
        """Names of the figures that every run gave."""
        runs = [run for samples in self.table.samples.values() for run in samples]
        if not runs:
            return []
        return [name for name in runs[0] if all(name in run for run in runs)]

    def save(self, directory: Path = OUT, *, suffix: str = "") -> Path:
        """Write it as JSON; returns the path."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"scenario-{self.scenario}{suffix}.json"
        document = {**asdict(self), "table": self.table.samples}
        path.write_text(json.dumps(document, indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: Path) -> "Result":
        """Read one that was saved."""
        document = json.loads(path.read_text())
        return cls(**{**document, "table": Table(document["table"])})


def text(result: Result) -> str:
    """A table for the terminal and for Markdown."""
    delays = [
        name
        for name in ("delay_p50_us", "delay_p99_us", "delay_p999_us")
        if name in result.figures()
    ]
    head = ["contender", "version", f"CPU us a {result.unit}", "user", "per CPU second"]
    head += [f"{BASE} / it", *[name.replace("_us", " us").replace("_", " ") for name in delays]]
    head += ["calls"] if result.syscalls else []
    rows = [_row(result, name, delays) for name in result.contenders()]
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    lines = [_line(head, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    return "\n".join(lines + [_line(row, widths) for row in rows])


def _line(cells: list[str], widths: list[int]) -> str:
    return "| " + " | ".join(cell.ljust(at) for cell, at in zip(cells, widths, strict=True)) + " |"


def _row(result: Result, name: str, delays: Sequence[str]) -> list[str]:
    table = result.table
    cpu = table.estimate(name, "cpu_us")
    share = table.estimate(name, "user_share").median if "user_share" in result.figures() else 0.0
    row = [name, result.versions.get(name, ""), f"{cpu:.2f}", f"{share:.0%}"]
    row.append(f"{1e6 / cpu.median:,.0f}")
    row.append(f"{table.ratio(BASE, name, 'cpu_us'):.3f}" if table.has(BASE, name) else "")
    row += [f"{table.estimate(name, delay).median:.1f}" for delay in delays]
    if result.syscalls:
        calls = result.syscalls.get(name)
        row.append(f"{sum(calls.values()):.2f}" if calls else "")
    return row
