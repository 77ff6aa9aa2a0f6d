"""What a client may send to a server: steps that are right, and one of each kind that is wrong.

A step's label says what is special about it; `h2_known.toml` explains differences by label.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from harness.frames import (
    END_STREAM,
    FRAME_MAX,
    Code,
    Kind,
    Setting,
    block,
    data,
    frame,
    goaway,
    headers,
    integer,
    ping,
    reset,
    settings,
    string,
    window_update,
)

Fields = list[tuple[bytes, bytes]]
SCALE = int(os.environ.get("FASTPROXY_DRAW", "1"))
"""Times as many scripts are drawn: a proof may take longer than a test."""
WINDOW_MAX = 2**31 - 1
GET: Fields = [
    (b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/x?y"),
]  # fmt: skip
POST: Fields = [(b":method", b"POST"), *GET[1:]]


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes for the server; or, without bytes, its whole answer on a stream."""

    label: str
    sent: bytes = b""
    answers: int = 0


@dataclass
class Talk:
    """What was said so far."""

    next: int = 1
    open: list[int] = field(default_factory=list)
    """Streams whose request goes on."""
    ended: list[int] = field(default_factory=list)
    """Streams whose request is complete and not answered."""

    def stream(self) -> int:
        """A new id."""
        self.next += 2
        return self.next - 2

    def request(self, *, end: bool, fields: Fields | None = None) -> tuple[int, Step]:
        """A request that is right."""
        stream = self.stream()
        (self.ended if end else self.open).append(stream)
        sent = headers(stream, block(fields or (GET if end else POST)), end=end)
        return stream, Step("request", sent)


Wrong = Callable[[Talk], list[Step]]
WRONG: dict[str, Wrong] = {}


def bytes_of(label: str, sent: bytes) -> None:
    """A wrong step that needs no stream."""
    WRONG[label] = lambda _talk: [Step(label, sent)]


def request_of(label: str, fields: Fields, *, end: bool = True) -> None:
    """A wrong request head."""
    WRONG[label] = lambda talk: [Step(label, headers(talk.stream(), block(fields), end=end))]


def large(label: str, fields: Fields) -> None:
    """A wrong head of several frames."""
    content = block(fields)
    cuts = range(FRAME_MAX, len(content), FRAME_MAX)
    WRONG[label] = lambda talk: [Step(label, headers(talk.stream(), content, end=True, split=cuts))]


def raw_block(label: str, content: bytes) -> None:
    """A head whose compression is wrong, behind one that is right."""
    WRONG[label] = lambda talk: [
        Step(label, headers(talk.stream(), block(GET) + content, end=True))
    ]


def trailers_of(label: str, fields: Fields) -> None:
    """Wrong trailers."""
    on_open(label, lambda n: headers(n, block(fields), end=True))


def inside_a_head(label: str, between: bytes) -> None:
    """What must not come before the rest of a head."""
    WRONG[label] = lambda talk: [
        Step(label, frame(Kind.HEADERS, END_STREAM, talk.stream(), block(GET)) + between)
    ]


def on_open(label: str, make: Callable[[int], bytes], fields: Fields | None = None) -> None:
    """A wrong step on a stream whose request goes on."""

    def steps(talk: Talk) -> list[Step]:
        stream, first = talk.request(end=False, fields=fields)
        talk.open.remove(stream)
        return [first, Step(label, make(stream))]

    WRONG[label] = steps


def on_ended(label: str, make: Callable[[int], bytes]) -> None:
    """A wrong step on a stream whose request is complete."""

    def steps(talk: Talk) -> list[Step]:
        stream, first = talk.request(end=True)
        talk.ended.remove(stream)
        return [first, Step(label, make(stream))]

    WRONG[label] = steps


def on_closed(label: str, make: Callable[[int], bytes]) -> None:
    """A wrong step on a stream that both sides have ended."""

    def steps(talk: Talk) -> list[Step]:
        stream, first = talk.request(end=True)
        talk.ended.remove(stream)
        return [first, Step("answer", answers=stream), Step(label, make(stream))]

    WRONG[label] = steps


def on_reset(label: str, make: Callable[[int], bytes]) -> None:
    """A wrong step on a stream that the client itself has reset."""

    def steps(talk: Talk) -> list[Step]:
        stream, first = talk.request(end=False)
        talk.open.remove(stream)
        return [first, Step("reset", reset(stream)), Step(label, make(stream))]

    WRONG[label] = steps


def without(name: bytes, fields: Fields = GET) -> Fields:
    """A head that lacks a field."""
    return [one for one in fields if one[0] != name]


