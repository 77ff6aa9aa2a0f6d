"""Bar 4.8: the configuration and the whole process replaced under load; nothing notices."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import _path  # noqa: F401
from bar08_kills_and_reloads import CALM, Scraper, reloads

from benches.harness import native
from benches.harness.acceptance import main
from benches.harness.verdict import Bar
from benches.peers import PEERS, PLAIN, Running, Speech
from benches.scenarios.base import model_body, scaled

TITLE = "1,000 reloads and 50 binary upgrades under load"

UPGRADES = 50
STEP_S = 60.0
TAKEN = re.compile(rb"process (\d+) has taken over")

# Every request counts once: no client here tries again on another connection.
LOADS: dict[str, dict[str, Any]] = {
    "unary requests, kept and new connections": {
        "mode": {"kind": "concurrency", "connections": 16},
        "new_connection_ratio": 0.2,
        "body": model_body(size=1024, stream=False, tokens=1),
    },
    "unary requests, connections that are mostly idle": {
        "mode": {"kind": "rate", "per_second": 40.0},
        "body": model_body(size=256, stream=False, tokens=1),
    },
    "streams": {
        "mode": {"kind": "streams", "streams": 50, "tokens": 120},
        "new_connection_ratio": 0.2,
        "body": model_body(size=512, stream=True, tokens=120),
    },
    "streams over HTTP/2": {
        "protocol": "http2",
        "streams_per_connection": 10,
        "mode": {"kind": "streams", "streams": 50, "tokens": 120},
        "body": model_body(size=512, stream=True, tokens=120),
    },
}


def alive(pid: int) -> bool:
    """Whether that process is still there."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def resident_mib(pids: list[int]) -> float:
    """Resident memory of them all."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Line:
    """The processes of one service, each started by a signal to the one before it."""

    def __init__(self, running: Running) -> None:
        self._log = running.child.log
        self.pids = [running.child.pid]
        self.steps_s: list[float] = []
        self.together = 1
        self.resident_mib = 0.0

    @property
    def now(self) -> int:
        """The process that serves."""
        return self.pids[-1]

    def upgrade(self) -> None:
        """One more; returns when it has taken over.

        Raises:
            TimeoutError: it has not.
        """
        began = time.monotonic()
        os.kill(self.now, signal.SIGUSR2)
        while len(found := TAKEN.findall(self._log.read_bytes())) < len(self.pids):
            if time.monotonic() - began > STEP_S:
                msg = self._log.read_text(errors="replace")[-1000:]
                raise TimeoutError(msg)
            time.sleep(0.01)
        self.steps_s.append(time.monotonic() - began)
        self.pids.append(int(found[-1]))
        living = [pid for pid in self.pids if alive(pid)]
        self.together = max(self.together, len(living))
        self.resident_mib = max(self.resident_mib, resident_mib(living))

    def wait_for_the_old(self, seconds: float) -> int:
        """How many of those before are left when the time is over."""
        deadline = time.monotonic() + seconds
        while (left := sum(alive(pid) for pid in self.pids[:-1])) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def end(self) -> None:
        """Stop whoever is left."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.pids:
                if alive(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
            deadline = time.monotonic() + 5.0
            while any(alive(pid) for pid in self.pids) and time.monotonic() < deadline:
                time.sleep(0.02)


@contextlib.contextmanager
def served(engine: str, speech: Speech) -> Iterator[tuple[Running, Line]]:
    """The proxy, and whatever comes after it."""
    with PEERS["fastproxy"]().running([engine], speech.needs()) as running:
        line = Line(running)
        try:
            yield running, line
        finally:
            line.end()


def upgrades(
    bar: Bar,
    speech: Speech = PLAIN,
    loads: Mapping[str, dict[str, Any]] = MappingProxyType(LOADS),
    *,
    count: int = UPGRADES,
) -> dict[str, Any]:
    """By signal, one after the other, with all loads and a scraper at it all the time.

    Returns what came of each load.
    """
    says = speech.says
    count = int(scaled(count, 6))
    with (
        native.engine(speech.engine(CALM)) as engine,
        served(engine.address, speech) as (running, line),
        contextlib.ExitStack() as stack,
    ):
        common = {"targets": [running.address], "duration_s": 3600.0, "drain_s": 30.0}
        under_way = [stack.enter_context(native.loading(common | load)) for load in loads.values()]
        time.sleep(1.0)
        with Scraper(running.admin or "") as scraper:
            for _ in range(count):
                line.upgrade()
                time.sleep(0.2)
            reports = [load.end() for load in under_way]
            time.sleep(0.2)
        left = line.wait_for_the_old(90.0)
    totals = {name: report["total"] for name, report in zip(loads, reports, strict=True)}
    bar.add(says("upgrades"), len(line.pids) - 1, "==", count)
    for name, total in totals.items():
        bar.data[says(f"upgrades: {name}")] = {
            key: total.get(key) for key in ("outcomes", "offered", "closed_before_head")
        }
        bar.add(
            says(f"{name}: failed or reset"),
            total["failed"] + total["shed"],
            "==",
            0,
            note=f"{total['good']} good, {total['outcomes']}",
        )
    note = f"{scraper.scrapes} scrapes; {scraper.fallen[:2]}"
    bar.add(says("counters that fell over upgrades"), len(scraper.fallen), "==", 0, note=note)
    failed = str(scraper.failed[:2])
    bar.add(says("scrapes that failed"), len(scraper.failed), "==", 0, note=failed)
    bar.add(says("old processes left after the load"), left, "==", 0)
    steps = sorted(line.steps_s)
    bar.add(says("signal to taken over, median"), steps[len(steps) // 2], unit="s")
    bar.add(says("signal to taken over, longest"), steps[-1], unit="s")
    bar.add(says("processes at a time, at most"), line.together)
    bar.add(says("memory of all of them, at most"), line.resident_mib, unit="MiB")
    return totals


def measure(bar: Bar) -> None:
    """Both halves."""
    reloads(bar, new_connections=0.2)
    upgrades(bar)


if __name__ == "__main__":
    main("4.8", TITLE, measure)
