"""Bar 4.4: what a token costs over HTTP/2, beside other proxies and beside our own HTTP/1.1."""

import _path  # noqa: F401

from benches.harness.acceptance import main, rounds
from benches.harness.compare import compare
from benches.harness.results import Result, text
from benches.harness.verdict import Bar
from benches.scenarios.base import Scenario
from benches.scenarios.versions import front, steady

TITLE = "CPU of a token over HTTP/2, beside HAProxy, nginx, Envoy and our own HTTP/1.1"

OURS = "fastproxy"
PEERS = ("haproxy", "nginx", "nginx_system", "envoy")
BOTH = "@h2-h2"
"""HTTP/2 to the engine as well."""

LIMITS = {
    "staggered": {"haproxy": 1.0, "nginx": 1.0, "nginx_system": 1.0, "envoy": 0.75},
    "aligned": {"haproxy": 0.8, "nginx": 0.8, "nginx_system": 0.8, "envoy": 0.5},
}
"""Our CPU over theirs, at most, with HTTP/2 in front."""

OWN_MAX = 0.25
"""HTTP/2 on both sides over HTTP/1.1 on both, at most: 1,000 aligned streams."""


def measured(bar: Bar, scenario: Scenario, labels: list[str], *, calls: bool) -> Result:
    """Runs a scenario, shows it and keeps it."""
    bar.say(scenario.title)
    result = compare(scenario, labels, rounds(bar), calls=calls, say=bar.say)
    result.save()
    print(text(result), flush=True)
    bar.data[scenario.name] = {
        "samples": result.table.samples,
        "syscalls": result.syscalls,
        "versions": result.versions,
    }
    return result


def delays(bar: Bar, result: Result, label: str) -> None:
    """The token delay of a contender; reported."""
    for figure in ("delay_p50_us", "delay_p99_us", "delay_p999_us"):
        if result.table.has(label):
            found = result.table.estimate(label, figure)
            bar.add(f"{result.scenario}: {label} {figure}", found, unit="us")


def others(bar: Bar, steps: str) -> None:
    """HTTP/2 in front, 200 streams on 8 connections."""
    both = [name + BOTH for name in (OURS, "haproxy", "envoy")]
    labels = [OURS, *PEERS, *([] if bar.quick else both)]
    result = measured(bar, front(steps), labels, calls=not bar.quick)
    table = result.table
    for name, limit in LIMITS[steps].items():
        what = f"{steps}, HTTP/2 in front: CPU a token / {name}"
        if table.has(OURS, name):
            bar.add(what, table.ratio(OURS, name, "cpu_us"), "<=", limit)
        else:
            bar.add(what, None, "<=", limit, note="not installed")
        if table.has(OURS, name + BOTH):
            other = table.ratio(OURS + BOTH, name + BOTH, "cpu_us")
            bar.add(f"{steps}, HTTP/2 on both sides: CPU a token / {name}", other)
    for label in (OURS, "haproxy"):
        delays(bar, result, label)


def own(bar: Bar) -> None:
    """1,000 aligned streams, HTTP/2 on both sides over 16 and 16 connections."""
    scenario = steady(1000, 16, "aligned")
    ours, before = OURS + BOTH, OURS + "@h1-h1"
    labels = [ours, before, "haproxy" + BOTH, "relay" + BOTH]
    result = measured(bar, scenario, labels, calls=not bar.quick)
    ratio = result.table.ratio(ours, before, "cpu_us")
    bar.add("1,000 aligned streams: CPU a token, HTTP/2 / HTTP/1.1", ratio, "<=", OWN_MAX)
    for label in (ours, before):
        delays(bar, result, label)


def measure(bar: Bar) -> None:
    """Both steps against the others, then ourselves."""
    for steps in LIMITS:
        others(bar, steps)
    own(bar)


if __name__ == "__main__":
    main("4.4", TITLE, measure)
