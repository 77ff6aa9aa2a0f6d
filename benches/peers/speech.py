"""What is spoken in a bar: the version of HTTP and whether under TLS, by clients and to engines."""

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

from benches.harness.certificate import certificate
from benches.peers.base import Needs, Version, client

Json = dict[str, Any]

TLS = "+tls"


@dataclass(frozen=True, slots=True)
class Speech:
    """Both sides of a proxy."""

    text: str
    front: Version = "h1"
    """What clients speak."""
    front_tls: bool = False
    back: Version = "h1"
    """What is spoken to engines."""
    back_tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """`h2`, `h1+tls`, or with the side of the engines: `h2+tls-h1`. Left out it is `h1`."""
        front, _, back = text.partition("-")
        sides = [(side.removesuffix(TLS), side.endswith(TLS)) for side in (front, back or "h1")]
        if any(version not in ("h1", "h2") for version, _ in sides):
            msg = f"`{text}` is not spoken; say h1 or h2, with {TLS} or without, for each side"
            raise ValueError(msg)
        (front, front_tls), (back, back_tls) = sides
        return cls(text, cast("Version", front), front_tls, cast("Version", back), back_tls)

    def says(self, what: str) -> str:
        """The name of a figure; HTTP/1.1 in cleartext is not worth a word."""
        return what if self == PLAIN else f"{self.text}: {what}"

    def needs(self, needs: Needs | None = None) -> Needs:
        """What a proxy is asked, added to what is needed anyway."""
        return replace(
            needs or Needs(),
            front=self.front,
            back=self.back,
            tls=certificate() if self.front_tls else None,
            back_tls=certificate() if self.back_tls else None,
        )

    def load(self, *, streams: int = 0, connections: int = 0) -> Json:
        """Options of a load.

        Over HTTP/2 so many streams share so many connections evenly, if both are given.
        """
        found: Json = client(self.needs())
        if self.front == "h2" and connections:
            found["connections_max"] = connections
            found["streams_per_connection"] = max(1, -(-streams // connections))
        return found

    def engine(self, options: Mapping[str, Any]) -> Json:
        """Options of an engine, with its certificate where it needs one."""
        if not self.back_tls:
            return dict(options)
        own = certificate()
        return {**options, "tls": {"cert": str(own.cert), "key": str(own.key)}}

    def context(self) -> ssl.SSLContext | None:
        """What a client in Python begins with; None in cleartext."""
        if not self.front_tls:
            return None
        context = ssl.create_default_context(cafile=str(certificate().ca))
        context.set_alpn_protocols(["h2" if self.front == "h2" else "http/1.1"])
        return context

    def dial(self, address: str, context: ssl.SSLContext | None = None) -> socket.socket:
        """A connection, past its handshake; `context` saves making one for each."""
        host, _, port = address.rpartition(":")
        sock = socket.create_connection((host, int(port)), timeout=20.0)
        context = context or self.context()
        return context.wrap_socket(sock, server_hostname=host) if context else sock


PLAIN = Speech.parse("h1")
"""HTTP/1.1 in cleartext on both sides."""
