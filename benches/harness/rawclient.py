"""A client that reads raw bytes: whether a stream ended as HTTP and SSE say that it may end."""

import contextlib
import json
from dataclasses import dataclass

from benches.harness.h2client import Http2Stream
from benches.harness.tap import _chunks
from benches.peers.speech import PLAIN, Speech
from benches.scenarios.base import MODEL


@dataclass(frozen=True, slots=True)
class Ended:
    """How one stream ended."""

    status: int
    body: bytes
    framed: bool
    """The body was terminated: by its last chunk, or by the end of the HTTP/2 stream."""

    @property
    def done(self) -> bool:
        """The last event of a whole stream is there."""
        return b"data: [DONE]" in self.body

    @property
    def looks_complete(self) -> bool:
        """A client would take it for whole: framing and last event are both there."""
        return self.framed and (self.done or not self.says_error)

    @property
    def says_error(self) -> bool:
        """It holds an error event."""
        return b'"error"' in self.body

    @property
    def whole_events(self) -> bool:
        """It ends between two events."""
        return not self.body or self.body.endswith((b"\n\n", b"\r\n\r\n"))


def _body(tokens: int) -> bytes:
    asked = {
        "model": MODEL,
        "stream": True,
        "max_tokens": tokens,
        "messages": [{"role": "user", "content": "hi"}],
    }
    return json.dumps(asked).encode()


class Stream:
    """One streamed chat completion on a connection of its own."""

    def __init__(
        self, address: str, tokens: int, fields: str = "", *, speech: Speech = PLAIN
    ) -> None:
        self.sock = speech.dial(address)
        body = _body(tokens)
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\n"
            f"content-type: application/json\r\n{fields}content-length: {len(body)}\r\n\r\n"
        )
        self.sock.sendall(head.encode() + body)
        self.data = bytearray()

    def read_events(self, count: int) -> None:
        """Read until so many events have come, or the connection ends."""
        while self.data.count(b"\n\n") < count:
            received = self.sock.recv(65536)
            if not received:
                return
            self.data += received

    def rest(self) -> Ended:
        """Read to the end of the connection or of the body, whichever is first."""
        with contextlib.suppress(OSError):
            while not self.data.endswith(b"0\r\n\r\n"):
                received = self.sock.recv(65536)
                if not received:
                    break
                self.data += received
        self.sock.close()
        head, _, rest = bytes(self.data).partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1]) if head.count(b" ") else 0
        body, _, framed = _chunks(rest, 0)
        return Ended(status, body, framed)


class Stream2:
    """The same over HTTP/2."""

    def __init__(self, address: str, tokens: int, speech: Speech) -> None:
        scheme = "https" if speech.front_tls else "http"
        self._stream = Http2Stream(speech.dial(address), _body(tokens), scheme)

    def read_events(self, count: int) -> None:
        """Read until so many events have come, or the stream ends."""
        while self._stream.data.count(b"\n\n") < count and self._stream.receive():
            pass

    def rest(self) -> Ended:
        """Read to the end of the stream."""
        while self._stream.receive():
            pass
        self._stream.sock.close()
        return Ended(self._stream.status, bytes(self._stream.data), self._stream.ended)


def stream(address: str, tokens: int, speech: Speech = PLAIN) -> Stream | Stream2:
    """A stream in whatever is spoken."""
    if speech.front == "h2":
        return Stream2(address, tokens, speech)
    return Stream(address, tokens, speech=speech)
