"""The ends that are compared, in memory: ours and Python's `h2`, in the same words."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from fastproxy import _native
from harness.frames import ACK, END_STREAM, PREFACE, Code, Kind, frames, settings

from .h2_answers import ASKED
from .h2_scripts import Fields, Step

CONNECTION_WINDOW = 2**20
STREAM_WINDOW = 2**16
HEAD_BYTES_MAX = 64 * 1024


@dataclass
class Seen:
    """What one end made of its bytes so far."""

    heads: list[tuple[int, Fields, bool]] = field(default_factory=list)
    bodies: dict[int, bytes] = field(default_factory=dict)
    trailers: dict[int, Fields] = field(default_factory=dict)
    ends: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    """Streams that the peer reset."""
    credits: list[tuple[int, int]] = field(default_factory=list)
    """Flow control that is to be given back: stream and bytes."""

    def head(self, stream: int, fields: Iterable[tuple[bytes, bytes]], *, end: bool) -> None:
        """A head."""
        self.heads.append((stream, normal(fields), end))

    def body(self, stream: int, content: bytes, credit: int, *, end: bool) -> None:
        """More of a body."""
        if content:
            self.bodies[stream] = self.bodies.get(stream, b"") + content
        if credit:
            self.credits.append((stream, credit))
        if end:
            self.ends.add(stream)

    def said(self) -> tuple[object, ...]:
        """What is compared."""
        return (self.heads, self.bodies, self.trailers, self.ends, self.gone)


def normal(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Fields by name, each name's in order; the scheme is the listener's business."""
    pairs = [(bytes(name), bytes(value)) for name, value in fields]
    return sorted((one for one in pairs if one[0] != b":scheme"), key=lambda one: one[0])


def judged(written: bytes) -> str:
    """`accepted`, `stream CODE` or `connection CODE`, by the frames that an end wrote."""
    found, rest = frames(written)
    assert not rest, "whole frames"
    said = "accepted"
    for one in found:
        if one.kind == Kind.GOAWAY and one.code != Code.NO_ERROR:
            return f"connection {one.code.name}"
        if one.kind == Kind.RST_STREAM:
            said = f"stream {one.code.name}"
    return said


def acknowledged(written: bytes) -> list[tuple[int, bytes]]:
    """The PINGs and SETTINGS that were acknowledged, in order."""
    found, _ = frames(written)
    kinds = (Kind.PING, Kind.SETTINGS)
    return [(one.kind, one.payload) for one in found if one.kind in kinds and one.flags & ACK]


def ended(written: bytes) -> set[int]:
    """Streams that an end ended."""
    found, _ = frames(written)
    return {one.stream for one in found if one.kind <= 1 and one.flags & END_STREAM}


class Ours:
    """`wire::h2`."""

    def __init__(self, *, client: bool = False) -> None:
        """Past the exchange of settings; a client has asked on four streams."""
        self.end = _native.H2Probe(client=client)
        self.seen = Seen()
        self.refused = ""
        """Why a request whose stream is left for a refusal is refused."""
        self.take((b"" if client else PREFACE) + settings() + ACKNOWLEDGED)
        for stream in ASKED if client else ():
            assert self.end.request(b"GET", b"/", end=True) == stream
        self.written()

    def take(self, sent: bytes) -> None:
        """Read bytes."""
        events: list[Any] = self.end.receive(sent)
        for event in events:
            match event:
                case ("head", stream, (method, authority, target), fields, end):
                    first = [(b":method", method), (b":authority", authority), (b":path", target)]
                    self.seen.head(stream, [*first, *fields], end=end)
                case ("head", stream, status, fields, end):
                    self.seen.head(stream, [(b":status", b"%d" % status), *fields], end=end)
                case ("data", stream, content, credit, end):
                    self.seen.body(stream, content, credit, end=end)
                case ("trailers", stream, fields):
                    self.seen.trailers[stream] = normal(fields)
                    self.seen.ends.add(stream)
                case ("end", stream):
                    self.seen.ends.add(stream)
                case ("reset", stream, _code, None):
                    self.seen.gone.add(stream)
                case ("bad", _stream, why, False):
                    self.refused = why

    def verdict(self, written: bytes) -> str:
        """The verdict since the last one."""
        said = judged(written)
        refused, self.refused = self.refused, ""
        return f"refused: {refused}" if refused and said == "accepted" else said

    def settle(self) -> None:
        """Give all flow control back."""
        for stream, credit in self.seen.credits:
            self.end.consume(stream, credit)
        self.seen.credits.clear()

    def answer(self, stream: int) -> None:
        """A whole response."""
        self.end.respond(stream, 200, [], end=True)
        self.end.forget(stream)

    def written(self) -> bytes:
        """Take what it wants to send."""
        return self.end.sent()


