"""Main of an attacker: `generator.py OPTIONS`; commands and answers are lines of JSON.

It keeps so many connections at a target, sends what an attack prepared as fast as it is taken, and
dials again when a connection ends. The command `["aim", "HOST:PORT", sink]` leaves all connections
and turns to another target (null: to none); the answer is what came of the last one. What is sent
was made before: the attacker's own work is `send`.

It runs only when nobody else wants its core: the client whose delay is measured shares it.
"""

import contextlib
import errno
import json
import os
import selectors
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import _path  # noqa: F401

from benches.abuse.classes import KNOWN, Class, Reader

SEND_BYTES = 256 * 1024
WAIT_S = 3.0
"""A connection that was sent everything is to be closed by then."""
PAUSE_S = 0.01
"""After a dial that failed."""


@dataclass(slots=True)
class Tally:
    """What came of the connections to one target."""

    opened: int = 0
    refused: int = 0
    sent: int = 0
    closed: int = 0
    """By the other side."""
    survived: int = 0
    """Sent everything and not closed."""
    codes: Counter[str] = field(default_factory=Counter)
    """What the last GOAWAY of those closed said."""
    answered: int = 0
    """Bytes that came."""

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class Connection:
    """One connection of the attacker's."""

    def __init__(self, sock: socket.socket, reader: Reader) -> None:
        self.sock = sock
        self.reader = reader
        self.waiting: memoryview = memoryview(reader.begin())
        self.broken = False
        self.events = selectors.EVENT_READ | selectors.EVENT_WRITE
        self.deadline = float("inf")


class Attacker:
    """All connections."""

    def __init__(self, attack: Class) -> None:
        self.attack = attack
        self.selector = selectors.DefaultSelector()
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        self.room = bytearray(SEND_BYTES)
        self.connections: set[Connection] = set()
        self.target: tuple[str, int] | None = None
        self.sink = False
        self.tally = Tally()
        self.redial_at = 0.0

    def aim(self, address: str | None, *, sink: bool) -> dict[str, Any]:
        """Turn to another target; gives what came of the last one."""
        done = self.tally.shown()
        for connection in list(self.connections):
            self.leave(connection)
        self.tally, self.sink = Tally(), sink
        host, _, port = (address or "").rpartition(":")
        self.target = (host, int(port)) if address else None
        return done

    def dial(self) -> None:
        """One more connection."""
        assert self.target is not None
        sock = socket.socket()
        sock.setblocking(False)
        if sock.connect_ex(self.target) not in {0, errno.EINPROGRESS}:
            sock.close()
            self.tally.refused += 1
            self.redial_at = time.monotonic() + PAUSE_S
            return
        self.tally.opened += 1
        connection = Connection(sock, Reader(self.attack, sink=self.sink))
        self.connections.add(connection)
        self.selector.register(sock, connection.events, connection)

    def leave(self, connection: Connection) -> None:
        """Be done with a connection."""
        self.connections.discard(connection)
        self.selector.unregister(connection.sock)
        connection.sock.close()

    def want(self, connection: Connection, events: int) -> None:
        """Change what is waited for."""
        if events != connection.events:
            connection.events = events
            self.selector.modify(connection.sock, events, connection)

    def write(self, connection: Connection) -> None:
        """Send what there is to send, as far as it is taken."""
        try:
            while True:
                if not connection.waiting:
                    connection.waiting = memoryview(connection.reader.more())
                    if not connection.waiting:
                        break
                sent = connection.sock.send(connection.waiting[:SEND_BYTES])
                self.tally.sent += sent
                connection.waiting = connection.waiting[sent:]
                if self.sink:
                    return
        except BlockingIOError:
            return
        except OSError:
            # Its last words may still be read.
            connection.broken = True
        self.want(connection, selectors.EVENT_READ)
        if not self.attack.stays:
            connection.deadline = time.monotonic() + WAIT_S

    def read(self, connection: Connection) -> None:
        """Take what comes; dial again when it was the end."""
        try:
            count = connection.sock.recv_into(self.room)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count:
            self.tally.answered += count
            connection.reader.take(bytes(self.room[:count]))
            if connection.reader.ready and not connection.broken:
                self.want(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
            return
        if not self.sink:
            self.tally.closed += 1
            code = connection.reader.farewell()
            self.tally.codes[code.name if code is not None else "none"] += 1
        self.leave(connection)

    def turn(self) -> bool:
        """One look at everything; False: stdin has ended."""
        now = time.monotonic()
        idle = self.target is None or now < self.redial_at
        if not idle:
            for _ in range(min(16, self.attack.connections - len(self.connections))):
                self.dial()
        for key, mask in self.selector.select(0.02):
            connection = key.data
            if connection is None:
                line = sys.stdin.readline()
                if not line:
                    return False
                _, address, sink = json.loads(line)
                sys.stdout.write(json.dumps(self.aim(address, sink=sink)) + "\n")
                sys.stdout.flush()
                return True
            if mask & selectors.EVENT_READ:
                self.read(connection)
            if mask & selectors.EVENT_WRITE and connection in self.connections:
                self.write(connection)
        for connection in [one for one in self.connections if one.deadline < now]:
            self.tally.survived += 1
            self.leave(connection)
        return True


def main() -> None:
    """Attack until stdin ends."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    options = json.loads(sys.argv[1])
    attacker = Attacker(KNOWN[options["class"]])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        while attacker.turn():
            pass


if __name__ == "__main__":
    main()
