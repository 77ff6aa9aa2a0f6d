"""Ways to make a server work for nothing: bytes of one HTTP/2 connection, and what comes of them.

One attack is an opening and units that repeat. `budget` units pass at once on a listener that
trusts nobody; a unit more ends the connection with the attack's cause.
"""

from collections.abc import Callable
from dataclasses import dataclass

from harness.frames import (
    ACK,
    PREFACE,
    Code,
    Kind,
    Setting,
    block,
    data,
    frame,
    frames,
    goaway,
    headers,
    ping,
    reset,
    settings,
    string,
    window_update,
)

WINDOW_MAX = 2**31 - 1
STREAMS_MAX = 100
"""Streams at a time that we offer."""
TARGET = b"/v1/models"
GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", TARGET)]
POST = [(b":method", b"POST"), *GET[1:]]
HELLO = PREFACE + settings()
OPENING = HELLO + frame(Kind.SETTINGS, ACK, 0)
SHUT = PREFACE + settings((Setting.INITIAL_WINDOW_SIZE, 0)) + frame(Kind.SETTINGS, ACK, 0)
"""As `OPENING`, and no body may be sent to us."""
ASKED, ANSWERED = ping(b"are you?"), ping(b"are you?", ack=True)
GLITCHES = 1_000
CONTROLS = 198
"""PINGs and SETTINGS: 200, of which the first SETTINGS are one, and `ASKED` is another."""
REPLIES = 998
"""1,000, with the answers to those two."""
OVERHEAD_TIMES, OVERHEAD_FREE = 8, 1024 * 1024

Unit = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Attack:
    """One class."""

    name: str
    cause: str
    """Label of the closure that must be counted."""
    budget: int
    unit: Unit
    """The unit of that number, from 0."""
    before: bytes = b""
    opening: bytes = OPENING
    code: Code = Code.ENHANCE_YOUR_CALM
    """What GOAWAY says at last."""
    widened: bool = True
    """Whether a trusted peer may do more of it."""

    @property
    def borne(self) -> int:
        """Units that pass whatever else there is to do: oddities count double on a busy worker."""
        return self.budget // 2 if self.cause == "glitches" else self.budget

    @property
    def enough(self) -> int:
        """Units that end the connection, also if the budget refills for a while."""
        return self.budget + self.budget // 4 + 5

    def script(self, count: int | None = None) -> bytes:
        """All bytes of a connection with so many units."""
        return self.opening + self.before + self.body(self.enough if count is None else count)

    def body(self, count: int) -> bytes:
        """The units alone."""
        if count > 1 and self.unit(0) == self.unit(1):
            return self.unit(0) * count
        return b"".join(self.unit(number) for number in range(count))


def stream(number: int) -> int:
    """The id of a client's stream, from 0."""
    return 2 * number + 1


def get(number: int) -> bytes:
    """A whole request."""
    return headers(stream(number), block(GET), end=True)


def post(number: int) -> bytes:
    """A request whose body is still to come."""
    return headers(stream(number), block(POST))


def beyond(number: int) -> bytes:
    """A request while there is room for it, then the shortest head there is."""
    return post(number) if number < STREAMS_MAX else headers(stream(number), b"\x83\x86\x84")


def wave(number: int) -> bytes:
    """Fifty requests, then all of them reset."""
    numbers = range(50 * number, 50 * number + 50)
    return b"".join(get(n) for n in numbers) + b"".join(reset(stream(n)) for n in numbers)


def indexed(name: bytes, value: bytes) -> bytes:
    """A field that goes into the table (RFC 7541 §6.2.1)."""
    return b"\x40" + string(name) + string(value)


NEWEST = b"\xbe"
"""The newest entry of the table."""
BOMB = block(GET) + indexed(b"x", b"b" * 4_000) + NEWEST * 12_000
"""16 KB that become 48 MB."""


def heads_beyond_what_was_sent(number: int) -> bytes:
    """Heads of 60 KB each in 40 bytes; the first ones find room."""
    entry = indexed(b"x", b"b" * 4_000) if number == 0 else b""
    return headers(stream(number), block(POST) + entry + NEWEST * 14)


def made(name: str, unit: Unit) -> Attack:
    """A way to make us reset a stream (CVE-2025-8671, CVE-2019-9514)."""
    return Attack(f"MadeYouReset, {name}", "made_you_reset", 100, unit)


def malformed(name: str, *fields: tuple[bytes, bytes]) -> Attack:
    """Heads that no server may take (RFC 9113 §8.1.1)."""
    content = block([*GET, *fields])
    return made(name, lambda n: headers(stream(n), content, end=True))


