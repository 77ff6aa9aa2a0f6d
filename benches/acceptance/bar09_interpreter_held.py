"""Bar 9: the interpreter held by a C call that sleeps, half of the time, while tokens flow."""

import contextlib
from collections.abc import Iterator

import _path  # noqa: F401

from benches.harness import embedded, native
from benches.harness.acceptance import main, rounds
from benches.harness.reading import Reading, UnmeasuredError
from benches.harness.rounds import Sample, Table, interleave
from benches.harness.verdict import Bar
from benches.peers import PEERS, PLAIN, Speech
from benches.scenarios.base import scaled
from benches.scenarios.streams import STREAMS, STREAMS_STAGGERED

TITLE = "the GIL held 200 ms out of every 400: token delay with and without"

HOLD_MS = 200
EVERY_MS = 400
LATEST_MS = 50.0
P99_RATIO = 1.2

KINDS: dict[str, dict[str, int]] = {
    "threads": {"workers": 1},
    "threads, held": {"workers": 1, "hold_ms": HOLD_MS, "every_ms": EVERY_MS},
    "inline": {"workers": 0},
    "inline, held": {"workers": 0, "hold_ms": HOLD_MS, "every_ms": EVERY_MS},
}


RELAY = "relay"
"""A bare relay in the same rounds: what the machine itself does to a token."""


CONNECTIONS = 8
"""Connections of HTTP/2 that the streams share."""


@contextlib.contextmanager
def proxy(kind: str, engine: native.Engine, speech: Speech) -> Iterator[str]:
    """The address of a proxy of this kind."""
    if kind == RELAY:
        with PEERS[RELAY]().running([engine.address]) as relay:
            yield relay.address
    else:
        needs = speech.needs()
        with embedded.running([engine.address], needs, **KINDS[kind]) as (address, _):
            yield address


def one(
    kind: str, engine: native.Engine, speech: Speech = PLAIN, *, seconds: float = 6.0
) -> Sample:
    """Streams through a proxy inside an asyncio program."""
    with proxy(kind, engine, speech) as address:
        load = {**STREAMS_STAGGERED.load(), "targets": [address]}
        load |= speech.load(streams=STREAMS, connections=CONNECTIONS)
        load["duration_s"] = scaled(seconds, 2.5)
        reading = Reading.of(native.load(load))
    if reading.count("failed") and kind != "inline, held":
        msg = f"{kind}: {reading.part['outcomes']}"
        raise UnmeasuredError(msg)
    return {
        "delay_p99_us": reading.us("token_delay", "p99"),
        "delay_max_us": reading.us("token_delay", "max"),
        "delay_p50_us": reading.us("token_delay", "p50"),
        "failed": reading.count("failed"),
    }


def judge(bar: Bar, table: Table, held: str, calm: str, speech: Speech = PLAIN) -> None:
    """The latest token while held, and the tail beside that of the same proxy left alone."""
    latest = max(table.values(held, "delay_max_us")) / 1000
    left = max(table.values(calm, "delay_max_us")) / 1000
    relay = max(table.values(RELAY, "delay_max_us")) / 1000
    what = speech.says("threads: latest token of all rounds while held")
    note = f"{left:.1f} ms when not held, {relay:.1f} ms through the relay"
    bar.add(what, latest, "<=", LATEST_MS, unit="ms", note=note)
    ratio = table.ratio(held, calm, "delay_p99_us")
    bar.add(speech.says("threads: delay P99 held / not held"), ratio, "<=", P99_RATIO)


def measure(bar: Bar) -> None:
    """All four kinds in each round."""
    with native.engine(STREAMS_STAGGERED.engine) as engine:
        kinds = [*KINDS, RELAY]
        table = interleave(kinds, rounds(bar), lambda kind: one(kind, engine), say=bar.say)
    bar.data["samples"] = table.samples
    judge(bar, table, "threads, held", "threads")
    for kind in ("inline", "inline, held"):
        for figure in ("delay_p99_us", "delay_max_us"):
            bar.add(
                f"{kind}: {figure}", table.estimate(kind, figure), unit="us", note="for contrast"
            )


if __name__ == "__main__":
    main(9, TITLE, measure)