class Theirs:
    """`h2` with our settings."""

    def __init__(self, *, client: bool = False) -> None:
        """Past the exchange of settings; a client has asked on four streams."""
        config = h2.config.H2Configuration(client_side=client, header_encoding=None)
        self.end = h2.connection.H2Connection(config)
        codes = h2.settings.SettingCodes
        ours: dict[Any, int] = {
            codes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            codes.MAX_HEADER_LIST_SIZE: HEAD_BYTES_MAX,
        }
        ours |= {codes.ENABLE_PUSH: 0} if client else {codes.MAX_CONCURRENT_STREAMS: 100}
        ours |= {} if client else {codes.ENABLE_CONNECT_PROTOCOL: 1}
        self.end.local_settings = h2.settings.Settings(client=client, initial_values=ours)
        self.end.initiate_connection()
        self.end.increment_flow_control_window(CONNECTION_WINDOW - 65_535)
        self.seen = Seen()
        self.take((b"" if client else PREFACE) + settings() + ACKNOWLEDGED)
        asked = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"probe.test")]
        for stream in ASKED if client else ():
            self.end.send_headers(stream, [*asked, (b":path", b"/")], end_stream=True)
        self.written()

    def take(self, sent: bytes) -> None:
        """Read bytes."""
        try:
            events = self.end.receive_data(sent)
        except h2.exceptions.ProtocolError:
            return
        for event in events:
            self._note(event)

    def _note(self, event: Any) -> None:
        seen = self.seen
        match event:
            case h2.events.RequestReceived() | h2.events.ResponseReceived():
                seen.head(event.stream_id, event.headers, end=event.stream_ended is not None)
            case h2.events.DataReceived():
                end = event.stream_ended is not None
                credit = event.flow_controlled_length or 0
                seen.body(event.stream_id, event.data or b"", credit, end=end)
            case h2.events.TrailersReceived():
                seen.trailers[event.stream_id] = normal(event.headers)
                seen.ends.add(event.stream_id)
            case h2.events.StreamReset(remote_reset=True):
                seen.gone.add(event.stream_id)

    def verdict(self, written: bytes) -> str:
        """The verdict since the last one."""
        return judged(written)

    def settle(self) -> None:
        """Give all flow control back."""
        for stream, credit in self.seen.credits:
            try:
                self.end.acknowledge_received_data(credit, stream)
            except h2.exceptions.ProtocolError:
                continue
        self.seen.credits.clear()

    def answer(self, stream: int) -> None:
        """A whole response."""
        self.end.send_headers(stream, [(b":status", b"200")], end_stream=True)

    def written(self) -> bytes:
        """Take what it wants to send."""
        return self.end.data_to_send()


ACKNOWLEDGED = b"\0\0\0\x04\x01\0\0\0\0"
Differs = Callable[[Step, str, str], str | None]


def compare(steps: list[Step], differs: Differs, *, client: bool = False) -> tuple[str, str]:
    """Go through a script step by step; both verdicts on the last step that both saw."""
    ours, theirs = Ours(client=client), Theirs(client=client)
    us = them = "accepted"
    for step in steps:
        for end in (ours, theirs):
            if step.answers:
                end.answer(step.answers)
            else:
                end.take(step.sent)
        said, told = ours.written(), theirs.written()
        us, them = ours.verdict(said), theirs.verdict(told)
        if why := differs(step, us, them):
            raise AssertionError(why)
        if us != them or us.startswith("connection"):
            break
        assert acknowledged(said) == acknowledged(told), step.label
        assert ended(said) == ended(told), step.label
        assert ours.seen.said() == theirs.seen.said(), step.label
        for end in (ours, theirs):
            end.settle()
            end.written()
    return us, them


def split_alike(
    steps: list[Step], cuts_of: Callable[[int], list[int]], *, client: bool = False
) -> None:
    """Ourselves with the same bytes in pieces: the same messages, the same frames in answer."""
    whole, split = Ours(client=client), Ours(client=client)
    for step in steps:
        if step.answers:
            whole.answer(step.answers)
            split.answer(step.answers)
        else:
            whole.take(step.sent)
            cuts = sorted(cuts_of(len(step.sent)))
            for a, b in zip([0, *cuts], [*cuts, len(step.sent)], strict=True):
                split.take(step.sent[a:b])
        assert split.seen.said() == whole.seen.said(), step.label
        said = whole.written()
        assert split.written() == said, step.label
        if judged(said).startswith("connection"):
            return
        whole.seen.credits.clear()
        split.seen = dataclasses.replace(split.seen, credits=[])