def instead(name: bytes, value: bytes, fields: Fields = GET) -> Fields:
    """A head with another value."""
    return [(name, value) if one[0] == name else one for one in fields]


def wrong_frames() -> None:
    """RFC 9113 §4 and §6: sizes, streams and flags."""
    bytes_of("DATA on stream 0", data(0, b"x"))
    bytes_of("HEADERS on stream 0", headers(0, block(GET)))
    bytes_of("PRIORITY on stream 0", frame(Kind.PRIORITY, 0, 0, bytes(5)))
    bytes_of("RST_STREAM on stream 0", reset(0))
    bytes_of("CONTINUATION on stream 0", frame(Kind.CONTINUATION, 4, 0, block(GET)))
    bytes_of("SETTINGS on a stream", frame(Kind.SETTINGS, 0, 1))
    bytes_of("PING on a stream", frame(Kind.PING, 0, 1, bytes(8)))
    bytes_of("GOAWAY on a stream", frame(Kind.GOAWAY, 0, 1, bytes(8)))
    bytes_of("PUSH_PROMISE of a client", frame(Kind.PUSH_PROMISE, 4, 1, bytes(4) + block(GET)))
    bytes_of("short PING", frame(Kind.PING, 0, 0, bytes(7)))
    bytes_of("long PING", frame(Kind.PING, 0, 0, bytes(9)))
    bytes_of("SETTINGS of 5 bytes", frame(Kind.SETTINGS, 0, 0, bytes(5)))
    bytes_of("SETTINGS ACK with a payload", frame(Kind.SETTINGS, 1, 0, bytes(6)))
    bytes_of("short GOAWAY", frame(Kind.GOAWAY, 0, 0, bytes(7)))
    bytes_of("short WINDOW_UPDATE", frame(Kind.WINDOW_UPDATE, 0, 0, bytes(3)))
    on_open("short RST_STREAM", lambda n: frame(Kind.RST_STREAM, 0, n, bytes(3)))
    on_open("short PRIORITY", lambda n: frame(Kind.PRIORITY, 0, n, bytes(4)))
    on_open("long DATA", lambda n: data(n, bytes(FRAME_MAX + 1)))
    bytes_of("long unknown frame", frame(0x42, 0, 0, bytes(FRAME_MAX + 1)))
    on_open("DATA with too much padding", lambda n: frame(Kind.DATA, 8, n, b"\x05abcd"))
    on_open("DATA with a flag for padding and nothing else", lambda n: frame(Kind.DATA, 8, n))
    WRONG["HEADERS with too much padding"] = lambda talk: [
        Step(
            "HEADERS with too much padding",
            frame(Kind.HEADERS, 0xD, talk.stream(), b"\xff" + block(GET)),
        )
    ]
    WRONG["HEADERS of padding alone"] = lambda talk: [
        Step(
            "HEADERS of padding alone",
            headers(talk.stream(), block(GET), end=True, padding=1, split=[0]),
        )
    ]
    WRONG["HEADERS too short for its priority"] = lambda talk: [
        Step("HEADERS too short for its priority", frame(Kind.HEADERS, 0x25, talk.stream(), b"abc"))
    ]


def wrong_streams() -> None:
    """RFC 9113 §5.1: states, ids, and what must not come between."""
    bytes_of("CONTINUATION of nothing", frame(Kind.CONTINUATION, 4, 1, block(GET)))
    bytes_of("an even stream", headers(2, block(GET), end=True))
    for label, between in (
        ("PING inside a head", ping()),
        ("an unknown frame inside a head", frame(0x42, 0, 0, b"x")),
        ("CONTINUATION of another stream", frame(Kind.CONTINUATION, 4, 99, block(GET))),
        ("HEADERS inside a head", headers(99, block(GET))),
    ):
        inside_a_head(label, between)
    on_open("DATA on an idle stream", lambda n: data(n + 1000, b"x"))
    on_open("RST_STREAM on an idle stream", lambda n: reset(n + 1000))
    on_open("WINDOW_UPDATE on an idle stream", lambda n: window_update(n + 1000, 1))

    def back(talk: Talk) -> list[Step]:
        talk.next += 4
        _, step = talk.request(end=True)
        return [step, Step("a lower stream", headers(talk.next - 4, block(GET), end=True))]

    WRONG["a lower stream"] = back
    on_ended("DATA behind the end", lambda n: data(n, b"x"))
    on_ended("HEADERS behind the end", lambda n: headers(n, block(GET), end=True))
    on_closed("DATA on a closed stream", lambda n: data(n, b"x"))
    on_closed("HEADERS on a closed stream", lambda n: headers(n, block(GET), end=True))
    on_closed("RST_STREAM on a closed stream", reset)
    on_closed("WINDOW_UPDATE on a closed stream", lambda n: window_update(n, 1))
    on_reset("DATA behind a reset", lambda n: data(n, b"x"))
    on_reset("HEADERS behind a reset", lambda n: headers(n, block(GET), end=True))
    on_reset("RST_STREAM behind a reset", reset)
    on_reset("WINDOW_UPDATE behind a reset", lambda n: window_update(n, 1))
    on_open("PRIORITY on itself", lambda n: frame(Kind.PRIORITY, 0, n, n.to_bytes(4) + b"\0"))

    def on_itself(talk: Talk) -> list[Step]:
        stream = talk.stream()
        sent = headers(stream, block(GET), end=True, depends=stream)
        return [Step("HEADERS depend on themselves", sent)]

    WRONG["HEADERS depend on themselves"] = on_itself

    def behind(talk: Talk) -> list[Step]:
        sent = headers(talk.stream(), block(GET), end=True)
        return [Step("goaway", goaway()), Step("a request behind GOAWAY", sent)]

    WRONG["a request behind GOAWAY"] = behind


