"""A proxy inside an asyncio program, in a process of its own: `embedded.py OPTIONS`.

OPTIONS is JSON: `config` (a file), `loop` (`uvloop` or `asyncio`), and `hold_ms` with `every_ms`:
the GIL is held so long so often by a C call that sleeps, as a careless extension does.
Writes the proxy's address as one line of JSON, then works until it is ended.
"""

import asyncio
import contextlib
import ctypes
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benches.harness import machine
from benches.harness.processes import Child, StartError, free_port
from benches.peers.base import Needs
from benches.peers.fastproxy import document


@contextlib.contextmanager
def running(
    engines: Sequence[str], needs: Needs | None = None, *, workers: int, **options: int | str
) -> Iterator[tuple[str, Child]]:
    """Such a program for the length of a block; gives the proxy's address and the process."""
    with tempfile.TemporaryDirectory(prefix="fp-embedded-") as place:
        directory = Path(place)
        address = f"127.0.0.1:{free_port()}"
        config = directory / "fastproxy.yaml"
        admin = f"127.0.0.1:{free_port()}"
        config.write_text(document(address, admin, engines, needs or Needs(), workers=workers))
        asked = {"config": str(config), "loop": "uvloop", **options}
        child = Child(
            [sys.executable, str(Path(__file__)), json.dumps(asked)],
            cores={machine.cores().proxy},
            directory=directory,
            name="embedded",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            yield _address(child), child
        finally:
            child.stop()


def _address(child: Child) -> str:
    stdout = child.process.stdout
    line = stdout.readline() if stdout else b""
    try:
        return str(json.loads(line)["address"])
    except ValueError:
        child.kill()
        msg = f"the embedding program said {line!r}: {child.tail()}"
        raise StartError(msg) from None


def hold(hold_ms: int, every_ms: int) -> None:
    """Hold the GIL for a part of the time, forever. `PyDLL` calls C without letting it go."""
    usleep = ctypes.PyDLL(None).usleep
    while True:
        usleep(hold_ms * 1000)
        time.sleep((every_ms - hold_ms) / 1000)


async def serve(options: dict[str, Any]) -> None:
    """The program: a proxy, and nothing else to do."""
    import fastproxy  # noqa: PLC0415 - only the child needs it

    async with fastproxy.Proxy(options["config"]) as proxy:
        print(json.dumps({"address": str(proxy.address)}), flush=True)
        if options.get("hold_ms"):
            arguments = (int(options["hold_ms"]), int(options["every_ms"]))
            threading.Thread(target=hold, args=arguments, daemon=True).start()
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()


def main() -> int:
    """Run the program under the event loop asked for."""
    options = json.loads(sys.argv[1])
    if options["loop"] == "uvloop":
        import uvloop  # noqa: PLC0415 - as `import fastproxy`

        uvloop.run(serve(options))
    else:
        asyncio.run(serve(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
