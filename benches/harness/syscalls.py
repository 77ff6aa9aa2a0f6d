"""System calls that processes make while a block runs, by name.

`perf stat` on tracepoints counts in the kernel, exactly and at little cost; where it is missing or
not allowed, `strace -c` counts, and slows the process down so much that batches grow: a figure
from it is said to be so. CPU time is never measured at the same time.
"""

import contextlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NAMES = [
    "read",
    "write",
    "readv",
    "writev",
    "recvfrom",
    "sendto",
    "recvmsg",
    "sendmsg",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_ctl",
    "accept4",
    "connect",
    "socket",
    "close",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "futex",
    "io_uring_enter",
    "splice",
    "madvise",
    "timerfd_settime",
    "clock_gettime",
]
"""Calls that are told apart; the rest is `other`."""


class UntraceableError(RuntimeError):
    """Neither perf nor strace can count here."""


@dataclass(slots=True)
class Counts:
    """Filled when the block of `counting` has ended."""

    tool: str = ""
    calls: dict[str, int] = field(default_factory=dict)


def _has_tracepoints() -> bool:
    return shutil.which("perf") is not None and any(
        Path(place, "events/raw_syscalls").exists()
        for place in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
    )


@contextlib.contextmanager
def counting(pids: Sequence[int]) -> Iterator[Counts]:
    """Count the calls of processes while the block runs.

    Raises:
        UntraceableError: no tool is installed or allowed.
    """
    counts = Counts()
    if _has_tracepoints():
        events = ["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in NAMES)]
        events = [event for event in events if _known(event)]
        argv = ["perf", "stat", "-x,", "-e", ",".join(events), "-p", ",".join(map(str, pids))]
        counts.tool, parse = "perf", parse_perf
    elif shutil.which("strace"):
        attach = [word for pid in pids for word in ("-p", str(pid))]
        argv = ["strace", "-f", "-c", "-q", *attach]
        counts.tool, parse = "strace", parse_strace
    else:
        msg = "install strace, or perf with the right to trace"
        raise UntraceableError(msg)
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out)
        time.sleep(0.5)
        try:
            yield counts
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        out.seek(0)
        written = out.read()
    counts.calls = parse(written)
    if not counts.calls:
        raise UntraceableError(written[-300:])


def _known(event: str) -> bool:
    group, _, name = event.partition(":")
    return any(
        Path(place, "events", group, name).exists()
        for place in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
    )


def parse_perf(text: str) -> dict[str, int]:
    """Lines of `perf stat -x,`: count, unit, event."""
    found: dict[str, int] = {}
    for row in re.finditer(r"^(\d+),[^,]*,([a-z_]+):sys_enter_?([a-z_0-9]*)", text, re.MULTILINE):
        found[row.group(3) or "total"] = int(row.group(1))
    total = found.pop("total", 0)
    found["other"] = max(0, total - sum(found.values()))
    return {name: calls for name, calls in found.items() if calls}


def parse_strace(text: str) -> dict[str, int]:
    """The table of `strace -c`: share, seconds, microseconds a call, calls, errors, name."""
    rows = re.finditer(
        r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?([a-z_0-9]+)\s*$", text, re.MULTILINE
    )
    return {row.group(2): int(row.group(1)) for row in rows if row.group(2) != "total"}
