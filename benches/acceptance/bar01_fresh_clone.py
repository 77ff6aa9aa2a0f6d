"""Bar 1: both commands from a fresh clone, and how long a person waits for tokens.

The clone is of the committed tree. Downloads of crates and wheels come from this machine's caches
where it has them; the build itself starts from nothing.
"""

import os
import re
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import _path

from benches.harness.acceptance import main
from benches.harness.processes import get
from benches.harness.verdict import OUT, Bar

TITLE = "make demo and make test from a fresh clone"

BUILD_S = 240.0
START_S = 2.0
LIMIT_S = 900.0


def environment() -> dict[str, str]:
    """The environment of somebody who has just cloned: nothing of ours in it."""
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "CARGO_TARGET_DIR", "MAKEFLAGS", "FP_", "PYO3_")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


def clone(place: Path) -> Path:
    """The committed tree, and what lies beside it."""
    root = place / "main"
    subprocess.run(["git", "clone", "-q", str(_path.ROOT), str(root)], check=True)
    shared = _path.ROOT.parent / "shared"
    if shared.exists():
        (place / "shared").symlink_to(shared)
    return root


def timed(root: Path, log: Path, *command: str) -> tuple[int, float]:
    """Run a command in the clone: its status and seconds."""
    began = time.monotonic()
    with log.open("wb") as out:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment(),
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    return done.returncode, time.monotonic() - began


class Demo:
    """`make demo`, watched byte by byte."""

    def __init__(self, root: Path) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            ["make", "demo"],
            cwd=root,
            env={**environment(), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.text = ""

    def wait_for(self, pattern: str, seconds: float) -> float | None:
        """Seconds from the start until the output matches; None: it never did."""
        stdout = self.process.stdout
        deadline = time.monotonic() + seconds
        while stdout and not re.search(pattern, self.text) and time.monotonic() < deadline:
            if select.select([stdout], [], [], 0.05)[0]:
                data = os.read(stdout.fileno(), 65536)
                if not data:
                    return None
                self.text += data.decode(errors="replace")
        return time.monotonic() - self.began if re.search(pattern, self.text) else None

    def end(self) -> None:
        """Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


STREAMED = r"streamed through the gateway[^\n]*\n[^\n]*\w"
"""The first characters of the reply after its heading."""


def curl_works(text: str) -> bool:
    """The curl line that the demo prints, run as printed."""
    found = re.search(r"^curl .*$", text, re.MULTILINE)
    if not found:
        return False
    done = subprocess.run(
        ["bash", "-c", found.group(0)], capture_output=True, text=True, timeout=30, check=False
    )
    return "data: " in done.stdout and "[DONE]" in done.stdout


def measure(bar: Bar) -> None:
    """Build, start, use, test."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fp-clone-") as place:
        root = clone(Path(place))
        status, seconds = timed(root, OUT / "bar01-setup.log", "make", "setup")
        bar.add("make setup from nothing", seconds, "<=", BUILD_S, unit="s", note=f"exit {status}")
        demo = Demo(root)
        first = demo.wait_for(STREAMED, 60.0)
        bar.add("make demo, built: first token on the screen", first, "<=", START_S, unit="s")
        demo.wait_for(r"curl [^\n]*\n(?s:.)*Ctrl-C", 20.0)
        bar.fact("its curl line works", curl_works(demo.text))
        url = re.search(r"http://([\d.]+:\d+)", demo.text)
        if url:
            status, _ = get(url.group(1), "/v1/models")
            bar.fact("its gateway lists models", status == 200)
        demo.end()
        (OUT / "bar01-demo.log").write_text(demo.text)
        if bar.quick:
            bar.say("make test is left out of the quick look")
            return
        status, seconds = timed(root, OUT / "bar01-test.log", "make", "test")
        bar.add("make test, exit status", status, "==", 0, note=f"{seconds:.0f} s")


if __name__ == "__main__":
    main(1, TITLE, measure, pin=False)
