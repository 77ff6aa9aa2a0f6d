"""What attackers of each class send: the scripts of the tests, and those that hold or answer."""

from collections.abc import Iterator
from dataclasses import dataclass

from harness.abuse import ATTACKS, OPENING, SHUT, block, headers, indexed, stream
from harness.client import chat
from harness.frames import Code, Kind, data, window_update

AT_ONCE = 8
"""Connections of a flood at a time."""
SCRIPT_BYTES = 64 * 1024
"""A flood does not end when the budget does."""
HELD = 200
"""Connections that hold what they have at a time."""
AUTHORITY = (b":authority", b"a.test")
ASK = [(b":method", b"POST"), (b":scheme", b"http"), AUTHORITY, (b":path", b"/v1/chat/completions")]
CHAT = [*ASK, (b"content-type", b"application/json")]
LIST = [(b":method", b"GET"), (b":scheme", b"http"), AUTHORITY, (b":path", b"/v1/models")]
LONG_TOKENS = 4_000
"""20 KB of answer."""


@dataclass(frozen=True, slots=True)
class Class:
    """What its attackers do, and what is to come of them."""

    name: str
    script: bytes
    """What a connection says."""
    again: bytes
    """What a sink, which never closes, is told for ever after."""
    cause: str | None
    """The closure that is counted; None: it is not closed."""
    code: Code | None = None
    connections: int = AT_ONCE
    stays: bool = False
    """Connections are kept when they have said everything."""
    dribbles: bool = False
    """Each byte of an answer is let through by itself."""
    plain: str = ""
    """Of header bombs: the class that asks the same with heads as usual."""


def scan(received: bytes | bytearray) -> Iterator[tuple[int, int, int, int]]:
    """Type, stream, and where the payload begins and ends, of each whole frame."""
    at = 0
    while at + 9 <= len(received):
        end = at + 9 + int.from_bytes(received[at : at + 3])
        if end > len(received):
            return
        yield received[at + 3], int.from_bytes(received[at + 5 : at + 9]), at + 9, end
        at = end


class Reader:
    """What one connection says, and what it was told."""

    def __init__(self, attack: Class, *, sink: bool) -> None:
        self.attack, self.sink = attack, sink
        self.received = bytearray()
        self.next = bytearray()

    def begin(self) -> bytes:
        """The script."""
        return self.attack.script

    def more(self) -> bytes:
        """What is said next; nothing: wait."""
        if self.sink:
            return self.attack.again
        found, self.next = bytes(self.next), bytearray()
        return found

    @property
    def ready(self) -> bool:
        """Whether there is more to say."""
        return bool(self.next)

    def take(self, part: bytes) -> None:
        """What the other side said."""
        self.received += part
        if self.attack.dribbles:
            self.dribble()

    def dribble(self) -> None:
        """A byte more for each stream of which something came."""
        taken = 0
        for kind, number, _, end in scan(self.received):
            if kind in {Kind.DATA, Kind.HEADERS}:
                self.next += window_update(number, 1)
            elif kind == Kind.GOAWAY:
                return
            taken = end
        del self.received[:taken]

    def farewell(self) -> Code | None:
        """What the last GOAWAY said."""
        said = None
        for kind, _, start, end in scan(self.received):
            if kind == Kind.GOAWAY and end - start >= 8:
                said = Code(int.from_bytes(self.received[start + 4 : start + 8]))
        return said


CRUMB, FIELD = b"\xbe", b"\xbf"
"""The two entries of the table, the newest first."""


def heads(fields: list[tuple[bytes, bytes]], *, end: bool, count: int = 5) -> bytes:
    """Requests whose heads are as large as may be, all but the first in 200 bytes."""
    value = b"b" * 280
    made = block(fields) + indexed(b"x", value) + indexed(b"cookie", value)
    small = block(fields) + FIELD * 99 + CRUMB * 99
    first = headers(1, made + small[len(block(fields)) :], end=end)
    return first + b"".join(headers(stream(number), small, end=end) for number in range(1, count))


def plain(fields: list[tuple[bytes, bytes]], *, end: bool, count: int = 5) -> bytes:
    """As many requests with ordinary heads."""
    return b"".join(headers(stream(number), block(fields), end=end) for number in range(count))


def long_answers(count: int) -> bytes:
    """Requests for answers of which no byte may be sent."""
    body = chat(model="sim", max_tokens=LONG_TOKENS)
    each = (headers(stream(n), block(CHAT)) + data(stream(n), body, end=True) for n in range(count))
    return b"".join(each)


HOLDING = [
    Class(
        "HPACK bombs, held",
        OPENING + heads(ASK, end=False),
        b"",
        None,
        connections=HELD,
        stays=True,
        plain="plain heads, held",
    ),
    Class(
        "cookie bombs behind a shut window",
        SHUT + heads(LIST, end=True),
        b"",
        None,
        connections=HELD,
        stays=True,
        plain="plain heads behind a shut window",
    ),
    Class(
        "answers behind a shut window",
        SHUT + long_answers(100),
        b"",
        None,
        stays=True,
    ),
    Class(
        "data dribble",
        SHUT + long_answers(100),
        b"".join(window_update(stream(number), 1) for number in range(100)),
        None,
        stays=True,
        dribbles=True,
    ),
]

PLAIN = [
    Class(
        "plain heads, held",
        OPENING + plain(ASK, end=False),
        b"",
        None,
        connections=HELD,
        stays=True,
    ),
    Class(
        "plain heads behind a shut window",
        SHUT + plain(LIST, end=True),
        b"",
        None,
        connections=HELD,
        stays=True,
    ),
]

CLASSES: dict[str, Class] = {}
"""What is measured, in order."""
for _attack in ATTACKS:
    _count = max(_attack.enough, SCRIPT_BYTES // len(_attack.unit(1)))
    CLASSES[_attack.name] = Class(
        _attack.name,
        _attack.script(_count),
        _attack.body(min(_count, 10_000)),
        _attack.cause,
        _attack.code,
    )
CLASSES |= {held.name: held for held in HOLDING}
KNOWN = CLASSES | {held.name: held for held in PLAIN}
"""With those that others are compared with."""
