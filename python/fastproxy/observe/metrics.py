"""Native cells to Prometheus: a custom collector, so that no Python runs per request.

`Core.metrics()` gives JSON, merged over workers; `Collector` turns it into families at scrape. The
names, help texts and labels are the native table's; what is added here is only what the native side
does not know: process, build, reloads and upgrades.
"""

import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest as text_format
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS_TYPE
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_format
from prometheus_client.registry import CollectorRegistry

__all__ = ["Collector", "Exposition", "Family", "Reloads", "Sample", "decode", "expose"]

_PLAIN_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(msgspec.Struct, frozen=True):
    """One cell: a value, or a histogram's cumulative buckets with their sum."""

    labels: dict[str, str] = {}
    value: float | None = None
    buckets: list[tuple[float | None, float]] = []
    sum: float = 0.0
    count: float | None = None


class Family(msgspec.Struct, frozen=True):
    """All cells of one name."""

    name: str
    help: str
    kind: str
    samples: list[Sample] = []


@dataclass(slots=True)
class Reloads:
    """What became of the reloads: shown as metrics and by `/`.

    Attributes:
        succeeded: how many replaced the configuration.
        failed: how many left the old one.
        last_ok: whether the last one did.
        last_at: its wall time in seconds, 0 before the first.
        last_error: why it failed.
    """

    succeeded: int = 0
    failed: int = 0
    last_ok: bool = True
    last_at: float = 0.0
    last_error: str = ""

    def succeed(self) -> None:
        """Count one that replaced the configuration."""
        self.succeeded += 1
        self.last_ok, self.last_at, self.last_error = True, time.time(), ""

    def family(self) -> Family:
        """How many there were, as a counter."""
        counts = {"ok": self.succeeded, "refused": self.failed}
        return Family(
            "fastproxy_config_reloads_total",
            "Reloads by what became of them.",
            "counter",
            [Sample({"result": result}, float(count)) for result, count in counts.items()],
        )

    def fail(self, why: str) -> None:
        """Count one that changed nothing."""
        self.failed += 1
        self.last_ok, self.last_at, self.last_error = False, time.time(), why


@dataclass(frozen=True, slots=True)
class Exposition:
    """A body and its content type."""

    body: bytes
    content_type: str


class Collector:
    """Turns families into those of the library, with what is of this process besides."""

    def __init__(self, families: Iterable[Family], reloads: Reloads, version: str) -> None:
        """Show `families`: of `Core.metrics`, and whatever else is counted."""
        self._families = families
        self._reloads = reloads
        self._version = version

    def collect(self) -> Iterable[Metric]:
        """All families."""
        for family in self._families:
            yield _metric(family)
        yield from self._own()

    def _own(self) -> Iterable[Metric]:
        build = GaugeMetricFamily(
            "fastproxy_build_info",
            "Version of the running build; always 1.",
            labels=["version", "python"],
        )
        build.add_metric([self._version, platform.python_version()], 1)
        yield build
        rss, descriptors = _process()
        yield GaugeMetricFamily(
            "process_resident_memory_bytes", "Resident memory of the process.", value=rss
        )
        yield GaugeMetricFamily("process_open_fds", "Open file descriptors.", value=descriptors)
        yield GaugeMetricFamily(
            "fastproxy_config_last_reload_ok",
            "Whether the last reload replaced the configuration.",
            value=int(self._reloads.last_ok),
        )
        yield GaugeMetricFamily(
            "fastproxy_config_last_reload_timestamp_seconds",
            "When the last reload was tried; 0: never.",
            value=self._reloads.last_at,
        )


def decode(cells: bytes) -> list[Family]:
    """The families of `Core.metrics()`."""
    return msgspec.json.decode(cells, type=list[Family])


def expose(collector: Collector, accept: str) -> Exposition:
    """The exposition in the form that `accept` asks for."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    if "application/openmetrics-text" in accept:
        # The library types the other format only.
        text = openmetrics_format(registry)  # type: ignore[no-untyped-call]
        return Exposition(text, OPENMETRICS_TYPE)
    return Exposition(text_format(registry), _PLAIN_TYPE)


def _metric(family: Family) -> Metric:
    kind = {"counter": "counter", "histogram": "histogram"}.get(family.kind, "gauge")
    labels = [*family.samples[0].labels] if family.samples else []
    match kind:
        case "counter":
            counter = CounterMetricFamily(
                family.name.removesuffix("_total"), family.help, labels=labels
            )
            for sample in family.samples:
                counter.add_metric(
                    [sample.labels.get(key, "") for key in labels], sample.value or 0
                )
            return counter
        case "histogram":
            histogram = HistogramMetricFamily(family.name, family.help, labels=labels)
            for sample in family.samples:
                buckets = [("+Inf" if le is None else _le(le), n) for le, n in sample.buckets]
                if sample.count is not None and (not buckets or buckets[-1][0] != "+Inf"):
                    buckets.append(("+Inf", sample.count))
                values = [sample.labels.get(key, "") for key in labels]
                histogram.add_metric(values, buckets, sample.sum)
            return histogram
        case _:
            gauge = GaugeMetricFamily(family.name, family.help, labels=labels)
            for sample in family.samples:
                gauge.add_metric([sample.labels.get(key, "") for key in labels], sample.value or 0)
            return gauge


def _le(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(float(bound))


def _process() -> tuple[int, int]:
    """Resident bytes and open descriptors; zeros where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len([*Path("/proc/self/fd").iterdir()])
    except (OSError, IndexError):
        pass
    try:
        return 0, len([*Path("/dev/fd").iterdir()])
    except OSError:
        return 0, 0
