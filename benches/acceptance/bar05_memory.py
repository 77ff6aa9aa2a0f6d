"""Bar 5: memory of the idle process, of an idle connection, of a live stream."""

import time

import _path  # noqa: F401

from benches.harness import cpu, crowd, native
from benches.harness.acceptance import main
from benches.harness.reading import Reading
from benches.harness.verdict import Bar
from benches.peers import PEERS, PLAIN, Needs, Speech
from benches.scenarios.base import model_body, scaled

TITLE = "resident memory: idle, an idle connection, a live stream"

IDLE_MB = 60.0
CONNECTION_KIB = 8.0
STREAM_KIB = 16.0

ENGINE = {
    "unary_us": 0,
    "slots": 0,
    "gap_us": 1_000_000,
    "first_token_us": 1_000,
    "steps": "staggered",
}
NEEDS = Needs(concurrency=20_000, connections=20_000)


def settled(pids: list[int]) -> int:
    """Resident bytes once they have stopped moving."""
    time.sleep(1.0)
    return cpu.memory(pids).rss


STREAMS_PER_CONNECTION = 50
"""Of live streams over HTTP/2."""


def idle_process(bar: Bar, engine: native.Engine, speech: Speech = PLAIN) -> None:
    """Just started, and after it has served."""
    with PEERS["fastproxy"]().running([engine.address], speech.needs(NEEDS)) as running:
        resident = settled(running.pids) / 1e6
        bar.add(speech.says("RSS just started"), resident, "<=", IDLE_MB, unit="MB")
        load = {
            **speech.load(streams=64, connections=8),
            "targets": [running.address],
            "mode": {"kind": "concurrency", "connections": 64},
            "body": model_body(size=1024, stream=False, tokens=1),
            "duration_s": scaled(5.0, 1.0),
        }
        native.load(load)
        resident = settled(running.pids) / 1e6
        bar.add(speech.says("RSS idle after a load"), resident, "<=", IDLE_MB, unit="MB")


def connections(
    bar: Bar,
    engine: native.Engine,
    speech: Speech = PLAIN,
    *,
    used: bool,
    limit_kib: float = CONNECTION_KIB,
) -> None:
    """Idle kept connections."""
    count = int(scaled(5000, 1000))
    with PEERS["fastproxy"]().running([engine.address], speech.needs(NEEDS)) as running:
        with crowd.idle(running.address, 200, used=True, speech=speech):
            pass
        before = settled(running.pids)
        with crowd.idle(running.address, count, used=used, speech=speech) as held:
            time.sleep(4.0)
            each = (settled(running.pids) - before) / held / 1024
    kind = "after a request each" if used else "never used"
    what = speech.says(f"RSS an idle connection, {count} of them {kind}")
    bar.add(what, each, "<=", limit_kib, unit="KiB")


def streams(bar: Bar, engine: native.Engine, speech: Speech = PLAIN) -> None:
    """Live streams at one token a second."""
    count = int(scaled(5000, 1000))
    with PEERS["fastproxy"]().running([engine.address], speech.needs(NEEDS)) as running:
        with crowd.idle(running.address, 200, used=True, speech=speech):
            pass
        before = settled(running.pids)
        load = {
            "targets": [running.address],
            "mode": {"kind": "streams", "streams": count, "tokens": 25, "spread_ms": 5000},
            "body": model_body(size=512, stream=True),
            "duration_s": 24.0,
            "requests_max": count,
            "connections_max": count + 100,
            **speech.load(streams=count, connections=count // STREAMS_PER_CONNECTION),
            "drain_s": 40.0,
            "timeout_ms": 90_000,
        }
        with native.loading(load) as loading:
            highest, live = 0, 0
            for _ in range(16):
                time.sleep(1.0)
                live = max(live, int(engine.stats()["running"]))
                if live >= count:
                    highest = max(highest, cpu.memory(running.pids).rss)
            if live < count:
                bar.say(f"only {live} of {count} streams were live at once")
                highest = cpu.memory(running.pids).rss
            reading = Reading.of(loading.report())
    bar.data[speech.says("streams")] = dict(reading.part["outcomes"])
    each = (highest - before) / max(1, live) / 1024
    bar.add(
        speech.says(f"RSS a live stream, {live} of them at one token a second"),
        each,
        "<=",
        STREAM_KIB,
        unit="KiB",
        note=f"{reading.count('ok')} ended well",
    )


def measure(bar: Bar) -> None:
    """All of it, each with a fresh process."""
    with native.engine(ENGINE) as engine:
        idle_process(bar, engine)
        connections(bar, engine, used=False)
        connections(bar, engine, used=True)
        streams(bar, engine)


if __name__ == "__main__":
    main(5, TITLE, measure)
