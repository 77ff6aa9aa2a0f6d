"""A client that sends exactly the bytes it is given."""

import asyncio
import contextlib
import json
import socket
import struct
from types import TracebackType
from typing import Self

from harness.address import split
from harness.http import (
    Fields,
    Message,
    TruncatedError,
    read_body,
    read_chunk,
    read_head,
    read_trailers,
    request,
)

PATIENCE_S = 20


class RawClient:
    """One connection to the proxy. Every wait is bounded."""

    def __init__(
        self, address: str, *, source: str | None = None, buffer: int | None = None
    ) -> None:
        """Prepare; `buffer` makes the receive buffer small for back-pressure tests."""
        self.address, self.source, self.buffer = address, source, buffer
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        """Connect."""
        limit = 2**20 if self.buffer is None else self.buffer
        if self.address.startswith("unix:"):
            opened = asyncio.open_unix_connection(self.address.removeprefix("unix:"), limit=limit)
        elif self.buffer is not None:
            opened = asyncio.open_connection(sock=self._small(), limit=limit)
        else:
            host, port = split(self.address)
            local = (self.source, 0) if self.source else None
            opened = asyncio.open_connection(host, port, limit=limit, local_addr=local)
        self.reader, self.writer = await opened
        return self

    def _small(self) -> socket.socket:
        sock = socket.socket()
        assert self.buffer is not None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
        sock.connect(split(self.address))
        sock.setblocking(False)
        return sock

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Leave with FIN, if still there."""
        self.writer.close()
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(2):
                await self.writer.wait_closed()

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        async with asyncio.timeout(PATIENCE_S):
            await self.writer.drain()

    async def head(self) -> Message:
        """The next response head that is final; interim ones are kept in `interims`."""
        interims: list[Message] = []
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await read_head(self.reader)
                if message is None:
                    msg = b""
                    raise TruncatedError(msg)
                if 100 <= message.status < 200 and message.status != 101:
                    interims.append(message)
                    continue
                message.interims = interims
                return message

    async def interim(self) -> Message:
        """The next head, of whatever status."""
        async with asyncio.timeout(PATIENCE_S):
            message = await read_head(self.reader)
        assert message is not None
        return message

    async def body(self, message: Message, *, to: str = "GET") -> Message:
        """Read the body behind a head."""
        if to == "HEAD" or message.status in {204, 304, 101}:
            return message
        async with asyncio.timeout(PATIENCE_S * 3):
            await read_body(self.reader, message, until_close=True)
        return message

    async def response(self, *, to: str = "GET") -> Message:
        """The next whole response."""
        return await self.body(await self.head(), to=to)

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty for the last one, whose trailers are read."""
        async with asyncio.timeout(PATIENCE_S):
            data = await read_chunk(self.reader)
            if not data:
                await read_trailers(self.reader)
        return data

    async def ask(
        self,
        method: str = "GET",
        target: str = "/",
        fields: Fields | dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Message:
        """Send a request and read its response."""
        await self.send(request(method, target, fields, body))
        return await self.response(to=method)

    def reset(self) -> None:
        """Leave with RST."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self.writer.write_eof()

    async def closed(self, seconds: float = 5) -> bytes:
        """Wait for the proxy to close; what came before that."""
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""


async def ask(
    address: str,
    method: str = "GET",
    target: str = "/",
    fields: Fields | dict[str, str] | None = None,
    body: bytes = b"",
) -> Message:
    """One request on a connection of its own."""
    async with RawClient(address) as client:
        return await client.ask(method, target, fields, body)


def chat(text: str = "hi", *, stream: bool = False, model: str = "sim", **more: object) -> bytes:
    """The body of a chat completion request."""
    return json.dumps(
        {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream} | more
    ).encode()


JSON = {"content-type": "application/json"}
CHAT = "/v1/chat/completions"
