"""A network namespace with one cable into it, for faults that loopback cannot have."""

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Namespace:
    """Our end and its end of the cable."""

    name: str
    ours: str
    theirs: str

    def command(self, *words: str) -> list[str]:
        """A command line that runs inside."""
        return ["ip", "netns", "exec", self.name, *words]

    def cut(self) -> None:
        """Lose every packet of theirs from now on, without a word: what half-open looks like."""
        _ip("netns", "exec", self.name, "ip", "route", "add", "blackhole", f"{self.ours}/32")

    def mend(self) -> None:
        """Let packets pass again."""
        _ip("netns", "exec", self.name, "ip", "route", "del", "blackhole", f"{self.ours}/32")


def missing() -> str | None:
    """Why a namespace cannot be made here, or None."""
    if os.geteuid() != 0:
        return "needs root to make a network namespace"
    if shutil.which("ip") is None:
        return "needs iproute2 (make installs it where apt is there)"
    probe = f"fp-probe-{random.randrange(10**6)}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        return "this kernel or container allows no network namespaces"
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return None


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """Make one with a cable from here into it."""
    number = random.randrange(1, 250)
    name, link = f"fp{os.getpid()}", f"fpv{number}"
    ours, theirs = f"10.213.{number}.1", f"10.213.{number}.2"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", link, "type", "veth", "peer", "name", f"{link}n")
        _ip("link", "set", f"{link}n", "netns", name)
        _ip("addr", "add", f"{ours}/30", "dev", link)
        _ip("link", "set", link, "up")
        inside = ("netns", "exec", name, "ip")
        _ip(*inside, "addr", "add", f"{theirs}/30", "dev", f"{link}n")
        _ip(*inside, "link", "set", f"{link}n", "up")
        _ip(*inside, "link", "set", "lo", "up")
        yield Namespace(name, ours, theirs)
    finally:
        _ip("netns", "del", name)
