"""HTTP/2 against HTTP/1.1 for token streams: every version on each side, over a grid of loads.

`h2_vs_h1.py measure` runs the grid, or the cells that `--cells` names, and keeps each in
benches/out/; `h2_vs_h1.py report` makes benches/reports/DATE-h2-vs-h1.{json,md,html} of what is
there. One proxy, fastproxy; a cell compares its four pairs of versions in interleaved rounds.
"""

import argparse
import datetime as dt
import html
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benches.harness import machine, svg
from benches.harness.compare import VERSIONS, compare
from benches.harness.processes import raise_nofile
from benches.harness.results import Result
from benches.harness.verdict import OUT
from benches.report import REPORTS, STYLE
from benches.scenarios.versions import TOKENS_PER_S, steady

CELLS = [(1, 1), (10, 1), (10, 4), (100, 1), (100, 4), (100, 16), (100, 64), (1000, 16), (1000, 64)]
"""Streams and the connections of HTTP/2 that they share; each takes 100 streams at most."""

STEPS = ("staggered", "aligned")
PROXY = "fastproxy"
NAMES = {
    "h1-h1": "HTTP/1.1, HTTP/1.1",
    "h1-h2": "HTTP/1.1, HTTP/2",
    "h2-h1": "HTTP/2, HTTP/1.1",
    "h2-h2": "HTTP/2, HTTP/2",
}
"""Clients' side first."""

FIGURES = {
    "cpu_us": "CPU us a token",
    "delay_p50_us": "delay P50 us",
    "delay_p99_us": "P99 us",
    "delay_p999_us": "P99.9 us",
    "bytes": "bytes to the client a token",
}

Cell = tuple[int, int, str]
"""Streams, connections, steps."""


def label(versions: str) -> str:
    """The contender of a pair of versions."""
    return f"{PROXY}@{versions}"


def measure(cells: list[Cell], rounds: int) -> None:
    """Run some cells and keep each."""
    raise_nofile()
    machine.pin_here(machine.cores().rest)
    for streams, connections, steps in cells:
        scenario = steady(streams, connections, steps)
        print(f"\n{scenario.title}", flush=True)
        result = compare(
            scenario,
            [label(versions) for versions in VERSIONS],
            rounds,
            calls=True,
            say=lambda line: print(f"  {line}", flush=True),
        )
        print(f"-> {result.save()}", flush=True)


def results() -> dict[Cell, Result]:
    """The cells that were measured."""
    found = {}
    for steps in STEPS:
        for streams, connections in CELLS:
            path = OUT / f"scenario-{steady(streams, connections, steps).name}.json"
            if path.exists():
                found[streams, connections, steps] = Result.load(path)
    return found


def table(result: Result) -> list[list[str]]:
    """A cell: a row for each pair of versions."""
    base = label("h1-h1")
    rows = [["client, engine", *FIGURES.values(), "calls a token", "CPU / HTTP/1.1"]]
    for versions in VERSIONS:
        name = label(versions)
        if not result.table.has(name):
            continue
        row = [NAMES[versions]]
        row += [f"{result.table.estimate(name, figure):.2f}" for figure in FIGURES]
        calls = result.syscalls.get(name)
        row.append(f"{sum(calls.values()):.2f}" if calls else "")
        ratio = f"{result.table.ratio(name, base, 'cpu_us'):.3f}"
        rows.append([*row, ratio if result.table.has(base) else ""])
    return rows


def ratio(result: Result, versions: str, figure: str = "cpu_us") -> float:
    """A pair of versions over HTTP/1.1 on both sides."""
    return result.table.ratio(label(versions), label("h1-h1"), figure).median


def lessons(found: dict[Cell, Result]) -> list[str]:
    """What the grid says, in sentences that its figures fill."""
    said = []
    for versions in ("h2-h2", "h2-h1", "h1-h2"):
        for steps in STEPS:
            of = {cell: ratio(one, versions) for cell, one in found.items() if cell[2] == steps}
            if not of:
                continue
            best, worst = min(of, key=of.__getitem__), max(of, key=of.__getitem__)
            said.append(
                f"{NAMES[versions]}, {steps}: a token costs {of[best]:.2f} of HTTP/1.1 on both "
                f"sides at best ({_cell(best)}) and {of[worst]:.2f} at worst ({_cell(worst)})"
            )
    for steps in STEPS:
        here = {cell: one for cell, one in found.items() if cell[2] == steps}
        if not here:
            continue
        more = {cell: ratio(one, "h2-h2", "delay_p99_us") for cell, one in here.items()}
        least, most = min(more, key=more.__getitem__), max(more, key=more.__getitem__)
        said.append(
            f"{steps}: P99 of the token delay with HTTP/2 on both sides is {more[least]:.2f} "
            f"({_cell(least)}) to {more[most]:.2f} ({_cell(most)}) times that of HTTP/1.1"
        )
    return said


