"""What the service manager wants to know (sd_notify(3)): one datagram a message.

Does nothing when no service manager asked. Small enough not to need libsystemd.
"""

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Notifier"]


@dataclass(frozen=True, slots=True)
class Notifier:
    """Speaks to the socket that `NOTIFY_SOCKET` names.

    Attributes:
        address: the socket's path, with a leading `@` for an abstract one; empty: nobody asked.
        watchdog_s: the manager ends us when it hears nothing for so long; 0: never.
    """

    address: str = ""
    watchdog_s: float = 0.0

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Notifier":
        """From the environment that systemd gives a service."""
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period = environment.get("WATCHDOG_USEC", "0")
        watchdog_s = int(period) / 1e6 if mine and period.isdecimal() else 0.0
        return cls(environment.get("NOTIFY_SOCKET", ""), watchdog_s)

    def ready(self, status: str) -> None:
        """Started, or again after a reload."""
        self._send(f"READY=1\nSTATUS={status}")

    def succeeded(self, pid: int) -> None:
        """Another process is the service from now on; only the one before it may say so."""
        self._send(f"MAINPID={pid}\nREADY=1\nSTATUS=process {pid} has taken over")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Draining."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    async def watch(self) -> None:
        """Tell that the event loop lives, twice as often as is asked for; never ends."""
        while self.watchdog_s:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 2)

    def _send(self, message: str) -> None:
        if not self.address.startswith(("/", "@")):
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto(message.encode(), address)
        except OSError:
            # The manager went away; the service goes on without it.
            return
