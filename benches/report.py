"""Makes a dated report of what was measured: JSON, Markdown, and one HTML file with plots.

Reads benches/out/scenario-*.json and bar*.json, writes benches/reports/DATE-NAME.{json,md,html}.
"""

import argparse
import datetime as dt
import html
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benches.harness import machine, svg
from benches.harness.results import BASE, Result, text
from benches.harness.verdict import OUT, SERIES, Figure, line
from benches.peers import PEERS

REPORTS = Path(__file__).resolve().parent / "reports"

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto; }
th, td { text-align: left; padding: 3px 12px 3px 0; border-bottom: 1px solid #e4e9ee;
         white-space: nowrap; }
svg { width: 100%; height: auto; margin: 1rem 0; }
code { background: #f2f5f7; padding: 1px 4px; }
.MISS, .NONE { color: #a3341c; font-weight: 600; }
.PASS { color: #0b7a75; }
"""


def scenarios() -> list[Result]:
    """What was compared."""
    return [Result.load(path) for path in sorted(OUT.glob("scenario-*.json"))]


def bars() -> list[dict[str, Any]]:
    """What was held against a limit."""
    names = [f"{prefix}[0-9][0-9].json" for prefix in SERIES.values()]
    return [json.loads(path.read_text()) for name in names for path in sorted(OUT.glob(name))]


def losses(results: list[Result], found: list[dict[str, Any]]) -> list[str]:
    """Where somebody is better than we are, and every limit that is missed."""
    lines = []
    for result in results:
        if not result.table.has(BASE):
            continue
        for name in result.contenders():
            ratio = result.table.ratio(BASE, name, "cpu_us")
            if name.partition("@")[0] != BASE and "@" not in name and ratio.median > 1.0:
                lines.append(
                    f"{result.title}: {name} takes less CPU a {result.unit}; ours / its {ratio}"
                )
    for bar in found:
        lines += [
            f"bar {bar['bar']}: {figure['what']}: {figure['value']} against "
            f"{figure['sense']} {figure['limit']}"
            for figure in bar["figures"]
            if figure["verdict"] in ("MISS", "NONE")
        ]
    return lines


def _facts(results: list[Result], found: list[dict[str, Any]]) -> list[str]:
    what = results[0].machine if results else machine.as_dict()
    commands = sorted({one.command for one in results} | {str(bar["command"]) for bar in found})
    versions = sorted(
        {
            f"{name} {one.versions[name]}"
            for one in results
            for name in one.versions
            if "@" not in name
        }
    )
    kind = "virtual machine" if what["virtual"] else "machine"
    return [
        (
            f"{kind}: {what['cpu']}, {what['cpus']} CPUs, {what['memory_gib']} GiB; "
            f"{what['system']}, Linux {what['kernel']}, Python {what['python']}"
        ),
        f"tree: {what['revision']}; contenders: {', '.join(versions)}",
        (
            "proxy pinned to one core, engine and load to the other; every contender started anew "
            "in every round, in an order drawn for it"
        ),
        (
            "CPU is the scheduler's own count (nanoseconds) of all threads of the proxy, over the "
            "requests or tokens that came in the same time; intervals are order statistics of the "
            "rounds; ratios are medians of paired per-round ratios"
        ),
        (
            f"load of others on the busiest core just before: "
            f"{', '.join(f'{one.scenario} {one.foreign_load:.0%}' for one in results)}"
        ),
        f"commands: {'; '.join(commands)}",
    ]


def _calls(result: Result) -> list[str]:
    rows = []
    for name, counts in result.syscalls.items():
        named = ", ".join(f"{call} {count:.2f}" for call, count in counts.items() if count >= 0.005)
        rows.append(f"{name}: {named}")
    return rows


def markdown(title: str, results: list[Result], found: list[dict[str, Any]]) -> str:
    """The report as text."""
    parts = [f"# {title}", "", *[f"- {fact}" for fact in _facts(results, found)], ""]
    parts += ["## Where we lose", ""]
    parts += [f"- {row}" for row in losses(results, found) or ["nowhere in what was measured"]]
    for result in results:
        rounds = result.options["rounds"]
        parts += [
            "",
            f"## {result.title}",
            "",
            f"{rounds} rounds, {result.taken}",
            "",
            text(result),
        ]
        if result.syscalls:
            parts += ["", f"System calls a {result.unit}:", ""]
            parts += [f"- {row}" for row in _calls(result)]
    for bar in found:
        quick = " (quick)" if bar["quick"] else ""
        parts += ["", f"## Bar {bar['bar']}: {bar['title']}{quick}", "", "```"]
        parts += [line(_figure(figure)) for figure in bar["figures"]] + ["```"]
    return "\n".join(parts) + "\n"


def _figure(document: dict[str, Any]) -> Figure:
    known = {name: value for name, value in document.items() if name != "verdict"}
    return Figure(**{**known, "interval": tuple(known["interval"]) if known["interval"] else None})


def _plots(result: Result) -> str:
    names = result.contenders()
    cpu = {name: result.table.values(name, "cpu_us") for name in names}
    plots = svg.dots(f"CPU a {result.unit}", "us", cpu, ours=BASE)
    figures = [f"delay_{quantile}_us" for quantile in ("p50", "p90", "p99", "p999")]
    if all(figure in result.figures() for figure in figures):
        lines = {
            name: [result.table.estimate(name, figure).median for figure in figures]
            for name in names
        }
        what = "one-way delay of a token" if result.unit == "token" else "time of an answer"
        plots += svg.curves(what, "us", lines, ["P50", "P90", "P99", "P99.9"], ours=BASE)
    return plots


def _table(markdown_table: str) -> str:
    head, _, *rows = markdown_table.splitlines()

    def cells(row: str, tag: str) -> str:
        texts = [html.escape(cell.strip()) for cell in row.strip("|").split("|")]
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in texts) + "</tr>"

    return f"<table>{cells(head, 'th')}{''.join(cells(row, 'td') for row in rows)}</table>"


def _bar_table(bar: dict[str, Any]) -> str:
    rows = []
    for document in bar["figures"]:
        figure = _figure(document)
        limit = f"{figure.sense} {figure.limit:g}" if figure.limit is not None else ""
        spread = ""
        if figure.interval:
            spread = f"[{figure.interval[0]:.3g}, {figure.interval[1]:.3g}]"
        value = "" if figure.value is None else f"{figure.value:.4g} {figure.unit}"
        cells = [figure.what, value, spread, limit, figure.note]
        rows.append(
            f'<tr><td class="{figure.verdict}">{figure.verdict}</td>'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
            + "</tr>"
        )
    return f"<table>{''.join(rows)}</table>"


def page(title: str, results: list[Result], found: list[dict[str, Any]]) -> str:
    """The report as one HTML file that needs nothing else."""

    def listed(rows: list[str]) -> str:
        return "<ul>" + "".join(f"<li>{html.escape(row)}</li>" for row in rows) + "</ul>"

    parts = [f"<h1>{html.escape(title)}</h1>", listed(_facts(results, found))]
    parts += ["<h2>Where we lose</h2>"]
    parts += [listed(losses(results, found) or ["nowhere in what was measured"])]
    for result in results:
        parts += [f"<h2>{html.escape(result.title)}</h2>", _plots(result), _table(text(result))]
        if result.syscalls:
            parts += [f"<h3>System calls a {result.unit}</h3>", listed(_calls(result))]
    for bar in found:
        parts += [f"<h2>Bar {bar['bar']}: {html.escape(bar['title'])}</h2>", _bar_table(bar)]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def write(name: str) -> list[Path]:
    """Write all three forms; returns their paths."""
    results, found = scenarios(), bars()
    today = dt.datetime.now(dt.UTC).date().isoformat()
    title = f"Measurements of {today}"
    REPORTS.mkdir(exist_ok=True)
    base = REPORTS / f"{today}-{name}"
    document = {
        "title": title,
        "scenarios": [{**asdict(one), "table": one.table.samples} for one in results],
        "bars": found,
        "proxies": {name: peer.title for name, peer in PEERS.items()},
    }
    paths = [base.with_suffix(ending) for ending in (".json", ".md", ".html")]
    texts = [
        json.dumps(document, indent=1) + "\n",
        markdown(title, results, found),
        page(title, results, found),
    ]
    for path, content in zip(paths, texts, strict=True):
        path.write_text(_neutral(content))
    return paths


def _neutral(content: str) -> str:
    """Without folders of this machine."""
    root = str(Path(__file__).resolve().parents[1])
    return content.replace(root + "/", "").replace(str(Path.home()), "~")


def main() -> int:
    """Write a report of what lies in benches/out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="all", help="part of the files' names")
    asked = parser.parse_args()
    for path in write(asked.name):
        print(path.relative_to(REPORTS.parents[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