def _cell(cell: Cell) -> str:
    streams, connections, _ = cell
    return f"{streams} over {connections}"


def facts(found: dict[Cell, Result]) -> list[str]:
    """What a reader needs to believe the figures."""
    one = next(iter(found.values()))
    what = one.machine
    kind = "virtual machine" if what["virtual"] else "machine"
    return [
        (
            f"{kind}: {what['cpu']}, {what['cpus']} CPUs, {what['memory_gib']} GiB; "
            f"{what['system']}, Linux {what['kernel']}"
        ),
        f"tree: {what['revision']}; one worker, {TOKENS_PER_S:,} tokens a second in all",
        (
            "proxy on one core, engine and load on the other; every pair started anew in every "
            "round; figures are medians with their intervals, ratios those of paired rounds"
        ),
        (
            "delay is one way, from the engine's write to the client's read, so what a token waits "
            "for its siblings in one write is in it; HTTP/1.1 has a connection a stream"
        ),
        f"commands: {'; '.join(sorted({result.command for result in found.values()}))}",
    ]


def plots(found: dict[Cell, Result]) -> str:
    """CPU and delay over the cells, a line for each pair of versions."""
    drawn = ""
    for figure, title in FIGURES.items():
        for steps in STEPS:
            cells = [cell for cell in found if cell[2] == steps]
            if not cells:
                continue
            lines = {
                NAMES[versions]: [
                    found[cell].table.estimate(label(versions), figure).median for cell in cells
                ]
                for versions in VERSIONS
            }
            names = [f"{streams}/{connections}" for streams, connections, _ in cells]
            what = f"{title}, {steps}; streams/connections of HTTP/2"
            drawn += svg.curves(what, "", lines, names, ours=NAMES["h2-h2"])
    return drawn


def markdown(title: str, found: dict[Cell, Result]) -> str:
    """The report as text."""
    parts = [f"# {title}", "", *[f"- {fact}" for fact in facts(found)], ""]
    parts += ["## What it teaches", "", *[f"- {line}" for line in lessons(found)]]
    for result in found.values():
        head, *rows = table(result)
        parts += ["", f"## {result.title}", "", f"| {' | '.join(head)} |"]
        parts += ["|" + "---|" * len(head), *[f"| {' | '.join(row)} |" for row in rows]]
    return "\n".join(parts) + "\n"


def page(title: str, found: dict[Cell, Result]) -> str:
    """The report as one HTML file that needs nothing else."""

    def listed(lines: list[str]) -> str:
        return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"

    def cells(row: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"

    parts = [f"<h1>{html.escape(title)}</h1>", listed(facts(found))]
    parts += ["<h2>What it teaches</h2>", listed(lessons(found)), plots(found)]
    for result in found.values():
        head, *rows = table(result)
        parts += [f"<h2>{html.escape(result.title)}</h2><table>{cells(head, 'th')}"]
        parts += [*[cells(row, "td") for row in rows], "</table>"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def report() -> list[Path]:
    """Write all three forms; returns their paths."""
    found = results()
    if not found:
        msg = "nothing was measured: run `h2_vs_h1.py measure`"
        raise SystemExit(msg)
    today = dt.datetime.now(dt.UTC).date().isoformat()
    title = f"HTTP/2 and HTTP/1.1 for token streams, {today}"
    document = {
        "title": title,
        "cells": [{**asdict(one), "table": one.table.samples} for one in found.values()],
    }
    REPORTS.mkdir(exist_ok=True)
    base = REPORTS / f"{today}-h2-vs-h1"
    root = str(Path(__file__).resolve().parents[2]) + "/"
    texts = {
        ".json": json.dumps(document, indent=1) + "\n",
        ".md": markdown(title, found),
        ".html": page(title, found),
    }
    for ending, content in texts.items():
        base.with_suffix(ending).write_text(content.replace(root, ""))
    return [base.with_suffix(ending) for ending in texts]


def parse_cell(text: str) -> Cell:
    """`1000/16/aligned`."""
    streams, connections, steps = text.split("/")
    if (int(streams), int(connections)) not in CELLS or steps not in STEPS:
        raise ValueError(text)
    return int(streams), int(connections), steps


def main() -> int:
    """Measure or report."""
    everything = [(streams, over, steps) for steps in STEPS for streams, over in CELLS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=["measure", "report"])
    parser.add_argument(
        "--cells", nargs="+", type=parse_cell, default=everything, help="as 1000/16/aligned"
    )
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    if asked.what == "measure":
        measure(asked.cells, asked.rounds)
    else:
        for path in report():
            print(path.relative_to(REPORTS.parents[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
