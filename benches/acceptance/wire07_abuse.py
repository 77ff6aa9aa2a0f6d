"""Bar 4.7: every class of abuse at full speed, and slow clients by the thousand.

A well-behaved client asks the proxy all the time. The same attackers aim at a sink, which only
reads, and at the proxy, in turn: what the client then sees of the one over the other is what the
attack does to the proxy, and not to the machine. Attackers and the sink run when nobody else wants
their core, which the client and the engine share.

`FP_ABUSE` takes the classes whose names hold it.
"""

import os
import sys
import time
from dataclasses import dataclass, replace

import _path

from benches.harness import native
from benches.harness.acceptance import main
from benches.harness.stats import Estimate, ratios
from benches.harness.verdict import Bar
from benches.peers import PEERS, Needs, Running
from benches.scenarios.base import scaled

sys.path.insert(0, str(_path.ROOT / "tests"))
from benches.abuse import slow
from benches.abuse.assault import Came, attackers, say, sink
from benches.abuse.classes import CLASSES, KNOWN, Class, scan
from benches.abuse.neighbour import (
    ENGINE,
    LOADS,
    PROXY,
    SINK,
    Fared,
    Window,
    client,
    phases,
    windows,
)
from benches.abuse.watch import CLOSURES, counted, memory, resident, scrape
from harness.abuse import ANSWERED, ASKED, ATTACKS, OPENING, STREAMS_MAX, Attack, get
from harness.frames import Code, Kind

TITLE = "every abuse: bounded memory, an untouched neighbour, the right end; slow clients"

ROUNDS, ROUNDS_QUICK = 9, 2
WINDOW_S, WINDOW_QUICK_S = 0.8, 0.6
MIB = 1024 * 1024
GROWTH_MIB = 64
P99_RATIO = 2.0
AMPLIFIED = 20.0
HOLD_S = 2.0
LET_GO_S = 35.0
"""A stream that has not moved for 30 s is cancelled."""
NEEDS = Needs(concurrency=16_384, capacity=16_384, connections=16_384, default=True, idle_s=75)
"""Room at the engine for whatever an attacker asks: it is the proxy that is attacked here."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One class, measured."""

    fared: Fared
    came: Came
    closures: dict[str, int]
    before: int
    """Resident bytes beside an attacked sink."""
    peak: int
    after: int


def run(running: Running, attack: Class, sunk: str, plan: list[Window]) -> Seen:
    """All rounds of a class against one proxy."""
    came = Came()
    with (
        attackers(attack.name) as attacker,
        memory(running.child.pid) as watched,
        client(running.address, phases(plan)) as asking,
    ):
        for window in plan:
            _sleep_until(asking.started_s + window.start_s - 0.15)
            aimed_at = sunk if window.target == SINK else running.address
            attacker.aim(aimed_at, sink=window.target == SINK)
            _sleep_until(asking.started_s + window.end_s)
            tally = attacker.aim(None)
            if window.target == PROXY:
                came.add(tally)
        fared = asking.fared()
        time.sleep(0.3)
        first = next(window for window in plan if window.target == PROXY)
        turn_s = asking.started_s + first.start_s - 0.2
        before, peak = watched.most(0.0, turn_s), watched.most(turn_s)
    closures = counted(scrape(running.admin or ""), CLOSURES, "cause")
    return Seen(fared, came, closures, before, peak, resident(running.child.pid))


