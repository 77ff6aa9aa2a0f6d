"""Slow clients by the thousand: slowhttptest in its four modes against a proxy as it comes."""

import csv
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benches.abuse.neighbour import ENGINE, Fared, client
from benches.abuse.watch import CLOSURES, counted, memory, resident, scrape
from benches.harness import machine, native
from benches.harness.processes import Child
from benches.harness.served import served
from benches.harness.verdict import Bar
from benches.scenarios.base import Json, scaled

PROGRAM = "slowhttptest"
CLIENTS = 4_000
RATE = 400
"""Connections a second that it opens."""
LENGTH_S = 30.0
SUCCESS = 0.999
MODELS = 400
"""Names in the list of models, so that it has 36 KB: a long answer, and more than socket buffers
of a slow reader hold."""
BEFORE_S, AFTER_S = 2.0, 2.0
LIST, CHAT = "/v1/models", "/v1/chat/completions"
COUNTERS = {
    "fastproxy_local_replies_total": "flag",
    "fastproxy_violations_total": "code",
    "fastproxy_sheds_total": "reason",
    CLOSURES: "cause",
}


@dataclass(frozen=True, slots=True)
class Mode:
    """One of its modes."""

    name: str
    arguments: tuple[str, ...]
    path: str


MODES = [
    Mode("slow heads", ("-H", "-i", "5", "-x", "24", "-t", "GET"), LIST),
    Mode("slow bodies", ("-B", "-i", "5", "-s", "8192", "-x", "10", "-t", "POST"), CHAT),
    Mode(
        "slow bodies, JSON",
        ("-B", "-i", "5", "-s", "8192", "-x", "10", "-t", "POST", "-f", "application/json"),
        CHAT,
    ),
    Mode("ranges", ("-R", "-a", "10", "-b", "3000", "-t", "HEAD"), LIST),
    Mode(
        "slow reading",
        ("-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3", "-t", "GET"),
        LIST,
    ),
]


@dataclass(frozen=True, slots=True)
class Told:
    """What slowhttptest saw: connections at most in each state, and at the end."""

    connected: int
    closed: int

    @classmethod
    def read(cls, path: Path) -> "Told":
        """Its table over time."""
        with path.open(newline="") as file:
            rows = [{k.strip(): v for k, v in row.items() if k} for row in csv.DictReader(file)]
        connected = max((int(row.get("Connected") or 0) for row in rows), default=0)
        return cls(connected, int(rows[-1].get("Closed") or 0) if rows else 0)


@dataclass(frozen=True, slots=True)
class Seen:
    """One mode, measured."""

    fared: Fared
    told: Told
    counted: dict[str, dict[str, int]]
    growth: int
    connections: int
    """That the proxy had at a time, at most."""
    stayed: int


def run(mode: Mode, clients: int, length_s: float) -> Seen:
    """A fresh proxy, the well-behaved client, and the slow ones."""
    parts: list[Json] = [
        {"name": "before", "duration_s": BEFORE_S},
        {"name": "slow", "duration_s": length_s},
        {"name": "after", "duration_s": AFTER_S},
    ]
    models = ["sim", *(f"a-model-of-some-name-{number:04}" for number in range(MODELS - 1))]
    with (
        tempfile.TemporaryDirectory(prefix="fp-slow-") as place,
        native.engine(ENGINE | {"models": models}) as engine,
        served([engine.address]) as (address, child),
        memory(child.pid) as watched,
        client(address, parts) as asking,
    ):
        admin = child.argv[child.argv.index("--admin") + 1]
        time.sleep(BEFORE_S)
        before = resident(child.pid)
        connections = _attack(mode, address, admin, clients, length_s, Path(place))
        fared = asking.fared(length_s + 60.0)
        metrics = scrape(admin)
        found = {name: counted(metrics, name, label) for name, label in COUNTERS.items()}
        told = Told.read(Path(place) / "slow.csv")
        return Seen(
            fared,
            told,
            found,
            watched.most(0.0) - before,
            connections,
            resident(child.pid) - before,
        )


def _attack(  # noqa: PLR0913 - one call
    mode: Mode, address: str, admin: str, clients: int, length_s: float, place: Path
) -> int:
    """Run it to its end; the client connections that the proxy had at a time, at most."""
    argv = [PROGRAM, *mode.arguments, "-c", str(clients), "-r", str(RATE), "-l", str(int(length_s))]
    argv += ["-u", f"http://{address}{mode.path}", "-p", "3", "-g", "-o", str(place / "slow")]
    child = Child(argv, cores=set(machine.cores().rest), directory=place, name="slow")
    most = 0
    try:
        while child.process.poll() is None:
            open_now = scrape(admin).total("fastproxy_client_connections_open")
            most = max(most, int(open_now))
            time.sleep(0.5)
    finally:
        child.kill()
    return most


def measure(bar: Bar, clients: int) -> None:
    """Its four modes, the one with bodies in two kinds."""
    if shutil.which(PROGRAM) is None:
        bar.add("slow clients: success", None, ">=", SUCCESS, note=f"{PROGRAM} is not installed")
        return
    done = subprocess.run([PROGRAM, "-h"], capture_output=True, text=True, check=False)
    bar.say(next((line for line in done.stdout.splitlines() if line.strip()), PROGRAM))
    length_s = scaled(LENGTH_S, 16.0)
    for mode in MODES:
        seen = run(mode, clients, length_s)
        share = 1 - seen.fared.bad / max(1, seen.fared.asked)
        bar.add(
            f"{mode.name}, {clients} clients: success of others",
            share,
            ">=",
            SUCCESS,
            note=f"{seen.fared.asked} asked, {seen.fared.said()}",
        )
        bar.add(
            f"{mode.name}: connections at a time",
            seen.connections,
            note=f"{seen.told}; {seen.counted}",
        )
        each = seen.growth / max(1, seen.connections) / 1024
        bar.add(f"{mode.name}: RSS a slow client", each, unit="KiB", note=f"{seen.stayed} B stay")
        bar.data[mode.name] = {"counted": seen.counted, "outcomes": seen.fared.outcomes()}
