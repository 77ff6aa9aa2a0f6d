"""What a proxy says and takes while it is attacked: counters of its own, and resident memory."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benches.harness.processes import get
from harness.metrics import Metrics

CLOSURES = "fastproxy_http2_closures_total"
EVERY_S = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")


def scrape(admin: str) -> Metrics:
    """All metrics now."""
    _, body = get(admin, "/metrics", timeout=20.0)
    return Metrics.parse(body.decode())


def counted(metrics: Metrics, name: str, label: str) -> dict[str, int]:
    """A counter by one of its labels, but for what is nought."""
    found: dict[str, int] = {}
    for sample in metrics.select(name):
        if sample.value and label in sample.labels:
            key = sample.labels[label]
            found[key] = found.get(key, 0) + int(sample.value)
    return found


def resident(pid: int) -> int:
    """Resident memory of a process, bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


@dataclass(slots=True)
class Memory:
    """Resident memory over time."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    def most(self, start_s: float, end_s: float = float("inf")) -> int:
        """The highest between two moments of `time.monotonic`; bytes."""
        return max((rss for at, rss in self.samples if start_s <= at <= end_s), default=0)


@contextlib.contextmanager
def memory(pid: int) -> Iterator[Memory]:
    """Watches a process for the length of a block."""
    found = Memory()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(EVERY_S):
            with contextlib.suppress(OSError):
                found.samples.append((time.monotonic(), resident(pid)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
