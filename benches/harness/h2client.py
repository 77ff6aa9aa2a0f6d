"""A client of HTTP/2 that reads raw frames, by Python's own implementation of the protocol."""

import contextlib
import socket
import struct
from collections.abc import Iterator

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError

_SETTINGS, _GOAWAY, _RST_STREAM = 4, 7, 3
_ENDS = 1
_SETTINGS_ACK = b"\0\0\0\4\1\0\0\0\0"
_STREAM = 1


def _fields(scheme: str, length: int) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", scheme),
        (":authority", "bench"),
        (":path", "/v1/chat/completions"),
        ("content-type", "application/json"),
        ("content-length", str(length)),
    ]


def _begun(body: bytes | None, scheme: str = "http") -> H2Connection:
    """A connection that has said its preface, and one request if there is a body."""
    wire = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    wire.initiate_connection()
    if body is not None:
        wire.send_headers(_STREAM, _fields(scheme, len(body)))
        wire.send_data(_STREAM, body, end_stream=True)
    return wire


def opening(body: bytes | None) -> bytes:
    """What a client says first: the same on every connection."""
    said: bytes = _begun(body).data_to_send()
    return said


def settle(sock: socket.socket, *, answered: bool) -> None:
    """Acknowledge the server's settings, and wait for the end of the only answer if there is one.

    Raises:
        ConnectionError: the server closed, or ended the stream otherwise.
    """
    settled = False
    for kind, flags, stream in _frames(sock):
        if kind == _SETTINGS and not flags & _ENDS:
            sock.sendall(_SETTINGS_ACK)
            settled = True
        elif kind in (_GOAWAY, _RST_STREAM):
            break
        answered = answered and not (stream == _STREAM and kind in (0, 1) and flags & _ENDS)
        if settled and not answered:
            return
    msg = "closed instead of answered"
    raise ConnectionError(msg)


def _frames(sock: socket.socket) -> Iterator[tuple[int, int, int]]:
    """Type, flags and stream of each frame until the connection ends."""
    while head := _exactly(sock, 9):
        high, low, kind, flags, stream = struct.unpack(">BHBBL", head)
        length = high << 16 | low
        if len(_exactly(sock, length)) < length:
            return
        yield kind, flags, stream


def _exactly(sock: socket.socket, count: int) -> bytes:
    """So many bytes, or fewer at the end of the connection."""
    found = b""
    while len(found) < count and (received := sock.recv(count - len(found))):
        found += received
    return found


class Http2Stream:
    """One request on a connection of its own.

    Attributes:
        status: of the answer, 0 before it.
        data: the body so far.
        ended: the stream was ended by its server, and not by a reset.
    """

    def __init__(self, sock: socket.socket, body: bytes, scheme: str) -> None:
        self.sock = sock
        self.status = 0
        self.data = bytearray()
        self.ended = False
        self._over = False
        self._wire = _begun(body, scheme)
        self.sock.sendall(self._wire.data_to_send())

    def receive(self) -> bool:
        """Read once; False when nothing more will come."""
        received = b""
        with contextlib.suppress(OSError):
            received = self.sock.recv(65536)
        try:
            for event in self._wire.receive_data(received):
                self._take(event)
        except ProtocolError:
            self._over = True
        with contextlib.suppress(OSError):
            self.sock.sendall(self._wire.data_to_send())
        return bool(received) and not self._over

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.ResponseReceived):
            self.status = int(dict(event.headers)[":status"])
        elif isinstance(event, events.DataReceived):
            self.data += event.data
            self._wire.acknowledge_received_data(event.flow_controlled_length, _STREAM)
        elif isinstance(event, events.StreamEnded):
            self.ended = self._over = True
        elif isinstance(event, events.StreamReset | events.ConnectionTerminated):
            self._over = True