def _sleep_until(moment_s: float) -> None:
    time.sleep(max(0.0, moment_s - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Suffered:
    """The load whose P99 suffers most: medians of paired ratios."""

    load: str
    ratio: Estimate
    """The proxy attacked over the sink attacked."""
    null: Estimate
    """The sink attacked over the sink attacked a round before: what chance makes of the same."""


def worst(fared: Fared, plan: list[Window]) -> Suffered:
    """What the client suffers, by the load that suffers most."""
    found = []
    for name in LOADS:
        sides = {
            side: [fared.p99_us(name, window.name) for window in plan if window.target == side]
            for side in (PROXY, SINK)
        }
        ratio = ratios(sides[PROXY], sides[SINK])
        null = ratios(sides[SINK][1:], sides[SINK][:-1])
        found.append(Suffered(name, ratio, null))
    return max(found, key=lambda one: one.ratio.median)


def ended(attack: Class, seen: Seen) -> tuple[bool, str]:
    """Whether its connections ended as they must, and what is to be known of it."""
    came = seen.came
    note = f"{came.opened} connections, {dict(came.codes)}, counted {seen.closures}"
    if attack.cause is None:
        return not seen.closures and came.closed == 0 and came.opened > 0, note
    right = set(seen.closures) == {attack.cause} and seen.closures[attack.cause] >= came.closed
    said = attack.code is not None and set(came.codes) == {attack.code.name}
    if came.survived:
        note += f", {came.survived} were not closed"
    return came.closed > 0 and not came.survived and right and said, note


def judge(bar: Bar, attack: Class, seen: Seen, plan: list[Window]) -> None:
    """The rows of one class."""
    growth = (seen.peak - seen.before) / MIB
    suffered = worst(seen.fared, plan)
    what = "not closed" if attack.cause is None else f"closed for {attack.cause}"
    good, note = ended(attack, seen)
    bar.fact(f"{attack.name}: {what}", good, note)
    sent = f"{seen.came.sent / MIB:.1f} MiB sent, {(seen.after - seen.before) / MIB:.1f} MiB stay"
    bar.add(f"{attack.name}: RSS growth", growth, "<=", GROWTH_MIB, unit="MiB", note=sent)
    bar.add(
        f"{attack.name}: client's P99 / sink",
        suffered.ratio,
        "<=",
        P99_RATIO,
        note=f"{suffered.load}; sink / sink {suffered.null}",
    )
    share = 1 - seen.fared.bad / max(1, seen.fared.asked)
    bar.add(
        f"{attack.name}: client's success",
        share,
        "==",
        1.0,
        note=f"{seen.fared.asked} asked, {seen.fared.said()}",
    )
    bar.data[attack.name] = {
        "closures": seen.closures,
        "codes": dict(seen.came.codes),
        "connections": seen.came.opened,
        "sent": seen.came.sent,
        "rss": [seen.before, seen.peak, seen.after],
        "p99_us": {
            name: {window.name: seen.fared.p99_us(name, window.name) for window in plan}
            for name in LOADS
        },
    }


def classes(bar: Bar, engine: native.Engine) -> None:
    """Each of them against a fresh proxy."""
    rounds = int(os.environ.get("FP_BENCH_ROUNDS", ROUNDS_QUICK if bar.quick else ROUNDS))
    plan = windows(rounds, WINDOW_QUICK_S if bar.quick else WINDOW_S)
    wanted = os.environ.get("FP_ABUSE", "")
    with sink() as sunk:
        for attack in CLASSES.values():
            if wanted in attack.name:
                with PEERS["fastproxy"]().running([engine.address], NEEDS) as running:
                    judge(bar, attack, run(running, attack, sunk, plan), plan)


def held(engine: native.Engine, attack: Class) -> tuple[int, Came]:
    """What the connections of a class take that stay: resident bytes at most, and what was sent."""
    with PEERS["fastproxy"]().running([engine.address], NEEDS) as running:
        pid = running.child.pid
        with attackers(attack.name) as attacker, memory(pid) as watched:
            time.sleep(0.5)
            before, began = resident(pid), time.monotonic()
            attacker.aim(running.address)
            time.sleep(HOLD_S)
            came = Came()
            came.add(attacker.aim(None))
        return watched.most(began) - before, came


def bombs(bar: Bar, engine: native.Engine) -> None:
    """What a byte of a header bomb becomes, beside the same requests with heads as usual."""
    for attack in [one for one in CLASSES.values() if one.plain]:
        grown, came = held(engine, attack)
        usual, plain = held(engine, KNOWN[attack.plain])
        note = f"{came.opened} connections held {grown / MIB:.1f} MiB for {came.sent / MIB:.2f} MiB"
        bar.add(
            f"{attack.name}: RSS a byte sent, beyond plain heads'",
            (grown - usual) / came.sent,
            "<=",
            AMPLIFIED,
            note=note,
        )
        bar.add(f"{attack.name}: RSS a byte sent, all of it", grown / came.sent)
        bar.add(
            f"{attack.plain}: RSS a connection", usual / max(1, plain.opened) / 1024, unit="KiB"
        )


def trusted(bar: Bar, engine: native.Engine) -> None:
    """What ends a stranger's connection is borne from a gateway of ours."""
    peers = {"strangers": "", "trusted peers": "127.0.0.0/8"}
    for who, blocks in peers.items():
        needs = replace(NEEDS, trusted=(blocks,) if blocks else ())
        with PEERS["fastproxy"]().running([engine.address], needs) as running:
            borne = [one.name for one in ATTACKS if one.widened and _borne(running.address, one)]
        count = len([one for one in ATTACKS if one.widened])
        bar.add(
            f"classes of {count} that are not closed, of {who}",
            len(borne),
            "==",
            count if blocks else 0,
            note=", ".join(borne) if len(borne) < count / 2 else "",
        )


def _borne(address: str, attack: Attack) -> bool:
    """Whether a connection is answered behind more than a stranger may do."""
    return ANSWERED in say(address, attack.script() + ASKED, lambda data: ANSWERED in data)


def stuck(bar: Bar, engine: native.Engine) -> None:
    """Answers that nobody takes, to a client that says no more: they are let go."""
    script = CLASSES["answers behind a shut window"].script
    with PEERS["fastproxy"]().running([engine.address], NEEDS) as running:
        pid = running.child.pid
        say(running.address, OPENING + get(0), lambda _: False, patience_s=1.0)
        before, began = resident(pid), time.monotonic()
        with memory(pid) as watched:
            data = say(
                running.address,
                script,
                lambda data: len(cancelled(data)) >= STREAMS_MAX,
                patience_s=LET_GO_S + 10.0,
            )
        took_s = time.monotonic() - began
        time.sleep(0.5)
        after = resident(pid)
    note = f"{len(cancelled(data))} cancelled, or the connection closed"
    bar.add("100 answers with a shut window are held", took_s, "<=", LET_GO_S, unit="s", note=note)
    held_mib = (watched.most(began) - before) / MIB
    bar.add("RSS of their connection", held_mib, unit="MiB", note=f"{STREAMS_MAX} of 20 KB")
    bar.add("RSS that stays", (after - before) / MIB, unit="MiB")


def cancelled(data: bytes) -> set[int]:
    """Streams that were reset with CANCEL."""
    resets = [found for found in scan(data) if found[0] == Kind.RST_STREAM]
    return {
        number for _, number, start, end in resets if int.from_bytes(data[start:end]) == Code.CANCEL
    }


def measure(bar: Bar) -> None:
    """The classes, the bombs, the trusted, then slow clients."""
    with native.engine(ENGINE) as engine:
        classes(bar, engine)
        if os.environ.get("FP_ABUSE"):
            return
        bombs(bar, engine)
        trusted(bar, engine)
        if not bar.quick:
            stuck(bar, engine)
    slow.measure(bar, int(scaled(slow.CLIENTS, 1_000)))


if __name__ == "__main__":
    main("4.7", TITLE, measure)
