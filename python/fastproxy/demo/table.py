"""What flows, read from the native cells and shown as a table or as one line."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

from rich.table import Table

from fastproxy.observe.metrics import Family

__all__ = ["Flow", "Reading", "line", "reading", "table"]


@dataclass(frozen=True, slots=True)
class Reading:
    """The cells that the table shows, at one moment."""

    at: float
    requests: dict[str, float]
    in_flight: dict[str, float]
    failures: dict[str, float]
    tokens: float
    waiting: float
    capacity: float
    sheds: float
    first_token: tuple[float, float]


@dataclass(slots=True)
class Flow:
    """Two readings, to make rates of."""

    last: Reading | None = None
    now: Reading | None = None
    tokens_per_s: float = 0.0
    requests_per_s: dict[str, float] = field(default_factory=dict)

    def update(self, now: Reading) -> None:
        """Take the next reading; rates are smoothed over about a second."""
        last, self.last, self.now = self.now, self.now, now
        if last is None or now.at <= last.at:
            return
        elapsed = now.at - last.at
        share = min(1.0, elapsed)
        rate = (now.tokens - last.tokens) / elapsed
        self.tokens_per_s += share * (rate - self.tokens_per_s)
        for name, count in now.requests.items():
            rate = (count - last.requests.get(name, 0)) / elapsed
            old = self.requests_per_s.get(name, 0.0)
            self.requests_per_s[name] = old + share * (rate - old)


def reading(families: list[Family]) -> Reading:
    """Pick what is shown out of all families."""
    sums: dict[str, float] = defaultdict(float)
    by_endpoint: dict[str, dict[str, float]] = defaultdict(dict)
    first_token = (0.0, 0.0)
    for family in families:
        for sample in family.samples:
            sums[family.name] += sample.value or 0
            endpoint = sample.labels.get("endpoint")
            if endpoint is not None:
                by_endpoint[family.name][endpoint] = sample.value or 0
            if family.name == "fastproxy_first_token_seconds":
                count = sample.buckets[-1][1] if sample.buckets else sample.count or 0
                first_token = (first_token[0] + sample.sum, first_token[1] + count)
    return Reading(
        at=time.monotonic(),
        requests=by_endpoint["fastproxy_endpoint_requests_total"],
        in_flight=by_endpoint["fastproxy_endpoint_in_flight"],
        failures=by_endpoint["fastproxy_endpoint_failures_total"],
        tokens=sums["fastproxy_stream_events_total"],
        waiting=sums["fastproxy_channel_waiters"],
        capacity=sums["fastproxy_channel_capacity"],
        sheds=sums["fastproxy_sheds_total"],
        first_token=first_token,
    )


def table(flow: Flow, names: tuple[str, ...]) -> Table:
    """One row for each endpoint, the pool's figures below."""
    shown = Table(
        title="what flows", title_justify="left", caption=_caption(flow), caption_justify="left"
    )
    shown.add_column("endpoint")
    for heading in ("in flight", "requests", "requests/s", "failures"):
        shown.add_column(heading, justify="right")
    now = flow.now
    for name in names:
        shown.add_row(
            name,
            f"{now.in_flight.get(name, 0):.0f}" if now else "-",
            f"{now.requests.get(name, 0):.0f}" if now else "-",
            f"{flow.requests_per_s.get(name, 0):.1f}",
            f"{now.failures.get(name, 0):.0f}" if now else "-",
        )
    return shown


def line(flow: Flow) -> str:
    """The same in one line, for output that is no terminal."""
    now = flow.now
    if now is None:
        return "nothing yet"
    requests = sum(now.requests.values())
    in_flight = sum(now.in_flight.values())
    return f"requests {requests:.0f}, in flight {in_flight:.0f}, {_caption(flow)}"


def _caption(flow: Flow) -> str:
    now = flow.now
    if now is None:
        return ""
    total, count = now.first_token
    mean = f"{total / count * 1000:.0f} ms" if count else "-"
    return (
        f"tokens {now.tokens:.0f} ({flow.tokens_per_s:.0f}/s), first token {mean} (mean), "
        f"channel {now.waiting:.0f} of {now.capacity:.0f}, shed {now.sheds:.0f}"
    )
