"""What a scenario is: an engine, a load, and the unit in which cost is counted."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from benches.peers.base import Needs

Json = dict[str, Any]

MODEL = "sim"


def scale() -> float:
    """`FP_BENCH_SCALE`: 1 is the real thing, 0.1 a quick look with a tenth of time and sizes."""
    return float(os.environ.get("FP_BENCH_SCALE", "1"))


def scaled(value: float, least: float) -> float:
    """A duration or a size at the current scale, at least `least`."""
    return max(least, value * scale())


@dataclass(frozen=True, slots=True)
class Scenario:
    """A load that every contender meets in the same way."""

    name: str
    title: str
    unit: Literal["request", "token"]
    engine: Json
    """Options of the simulated engine."""
    load: Callable[[], Json]
    """Options of the load, without targets and pids; asked late, for they follow the scale."""
    needs: Needs = field(default_factory=Needs)
    unix: bool = False
    """Whether engines on unix sockets are a variant of it."""
    versions: str = "h1-h1"
    """What clients and engines speak, where a contender's label says nothing else."""
    connections: int = 8192
    """Connections of HTTP/2 clients, which share the streams evenly."""
    streams: int = 0
    """Streams at a time, for HTTP/2 clients."""


def model_body(*, size: int, stream: bool, tokens: int = 0) -> Json:
    """The body of a chat completion of `size` bytes."""
    return {"kind": "model", "model": MODEL, "stream": stream, "bytes": size, "tokens": tokens}
