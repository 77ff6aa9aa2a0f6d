"""Bar 7: clients that leave, at every point of a request's life and in every way."""

import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import _path  # noqa: F401

from benches.harness import native
from benches.harness.acceptance import main
from benches.harness.verdict import Bar
from benches.peers import PEERS, PLAIN, Needs, Running, Speech
from benches.peers.fastproxy import admin_get
from benches.scenarios.base import model_body, scaled

TITLE = "clients gone: no orphan upstream, every permit back, one record each"

CLIENTS = 10_000
PHASES = ["head", "body", "queue", "before_token", "mid_event"]
KINDS = ["rst", "fin", "half_close"]
STREAMS_PER_CONNECTION = 4
"""Over HTTP/2: a client that cuts its connection takes so many requests along."""
ENGINE = {"slots": 0, "gap_us": 5_000, "first_token_us": 20_000, "steps": "staggered"}
CONCURRENCY = 48
PERMITS = 24
"""Half of the clients are being served and half wait in the channel."""


def leave(
    address: str, count: int, phases: list[str], kinds: list[str], speech: Speech
) -> dict[str, Any]:
    """So many clients that all leave."""
    connections = CONCURRENCY // STREAMS_PER_CONNECTION
    report = native.load(
        {
            **speech.load(streams=CONCURRENCY, connections=connections),
            "targets": [address],
            "mode": {"kind": "concurrency", "connections": CONCURRENCY},
            "body": model_body(size=2048, stream=True, tokens=60),
            "requests_max": count,
            "duration_s": 600.0,
            "drain_s": 2.0,
            "timeout_ms": 30_000,
            "client_abort": {"ratio": 1.0, "phases": phases, "kinds": kinds, "delay_ms": 5},
        }
    )
    found: dict[str, Any] = report["total"]
    return found


def still_held(running: Running) -> dict[str, int]:
    """What the proxy says it still holds; all of it must be nothing."""
    state = admin_get(running.admin or "", "/endpoints")
    return {
        "permits": sum(end["in_flight"] for pool in state["pools"] for end in pool["endpoints"]),
        "waiting": sum(pool["channel"]["depth"] for pool in state["pools"]),
        "body bytes": sum(pool["channel"]["bytes"] for pool in state["pools"]),
    }


def records(log: Path) -> list[dict[str, Any]]:
    """The access log."""
    if not log.exists():
        return []
    return [json.loads(row) for row in log.read_text().splitlines() if row.strip()]


def one_way(  # noqa: PLR0913 - a point, a way, and who leaves
    bar: Bar, engine: native.Engine, phase: str, kind: str, count: int, speech: Speech = PLAIN
) -> None:
    """One point of leaving and one way, by itself."""
    with tempfile.TemporaryDirectory(prefix="fp-gone-") as place:
        log = Path(place) / "access.log"
        needs = Needs(concurrency=PERMITS, connections=PERMITS + 8, access_log=log)
        with PEERS["fastproxy"]().running([engine.address], speech.needs(needs)) as running:
            time.sleep(0.3)
            before = len(records(log))
            total = leave(running.address, count, [phase], [kind], speech)
            time.sleep(1.0)
            running_after = int(engine.stats()["running"]) + int(engine.stats()["waiting"])
            held = still_held(running)
            time.sleep(0.3)
            found = records(log)[before:]
    flags = Counter(str(record.get("flags", record.get("flag", ""))) for record in found)
    label = speech.says(f"{phase}, {kind}")
    bar.data[label] = {"outcomes": total["outcomes"], "records": len(found), "flags": dict(flags)}
    offered = total["offered"]
    good = running_after == 0 and not any(held.values()) and len(found) == offered
    bar.fact(
        f"{label}: {offered} clients",
        good,
        f"orphans {running_after}, held {held}, records {len(found)} {dict(flags.most_common(3))}",
    )


def all_ways(
    bar: Bar,
    engine: native.Engine,
    count: int,
    kinds: list[str] = KINDS,
    speech: Speech = PLAIN,
) -> bool:
    """All points and ways at once; whether nothing was missed."""
    with tempfile.TemporaryDirectory(prefix="fp-gone-") as place:
        log = Path(place) / "access.log"
        needs = Needs(concurrency=PERMITS, connections=PERMITS + 8, access_log=log)
        with PEERS["fastproxy"]().running([engine.address], speech.needs(needs)) as running:
            time.sleep(0.3)
            before = len(records(log))
            total = leave(running.address, count, PHASES, kinds, speech)
            time.sleep(1.0)
            stats = engine.stats()
            held = still_held(running)
            time.sleep(0.3)
            found = records(log)[before:]
    says, offered = speech.says, total["offered"]
    bar.data[says("all")] = {
        "outcomes": total["outcomes"],
        "engine": stats,
        "records": len(found),
    }
    left, orphans = total["outcomes"]["aborted"], stats["running"] + stats["waiting"]
    ids = [record.get("request_id", record.get("id")) for record in found]
    figures = [
        bar.add(says("clients that left"), left, ">=", 0.99 * count, note=str(total["outcomes"])),
        bar.add(says("orphan upstream requests after 1 s"), orphans, "==", 0),
        *(bar.add(says(f"{what} still held"), held[what], "==", 0) for what in held),
        bar.add(says("records"), len(found), "==", offered, note="one each"),
        bar.add(says("records with an id of their own"), len(set(ids)), "==", offered),
    ]
    return all(figure.verdict == "PASS" for figure in figures)


def each_way(
    bar: Bar, engine: native.Engine, kinds: list[str] = KINDS, speech: Speech = PLAIN
) -> None:
    """Each point and way by itself, to see which one fails."""
    for phase in PHASES:
        for kind in kinds:
            one_way(bar, engine, phase, kind, int(scaled(300, 60)), speech)


def measure(bar: Bar) -> None:
    """All at once, then each."""
    with native.engine(ENGINE) as engine:
        all_ways(bar, engine, int(scaled(CLIENTS, 1500)))
        each_way(bar, engine)


if __name__ == "__main__":
    main(7, TITLE, measure)
