"""Bar 4.10: bars 5 to 9 of the data plane over HTTP/2 and TLS, and what a second worker costs."""

import _path  # noqa: F401
from bar05_memory import ENGINE as MEMORY_ENGINE
from bar05_memory import connections, idle_process, streams
from bar06_overload import overloads, shed_cost
from bar07_gone_clients import CLIENTS, all_ways, each_way
from bar07_gone_clients import ENGINE as GONE_ENGINE
from bar08_kills_and_reloads import kills, reloads
from bar09_interpreter_held import RELAY, judge, one
from wire08_reloads_and_upgrades import upgrades

from benches.harness import native
from benches.harness.acceptance import main, rounds
from benches.harness.results import text
from benches.harness.rounds import Sample, interleave
from benches.harness.verdict import Bar
from benches.peers import Speech
from benches.scenarios import SCENARIOS, two_workers
from benches.scenarios.base import Json, model_body, scaled
from benches.scenarios.streams import STREAMS_STAGGERED
from benches.scenarios.two_workers import ONE, SPREADS, TWO
from benches.scenarios.versions import front

TITLE = "bars 5 to 9 of the data plane over HTTP/2 and TLS; two workers beside one"

CLEAR_KIB, TLS_KIB = 16.0, 32.0
"""Of an idle connection, at most."""

FRONTS = {"h2": CLEAR_KIB, "h1+tls": TLS_KIB, "h2+tls": TLS_KIB}
"""What clients speak, and what an idle connection of theirs may take."""

GONE = {
    "h2": ["stream", "rst", "fin", "goodbye", "half_close"],
    "h1+tls": ["rst", "fin", "goodbye", "half_close"],
    "h2+tls": ["stream", "rst", "fin", "goodbye", "half_close"],
}
"""How they leave: `stream` is RST_STREAM, `goodbye` a GOAWAY and a close_notify, `rst` and `fin`
are a connection that is cut, under TLS without a word."""

KILLED = ("h2-h2", "h2+tls-h2+tls", "h1+tls-h1+tls")
"""Clients and engines while engines are killed: HTTP/2 in cleartext, then TLS on both sides."""

OVERLOAD_S = 6.0
SHED_ROUNDS, HELD_ROUNDS = 3, 5
HELD_S = 4.0

UPGRADES = 10
TWO_WORKERS_MAX = 1.1
"""CPU of a request and of a token with two workers over that with one, at most."""

BALANCE_MAX = 1.3
"""Work of the busier of two workers over that of the other, at most."""
BALANCE_RUNS = 2


def tls_loads(speech: Speech) -> dict[str, Json]:
    """What an upgrade must not disturb: HTTP/1.1 and HTTP/2 under TLS, new sessions and resumed."""
    first = Speech.parse("h1+tls").load()
    resuming = {**first, "tls": {**first["tls"], "resume": True}}
    unary = model_body(size=256, stream=False, tokens=1)
    return {
        "unary requests, kept and new connections": {
            **first,
            "mode": {"kind": "concurrency", "connections": 16},
            "new_connection_ratio": 0.2,
            "body": unary,
        },
        RESUMED: {
            **resuming,
            "mode": {"kind": "concurrency", "connections": 1},
            "new_connection_ratio": 1.0,
            "body": unary,
        },
        "streams": {
            **first,
            "mode": {"kind": "streams", "streams": 50, "tokens": 120},
            "new_connection_ratio": 0.2,
            "body": model_body(size=512, stream=True, tokens=120),
        },
        "streams over HTTP/2": {
            **speech.load(streams=50, connections=5),
            "mode": {"kind": "streams", "streams": 50, "tokens": 120},
            "body": model_body(size=512, stream=True, tokens=120),
        },
    }


RESUMED = "requests of one client that resumes its session on every connection"


def memory(bar: Bar) -> None:
    """Bar 5."""
    for name, limit_kib in FRONTS.items():
        speech = Speech.parse(name)
        with native.engine(speech.engine(MEMORY_ENGINE)) as engine:
            for used in (False, True):
                connections(bar, engine, speech, used=used, limit_kib=limit_kib)
            if speech.front == "h2":
                streams(bar, engine, speech)
            if name == "h2+tls":
                idle_process(bar, engine, speech)


