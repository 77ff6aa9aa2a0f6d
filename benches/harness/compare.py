"""Runs a scenario for several contenders in interleaved rounds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from benches.harness import machine, native, syscalls
from benches.harness.certificate import certificate
from benches.harness.reading import Reading, UnmeasuredError
from benches.harness.results import Result
from benches.harness.rounds import Sample, interleave
from benches.peers import PEERS, Peer, Running
from benches.peers.base import AbsentError, Needs, Version, client
from benches.scenarios.base import Json, Scenario

UNIX = "@unix"
"""Suffix of a contender whose engine is on a unix socket."""

VERSIONS = ("h1-h1", "h1-h2", "h2-h1", "h2-h2")
"""Suffixes, behind an `@`, of what clients and engines speak."""

TRIES = 3
"""Runs tried before a contender is given up."""

FAILED_MAX = 0.001
"""Share of requests that may fail in a run that is believed."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A proxy, and how it reaches its engine."""

    label: str
    peer: Peer
    unix: bool
    versions: str | None
    tls: bool = False
    resume: bool = False
    gathers: bool = True

    @classmethod
    def parse(cls, label: str) -> "Contender":
        """A name with suffixes: `nginx`, `nginx@unix`, `nginx@unix@h2-h1`, `haproxy@tls`.

        `@resume` is `@tls` with clients that resume their sessions; `@ungathered` never lets
        tokens wait for others (only fastproxy does).
        """
        name, *suffixes = label.split("@")
        versions = next((suffix for suffix in suffixes if suffix in VERSIONS), None)
        unknown = set(suffixes) - {"unix", "tls", "resume", "ungathered", *VERSIONS}
        if name not in PEERS or unknown:
            msg = f"no proxy `{label}`; there are {', '.join(PEERS)}"
            raise KeyError(msg)
        resume = "resume" in suffixes
        tls = resume or "tls" in suffixes
        unix, gathers = "unix" in suffixes, "ungathered" not in suffixes
        return cls(label, PEERS[name](), unix, versions, tls, resume, gathers)

    def speaks(self, scenario: Scenario) -> str:
        """What its clients and its engines speak in a scenario."""
        return self.versions or scenario.versions

    def needs(self, scenario: Scenario) -> Needs:
        """What the scenario asks of it."""
        front, back = self.speaks(scenario).split("-")
        return replace(
            scenario.needs,
            front=cast("Version", front),
            back=cast("Version", back),
            tls=certificate() if self.tls else None,
            gathers=self.gathers,
        )

    def engines(self, engine: native.Engine) -> list[str]:
        """Where it dials."""
        return [engine.unix if self.unix else engine.address]


def present(
    scenario: Scenario, labels: Sequence[str], say: Callable[[str], None]
) -> dict[str, Contender]:
    """The contenders that are installed here and can do it; says which are not."""
    found = {}
    for label in labels:
        contender = Contender.parse(label)
        try:
            contender.peer.version()
        except AbsentError as why:
            say(f"{label} is left out: {why}")
            continue
        if contender.unix and not contender.peer.unix_engines:
            say(f"{label} is left out: it cannot dial unix sockets")
            continue
        if contender.speaks(scenario) not in contender.peer.speaks:
            say(f"{label} is left out: it does not speak {contender.speaks(scenario)}")
            continue
        if contender.tls and not contender.peer.tls:
            say(f"{label} is left out: it is not configured for TLS here")
            continue
        found[label] = contender
    return found


def options(scenario: Scenario, contender: Contender, running: Running) -> Json:
    """The load's options against one running proxy."""
    needs = contender.needs(scenario)
    found = {**scenario.load(), **client(needs)}
    found |= {"targets": [running.address], "pids": running.pids}
    if contender.resume:
        found["tls"]["resume"] = True
    if needs.front == "h2":
        found["connections_max"] = scenario.connections
        found["streams_per_connection"] = max(1, -(-scenario.streams // scenario.connections))
    return found


def run_once(
    scenario: Scenario,
    contender: Contender,
    engine: native.Engine,
    cores: frozenset[int] | None = None,
) -> Sample:
    """One run of one contender, in a process of its own.

    Raises:
        UnmeasuredError: requests failed.
    """
    needs = contender.needs(scenario)
    with contender.peer.running(contender.engines(engine), needs) as running:
        report = native.load(options(scenario, contender, running), cores=cores)
    reading = Reading.of(report)
    failed = reading.count("failed") + reading.count("shed")
    if failed > FAILED_MAX * max(1, reading.count("good")):
        msg = f"{contender.label}: {failed} failed: {reading.part['outcomes']}"
        raise UnmeasuredError(msg)
    return reading.sample(scenario.unit)


def _patiently(run: Callable[[], Sample], say: Callable[[str], None]) -> Sample:
    """A run, tried again when it cannot be believed."""
    for left in range(TRIES - 1, -1, -1):
        try:
            return run()
        except (UnmeasuredError, native.LoadError, RuntimeError) as why:
            say(str(why))
            if left == 0:
                raise
            time.sleep(1.0)
    raise AssertionError


def count_calls(
    scenario: Scenario, contender: Contender, engine: native.Engine
) -> dict[str, float]:
    """System calls for each unit, over a whole load from its first connection to its last."""
    needs = contender.needs(scenario)
    with contender.peer.running(contender.engines(engine), needs) as running:
        asked = {**options(scenario, contender, running), "duration_s": 3.0, "warmup_s": 0.0}
        with syscalls.counting(running.pids) as counts:
            reading = Reading.of(native.load(asked))
    units = max(1.0, reading.units(scenario.unit))
    ordered = sorted(counts.calls.items(), key=lambda item: -item[1])
    return {name: round(calls / units, 4) for name, calls in ordered}


def compare(  # noqa: PLR0913 - who, how often, and what is told
    scenario: Scenario,
    labels: Sequence[str],
    rounds: int,
    *,
    calls: bool = False,
    say: Callable[[str], None] = print,
    cores: frozenset[int] | None = None,
) -> Result:
    """Measure a scenario for all contenders that are installed.

    The engine and the load run on `cores`; without, where no proxy is.
    """
    contenders = present(scenario, labels, say)
    foreign = machine.wait_until_quiet()
    if foreign > 0.15:
        say(f"others use {foreign:.0%} of a core: figures will be noisy")
    with native.engine(scenario.engine, cores=cores) as engine:

        def once(label: str) -> Sample:
            return run_once(scenario, contenders[label], engine, cores)

        table = interleave(
            list(contenders),
            rounds,
            lambda label: _patiently(lambda: once(label), say),
            say=say,
        )
        counted = {}
        if calls:
            for label, contender in contenders.items():
                try:
                    counted[label] = count_calls(scenario, contender, engine)
                except (syscalls.UntraceableError, RuntimeError) as why:
                    say(f"{label}: system calls not counted: {why}")
    return Result(
        scenario=scenario.name,
        title=scenario.title,
        unit=scenario.unit,
        options={"engine": scenario.engine, "load": scenario.load(), "rounds": rounds},
        versions={label: found.peer.version() for label, found in contenders.items()},
        table=table,
        syscalls=counted,
        foreign_load=foreign,
    )