def wrong_settings_and_windows() -> None:
    """RFC 9113 §6.5.2 and §6.9."""
    for label, name, value in (
        ("ENABLE_PUSH of 2", Setting.ENABLE_PUSH, 2),
        ("window of 2^31", Setting.INITIAL_WINDOW_SIZE, WINDOW_MAX + 1),
        ("frame size of 16,383", Setting.MAX_FRAME_SIZE, FRAME_MAX - 1),
        ("frame size of 2^24", Setting.MAX_FRAME_SIZE, 2**24),
        ("ENABLE_CONNECT_PROTOCOL of 2", Setting.ENABLE_CONNECT_PROTOCOL, 2),
        ("NO_RFC7540_PRIORITIES of 2", Setting.NO_RFC7540_PRIORITIES, 2),
    ):
        bytes_of(label, settings((name, value)))
    bytes_of("WINDOW_UPDATE of 0 on the connection", window_update(0, 0))
    bytes_of("WINDOW_UPDATE beyond 2^31-1 on the connection", window_update(0, WINDOW_MAX))
    on_open("WINDOW_UPDATE of 0 on a stream", lambda n: window_update(n, 0))
    on_open("WINDOW_UPDATE beyond 2^31-1 on a stream", lambda n: window_update(n, WINDOW_MAX))

    def grown(talk: Talk) -> list[Step]:
        stream, first = talk.request(end=False)
        talk.open.remove(stream)
        more = settings((Setting.INITIAL_WINDOW_SIZE, WINDOW_MAX))
        label = "a setting that pushes a window beyond 2^31-1"
        return [first, Step("window update", window_update(stream, 1000)), Step(label, more)]

    WRONG["a setting that pushes a window beyond 2^31-1"] = grown
    full = bytes(FRAME_MAX)
    on_open("DATA beyond the stream's window", lambda n: data(n, full) * 4 + data(n, b"12"))


def wrong_compression() -> None:
    """RFC 7541: what no decoder may take."""
    raw_block("index 0", b"\x80")
    raw_block("index beyond the tables", integer(99, 7, 0x80))
    raw_block("name index beyond the tables", integer(99, 4) + string(b"x"))
    raw_block("an integer without an end", b"\xff" + b"\xff" * 8 + b"\x7f")
    raw_block("an integer cut short", b"\xff\xff")
    raw_block("a string cut short", b"\0\x05abc")
    raw_block("Huffman padding of 8 bits", b"\0\x01x\x82\x1f\xff")
    raw_block("Huffman padding of zeros", b"\0\x01x\x81\x18")
    raw_block("Huffman with the end symbol", b"\0\x01x\x84\xff\xff\xff\xff")
    raw_block("a table update behind a field", b"\x20")

    def above(talk: Talk) -> list[Step]:
        content = integer(4097, 5, 0x20) + block(GET)
        return [Step("a table above what we allow", headers(talk.stream(), content, end=True))]

    WRONG["a table above what we allow"] = above


