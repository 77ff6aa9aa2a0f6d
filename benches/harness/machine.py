"""What this machine is, which core does what, and whether it is quiet enough to believe."""

import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the proxy has for itself, and which the engine and the load share."""

    proxy: int
    rest: frozenset[int]


def cores() -> Cores:
    """The lowest usable core for the proxy and the next one for everything else.

    With a single core they share it: figures of CPU time hold, delays do not.
    """
    found = sorted(usable())
    return Cores(proxy=found[0], rest=frozenset(found[1:2] or found))


_USABLE_AT_START = os.sched_getaffinity(0)


def usable() -> set[int]:
    """Cores this process could use when it started."""
    return set(_USABLE_AT_START)


def pin_here(where: frozenset[int] | set[int]) -> None:
    """Pin this process (and the children it starts) to some cores."""
    os.sched_setaffinity(0, set(where))


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts that a figure needs to be read."""

    cpu: str
    cpus: int
    memory_gib: float
    kernel: str
    system: str
    virtual: bool
    python: str
    revision: str


def describe() -> Machine:
    """Facts of this machine and of the tree that is measured."""
    info = Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=models[0] if models else platform.machine(),
        cpus=len(usable()),
        memory_gib=round(pages / 2**30, 1),
        kernel=platform.release(),
        system=_system(),
        virtual="hypervisor" in info,
        python=platform.python_version(),
        revision=revision(),
    )


def _system() -> str:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return platform.system()
    named = [line.split("=", 1)[1].strip('"') for line in lines if line.startswith("PRETTY_NAME=")]
    return named[0] if named else platform.system()


def revision() -> str:
    """Commit of the tree, with `+` if it has changes."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    head = git("rev-parse", "--short=10", "HEAD")
    if not head:
        return "unknown"
    return head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def as_dict() -> dict[str, object]:
    """The facts, ready for JSON."""
    return asdict(describe())


def _busy() -> list[tuple[int, int]]:
    """(busy ticks, all ticks) of each usable CPU; steal counts as busy."""
    found = []
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("cpu") and line[3].isdigit():
            name, *fields = line.split()
            if int(name[3:]) in usable():
                ticks = [int(field) for field in fields[:8]]
                found.append((sum(ticks) - ticks[3] - ticks[4], sum(ticks)))
    return found


def foreign_load(seconds: float = 0.5) -> float:
    """Share of CPU that somebody uses while we sleep: 0 is a quiet machine."""
    before = _busy()
    time.sleep(seconds)
    shares = [
        (after[0] - start[0]) / max(1, after[1] - start[1])
        for start, after in zip(before, _busy(), strict=True)
    ]
    return max(shares, default=0.0)


def wait_until_quiet(*, limit: float = 0.15, seconds: float = 60.0) -> float:
    """Wait until little else runs, for at most `seconds`; returns the load that is left."""
    deadline = time.monotonic() + seconds
    while (load := foreign_load()) > limit and time.monotonic() < deadline:
        time.sleep(1.0)
    return load
