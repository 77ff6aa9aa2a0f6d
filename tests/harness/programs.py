"""Programs of other makers: Go programs built on first use, and servers run beside a test."""

import functools
import os
import re
import select
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
GO_MODULE = ROOT / "tests/conformance/go"
BUILT = ROOT / ".cache/go"
GO_LEAST = (1, 24)
BUILD_S = 400
START_S = 15


@functools.cache
def no_go() -> str | None:
    """Why Go programs cannot be built here, or None."""
    if shutil.which("go") is None:
        return "needs a Go toolchain (go is not on PATH)"
    said = subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < GO_LEAST:
        return f"needs Go {GO_LEAST[0]}.{GO_LEAST[1]} or newer, not {said.strip()}"
    return None


def no_program(name: str) -> str | None:
    """Why a program cannot be run here, or None."""
    return None if shutil.which(name) else f"needs {name} (it is not on PATH)"


@functools.cache
def built(package: str) -> Path:
    """A Go program of the test module, or of what its go.mod pins, built."""
    BUILT.mkdir(parents=True, exist_ok=True)
    target = BUILT / package.rpartition("/")[2]
    done = subprocess.run(
        ["go", "build", "-mod=readonly", "-o", str(target), package],
        cwd=GO_MODULE,
        env=os.environ | {"GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"},
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target


class Server:
    """A server program that prints its address and ends when its input does."""

    def __init__(self, *command: str, scheme: str = "http") -> None:
        """The command line, and the scheme under which it is asked."""
        self.command, self.scheme = command, scheme
        self.address = ""

    def __enter__(self) -> Self:
        """Start it and wait for its address."""
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_S)
        self.address = self._process.stdout.readline().strip() if ready else ""
        if not self.address:
            self.stop()
            msg = f"{self.command[0]} said no address"
            raise AssertionError(msg)
        return self

    @property
    def url(self) -> str:
        """What a proxy is told of it."""
        return f"{self.scheme}://{self.address}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def stop(self) -> None:
        """End its input; then, if need be, the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