def wrong_heads() -> None:
    """RFC 9113 §8.2 and §8.3: malformed requests."""
    for name in (b":method", b":scheme", b":path"):
        request_of(f"no {name.decode()}", without(name))
        request_of(f"two of {name.decode()}", [*GET[:4], (name, dict(GET)[name])])
    request_of("no :authority and no Host", without(b":authority"))
    request_of("two of :authority", [*GET, (b":authority", b"a.test")])
    request_of("a pseudo-field behind a field", [*GET[:3], (b"x-a", b"1"), GET[3]])
    request_of("an unknown pseudo-field", [*GET, (b":other", b"1")])
    request_of(":status in a request", [*GET, (b":status", b"200")])
    request_of("an empty :path", instead(b":path", b""))
    request_of("a :path without a slash", instead(b":path", b"x"))
    request_of("a :path with a fragment", instead(b":path", b"/x#y"))
    request_of("a :path with a space", instead(b":path", b"/x y"))
    request_of("a :path with a control byte", instead(b":path", b"/x\x01"))
    request_of("a star with GET", instead(b":path", b"*"))
    request_of("an empty :method", instead(b":method", b""))
    request_of("a :method that is no token", instead(b":method", b"G(T"))
    request_of("another :scheme", instead(b":scheme", b"ftp"))
    request_of("an :authority with userinfo", instead(b":authority", b"u@a.test"))
    request_of("an empty :authority", instead(b":authority", b""))
    request_of("Host of another", [*GET, (b"host", b"b.test")])
    request_of("CONNECT", [(b":method", b"CONNECT"), (b":authority", b"a.test:80")], end=False)
    request_of("CONNECT with a :path", instead(b":method", b"CONNECT"), end=False)
    request_of(":protocol without CONNECT", [*GET, (b":protocol", b"websocket")])
    request_of("TRACE", instead(b":method", b"TRACE"))
    for name, value in (
        (b"connection", b"close"), (b"connection", b"x-a"), (b"keep-alive", b"1"),
        (b"proxy-connection", b"close"), (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"websocket"), (b"te", b"gzip"), (b"te", b"trailers, deflate"),
    ):  # fmt: skip
        request_of(f"{name.decode()}: {value.decode()}", [*GET, (name, value)])
    for label, name in (
        ("upper case", b"X-a"), ("a space", b"x a"), ("a colon", b"x:a"), ("nothing", b""),
        ("a high byte", b"x\xff"), ("a control byte", b"x\x01"), ("NUL", b"x\0"),
    ):  # fmt: skip
        request_of(f"{label} in a name", [*GET, (name, b"1")])
    for label, value in (
        ("NUL", b"a\0b"), ("CR", b"a\rb"), ("LF", b"a\nb"), ("a space before", b" a"),
        ("a space behind", b"a "), ("a tab before", b"\ta"), ("DEL", b"a\x7fb"),
        ("a control byte", b"a\x01b"), ("high bytes", b"\xc3\xa4\xff"),
    ):  # fmt: skip
        request_of(f"{label} in a value", [*GET, (b"x-a", value)])
    large("a field of 17 KiB", [*GET, (b"x-a", b"v" * 17 * 1024)])
    large("a head of 70 KiB", [*GET, *((b"x-%d" % n, b"v" * 7000) for n in range(10))])
    request_of("200 fields", [*GET, *((b"x-%d" % n, b"") for n in range(200))])


def wrong_bodies_and_trailers() -> None:
    """RFC 9113 §8.1 and §8.1.1: lengths and trailers."""
    length = [*POST, (b"content-length", b"5")]
    request_of("a length and no body", length)
    request_of("two lengths that differ", [*length, (b"content-length", b"6")], end=False)
    request_of("the same length twice", [*length, (b"content-length", b"5")], end=False)
    for value in (b"+5", b"5,5", b"", b"0x5", b"-1", b"99999999999999999999"):
        fields = [*POST, (b"content-length", value)]
        request_of(f"a length of {value.decode()!r}", fields, end=False)
    on_open("more than the length", lambda n: data(n, b"123456"), length)
    on_open("less than the length", lambda n: data(n, b"1234", end=True), length)
    on_open(
        "trailers before the length is reached",
        lambda n: headers(n, block([(b"x-a", b"1")]), end=True),
        length,
    )
    on_open("trailers without an end", lambda n: headers(n, block([(b"x-a", b"1")])))
    for label, pair in (
        ("a pseudo-field", (b":path", b"/")), ("upper case", (b"X-a", b"1")),
        ("connection", (b"connection", b"close")), ("te", (b"te", b"gzip")),
        ("content-length", (b"content-length", b"0")), ("a NUL", (b"x-a", b"\0")),
        ("host", (b"host", b"a.test")),
    ):  # fmt: skip
        trailers_of(f"{label} in trailers", [pair])


for _fill in (
    wrong_frames, wrong_streams, wrong_settings_and_windows, wrong_compression, wrong_heads,
    wrong_bodies_and_trailers,
):  # fmt: skip
    _fill()


