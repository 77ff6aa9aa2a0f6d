"""Just enough HTTP/1.1 for the ends of a test: strict, and independent of the code under test."""

import asyncio
from dataclasses import dataclass, field

Fields = list[tuple[str, str]]
HEAD_BYTES_MAX = 256 * 1024
WITHOUT_BODY = {204, 304}


class TruncatedError(Exception):
    """The peer closed before the message was whole. `partial` is the body that did come."""

    def __init__(self, partial: bytes) -> None:
        """Keep what came."""
        super().__init__(f"closed after {len(partial)} body bytes")
        self.partial = partial


@dataclass(slots=True)
class Message:
    """A request or a response as it came."""

    start: str
    fields: Fields
    raw_head: bytes
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    interims: "list[Message]" = field(default_factory=list)

    def header(self, name: str) -> str | None:
        """The value of the first field of that name."""
        return next((value for key, value in self.fields if key == name.lower()), None)

    def headers(self, name: str) -> list[str]:
        """All values of fields of that name."""
        return [value for key, value in self.fields if key == name.lower()]

    @property
    def status(self) -> int:
        """Status of a response."""
        return int(self.start.split(" ", 2)[1])

    @property
    def method(self) -> str:
        """Method of a request."""
        return self.start.split(" ", 1)[0]

    @property
    def target(self) -> str:
        """Target of a request."""
        return self.start.split(" ")[1]


def parse_head(raw: bytes) -> Message:
    """Split a whole head, its blank line included."""
    lines = raw.decode("latin-1").split("\r\n")
    fields = []
    for line in lines[1:]:
        if line:
            name, _, value = line.partition(":")
            fields.append((name.lower(), value.strip(" \t")))
    return Message(lines[0], fields, raw)


async def read_head(reader: asyncio.StreamReader) -> Message | None:
    """The next head, or None at an orderly end between messages."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise TruncatedError(error.partial) from error
    return parse_head(raw)


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    """One chunk of a chunked body; empty for the last one (its trailers are still to be read)."""
    line = await reader.readuntil(b"\r\n")
    size = int(line.split(b";")[0].strip(), 16)
    if size == 0:
        return b""
    data = await reader.readexactly(size)
    if await reader.readexactly(2) != b"\r\n":
        msg = "chunk data is not followed by CRLF"
        raise ValueError(msg)
    return data


async def read_trailers(reader: asyncio.StreamReader) -> Fields:
    """The trailer section behind the last chunk."""
    fields: Fields = []
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        name, _, value = line.decode("latin-1").partition(":")
        fields.append((name.lower(), value.strip()))
    return fields


async def read_body(reader: asyncio.StreamReader, message: Message, *, until_close: bool) -> None:
    """Fill in body and trailers by the message's own framing."""
    body = bytearray()
    try:
        if "chunked" in (message.header("transfer-encoding") or "").lower():
            while chunk := await read_chunk(reader):
                body += chunk
            message.trailers = await read_trailers(reader)
        elif (length := message.header("content-length")) is not None:
            want = int(length)
            while len(body) < want:
                part = await reader.read(min(65536, want - len(body)))
                if not part:
                    raise TruncatedError(bytes(body))
                body += part
        elif until_close:
            body += await reader.read(-1)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        partial = error.partial if isinstance(error, asyncio.IncompleteReadError) else b""
        raise TruncatedError(bytes(body) + partial) from error
    message.body = bytes(body)


def head(start: str, fields: Fields | dict[str, str] | None = None) -> bytes:
    """The bytes of a head."""
    pairs = fields.items() if isinstance(fields, dict) else fields or []
    lines = [start, *(f"{name}: {value}" for name, value in pairs)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def request(
    method: str = "GET",
    target: str = "/",
    fields: Fields | dict[str, str] | None = None,
    body: bytes = b"",
    host: str = "proxy.test",
) -> bytes:
    """The bytes of a request; a length is added when there is a body."""
    pairs = list(fields.items() if isinstance(fields, dict) else fields or [])
    known = {name.lower() for name, _ in pairs}
    if "host" not in known:
        pairs.insert(0, ("host", host))
    if body and not known & {"content-length", "transfer-encoding"}:
        pairs.append(("content-length", str(len(body))))
    return head(f"{method} {target} HTTP/1.1", pairs) + body


def reply(
    status: int = 200,
    body: bytes = b"",
    fields: Fields | dict[str, str] | None = None,
    reason: str = "Said",
) -> bytes:
    """The bytes of a response with a length."""
    pairs = list(fields.items() if isinstance(fields, dict) else fields or [])
    if status not in WITHOUT_BODY and status >= 200:
        pairs.append(("content-length", str(len(body))))
    return head(f"HTTP/1.1 {status} {reason}", pairs) + body


def chunk(data: bytes) -> bytes:
    """The bytes of one chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
EVENT_STREAM = head(
    "HTTP/1.1 200 OK", {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
)


def event(text: str) -> bytes:
    """One server-sent event."""
    return f"data: {text}\n\n".encode()
