"""HTTP/2 frames by the byte, right or wrong as asked; written apart from the code under test."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_MAX = 16_384
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20
Pairs = Sequence[tuple[bytes, bytes]]


class Kind(IntEnum):
    """Frame types, RFC 9113 §6 and RFC 9218 §7.1."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    PRIORITY_UPDATE = 16


class Code(IntEnum):
    """Error codes, RFC 9113 §7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    """Settings, RFC 9113 §6.5.2, RFC 8441 §3 and RFC 9218 §2.1."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8
    NO_RFC7540_PRIORITIES = 9


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> Code:
        """The error code of RST_STREAM or GOAWAY."""
        at = 4 if self.kind == Kind.GOAWAY else 0
        return Code(int.from_bytes(self.payload[at : at + 4]))

    @property
    def bytes(self) -> bytes:
        """As it was on the wire."""
        return frame(self.kind, self.flags, self.stream, self.payload)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Nine bytes and the payload."""
    head = len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4)
    return head + payload


def frames(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames at the front, and what is left."""
    found = []
    while len(data) >= 9 and len(data) >= 9 + (size := int.from_bytes(data[:3])):
        stream = int.from_bytes(data[5:9]) & 0x7FFF_FFFF
        found.append(Frame(data[3], data[4], stream, data[9 : 9 + size]))
        data = data[9 + size :]
    return found, data


def integer(value: int, prefix: int, first: int = 0) -> bytes:
    """RFC 7541 §5.1, with the bits of `first` above the prefix."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    out = bytearray([first | most])
    value -= most
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(value: bytes) -> bytes:
    """RFC 7541 §5.2, as it is."""
    return integer(len(value), 7) + value


def block(fields: Pairs) -> bytes:
    """A header block of literals that touch no table (RFC 7541 §6.2.2)."""
    return b"".join(b"\0" + string(name) + string(value) for name, value in fields)


def padded(payload: bytes, padding: int | None, before: bytes = b"") -> bytes:
    """A payload with its pad length and padding; None: not padded."""
    if padding is None:
        return before + payload
    return bytes([padding]) + before + payload + bytes(padding)


def headers(
    stream: int,
    content: bytes,
    *,
    end: bool = False,
    padding: int | None = None,
    depends: int | None = None,
    split: Sequence[int] = (),
) -> bytes:
    """HEADERS, and CONTINUATION from each place in `split` on."""
    cuts = [0, *sorted(min(at, len(content)) for at in split), len(content)]
    parts = [content[a:b] for a, b in pairwise(cuts)]
    priority = b"" if depends is None else depends.to_bytes(4) + b"\x0f"
    flags = (
        (END_STREAM if end else 0)
        | (PADDED if padding is not None else 0)
        | (PRIORITY_FLAG if depends is not None else 0)
        | (END_HEADERS if len(parts) == 1 else 0)
    )
    out = frame(Kind.HEADERS, flags, stream, padded(parts[0], padding, priority))
    for number, part in enumerate(parts[1:], 2):
        last = END_HEADERS if number == len(parts) else 0
        out += frame(Kind.CONTINUATION, last, stream, part)
    return out


def data(stream: int, content: bytes, *, end: bool = False, padding: int | None = None) -> bytes:
    """DATA."""
    flags = (END_STREAM if end else 0) | (PADDED if padding is not None else 0)
    return frame(Kind.DATA, flags, stream, padded(content, padding))


def settings(*pairs: tuple[int, int]) -> bytes:
    """SETTINGS."""
    body = b"".join(name.to_bytes(2) + value.to_bytes(4) for name, value in pairs)
    return frame(Kind.SETTINGS, 0, 0, body)


def reset(stream: int, code: int = Code.CANCEL) -> bytes:
    """RST_STREAM."""
    return frame(Kind.RST_STREAM, 0, stream, code.to_bytes(4))


def window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, increment.to_bytes(4))


def ping(content: bytes = b"12345678", *, ack: bool = False) -> bytes:
    """PING."""
    return frame(Kind.PING, ACK if ack else 0, 0, content)


def goaway(last: int = 0, code: int = Code.NO_ERROR) -> bytes:
    """GOAWAY."""
    return frame(Kind.GOAWAY, 0, 0, last.to_bytes(4) + code.to_bytes(4))