RESETS = [
    Attack("rapid reset", "rapid_reset", 100, lambda n: get(n) + reset(stream(n))),
    Attack("rapid reset, in waves", "rapid_reset", 2, wave),
    made("a window by nothing", lambda n: post(n) + window_update(stream(n), 0)),
    made("a window beyond 2^31-1", lambda n: post(n) + window_update(stream(n), WINDOW_MAX)),
    made("DATA behind the end", lambda n: get(n) + data(stream(n), b"x")),
    made(
        "HEADERS behind the end",
        lambda n: get(n) + headers(stream(n), block([(b"x", b"y")]), end=True),
    ),
    made(
        "PRIORITY of a wrong length",
        lambda n: post(n) + frame(Kind.PRIORITY, 0, stream(n), bytes(4)),
    ),
    made(
        "PRIORITY on itself",
        lambda n: post(n) + frame(Kind.PRIORITY, 0, stream(n), stream(n).to_bytes(4) + b"\x01"),
    ),
    made(
        "a head that depends on itself",
        lambda n: headers(stream(n), block(GET), end=True, depends=stream(n)),
    ),
    made(
        "more than content-length",
        lambda n: (
            headers(stream(n), block([*POST, (b"content-length", b"1")])) + data(stream(n), b"xx")
        ),
    ),
    malformed("heads in upper case", (b"X-Upper", b"a")),
    malformed("names of no length", (b"", b"")),
]

HEADS = [
    Attack(
        "CONTINUATION, a byte each",
        "continuation",
        8,
        lambda _: frame(Kind.CONTINUATION, 0, 1, b"\0"),
        before=frame(Kind.HEADERS, 0, 1, block(GET)),
        widened=False,
    ),
    Attack(
        "CONTINUATION, empty",
        "continuation",
        8,
        lambda _: frame(Kind.CONTINUATION, 0, 1),
        before=frame(Kind.HEADERS, 0, 1, block(GET)),
        widened=False,
    ),
    Attack(
        "CONTINUATION, 16 KiB each",
        "continuation",
        4,
        lambda _: frame(Kind.CONTINUATION, 0, 1, bytes(16_384)),
        before=frame(Kind.HEADERS, 0, 1),
        widened=False,
    ),
    Attack(
        "HPACK bomb",
        "header_bomb",
        0,
        lambda n: headers(stream(n), BOMB, end=True),
        widened=False,
    ),
    Attack(
        "heads beyond what was sent",
        "glitches",
        GLITCHES // 4 + 4,
        heads_beyond_what_was_sent,
    ),
]

FLOODS = [
    Attack("SETTINGS", "settings_flood", CONTROLS, lambda _: settings()),
    Attack(
        "SETTINGS of 33 entries",
        "settings_flood",
        0,
        lambda _: settings(*[(Setting.MAX_FRAME_SIZE, 16_384)] * 33),
        widened=False,
    ),
    Attack(
        "SETTINGS that move 100 windows",
        "settings_flood",
        CONTROLS,
        lambda n: settings((Setting.INITIAL_WINDOW_SIZE, n % 2)),
        before=b"".join(post(n) for n in range(STREAMS_MAX)),
    ),
    Attack("PING", "ping_flood", CONTROLS, lambda _: ping()),
    Attack(
        "PRIORITY",
        "priority",
        100,
        lambda _: frame(Kind.PRIORITY, 0, 1, bytes(4) + b"\x0f"),
    ),
    Attack(
        "PRIORITY_UPDATE",
        "priority",
        100,
        lambda _: frame(Kind.PRIORITY_UPDATE, 0, 0, (1).to_bytes(4) + b"u=1"),
    ),
    Attack("empty DATA", "empty_frames", 10, lambda _: data(1, b""), before=post(0)),
    Attack(
        "DATA of padding", "empty_frames", 10, lambda _: data(1, b"", padding=255), before=post(0)
    ),
    Attack("WINDOW_UPDATE", "window_updates", 5, lambda _: window_update(0, 1)),
    Attack(
        "WINDOW_UPDATE of a closed stream",
        "window_updates",
        7,
        lambda _: window_update(1, 1),
        before=get(0) + reset(1),
    ),
    Attack(
        "the connection's window beyond 2^31-1",
        "flow_control",
        0,
        lambda _: window_update(0, WINDOW_MAX),
        code=Code.FLOW_CONTROL_ERROR,
        widened=False,
    ),
    Attack(
        "RST_STREAM of a closed stream",
        "overhead",
        OVERHEAD_TIMES * OVERHEAD_FREE // len(reset(1)),
        lambda _: reset(1),
        before=get(0) + reset(1),
    ),
    Attack("frames of no known type", "glitches", GLITCHES, lambda _: frame(0x42, 0, 0)),
    Attack("GOAWAY", "glitches", GLITCHES + 1, lambda _: goaway(), before=post(0)),
    Attack(
        "more streams than offered",
        "glitches",
        STREAMS_MAX + GLITCHES,
        post,
    ),
    Attack(
        "more streams than offered, SETTINGS never acknowledged",
        "control_queue",
        STREAMS_MAX + REPLIES,
        beyond,
        opening=HELLO,
    ),
]

ATTACKS = [*RESETS, *HEADS, *FLOODS]


def farewell(received: bytes) -> Code | None:
    """What the last GOAWAY said; None if there was none."""
    said = [found.code for found in frames(received)[0] if found.kind == Kind.GOAWAY]
    return said[-1] if said else None
