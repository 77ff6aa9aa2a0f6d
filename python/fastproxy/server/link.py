"""The line between two processes of an upgrade: messages with length, some with descriptors.

Before the hand-over both sides speak in turns, blocking, in a thread (`send`, `receive`); after it
either may ask the other (`Link`). A message is JSON behind four bytes of length.
"""

import array
import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Self

import orjson

from fastproxy.errors import UpgradeError

__all__ = ["Link", "Message", "receive", "receive_descriptors", "send", "send_descriptors"]

logger = logging.getLogger(__name__)

Message = dict[str, Any]
Handler = Callable[[str, Message], Awaitable[Message]]

# Metrics of a thousand endpoints are a few of these.
_MESSAGE_BYTES_MAX = 64 * 1024**2
# The kernel takes 253 in one message.
_DESCRIPTORS_MAX = 250
_LENGTH_BYTES = 4


def _frame(message: Message) -> bytes:
    body = orjson.dumps(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def _length(head: bytes) -> int:
    length = int.from_bytes(head, "big")
    if length > _MESSAGE_BYTES_MAX:
        msg = f"a message of {length} bytes is no message of an upgrade"
        raise UpgradeError(msg)
    return length


def _parse(body: bytes) -> Message:
    try:
        message = orjson.loads(body)
    except ValueError as error:
        msg = f"no message of an upgrade: {error}"
        raise UpgradeError(msg) from None
    if not isinstance(message, dict):
        msg = "no message of an upgrade: not an object"
        raise UpgradeError(msg)
    return message


def send(sock: socket.socket, message: Message) -> None:
    """Write one message."""
    sock.sendall(_frame(message))


def receive(sock: socket.socket) -> Message:
    """Read one message, and not a byte more.

    Raises:
        UpgradeError: the other side closed, or what it says is no message.
        OSError: it took longer than the socket's timeout.
    """
    return _parse(_exactly(sock, _length(_exactly(sock, _LENGTH_BYTES))))


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = sock.recv(min(count - len(data), 1024**2))
        if not part:
            msg = "the other process closed the connection"
            raise UpgradeError(msg)
        data += part
    return bytes(data)


def send_descriptors(sock: socket.socket, descriptors: Sequence[int]) -> None:
    """Pass `descriptors` (SCM_RIGHTS); each group goes along with one byte."""
    for first in range(0, len(descriptors), _DESCRIPTORS_MAX):
        group = descriptors[first : first + _DESCRIPTORS_MAX]
        socket.send_fds(sock, [b"f"], [*group])


def receive_descriptors(sock: socket.socket, count: int) -> list[int]:
    """Take `count` descriptors; the caller closes them. They are not inherited by children.

    Raises:
        UpgradeError: there are fewer.
    """
    found: list[int] = []
    while len(found) < count:
        group = _group(sock)
        found += group
        if not group:
            for descriptor in found:
                socket.close(descriptor)
            msg = f"{count} sockets were announced, {len(found)} came"
            raise UpgradeError(msg)
    return found


def _group(sock: socket.socket) -> list[int]:
    space = socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)
    _, ancillary, _, _ = sock.recvmsg(1, space, socket.MSG_CMSG_CLOEXEC)
    found = array.array("i")
    for level, kind, raw in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(raw[: len(raw) - len(raw) % found.itemsize])
    return [*found]


class Link:
    """Questions and answers, both ways, until either process ends.

    Attributes:
        closed: set when the other side is gone.
    """

    def __init__(self, handler: Handler) -> None:
        """Answer what the other side asks with `handler`."""
        self.closed = asyncio.Event()
        self._handler = handler
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, sock: socket.socket) -> Self:
        """Begin, on a connected socket that is this link's from now on."""
        sock.setblocking(False)
        reader, self._writer = await asyncio.open_unix_connection(sock=sock)
        self._spawn(self._read(reader))
        return self

    async def ask(self, kind: str, timeout_s: float, **fields: object) -> Message:
        """What the other side answers.

        Raises:
            UpgradeError: it is gone, or does not answer in time.
        """
        number = next(self._numbers)
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            self._write({"type": kind, "id": number, **fields})
            async with asyncio.timeout(timeout_s):
                answer: Message = await waiting
        except TimeoutError:
            msg = f"the other process did not answer {kind} within {timeout_s:g}s"
            raise UpgradeError(msg) from None
        finally:
            del self._waiting[number]
        return answer

    def close(self) -> None:
        """End the link. Does nothing the second time."""
        if self._writer is not None:
            self._writer.close()
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._end()

    def _end(self) -> None:
        self.closed.set()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(UpgradeError("the other process is gone"))

    def _write(self, message: Message) -> None:
        if self._writer is None or self.closed.is_set():
            msg = "the other process is gone"
            raise UpgradeError(msg)
        self._writer.write(_frame(message))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                length = _length(await reader.readexactly(_LENGTH_BYTES))
                message = _parse(await reader.readexactly(length))
                answered = self._waiting.get(message.get("re", 0))
                if answered is not None and not answered.done():
                    answered.set_result(message)
                elif "id" in message:
                    self._spawn(self._answer(message))
        except (OSError, EOFError, UpgradeError):
            pass
        finally:
            if self._writer is not None:
                self._writer.close()
            self._end()

    async def _answer(self, message: Message) -> None:
        try:
            answer = await self._handler(str(message.get("type")), message)
        except Exception:
            logger.exception("%s of another process could not be answered", message.get("type"))
            answer = {"refused": "internal error"}
        # Who is gone needs no answer.
        with contextlib.suppress(UpgradeError):
            self._write({"re": message["id"], **answer})
