"""The well-behaved client beside an attack: what it asks for, and how it fared."""

import contextlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benches.harness import machine
from benches.harness.processes import Child, StartError
from benches.harness.reading import Reading
from benches.scenarios.base import Json, model_body

HERE = Path(__file__).resolve().parent
WARM_S = 2.5
"""Streams of a second, and one more until they are spread."""
TURN_S = 0.2
"""Between two windows: the attackers turn to the other target."""
SINK, PROXY = "sink", "proxy"

_UNARY: Json = {
    "mode": {"kind": "rate", "per_second": 300.0, "arrivals": "constant"},
    "body": model_body(size=512, stream=False, tokens=8),
}
_STREAMS: Json = {
    "mode": {"kind": "streams", "streams": 20, "tokens": 50, "spread_ms": 900},
    "body": model_body(size=512, stream=True),
}
_HTTP1: Json = {"new_connection_ratio": 0.05}
_HTTP2: Json = {"protocol": "http2", "streams_per_connection": 10}
LOADS: dict[str, Json] = {
    "requests, HTTP/1.1": _UNARY | _HTTP1,
    "requests, HTTP/2": _UNARY | _HTTP2,
    "tokens, HTTP/1.1": _STREAMS | _HTTP1,
    "tokens, HTTP/2": _STREAMS | _HTTP2,
}
ENGINE: Json = {
    "unary_us": 0,
    "slots": 0,
    "gap_us": 20_000,
    "first_token_us": 20_000,
    "steps": "staggered",
    "http2_streams_max": 1024,
}


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in which the attackers have one target."""

    name: str
    target: str
    start_s: float
    """From the start of the loads."""
    end_s: float


def windows(rounds: int, length_s: float) -> list[Window]:
    """One at the sink and one at the proxy in each round, in turn.

    The first is at the sink: it shows the memory before any attack.
    """
    found = []
    at_s = WARM_S
    for number in range(rounds):
        order = (PROXY, SINK) if number % 2 else (SINK, PROXY)
        for target in order:
            at_s += TURN_S
            found.append(Window(f"{target} {number}", target, at_s, at_s + length_s))
            at_s += length_s
    return found


def phases(plan: list[Window]) -> list[Json]:
    """The same for the load generator, without gaps."""
    found: list[Json] = []
    at_s = 0.0
    for window in plan:
        found.append({"name": f"before {window.name}", "duration_s": window.start_s - at_s})
        found.append({"name": window.name, "duration_s": window.end_s - window.start_s})
        at_s = window.end_s
    return found


@dataclass(frozen=True, slots=True)
class Fared:
    """What the client saw."""

    reports: dict[str, Json]

    def p99_us(self, name: str, window: str) -> float:
        """Of whole answers, or of the delay of tokens; NaN where there was none."""
        part = Reading.parts(self.reports[name])[window]
        kind = "token_delay" if name.startswith("tokens") else "latency"
        return part.us(kind, "p99") if part.has(kind) else math.nan

    @property
    def asked(self) -> int:
        """Requests that came to an end."""
        return sum(sum(report["total"]["outcomes"].values()) for report in self.reports.values())

    @property
    def bad(self) -> int:
        """Of these, those refused or failed."""
        totals = [report["total"] for report in self.reports.values()]
        return sum(total["failed"] + total["shed"] for total in totals)

    def said(self) -> str:
        """What there is to know of it in a word."""
        return str(self.outcomes()) if self.bad else "all well"

    def outcomes(self) -> dict[str, dict[str, int]]:
        """By load, but for what is nought."""
        return {
            name: {key: count for key, count in report["total"]["outcomes"].items() if count}
            for name, report in self.reports.items()
        }


@dataclass(slots=True)
class Client:
    """One that runs."""

    child: Child
    directory: Path
    started_s: float
    """`time.monotonic`."""

    def fared(self, timeout: float = 60.0) -> Fared:
        """Wait for its end."""
        if self.child.process.wait(timeout):
            raise StartError(self.child.tail())
        found = {name: self.directory / f"{name.replace('/', ' ')}.json" for name in LOADS}
        return Fared({name: json.loads(path.read_text()) for name, path in found.items()})


@contextlib.contextmanager
def client(address: str, parts: list[Json]) -> Iterator[Client]:
    """A well-behaved client of a proxy, for the length of a block."""
    common = {"targets": [address], "phases": parts, "drain_s": 5.0, "timeout_ms": 5000}
    loads = {name.replace("/", " "): common | load for name, load in LOADS.items()}
    with tempfile.TemporaryDirectory(prefix="fp-neighbour-") as place:
        directory = Path(place)
        child = Child(
            [sys.executable, str(HERE / "client.py"), json.dumps(loads), place],
            cores=set(machine.cores().rest),
            directory=directory,
            name="client",
            stdout=subprocess.PIPE,
        )
        try:
            stdout = child.process.stdout
            line = stdout.readline() if stdout else b""
            if not line:
                raise StartError(child.tail())
            yield Client(child, directory, float(line))
        finally:
            child.kill()
