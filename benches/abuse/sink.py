"""Main of a server that takes everything and says nothing: `sink.py`; its address is on stdout."""

import os
import selectors
import socket
import sys

BUFFER_BYTES = 256 * 1024


def main() -> None:
    """Accept and read, for ever, when nobody else wants the core."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    sys.stdout.write(f"127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    room = bytearray(BUFFER_BYTES)
    while True:
        for key, _ in selector.select():
            ready = key.fileobj
            if ready is listener:
                taken, _ = listener.accept()
                taken.setblocking(False)
                selector.register(taken, selectors.EVENT_READ)
                continue
            assert isinstance(ready, socket.socket)
            try:
                count = ready.recv_into(room)
            except BlockingIOError:
                continue
            except OSError:
                count = 0
            if not count:
                selector.unregister(ready)
                ready.close()


if __name__ == "__main__":
    main()