def overload(bar: Bar) -> None:
    """Bar 6."""
    for name in FRONTS:
        overloads(bar, Speech.parse(name), seconds=OVERLOAD_S)
    for name in ("h2", "h2+tls"):
        shed_cost(bar, Speech.parse(name), times=min(rounds(bar), SHED_ROUNDS))


def gone(bar: Bar) -> None:
    """Bar 7; where something is missed, each way by itself as well."""
    with native.engine(GONE_ENGINE) as engine:
        for name, kinds in GONE.items():
            speech = Speech.parse(name)
            if not all_ways(bar, engine, int(scaled(CLIENTS, 1500)), kinds, speech):
                each_way(bar, engine, kinds, speech)


def kill(bar: Bar) -> None:
    """Bar 8, its first half."""
    for name in KILLED:
        kills(bar, Speech.parse(name))


def reload(bar: Bar) -> None:
    """Bar 8, its second half, and upgrades under TLS: 4.8 has those in cleartext."""
    reloads(bar, Speech.parse("h2-h2"), new_connections=0.2)
    both = Speech.parse("h2+tls-h2+tls")
    reloads(bar, both, unary_speech=Speech.parse("h1+tls"), new_connections=0.2)
    totals = upgrades(bar, both, tls_loads(both), count=UPGRADES)
    resumed = totals[RESUMED]
    note = f"{resumed['handshakes_resumed']} resumed"
    full = resumed["handshakes_full"]
    bar.add("full handshakes of a client that resumes, over all upgrades", full, "==", 1, note=note)


def held(bar: Bar) -> None:
    """Bar 9."""
    calm = {f"{name}: threads": Speech.parse(name) for name in FRONTS}
    with native.engine(STREAMS_STAGGERED.engine) as engine:

        def run(label: str) -> Sample:
            name, _, kind = label.partition(": ")
            if label == RELAY:
                return one(RELAY, engine, seconds=HELD_S)
            return one(kind, engine, Speech.parse(name), seconds=HELD_S)

        labels = [*calm, *(f"{label}, held" for label in calm), RELAY]
        table = interleave(labels, min(rounds(bar), HELD_ROUNDS), run, say=bar.say)
    bar.data["held"] = table.samples
    for label, speech in calm.items():
        judge(bar, table, f"{label}, held", label, speech)


def workers(bar: Bar) -> None:
    """CPU of a request and of a token, with one worker and with two."""
    for scenario in (SCENARIOS["unary"], SCENARIOS["streams"], front("staggered")):
        bar.say(f"{scenario.title}; everything on both cores")
        result = two_workers.cost(scenario, rounds(bar), bar.say)
        result.save(suffix="-workers")
        print(text(result), flush=True)
        bar.data[f"workers: {scenario.name}"] = result.table.samples
        ratio = result.table.ratio(TWO, ONE, "cpu_us")
        what = f"{scenario.name}: CPU a {result.unit}, two workers / one"
        bar.add(what, ratio, "<=", TWO_WORKERS_MAX)


def balance(bar: Bar) -> None:
    """Work of two workers over a hundred streams that all live long; the worst run counts.

    A connection belongs to one worker for its life, so the streams of one HTTP/2 connection are
    all on one worker: what can be shared out evenly is connections.
    """
    for spread in SPREADS:
        runs = [two_workers.balance(spread) for _ in range(1 if bar.quick else BALANCE_RUNS)]
        worst = max(runs, key=lambda run: run.ratio)
        bar.data[f"balance: {spread.text}"] = [(run.cpu_ms, run.streams) for run in runs]
        shown = " / ".join(f"{ms:.0f}" for ms in worst.cpu_ms)
        split = ", ".join("/".join(map(str, run.streams)) for run in runs)
        what = f"{spread.text}: CPU of one worker / the other's"
        bar.add(what, worst.ratio, "<=", BALANCE_MAX, note=f"{shown} ms in the worst run")
        uneven = max(max(run.streams) / max(1, min(run.streams)) for run in runs)
        what = f"{spread.text}: streams of one worker / the other's"
        bar.add(what, uneven, "<=", BALANCE_MAX, note=split)


PARTS = {
    "memory": memory,
    "overload": overload,
    "gone": gone,
    "kills": kill,
    "reloads": reload,
    "held": held,
    "workers": workers,
    "balance": balance,
}

if __name__ == "__main__":
    main("4.10", TITLE, PARTS)
