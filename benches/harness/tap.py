"""A tap on an engine's socket: passes every byte on, keeps a copy, and reads exchanges out of it.

What a client must read is what the engine wrote for its request, so the copy is taken between the
proxy and the engine and not from the engine's own word. A request is known by its header `x-tap`.
"""

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import Self

TAG = b"x-tap"
_READ = 256 * 1024


@dataclass(slots=True)
class Message:
    """One HTTP/1.1 message as it was on the wire."""

    start: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    """Content, chunk framing removed."""
    complete: bool

    def get(self, name: bytes) -> bytes | None:
        """First value of a header, name in lower case."""
        return next((value for known, value in self.fields if known == name), None)

    @property
    def status(self) -> int:
        """Status of a response."""
        return int(self.start.split(b" ")[1])


@dataclass(slots=True)
class Flow:
    """The bytes of one connection, both ways."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)
    closed: bool = False

    def exchanges(self) -> list[tuple[Message, Message | None]]:
        """Requests with their answers, in order."""
        requests = _messages(bytes(self.up), response=False)
        answers = [
            answer
            for answer in _messages(bytes(self.down), response=True, closed=self.closed)
            if answer.status >= 200
        ]
        padded = answers + [None] * max(0, len(requests) - len(answers))
        return list(zip(requests, padded, strict=False))


def _messages(data: bytes, *, response: bool, closed: bool = False) -> list[Message]:
    """All messages of one direction; the last may be incomplete."""
    found = []
    at = 0
    while at < len(data):
        end = data.find(b"\r\n\r\n", at)
        if end < 0:
            break
        start, *lines = data[at:end].split(b"\r\n")
        pairs = [row.split(b":", 1) for row in lines]
        fields = [(name.strip().lower(), value.strip()) for name, value in pairs]
        message = Message(start, fields, b"", complete=True)
        message.body, at, message.complete = _body(
            data, end + 4, message, response=response, closed=closed
        )
        found.append(message)
        if not message.complete:
            break
    return found


def _body(
    data: bytes, at: int, message: Message, *, response: bool, closed: bool
) -> tuple[bytes, int, bool]:
    """(content, position after it, whether it is all there)."""
    if response and (message.status < 200 or message.status in (204, 304)):
        return b"", at, True
    if (message.get(b"transfer-encoding") or b"").lower() == b"chunked":
        return _chunks(data, at)
    length = message.get(b"content-length")
    if length is not None:
        body = data[at : at + int(length)]
        return body, at + len(body), len(body) == int(length)
    if response:
        return data[at:], len(data), closed
    return b"", at, True


def _chunks(data: bytes, at: int) -> tuple[bytes, int, bool]:
    parts: list[bytes] = []
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return b"".join(parts), len(data), False
        size = int(data[at:end].split(b";")[0], 16)
        at = end + 2
        if size == 0:
            last = data.find(b"\r\n", at)
            return b"".join(parts), last + 2, last >= 0
        parts.append(data[at : at + size])
        if at + size + 2 > len(data):
            return b"".join(parts), len(data), False
        at += size + 2


class Tap:
    """Listens, dials the engine for each connection, and copies."""

    def __init__(self, engine: str) -> None:
        host, _, port = engine.rpartition(":")
        self._engine = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.flows: list[Flow] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            flow = Flow()
            self.flows.append(flow)
            engine = socket.create_connection(self._engine)
            for sock in (client, engine):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink, copy in ((client, engine, flow.up), (engine, client, flow.down)):
                threading.Thread(
                    target=self._pump, args=(source, sink, copy, flow), daemon=True
                ).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, copy: bytearray, flow: Flow) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_READ):
                copy += data
                sink.sendall(data)
        if copy is flow.down:
            flow.closed = True
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def answer(self, tag: str) -> tuple[Message, Message | None]:
        """The exchange whose request carried this tag.

        A request may have come twice, first on a kept connection that the engine had closed: the
        one that was answered counts.

        Raises:
            KeyError: no such request came to the engine.
        """
        found = [
            exchange
            for flow in list(self.flows)
            for exchange in flow.exchanges()
            if exchange[0].get(TAG) == tag.encode()
        ]
        if not found:
            raise KeyError(tag)
        return next((exchange for exchange in found if exchange[1] is not None), found[-1])
