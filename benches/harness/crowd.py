"""Many plain client connections held by this process: to see what an idle one costs."""

import contextlib
import json
import socket
from collections.abc import Iterator

from benches.harness import h2client
from benches.peers.speech import PLAIN, Speech
from benches.scenarios.base import MODEL

_BODY = json.dumps(
    {"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    b"content-length: " + str(len(_BODY)).encode() + b"\r\n\r\n" + _BODY
)
_BATCH = 100


def _answered(sock: socket.socket) -> None:
    """Wait for the answer to a request of HTTP/1.1; it comes in one piece."""
    if not sock.recv(65536):
        msg = "closed instead of answered"
        raise ConnectionError(msg)


@contextlib.contextmanager
def idle(address: str, count: int, *, used: bool, speech: Speech = PLAIN) -> Iterator[int]:
    """Hold so many idle connections; `used`: each has had one request."""
    held: list[socket.socket] = []
    context = speech.context()
    http2 = speech.front == "h2"
    opening = h2client.opening(_BODY if used else None) if http2 else REQUEST * used
    try:
        for at in range(0, count, _BATCH):
            batch = [speech.dial(address, context) for _ in range(min(_BATCH, count - at))]
            held += batch
            for sock in batch:
                sock.sendall(opening)
            for sock in batch:
                if http2:
                    h2client.settle(sock, answered=used)
                elif used:
                    _answered(sock)
        yield len(held)
    finally:
        for sock in held:
            sock.close()
