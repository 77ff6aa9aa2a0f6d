"""Two workers: what a second one costs, and how evenly long streams lie on both.

All runs have the whole machine, engine and load included, whatever the number of workers: what
differs is only how many threads the proxy has for the same work.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from benches.harness import cpu, machine, native
from benches.harness.compare import compare
from benches.harness.reading import UnmeasuredError
from benches.harness.results import Result
from benches.peers import PEERS, Speech
from benches.peers.fastproxy import TwoWorkers, admin_get
from benches.scenarios.base import Json, Scenario, model_body, scaled

ONE, TWO = "fastproxy_one", "fastproxy_two"

COST_S = 4.0
"""Measured part of a run; nine rounds of three scenarios would else take ten minutes."""

STREAMS = 100
"""Long streams, all alive at once."""

GAP_US = 10_000
SETTLED_S = 1.0
"""After the last stream has begun, before work is counted."""


def cost(scenario: Scenario, rounds: int, say: Callable[[str], None]) -> Result:
    """A scenario through one worker and through two, in the same rounds."""
    everywhere = frozenset(machine.usable())

    def load() -> Json:
        return {**scenario.load(), "duration_s": scaled(COST_S, 2.0)}

    shorter = replace(scenario, load=load)
    return compare(shorter, [ONE, TWO], rounds, say=say, cores=everywhere)


@dataclass(frozen=True, slots=True)
class Spread:
    """A way in which the streams come."""

    speech: str
    connections: int
    """How many carry them; as many as streams for HTTP/1.1."""
    over_ms: int
    """They begin spread over this time; 0 is all at once."""

    @property
    def text(self) -> str:
        """As figures name it."""
        when = f"over {self.over_ms / 1000:g} s" if self.over_ms else "at once"
        return f"{self.speech}, {STREAMS} streams on {self.connections} connections, {when}"


SPREADS = (
    Spread("h1", STREAMS, 0),
    Spread("h1", STREAMS, 2000),
    Spread("h1+tls", STREAMS, 0),
    Spread("h2", STREAMS, 0),
    Spread("h2", 20, 0),
    Spread("h2", 20, 2000),
    Spread("h2+tls", 20, 0),
)


@dataclass(frozen=True, slots=True)
class Balance:
    """One run."""

    cpu_ms: tuple[float, float]
    """CPU time of each worker's thread while all streams were alive."""
    streams: tuple[int, int]
    """Exchanges on each; one may be that of the question."""

    @property
    def ratio(self) -> float:
        """The work of the busier worker over that of the other."""
        return max(self.cpu_ms) / max(1e-9, min(self.cpu_ms))


def balance(spread: Spread) -> Balance:
    """One run of a hundred streams that all last until the work was counted.

    Raises:
        UnmeasuredError: they were not all alive.
    """
    seconds = scaled(5.0, 2.0)
    alive_s = spread.over_ms / 1000 + 2 * SETTLED_S + seconds
    speech = Speech.parse(spread.speech)
    everywhere = frozenset(machine.usable())
    engine_options = {"gap_us": GAP_US, "first_token_us": GAP_US, "slots": 0, "steps": "staggered"}
    tokens = round((alive_s + 2.0) * 1e6 / GAP_US)
    load = {
        **speech.load(streams=STREAMS, connections=spread.connections),
        "mode": {
            "kind": "streams",
            "streams": STREAMS,
            "tokens": tokens,
            "spread_ms": spread.over_ms,
        },
        "body": model_body(size=512, stream=True),
        "requests_max": STREAMS,
        "duration_s": 60.0,
        "timeout_ms": 60_000,
    }
    with (
        native.engine(engine_options, cores=everywhere) as engine,
        PEERS[TwoWorkers.name]().running([engine.address], speech.needs()) as running,
        native.loading({**load, "targets": [running.address]}, cores=everywhere),
    ):
        _all_alive(engine)
        time.sleep(SETTLED_S)
        before = _workers(running.child.pid)
        time.sleep(seconds)
        after = _workers(running.child.pid)
        state = admin_get(running.admin or "", "/endpoints")
        live = [int(worker["exchanges"]) for worker in state["workers"]]
        if int(engine.stats()["running"]) < STREAMS:
            msg = "streams ended before their work was counted"
            raise UnmeasuredError(msg)
    first, second = ((after[name] - before[name]) / 1e6 for name in sorted(after))
    return Balance((first, second), (live[0], live[1]))


def _all_alive(engine: native.Engine) -> None:
    deadline = time.monotonic() + 20.0
    while (running := int(engine.stats()["running"])) < STREAMS:
        if time.monotonic() > deadline:
            msg = f"only {running} of {STREAMS} streams began"
            raise UnmeasuredError(msg)
        time.sleep(0.05)


def _workers(pid: int) -> dict[str, int]:
    found = {name: ns for name, ns in cpu.threads(pid).items() if name.startswith("fastproxy-w")}
    if len(found) != 2:
        msg = f"workers: {sorted(found)}"
        raise UnmeasuredError(msg)
    return found
