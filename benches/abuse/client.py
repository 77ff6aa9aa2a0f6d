"""Main of the well-behaved client: `client.py LOADS DIRECTORY`, all loads from one moment on.

LOADS is JSON: options of the native load generator by name. The moment is written to stdout when it
is there; the reports, `NAME.json`, into the directory when all have ended.
"""

import json
import signal
import sys
import threading
import time
from pathlib import Path

from fastproxy import _native


def main() -> None:
    """Run them, a thread each."""
    loads, directory = json.loads(sys.argv[1]), Path(sys.argv[2])
    ended = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: ended.set())

    def run(name: str) -> None:
        report = _native.bench_run(json.dumps(loads[name]).encode(), lambda _: not ended.is_set())
        (directory / f"{name}.json").write_bytes(report)

    threads = [threading.Thread(target=run, args=(name,)) for name in loads]
    for thread in threads:
        thread.start()
    sys.stdout.write(f"{time.monotonic()}\n")
    sys.stdout.flush()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
