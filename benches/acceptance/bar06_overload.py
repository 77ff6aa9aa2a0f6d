"""Bar 6: offered twice, five and ten times what the engine can do, half on new connections."""

import _path  # noqa: F401

from benches.harness import native
from benches.harness.acceptance import main, rounds
from benches.harness.reading import Reading
from benches.harness.verdict import Bar
from benches.peers import PEERS, PLAIN, Needs, Speech
from benches.scenarios import shed
from benches.scenarios.base import Json, model_body, scaled

TITLE = "overload: goodput, early refusals, recovery, and what a refusal costs"

SLOTS = 40
TOKENS = 5
GAP_US = 20_000
FIRST_US = 20_000
"""A stream takes 100 ms, so that 40 slots make nearly 400 streams a second."""

WARM_S = 2

MAX_WAIT_S = 2.0
SHED_MS = 10.0
GOODPUT = 0.9
FIRST_TOKEN_RATIO = 1.2

NEEDS = Needs(concurrency=SLOTS, connections=SLOTS + 8, max_wait=f"{MAX_WAIT_S:g}s")


STREAMS_PER_CONNECTION = 16
"""Over HTTP/2, on the connections that are kept."""

SECONDS = 10.0
"""Each phase."""


def clients(speech: Speech) -> Json:
    """What they speak.

    Under TLS they resume their sessions: a full handshake costs a client more than us, and the
    load's core would be the limit.
    """
    found = speech.load()
    if speech.front == "h2":
        found["streams_per_connection"] = STREAMS_PER_CONNECTION
    if speech.front_tls:
        found["tls"]["resume"] = True
    return found


def load(address: str, phases: list[Json], seed: int, speech: Speech) -> Json:
    """An open loop, Poisson, half of the requests on connections of their own."""
    return {
        **clients(speech),
        "targets": [address],
        "mode": {"kind": "rate", "per_second": 100.0, "arrivals": "poisson"},
        "phases": phases,
        "new_connection_ratio": 0.5,
        "body": model_body(size=1024, stream=True, tokens=TOKENS),
        "connections_max": 6000,
        "timeout_ms": 20_000,
        "drain_s": 10.0,
        "retry_stale": False,
        "seed": seed,
    }


def capacity(address: str, speech: Speech = PLAIN) -> float:
    """Streams a second that come to their end when exactly all slots are kept busy."""
    report = native.load(
        {
            **clients(speech),
            "targets": [address],
            "mode": {"kind": "concurrency", "connections": SLOTS},
            "body": model_body(size=1024, stream=True, tokens=TOKENS),
            "duration_s": scaled(8.0, 3.0),
            "warmup_s": 1.0,
        }
    )
    return float(report["total"]["good_per_s"])


def _within_max_wait(reading: Reading) -> float:
    """Share of the good answers whose first token came within `max_wait` and its own time."""
    limit_us = MAX_WAIT_S * 1e6 + 10 * FIRST_US
    below = [share for share, us in reading.part["first_token"]["curve"] if us <= limit_us]
    return float(max(below, default=0.0))


def _ended_good(series: list[Json], start: int, seconds: int) -> float:
    """Good answers a second that ended in the overload, its first second left out."""
    ended = [row["good"] for row in series if start + 1 <= row["second"] < start + seconds]
    return float(sum(ended)) / max(1, len(ended))


def overload(  # noqa: PLR0913 - what is offered, to whom, and how
    bar: Bar,
    address: str,
    per_second: float,
    times: int,
    speech: Speech = PLAIN,
    *,
    seconds: float = SECONDS,
) -> None:
    """One offered load: before, during and after it."""
    seconds = round(scaled(seconds, 5.0))
    half = per_second / 2
    phases: list[Json] = [
        {"name": "warm", "duration_s": WARM_S, "per_second": half},
        {"name": "before", "duration_s": seconds, "per_second": half},
        {"name": "over", "duration_s": seconds, "per_second": per_second * times},
        {"name": "settling", "duration_s": 5.0, "per_second": half},
        {"name": "after", "duration_s": seconds, "per_second": half},
    ]
    report = native.load(load(address, phases, times, speech))
    parts = Reading.parts(report)
    label = speech.says(f"{times}C")
    bar.data[label] = {
        name: {
            "outcomes": part.part["outcomes"],
            "good_per_s": part.part["good_per_s"],
            "offered_per_s": part.part["offered_per_s"],
            "statuses": part.part["statuses"],
        }
        for name, part in parts.items()
    }
    over = parts["over"]
    good = _ended_good(report["series"], WARM_S + seconds, seconds) * _within_max_wait(over)
    bar.add(
        f"{label}: goodput / C",
        good / per_second,
        ">=",
        GOODPUT,
        note=f"{over.part['offered_per_s']:.0f} a second offered, {good:.0f} good",
    )
    late_ms = over.us("lag", "p99") / 1000
    bar.add(
        f"{label}: 429 within, P99",
        over.us("shed_latency", "p99") / 1000,
        "<=",
        SHED_MS,
        unit="ms",
        # Time counts from the intended send, so the load's own lateness is in it.
        note=f"{over.count('shed')} of them, sent {late_ms:.1f} ms late at P99",
    )
    failed = sum(part.count("failed") for part in parts.values())
    bar.add(f"{label}: other errors in all phases", failed, "==", 0)
    bar.add(
        f"{label}: 429 with Retry-After",
        over.count("shed_with_retry_after") / max(1, over.count("shed")),
        "==",
        1.0,
    )
    ratio = parts["after"].us("first_token", "p50") / parts["before"].us("first_token", "p50")
    bar.add(f"{label}: P50 first token 5 s after / before", ratio, "<=", FIRST_TOKEN_RATIO)
    bar.add(f"{label}: refusals 5 s after", parts["after"].count("shed"), "==", 0)
    for warning in report["warnings"]:
        bar.say(warning)


def overloads(bar: Bar, speech: Speech = PLAIN, *, seconds: float = SECONDS) -> None:
    """Capacity, then 2C, 5C and 10C."""
    engine_options: Json = {
        "slots": SLOTS,
        "gap_us": GAP_US,
        "first_token_us": FIRST_US,
        "tokens": TOKENS,
        "steps": "staggered",
    }
    with (
        native.engine(speech.engine(engine_options)) as engine,
        PEERS["fastproxy"]().running([engine.address], speech.needs(NEEDS)) as running,
    ):
        per_second = capacity(running.address, speech)
        what = speech.says("capacity C")
        bar.add(what, per_second, unit="streams/s", note="300 to 500 wanted")
        for times in (2, 5, 10):
            overload(bar, running.address, per_second, times, speech, seconds=seconds)


def shed_cost(bar: Bar, speech: Speech = PLAIN, *, times: int | None = None) -> None:
    """CPU of a 429 on a kept connection over that of a served request and of a stream."""
    table = shed.costs(times or rounds(bar), say=bar.say, speech=speech)
    bar.data[speech.says("shed")] = table.samples
    for name in table.samples:
        bar.add(speech.says(f"CPU of a {name}"), table.estimate(name, "cpu_us"), unit="us")
    for kind, what, limit in (
        ("request", "a refusal / a served unary request", 0.6),
        ("stream", "a refusal / a stream of 60 tokens", 0.02),
    ):
        bar.add(speech.says(what), table.ratio("refusal", kind, "cpu_us"), "<=", limit)


def measure(bar: Bar) -> None:
    """Overloads; then the cost of a refusal."""
    overloads(bar)
    shed_cost(bar)


if __name__ == "__main__":
    main(6, TITLE, measure)
