"""An engine that does exactly what a script says, and keeps every byte it was sent.

async def one(peer: Peer, asked: Message) -> None:
    await peer.send(reply(200, b"hello"))

async with ScriptedUpstream(always(one)) as upstream: ...
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.http import (
    EVENT_STREAM,
    LAST_CHUNK,
    Message,
    TruncatedError,
    chunk,
    event,
    read_body,
    read_head,
    reply,
)

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One connection, as a script sees it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        """Wrap what asyncio accepted."""
        self.reader, self.writer, self.number = reader, writer, number
        self.requests: list[Message] = []
        self.whole: list[Message] = []
        """Requests whose body came in full."""
        self.gone = asyncio.Event()
        """Set when the peer is known to have closed or reset."""

    async def head(self) -> Message | None:
        """The next request's head alone; None when the peer is done."""
        try:
            message = await read_head(self.reader)
        except (ConnectionError, TruncatedError):
            message = None
        if message is None:
            self.gone.set()
            return None
        self.requests.append(message)
        return message

    async def request(self) -> Message | None:
        """The next whole request; None when the peer is done."""
        message = await self.head()
        if message is not None:
            await self.body(message)
        return message

    async def body(self, message: Message) -> None:
        """Read the body behind a head."""
        if message.header("expect"):
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            await read_body(self.reader, message, until_close=False)
        except TruncatedError:
            self.gone.set()
            raise
        self.whole.append(message)

    async def send(self, data: bytes) -> None:
        """Send bytes and let them leave."""
        self.writer.write(data)
        await self.writer.drain()

    async def fin(self) -> None:
        """Close our sending side, if the peer is still there."""
        with contextlib.suppress(OSError):
            self.writer.write_eof()

    def reset(self) -> None:
        """End with RST."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        """End with FIN, reading included."""
        self.writer.close()

    async def until_gone(self, seconds: float = 10) -> None:
        """Wait until the peer closes or resets; say nothing meanwhile."""
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass
        self.gone.set()


class ScriptedUpstream:
    """A listening engine; each connection runs the script once, from its first byte."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        path: Path | None = None,
        at: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        """Listen on a unix socket when `path` is given, else on an IPv4 address and port."""
        self.at = at
        self.script = script or always(answer(b"{}"))
        self.path = path
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []
        self.url = ""
        self.address = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def requests(self) -> list[Message]:
        """All requests on all connections, by connection."""
        return [message for peer in self.peers for message in peer.requests]

    @property
    def whole(self) -> list[Message]:
        """All requests that came in full."""
        return [message for peer in self.peers for message in peer.whole]

    async def __aenter__(self) -> Self:
        """Start to listen."""
        if self.path is not None:
            self._server = await asyncio.start_unix_server(self._serve, self.path, limit=2**20)
            self.url = self.address = f"unix:{self.path}"
        else:
            self._server = await asyncio.start_server(self._serve, *self.at, limit=2**20)
            port = self._server.sockets[0].getsockname()[1]
            self.address = f"{self.at[0]}:{port}"
            self.url = f"http://{self.address}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _at: TracebackType | None,
    ) -> None:
        """Stop; an error of a script is an error of the test, unless one is on its way already."""
        await self.stop()
        if kind is None and self.errors:
            raise self.errors[0]

    async def stop(self) -> None:
        """Close the listener and every connection, as a killed process would."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        for peer in self.peers:
            if not peer.writer.is_closing():
                peer.reset()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(reader, writer, len(self.peers))
        self.peers.append(peer)
        try:
            await self.script(peer)
        except (ConnectionError, TruncatedError, asyncio.IncompleteReadError):
            peer.gone.set()
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - kept for the test
            self.errors.append(error)
        finally:
            self._tasks.discard(task)
            if not writer.is_closing():
                writer.close()


def always(handle: Callable[[Peer, Message], Awaitable[None]]) -> Script:
    """A script that handles each whole request of a kept connection the same way."""

    async def script(peer: Peer) -> None:
        while (message := await peer.request()) is not None:
            await handle(peer, message)

    return script


def answer(
    body: bytes = b"{}",
    status: int = 200,
    fields: dict[str, str] | None = None,
    delay_s: float = 0,
) -> Callable[[Peer, Message], Awaitable[None]]:
    """A handler that gives one fixed answer."""

    async def handle(peer: Peer, _message: Message) -> None:
        if delay_s:
            await asyncio.sleep(delay_s)
        await peer.send(reply(status, body, {"content-type": "application/json"} | (fields or {})))

    return handle


def stream(
    tokens: list[str], gap_s: float = 0, end: Callable[[Peer], Awaitable[None]] | None = None
) -> Callable[[Peer, Message], Awaitable[None]]:
    """A handler that sends events one by one; `end` replaces the clean last chunk."""

    async def handle(peer: Peer, _message: Message) -> None:
        await peer.send(EVENT_STREAM)
        for token in tokens:
            await peer.send(chunk(event(token)))
            if gap_s:
                await asyncio.sleep(gap_s)
        if end is None:
            await peer.send(LAST_CHUNK)
        else:
            await end(peer)

    return handle


async def hold(peer: Peer, _message: Message) -> None:
    """A handler that says nothing until its peer leaves."""
    await peer.until_gone(60)
