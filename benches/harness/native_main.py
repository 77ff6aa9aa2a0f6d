"""Main of a process with one native tool: `native_main.py engine|relay|load OPTIONS [FILE]`.

An engine or a relay writes its addresses as one line of JSON, then works until it is ended; a load
writes its report to FILE, also when SIGINT cuts it short.
"""

import json
import signal
import sys
import threading
from pathlib import Path

from fastproxy import _native


def main() -> int:
    """Run one tool."""
    kind, options = sys.argv[1], sys.argv[2].encode()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if kind == "load":
        report = _native.bench_run(options, lambda _: not ended.is_set())
        Path(sys.argv[3]).write_bytes(report)
        return 0
    start = _native.bench_engine if kind == "engine" else _native.bench_relay
    tool = start(options)
    sys.stdout.write(json.dumps({"addresses": tool.addresses()}) + "\n")
    sys.stdout.flush()
    ended.wait()
    tool.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
