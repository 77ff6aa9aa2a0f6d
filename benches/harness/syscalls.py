"""System calls of a process over a few seconds, by name: from `perf`, else from `strace`.

Both slow the process down, so this is never done while CPU time is measured.
"""

import contextlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


class Untraceable(RuntimeError):
    """Neither perf nor strace can count here."""


def count(pids: Sequence[int], seconds: float) -> Counter[str]:
    """System calls by name that processes make in `seconds`.

    Raises:
        Untraceable: no tool is installed or allowed.
    """
    for tool in (_perf_trace, _strace):
        with contextlib.suppress(Untraceable):
            return tool(pids, seconds)
    raise Untraceable("install strace, or perf with the right to trace")


def _run(argv: list[str], seconds: float) -> str:
    """Run a tracer for some seconds, end it with SIGINT; returns what it wrote."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out)
        try:
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        out.seek(0)
        return out.read()


def _perf_trace(pids: Sequence[int], seconds: float) -> Counter[str]:
    perf = shutil.which("perf")
    if perf is None or not Path("/sys/kernel/tracing/events/raw_syscalls").exists():
        raise Untraceable("no perf, or no tracing events")
    argv = [perf, "trace", "-s", "-p", ",".join(map(str, pids)), "--", "sleep", str(seconds)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = parse_perf(done.stderr + done.stdout)
    if not found:
        raise Untraceable(done.stderr[-500:])
    return found


def parse_perf(text: str) -> Counter[str]:
    """The tables of `perf trace -s`: rows of name, calls, errors, times."""
    found: Counter[str] = Counter()
    for row in re.finditer(r"^\s+([a-z_0-9]+)\s+(\d+)\s+(?:\d+\s+)?\d+\.\d+", text, re.MULTILINE):
        found[row.group(1)] += int(row.group(2))
    return found


def _strace(pids: Sequence[int], seconds: float) -> Counter[str]:
    strace = shutil.which("strace")
    if strace is None:
        raise Untraceable("no strace")
    attach = [word for pid in pids for word in ("-p", str(pid))]
    text = _run([strace, "-f", "-c", "-q", *attach], seconds)
    found = parse_strace(text)
    if not found:
        raise Untraceable(text[-500:])
    return found


def parse_strace(text: str) -> Counter[str]:
    """The table of `strace -c`: share, seconds, microseconds a call, calls, errors, name."""
    found: Counter[str] = Counter()
    for row in re.finditer(
        r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?([a-z_0-9]+)\s*$", text, re.MULTILINE
    ):
        if row.group(2) != "total":
            found[row.group(2)] += int(row.group(1))
    return found
