"""Who may ask the admin API for what.

Two checks: a bearer token for everything but the open paths, and the `Host` header against DNS
rebinding (a page in an operator's browser whose name resolves to this address). The open paths need
no token from a loopback peer only.
"""

import ipaddress
from dataclasses import dataclass

from fastproxy.config.secret import Secret

__all__ = ["Access", "Denial"]

OPEN_PATHS = frozenset(("/metrics", "/healthz", "/readyz"))
_HOW_TO_ASK = (
    "send Authorization: Bearer TOKEN; the token is admin.token of the configuration, "
    "or was printed at the start"
)
_LOOPBACK_NAMES = frozenset(("localhost", "ip6-localhost", "localhost.localdomain"))


@dataclass(frozen=True, slots=True)
class Denial:
    """Why not, with the status that says so."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one admin listener.

    Attributes:
        token: what `Authorization: Bearer` must carry.
        hosts: names, besides literal addresses, by which the listener is reached.
    """

    token: Secret
    hosts: frozenset[str] = frozenset()

    def check(
        self, path: str, host: str | None, authorization: bytes | None, *, loopback: bool
    ) -> Denial | None:
        """None if the request may pass."""
        if host is not None and not self._known(host):
            return Denial(
                421, "this Host is not known here; ask by the address or name that admin listens on"
            )
        if path in OPEN_PATHS and loopback:
            return None
        if authorization is None:
            return Denial(401, _HOW_TO_ASK)
        scheme, _, candidate = authorization.strip().partition(b" ")
        if scheme.lower() != b"bearer" or not self.token.matches(candidate.strip()):
            return Denial(401, "this token is not the one of this proxy")
        return None

    def _known(self, host: str) -> bool:
        name = host.strip().lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        if name in _LOOPBACK_NAMES or name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
