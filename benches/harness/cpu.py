"""CPU time, memory and switches of processes, from `/proc`, finer than clock ticks."""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over some processes at one moment, or the difference of two moments."""

    cpu_ns: int = 0
    """Time on a CPU as the scheduler counts it, all living threads."""
    user_ns: int = 0
    """Its user part, in steps of the clock tick."""
    system_ns: int = 0
    switches: int = 0
    """Voluntary and involuntary context switches."""
    waited_ns: int = 0
    """Time runnable but not running: others on the core."""

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(
            cpu_ns=self.cpu_ns - other.cpu_ns,
            user_ns=self.user_ns - other.user_ns,
            system_ns=self.system_ns - other.system_ns,
            switches=self.switches - other.switches,
            waited_ns=self.waited_ns - other.waited_ns,
        )

    @property
    def user_share(self) -> float:
        """User time as a share of user and system time."""
        total = self.user_ns + self.system_ns
        return self.user_ns / total if total else 0.0


def usage(pids: Iterable[int]) -> Usage:
    """Usage of processes until now. A process that has gone counts nothing."""
    cpu = waited = user = system = switches = 0
    for pid in pids:
        for task in _tasks(pid):
            with contextlib.suppress(OSError, ValueError, IndexError):
                on, off, _ = (task / "schedstat").read_text().split()
                cpu += int(on)
                waited += int(off)
                switches += _switches((task / "status").read_text())
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            fields = stat[stat.rindex(")") + 2 :].split()
            user += int(fields[11]) * _TICK_NS
            system += int(fields[12]) * _TICK_NS
    return Usage(cpu, user, system, switches, waited)


def threads(pid: int) -> dict[str, int]:
    """CPU nanoseconds of each living thread until now, by its name; those of one name together."""
    found: dict[str, int] = {}
    for task in _tasks(pid):
        with contextlib.suppress(OSError, ValueError, IndexError):
            name = (task / "comm").read_text().strip()
            found[name] = found.get(name, 0) + int((task / "schedstat").read_text().split()[0])
    return found


def _tasks(pid: int) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []


def _switches(status: str) -> int:
    lines = [line for line in status.splitlines() if "ctxt_switches" in line]
    return sum(int(line.split()[1]) for line in lines)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of some processes at one moment, bytes."""

    rss: int
    pss: int
    """Shared pages counted by their share: what several processes really take."""


def memory(pids: Iterable[int]) -> Memory:
    """Memory of processes now."""
    rss = pss = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Rss:"):
                    rss += int(line.split()[1]) * 1024
                elif line.startswith("Pss:"):
                    pss += int(line.split()[1]) * 1024
    return Memory(rss, pss)


def open_files(pids: Iterable[int]) -> int:
    """Open descriptors of processes."""
    count = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            count += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return count