# ---- what is right -----------------------------------------------------------------------------

paddings = st.one_of(st.none(), st.integers(0, 255))
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
extra = st.lists(st.tuples(names.map("x-".__add__), values), max_size=4)


@st.composite
def requests(draw: st.DrawFn, talk: Talk) -> Step:
    """A request head, cut and padded at will."""
    end = draw(st.booleans())
    fields = list(GET if end else POST)
    fields += [(name.encode(), value.encode()) for name, value in draw(extra)]
    fields += [(b"cookie", b"a=1")] * draw(st.sampled_from([0, 0, 0, 1, 3]))
    content = block(fields)
    stream = talk.stream()
    (talk.ended if end else talk.open).append(stream)
    sent = headers(
        stream,
        content,
        end=end,
        padding=draw(paddings),
        depends=draw(st.sampled_from([None, None, 0, 1001])),
        split=draw(st.lists(st.integers(1, len(content)), max_size=3)),
    )
    return Step("request", sent)


@st.composite
def on_a_stream(draw: st.DrawFn, talk: Talk) -> Step:
    """DATA, trailers, a reset or an answer, on a stream where it may be."""
    if talk.ended and (not talk.open or draw(st.booleans())):
        stream = draw(st.sampled_from(talk.ended))
        talk.ended.remove(stream)
        if draw(st.booleans()):
            return Step("answer", answers=stream)
        return Step("reset", reset(stream, draw(st.sampled_from(list(Code)))))
    stream = draw(st.sampled_from(talk.open))
    kind = draw(st.sampled_from(["data", "data", "data", "end", "trailers", "reset"]))
    if kind == "data":
        content = bytes(draw(st.integers(1, 3000)))
        return Step("data", data(stream, content, padding=draw(paddings)))
    talk.open.remove(stream)
    if kind == "reset":
        return Step("reset", reset(stream, draw(st.sampled_from(list(Code)))))
    talk.ended.append(stream)
    if kind == "end":
        content = bytes(draw(st.integers(0, 100)))
        return Step("data", data(stream, content, end=True, padding=draw(paddings)))
    return Step("trailers", headers(stream, block([(b"x-sum", b"1")]), end=True))


connection_steps = st.one_of(
    st.binary(min_size=8, max_size=8).map(lambda content: Step("ping", ping(content))),
    st.builds(lambda n: Step("window update", window_update(0, n)), st.integers(1, 1000)),
    st.builds(
        lambda pairs: Step("settings", settings(*pairs)),
        st.lists(
            st.one_of(
                st.tuples(st.just(Setting.HEADER_TABLE_SIZE), st.integers(0, 65_536)),
                st.tuples(st.just(Setting.ENABLE_PUSH), st.integers(0, 1)),
                st.tuples(st.just(Setting.MAX_CONCURRENT_STREAMS), st.integers(0, 1000)),
                st.tuples(st.just(Setting.INITIAL_WINDOW_SIZE), st.integers(0, 100_000)),
                st.tuples(st.just(Setting.MAX_FRAME_SIZE), st.integers(FRAME_MAX, 2**24 - 1)),
                st.tuples(st.just(Setting.MAX_HEADER_LIST_SIZE), st.integers(0, 2**32 - 1)),
                st.tuples(st.integers(10, 2**16 - 1), st.integers(0, 2**32 - 1)),
            ),
            max_size=5,
        ),
    ),
    st.builds(
        lambda kind, flags, content: Step("unknown frame", frame(kind, flags, 0, content)),
        st.integers(17, 255), st.integers(0, 255), st.binary(max_size=40),
    ),
)  # fmt: skip


@st.composite
def scripts(draw: st.DrawFn) -> list[Step]:
    """Some steps that are right, then perhaps one that is not, then some more."""
    talk = Talk()
    steps: list[Step] = []

    def right(most: int) -> None:
        for _ in range(draw(st.integers(0, most))):
            kind = draw(st.integers(0, 5))
            if kind <= 1:
                steps.append(draw(requests(talk)))
            elif kind <= 3 and (talk.open or talk.ended):
                steps.append(draw(on_a_stream(talk)))
            else:
                steps.append(draw(connection_steps))

    right(7)
    if draw(st.booleans()):
        steps.extend(WRONG[draw(st.sampled_from(sorted(WRONG)))](talk))
        right(3)
    return calm(steps)


def calm(steps: list[Step]) -> list[Step]:
    """Without so many window updates that they are abuse, which is not what is compared here."""
    updates = [step for step in steps if step.label == "window update"]
    return [step for step in steps if not any(step is one for one in updates[3:])]
