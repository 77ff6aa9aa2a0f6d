"""An upgrade without a gap (RFD 0011), as the process that serves sees it: it offers and leaves.

`server.upgrade` has the protocol and the other side. One successor is dealt with at a time.
"""

import asyncio
import base64
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from fastproxy import _native
from fastproxy.config.secret import Secret
from fastproxy.errors import Error, UpgradeError
from fastproxy.observe.metrics import Family
from fastproxy.server import rendezvous
from fastproxy.server.link import Link, Message, receive, send, send_descriptors
from fastproxy.server.upgrade import PROTOCOL, packed

__all__ = ["Giver", "Offer", "Successor"]

_TALK_S = 10.0
_SCRAPE_S = 5.0
# A successor compiles its configuration and looks names up.
_START_S = 120.0

Sockets = list[tuple[str, str, str, int]]


class Successor:
    """The process after this one: it has the listeners, and is asked for the counts of both.

    Attributes:
        pid: of the process.
    """

    def __init__(self, pid: int, link: Link) -> None:
        """At the other end of `link`."""
        self.pid = pid
        self._link = link

    async def scrape(self, accept: str) -> tuple[bytes, str] | None:
        """The exposition as it gives it; None while, or when, it does not answer for us."""
        try:
            answer = await self._link.ask("scrape", _SCRAPE_S, accept=accept)
            return str(answer["body"]).encode(), str(answer["content_type"])
        except (UpgradeError, KeyError):
            return None

    async def end(self, families: list[Family]) -> None:
        """Leave `families` as the last word."""
        with contextlib.suppress(UpgradeError):
            await self._link.ask("ended", _TALK_S, families=packed(families))
        self._link.close()

    def close(self) -> None:
        """Leave it alone."""
        self._link.close()


class Giver(Protocol):
    """What an `Offer` needs of the proxy."""

    @property
    def ending(self) -> bool:
        """Whether it drains or has stopped."""

    @property
    def run_token(self) -> Secret:
        """The admin token that was made for this run."""

    def sockets(self) -> Sockets:
        """Name, kind, address and descriptor of the listening sockets."""

    def ticket_keys(self) -> bytes:
        """Keys of TLS session tickets."""

    async def counted(self) -> list[Family]:
        """Everything counted so far, predecessors included."""

    def expect(self, successor: Successor | None) -> None:
        """Somebody is about to take over, or has failed to."""

    def hand_over(self, adopted: list[str]) -> None:
        """Stop accepting and drain: `adopted` addresses are served by the successor."""


class Offer:
    """Listens at the upgrade socket until a successor has taken over."""

    def __init__(
        self,
        giver: Giver,
        path: Path,
        listener: socket.socket,
        say: Callable[[str], None],
        handed: Callable[[int], None],
    ) -> None:
        """Offer what `giver` has at `path`, where `listener` listens.

        Args:
            giver: the proxy.
            path: of the upgrade socket; removed at the end unless a successor has it.
            listener: the socket itself, this object's from now on.
            say: tells a person what happens.
            handed: called with the successor's process id when it has taken over.
        """
        self._giver = giver
        self._path = path
        self._listener: socket.socket | None = listener
        self._say = say
        self._handed = handed
        self._busy = False
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Begin."""
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._connected)

    def close(self, *, remove: bool = True) -> None:
        """End, and remove the file of the socket. Does nothing the second time."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        asyncio.get_running_loop().remove_reader(listener.fileno())
        if remove:
            self._path.unlink(missing_ok=True)
        listener.close()

    def _connected(self) -> None:
        if self._listener is None:
            return
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        task = asyncio.get_running_loop().create_task(self._talk(sock))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, sock: socket.socket) -> None:
        sock.settimeout(_TALK_S)
        try:
            if not rendezvous.peer_is_ours(sock):
                self._say("upgrade refused: who asks runs as another user")
                sock.close()
            elif not await asyncio.to_thread(_speaks, sock):
                # Who starts beside us only looks whether we are here.
                sock.close()
            elif self._busy or self._giver.ending or self._listener is None:
                why = "another process takes over" if self._busy else "this process is ending"
                await asyncio.to_thread(send, sock, {"type": "refused", "refused": why})
                sock.close()
            else:
                await self._hand(sock, self._listener)
        except (Error, OSError, ValueError) as error:
            self._say(f"no upgrade: {error}")
            sock.close()

    async def _hand(self, sock: socket.socket, control: socket.socket) -> None:
        self._busy = True
        try:
            link, pid, handed = await self._offered(sock, control)
            closed = asyncio.ensure_future(link.closed.wait())
            either: set[asyncio.Future[Any]] = {closed, handed}
            await asyncio.wait(either, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
            closed.cancel()
            if not handed.done():
                handed.cancel()
                link.close()
                self._giver.expect(None)
                self._say(f"process {pid} did not take over; this one goes on")
        finally:
            self._busy = False

    async def _offered(
        self, sock: socket.socket, control: socket.socket
    ) -> tuple[Link, int, asyncio.Future[None]]:
        """Everything up to waiting for `ready`; the future is done when it came."""
        pid = rendezvous.peer_pid(sock)
        given = self._giver.sockets()
        try:
            said = {
                "families": packed(await self._giver.counted()),
                "token": self._giver.run_token.reveal(),
                "ticket_keys": base64.b64encode(self._giver.ticket_keys()).decode(),
            }
            version = await asyncio.to_thread(_offer, sock, given, control.fileno(), said)
        finally:
            for *_, descriptor in given:
                socket.close(descriptor)
        self._say(f"process {pid} (fastproxy {version}) is about to take over")
        handed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def answer(kind: str, message: Message) -> Message:
            if kind == "report":
                return {"families": packed(await self._giver.counted())}
            if kind != "ready":
                return {"unknown": kind}
            if handed.done() or self._giver.ending:
                return {"refused": "it came too late"}
            self._giver.hand_over([str(address) for address in message.get("adopted", [])])
            self.close(remove=not message.get("control"))
            self._handed(pid)
            handed.set_result(None)
            return {}

        link = await Link(answer).open(sock)
        self._giver.expect(Successor(pid, link))
        return link, pid, handed


def _speaks(sock: socket.socket) -> bool:
    """Whether the other side says anything; what it says is left to be read."""
    return sock.recv(1, socket.MSG_PEEK) != b""


def _offer(sock: socket.socket, given: Sockets, control: int, said: Message) -> str:
    """The blocking part of a hand-over; the version of who takes."""
    hello = receive(sock)
    if hello.get("type") != "hello" or hello.get("protocol") != PROTOCOL:
        why = f"this process speaks protocol {PROTOCOL} of upgrades"
        send(sock, {"type": "refused", "refused": why})
        raise UpgradeError(why)
    listeners = [
        {"name": name, "kind": kind, "address": address} for name, kind, address, _ in given
    ]
    offer = {"type": "offer", "protocol": PROTOCOL, "version": _native.__version__}
    send(sock, {**offer, "listeners": listeners, **said})
    send_descriptors(sock, [*(descriptor for *_, descriptor in given), control])
    return str(hello.get("version", ""))
