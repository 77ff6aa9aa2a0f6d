"""An upgrade without a gap (RFD 0011), as the new process sees it: it asks, starts, takes over.

::

    successor                              process that serves
    hello {protocol, version}        ->
                                     <-    offer {listeners, families, ...}, then the descriptors
    starts, accepts beside it
    ready {adopted, control}         ->    stops accepting, drains
                                     <-    (answer)
    report                           ->    (its counts, for each scrape of ours)
                                     <-    scrape {accept}, of who still asks it
                                     <-    ended {families}

**Invariant:** until `ready` the old process serves as before, whatever becomes of the new one; from
`ready` on it takes no new connection. **Invariant:** both accept in between, none is a gap.
"""

import asyncio
import base64
import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fastproxy import _native
from fastproxy.config.secret import Secret
from fastproxy.errors import UpgradeError
from fastproxy.observe.metrics import Family, Sample
from fastproxy.server import rendezvous
from fastproxy.server.link import Link, Message, receive, receive_descriptors, send

__all__ = ["PROTOCOL", "Inherited", "Predecessor", "packed", "take_over", "unpacked", "upgrades"]

PROTOCOL = 1

_TALK_S = 10.0
# A successor asks while somebody waits for its metrics.
_REPORT_S = 2.0

Scrape = Callable[[str], Awaitable[tuple[bytes, str]]]


def packed(families: list[Family]) -> list[object]:
    """Families as a message holds them."""
    builtins: list[object] = msgspec.to_builtins(families)
    return builtins


def unpacked(message: Message) -> list[Family]:
    """The families of a message; none if another version writes them in another way."""
    try:
        return msgspec.convert(message.get("families", []), list[Family])
    except msgspec.ValidationError:
        return []


class Predecessor:
    """The process before this one, as long as it drains, and what it counted.

    Attributes:
        pid: of the process.
        version: of its build.
    """

    def __init__(self, sock: socket.socket, offer: Message) -> None:
        """Of what it offered on `sock`."""
        self.pid = rendezvous.peer_pid(sock)
        self.version = str(offer.get("version", ""))
        self._sock: socket.socket | None = sock
        self._final = False
        self._families = unpacked(offer)
        self._link = Link(self._answer)
        self._scrape: Scrape | None = None

    @property
    def draining(self) -> bool:
        """Whether it still runs, as far as we know."""
        return not self._link.closed.is_set()

    async def open(self) -> None:
        """Begin to answer it."""
        sock, self._sock = self._sock, None
        if sock is not None:
            await self._link.open(sock)

    async def ready(self, adopted: list[str], *, control: bool, scrape: Scrape) -> None:
        """Make it stop accepting, and have `scrape` answer for both.

        Args:
            adopted: addresses that are served here now.
            control: whether the upgrade socket is ours, too.
            scrape: gives the counts of both processes.

        Raises:
            UpgradeError: it goes on instead.
        """
        self._scrape = scrape
        answer = await self._link.ask("ready", _TALK_S, adopted=adopted, control=control)
        if "refused" in answer:
            msg = f"process {self.pid} goes on: {answer['refused']}"
            raise UpgradeError(msg)

    async def families(self) -> list[Family]:
        """What it and those before it counted: now, or when it was last heard of."""
        if self.draining:
            with contextlib.suppress(UpgradeError):
                report = unpacked(await self._link.ask("report", _REPORT_S))
                # Its last word may have come while we waited for this one.
                self._families = self._families if self._final else report
        return self._families

    def known(self) -> list[Family]:
        """What it counted when it was last heard of."""
        return self._families

    async def gone(self) -> None:
        """Wait for its end."""
        await self._link.closed.wait()

    def close(self) -> None:
        """Leave it alone."""
        self._link.close()
        if self._sock is not None:
            self._sock.close()

    async def _answer(self, kind: str, message: Message) -> Message:
        if kind == "scrape" and self._scrape is not None:
            body, content_type = await self._scrape(str(message.get("accept", "")))
            return {"body": body.decode(), "content_type": content_type}
        if kind == "ended":
            self._families, self._final = unpacked(message), True
            return {}
        return {"unknown": kind}


def upgrades(predecessor: Predecessor | None) -> list[Family]:
    """How often a process of this line took over, and how many still finish before this one."""
    took_over = 0.0 if predecessor is None else 1.0
    draining = predecessor is not None and predecessor.draining
    return [
        Family(
            "fastproxy_upgrades_total",
            "Times that a process took over from the one before it.",
            "counter",
            [Sample({}, took_over)],
        ),
        Family(
            "fastproxy_predecessor_draining",
            "1 while the process before this one finishes what it began.",
            "gauge",
            [Sample({}, float(draining))],
        ),
    ]


@dataclass(slots=True)
class Inherited:
    """What a predecessor offered.

    Attributes:
        predecessor: the process.
        listeners: name, address and descriptor of each listening socket.
        control: the listening upgrade socket itself, if it is kept.
        token: the admin token that was made for the run.
        ticket_keys: of TLS sessions; empty without.
    """

    predecessor: Predecessor
    listeners: list[tuple[str, str, int]] = field(default_factory=list)
    control: socket.socket | None = None
    token: Secret | None = None
    ticket_keys: bytes = b""

    def leave_control(self) -> None:
        """Close the upgrade socket: its path is not ours."""
        control, self.control = self.control, None
        if control is not None:
            control.close()

    def release(self) -> None:
        """Close the descriptors of `listeners`: who wanted one has a duplicate."""
        for _, _, descriptor in self.listeners:
            with contextlib.suppress(OSError):
                socket.close(descriptor)
        self.listeners = []

    def close(self) -> None:
        """Give everything up; the predecessor sees it and goes on."""
        self.release()
        self.leave_control()
        self.predecessor.close()


async def take_over(path: Path) -> Inherited | None:
    """Ask the process at `path` for its listeners; None if nobody is there.

    Raises:
        UpgradeError: it refuses, is not ours, or speaks another protocol.
    """
    return await asyncio.to_thread(_take_over, path)


def _take_over(path: Path) -> Inherited | None:
    try:
        with rendezvous.connect(path, _TALK_S) as sock:
            send(sock, {"type": "hello", "protocol": PROTOCOL, "version": _native.__version__})
            offer = receive(sock)
            if offer.get("type") != "offer":
                why = offer.get("refused", "it does not speak this protocol")
                msg = f"the process at {path} does not hand over: {why}"
                raise UpgradeError(msg)
            return _inherited(sock, offer)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        msg = f"no upgrade by {path}: {error}"
        raise UpgradeError(msg) from error


def _inherited(sock: socket.socket, offer: Message) -> Inherited:
    listeners = [(str(each["name"]), str(each["address"])) for each in offer["listeners"]]
    # The upgrade socket is the last one.
    *descriptors, control = receive_descriptors(sock, len(listeners) + 1)
    token = offer.get("token")
    return Inherited(
        Predecessor(sock, offer),
        [(*named, number) for named, number in zip(listeners, descriptors, strict=True)],
        socket.socket(fileno=control),
        Secret(token) if isinstance(token, str) else None,
        base64.b64decode(offer.get("ticket_keys", "")),
    )
