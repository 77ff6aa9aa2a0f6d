"""Many plain client connections held by this process: to see what an idle one costs."""

import contextlib
import json
import selectors
import socket
from collections.abc import Iterator

from benches.scenarios.base import MODEL

_BODY = json.dumps(
    {"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    b"content-length: " + str(len(_BODY)).encode() + b"\r\n\r\n" + _BODY
)
_BATCH = 100


def _dial(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20.0)


def _ask(batch: list[socket.socket]) -> None:
    """One request on each connection, answered."""
    selector = selectors.DefaultSelector()
    for sock in batch:
        sock.sendall(REQUEST)
        selector.register(sock, selectors.EVENT_READ)
    waiting = len(batch)
    while waiting:
        ready = selector.select(20.0)
        if not ready:
            msg = f"{waiting} connections got no answer"
            raise TimeoutError(msg)
        for key, _ in ready:
            if not key.fileobj.recv(65536):  # type: ignore[union-attr]
                msg = "closed instead of answered"
                raise ConnectionError(msg)
            selector.unregister(key.fileobj)
            waiting -= 1
    selector.close()


@contextlib.contextmanager
def idle(address: str, count: int, *, used: bool) -> Iterator[int]:
    """Hold so many idle connections; `used`: each has had one request."""
    held: list[socket.socket] = []
    try:
        for at in range(0, count, _BATCH):
            batch = [_dial(address) for _ in range(min(_BATCH, count - at))]
            held += batch
            if used:
                _ask(batch)
        yield len(held)
    finally:
        for sock in held:
            sock.close()
