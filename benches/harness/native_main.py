"""Main of the processes that hold one native tool: `native_main.py engine|relay|load OPTIONS`.

An engine or a relay writes its addresses as one line of JSON, then works until it is ended.
"""

import json
import signal
import sys
import threading

from fastproxy import _native


def main() -> int:
    """Run one tool."""
    kind, options = sys.argv[1], sys.argv[2].encode()
    if kind == "load":
        report = _native.bench_run(options, lambda _: True)
        sys.stdout.write(report.decode())
        return 0
    tool = _native.Engine(options) if kind == "engine" else _native.Relay(options)
    sys.stdout.write(json.dumps({"addresses": tool.addresses()}) + "\n")
    sys.stdout.flush()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    tool.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
