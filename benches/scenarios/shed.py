"""What a 429 costs on a kept connection, beside a served unary request and a whole stream."""

import contextlib
import time
from collections.abc import Callable, Iterator

from benches.harness import native
from benches.harness.reading import Reading, UnmeasuredError
from benches.harness.rounds import Sample, Table, interleave
from benches.peers import PEERS, PLAIN, Needs, Speech
from benches.scenarios.base import Json, model_body, scaled
from benches.scenarios.streams import STREAMS, STREAMS_STAGGERED, TOKENS
from benches.scenarios.unary import UNARY

FULL = Needs(concurrency=1, capacity=0)
"""One request at a time and none that waits: with one held, every other is refused."""


AT_A_TIME = 64
"""Requests at a time, as in the scenario of unary requests."""

CONNECTIONS = 8
"""Connections of HTTP/2 that requests and streams share."""


@contextlib.contextmanager
def _held(address: str, engine: native.Engine, speech: Speech) -> Iterator[None]:
    """Keep the only permit: a stream that the engine stalls."""
    asked = {
        **speech.load(),
        "targets": [address],
        "mode": {"kind": "streams", "streams": 1, "tokens": 5},
        "headers": [("x-sim-fault", "stall:1")],
        "requests_max": 1,
        "duration_s": 600.0,
        "timeout_ms": 600_000,
    }
    with native.loading(asked):
        deadline = time.monotonic() + 10.0
        while engine.stats()["running"] < 1:
            if time.monotonic() > deadline:
                msg = "the stream that should hold the permit was refused"
                raise UnmeasuredError(msg)
            time.sleep(0.02)
        yield


def _unary(speech: Speech, seconds: float) -> Json:
    shared = speech.load(streams=AT_A_TIME, connections=CONNECTIONS)
    return {**UNARY.load(), **shared, "duration_s": seconds}


def _refusal(speech: Speech) -> Sample:
    with (
        native.engine(speech.engine(UNARY.engine)) as engine,
        PEERS["fastproxy"]().running([engine.address], speech.needs(FULL)) as running,
        _held(running.address, engine, speech),
    ):
        load = _unary(speech, scaled(4.0, 1.0))
        report = native.load({**load, "targets": [running.address], "pids": running.pids})
    reading = Reading.of(report)
    shed = reading.count("shed")
    if shed < 0.99 * reading.count("offered"):
        msg = f"only {shed} of {reading.count('offered')} were refused"
        raise UnmeasuredError(msg)
    return {"cpu_us": reading.cpu_us("request"), "p50_us": reading.us("shed_latency", "p50")}


def _request(speech: Speech) -> Sample:
    with (
        native.engine(speech.engine(UNARY.engine)) as engine,
        PEERS["fastproxy"]().running([engine.address], speech.needs()) as running,
    ):
        load = _unary(speech, scaled(6.0, 1.0))
        load |= {"targets": [running.address], "pids": running.pids}
        return Reading.of(native.load(load)).sample("request")


def _stream(speech: Speech) -> Sample:
    with (
        native.engine(speech.engine(STREAMS_STAGGERED.engine)) as engine,
        PEERS["fastproxy"]().running([engine.address], speech.needs()) as running,
    ):
        load = {**STREAMS_STAGGERED.load(), "body": model_body(size=1024, stream=True)}
        load |= speech.load(streams=STREAMS, connections=CONNECTIONS)
        load |= {"targets": [running.address], "pids": running.pids}
        sample = Reading.of(native.load(load)).sample("token")
    return {"cpu_us": sample["cpu_us"] * TOKENS}


def costs(rounds: int, *, say: Callable[[str], None], speech: Speech = PLAIN) -> Table:
    """CPU microseconds of each kind, in interleaved rounds."""
    kinds: dict[str, Callable[[Speech], Sample]] = {
        "refusal": _refusal,
        "request": _request,
        "stream": _stream,
    }
    return interleave(list(kinds), rounds, lambda kind: kinds[kind](speech), say=say)
