"""What a server may send to a client that has asked on streams 1, 3, 5 and 7: right and wrong."""

from collections.abc import Callable

from hypothesis import strategies as st

from harness.frames import (
    FRAME_MAX,
    Code,
    Kind,
    Setting,
    block,
    data,
    frame,
    headers,
    ping,
    reset,
    settings,
    window_update,
)

from .h2_scripts import Fields, Step, calm, connection_steps, extra, paddings

ASKED = (1, 3, 5, 7)
OK: Fields = [(b":status", b"200"), (b"content-type", b"text/plain")]
WRONG: dict[str, list[Step]] = {}


def alone(label: str, sent: bytes) -> None:
    """A wrong step by itself."""
    WRONG[label] = [Step(label, sent)]


def head_of(label: str, fields: Fields, *, end: bool = False) -> None:
    """A wrong response head."""
    alone(label, headers(1, block(fields), end=end))


def behind(label: str, sent: bytes, fields: Fields | None = None) -> None:
    """A wrong step behind a head that is right."""
    WRONG[label] = [Step("head", headers(1, block(fields or OK))), Step(label, sent)]


def after(label: str, sent: bytes) -> None:
    """A wrong step behind a whole response."""
    WRONG[label] = [Step("head", headers(1, block(OK), end=True)), Step(label, sent)]


def wrong_heads() -> None:
    """RFC 9113 §8.3.2: malformed responses."""
    head_of("no :status", OK[1:])
    head_of("two of :status", [OK[0], *OK])
    for value in (b"20", b"2000", b"abc", b"", b"099", b"600", b"+20"):
        head_of(f":status {value.decode()!r}", [(b":status", value)])
    head_of(":status of 101", [(b":status", b"101")])
    head_of("an interim response that ends", [(b":status", b"103")], end=True)
    head_of(":path in a response", [*OK[:1], (b":path", b"/")])
    head_of("an unknown pseudo-field", [*OK[:1], (b":other", b"1")])
    head_of("a pseudo-field behind a field", [*OK[1:], *OK[:1]])
    head_of("upper case in a name", [*OK, (b"X-a", b"1")])
    head_of("NUL in a value", [*OK, (b"x-a", b"a\0b")])
    head_of("a space before a value", [*OK, (b"x-a", b" a")])
    head_of("connection", [*OK, (b"connection", b"close")])
    head_of("transfer-encoding", [*OK, (b"transfer-encoding", b"chunked")])
    head_of("keep-alive", [*OK, (b"keep-alive", b"timeout=5")])
    head_of("a length and no body", [*OK, (b"content-length", b"5")], end=True)
    head_of("two lengths", [*OK, (b"content-length", b"5"), (b"content-length", b"6")])
    head_of("a length with a sign", [*OK, (b"content-length", b"+5")])


def wrong_bodies() -> None:
    """RFC 9113 §8.1: what follows a head."""
    length: Fields = [*OK, (b"content-length", b"5")]
    alone("DATA before the head", data(1, b"x"))
    behind("more than the length", data(1, b"123456"), length)
    behind("less than the length", data(1, b"1234", end=True), length)
    behind("trailers without an end", headers(1, block([(b"x-a", b"1")])))
    behind("a pseudo-field in trailers", headers(1, block([(b":status", b"200")]), end=True))
    behind("connection in trailers", headers(1, block([(b"connection", b"close")]), end=True))
    behind("DATA beyond the window", data(1, bytes(FRAME_MAX)) * 4 + data(1, b"12"))
    after("DATA behind the end", data(1, b"x"))
    after("HEADERS behind the end", headers(1, block(OK), end=True))


def wrong_frames() -> None:
    """RFC 9113 §5.1, §6: streams that are not there, and what servers must not send."""
    alone("HEADERS on an idle stream", headers(99, block(OK)))
    alone("HEADERS on an even stream", headers(2, block(OK)))
    alone("DATA on an idle stream", data(99, b"x"))
    alone("RST_STREAM on an idle stream", reset(99))
    alone("PUSH_PROMISE", frame(Kind.PUSH_PROMISE, 4, 1, (2).to_bytes(4) + block(OK)))
    alone("ENABLE_PUSH of 1", settings((Setting.ENABLE_PUSH, 1)))
    alone("WINDOW_UPDATE of 0", window_update(1, 0))
    alone("WINDOW_UPDATE beyond 2^31-1", window_update(1, 2**31 - 1))
    alone("PING of 7 bytes", frame(Kind.PING, 0, 0, bytes(7)))
    alone("index 0", headers(1, b"\x80"))
    alone("PING inside a head", frame(Kind.HEADERS, 0, 1, block(OK)) + ping())


for _fill in (wrong_heads, wrong_bodies, wrong_frames):
    _fill()


@st.composite
def answers(draw: st.DrawFn) -> list[Step]:
    """Right steps on all streams between each other, then perhaps a wrong one."""
    steps: list[Step] = []
    fresh, going = list(ASKED), []
    for _ in range(draw(st.integers(0, 10))):
        kind = draw(st.integers(0, 6))
        if kind == 0:
            steps.append(draw(connection_steps.filter(lambda one: one.label != "settings")))
        elif kind <= 2 and len(fresh) > 1:
            stream = fresh.pop()
            if draw(st.booleans()):
                steps.append(Step("interim", headers(stream, block([(b":status", b"103")]))))
            end = draw(st.booleans())
            if not end:
                going.append(stream)
            fields = OK + [(name.encode(), value.encode()) for name, value in draw(extra)]
            steps.append(Step("head", headers(stream, block(fields), end=end)))
        elif going:
            steps.append(draw(on_going(going)))
    if draw(st.booleans()):
        steps += WRONG[draw(st.sampled_from(sorted(WRONG)))]
    return calm(steps)


@st.composite
def on_going(draw: st.DrawFn, going: list[int]) -> Step:
    """A step on a stream whose response has begun."""
    stream = draw(st.sampled_from(going))
    make: Callable[[], Step] = draw(
        st.sampled_from(
            [
                lambda: Step("data", data(stream, bytes(draw(sizes)), padding=draw(paddings))),
                lambda: Step("data", data(stream, bytes(draw(sizes)), end=True)),
                lambda: Step("trailers", headers(stream, block([(b"x-a", b"1")]), end=True)),
                lambda: Step("reset", reset(stream, draw(st.sampled_from(list(Code))))),
            ]
        )
    )
    step = make()
    if step.label != "data" or step.sent[4] & 1:
        going.remove(stream)
    return step


sizes = st.integers(1, 2000)
