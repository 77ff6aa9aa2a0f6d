"""Bar 3: CPU of a request and of a token, and how much later a token comes, beside the others."""

import _path  # noqa: F401

from benches.harness.acceptance import main, rounds
from benches.harness.compare import UNIX, compare
from benches.harness.results import Result, text
from benches.harness.stats import estimate
from benches.harness.verdict import Bar
from benches.scenarios import SCENARIOS

TITLE = "CPU time and added token delay beside nginx, HAProxy, Envoy and a bare relay"

CONTENDERS = ["fastproxy", "relay", "nginx", "nginx_system", "haproxy", "envoy"]
OVER_UNIX = ["fastproxy" + UNIX, "relay" + UNIX]
OURS = "fastproxy"

LIMITS = {
    "request": {"nginx": 1.0, "nginx_system": 1.0, "haproxy": 1.0, "envoy": 0.5, "relay": 1.2},
    "token": {"nginx": 1.0, "nginx_system": 1.0, "haproxy": 1.0, "envoy": 0.7, "relay": 1.2},
}
"""Our CPU over theirs, at most."""

DELAY_MORE_US = 5.0
"""Token delay P50 over theirs, at most."""

SAVED_SHARE = 0.8
"""What a unix-socket engine saves us, over what it saves the relay, at least."""


def ratios(bar: Bar, result: Result) -> None:
    """CPU time over each contender's."""
    for name, limit in LIMITS[result.unit].items():
        if result.table.has(OURS, name):
            found = result.table.ratio(OURS, name, "cpu_us")
            bar.add(f"{result.scenario}: CPU a {result.unit} / {name}", found, "<=", limit)


def delays(bar: Bar, result: Result) -> None:
    """Token delay: the median against the others', the tail beside the relay's."""
    table = result.table
    for name in ("nginx", "nginx_system", "haproxy", "envoy", "relay"):
        if table.has(OURS, name):
            more = table.difference(OURS, name, "delay_p50_us")
            limit = ("<=", DELAY_MORE_US) if name != "relay" else (None, None)
            bar.add(f"{result.scenario}: delay P50 less {name}'s", more, *limit, unit="us")
    for name in (OURS, "relay"):
        for figure in ("delay_p50_us", "delay_p99_us", "delay_p999_us"):
            if table.has(name):
                bar.add(
                    f"{result.scenario}: {name} {figure}", table.estimate(name, figure), unit="us"
                )


def saved_by_unix(bar: Bar, result: Result) -> None:
    """CPU that a unix-socket engine saves us, over what it saves the relay."""
    table = result.table
    if not table.has(OURS, "relay", *OVER_UNIX):
        return
    ours = table.difference(OURS, OURS + UNIX, "cpu_us")
    relay = table.difference("relay", "relay" + UNIX, "cpu_us")
    bar.add(f"{result.scenario}: unix sockets save us", ours, unit="us")
    bar.add(f"{result.scenario}: unix sockets save the relay", relay, unit="us")
    # As a difference the bar holds its meaning where the relay saves nothing or even loses.
    less = estimate(
        [our - SAVED_SHARE * their for our, their in zip(ours.values, relay.values, strict=True)]
    )
    share = f"{ours.median / relay.median:.2f} of it" if relay.median > 0 else "it saves nothing"
    what = f"{result.scenario}: saved, less {SAVED_SHARE} of what the relay saves"
    bar.add(what, less, ">=", 0.0, unit="us", note=share)


def calls(bar: Bar, result: Result) -> None:
    """System calls for each unit; reported."""
    for name, counts in result.syscalls.items():
        named = ", ".join(f"{call} {count:.2f}" for call, count in list(counts.items())[:5])
        bar.add(
            f"{result.scenario}: system calls a {result.unit}, {name}",
            sum(counts.values()),
            note=named,
        )


def measure(bar: Bar) -> None:
    """All scenarios."""
    for name in ("unary", "streams", "streams_aligned"):
        scenario = SCENARIOS[name]
        bar.say(scenario.title)
        result = compare(scenario, CONTENDERS + OVER_UNIX, rounds(bar), calls=True, say=bar.say)
        result.save()
        print(text(result), flush=True)
        bar.data[name] = {
            "samples": result.table.samples,
            "syscalls": result.syscalls,
            "versions": result.versions,
        }
        ratios(bar, result)
        if result.unit == "token":
            delays(bar, result)
        saved_by_unix(bar, result)
        calls(bar, result)


if __name__ == "__main__":
    main(3, TITLE, measure)
