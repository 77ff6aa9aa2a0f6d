"""Addresses and endpoint URLs: what is written, and where that is.

**Invariant:** nothing here looks a name up but `system_resolve`.
"""

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = ["Place", "Resolve", "parse_listen", "parse_url", "system_resolve"]

# Looks a name up: IP addresses as text. Raises OSError.
Resolve = Callable[[str], list[str]]

_UNIX_PATH_BYTES_MAX = 107
_PART = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"{_PART}(?:\.{_PART})*\.?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")
_LATER = {
    "grpc": "write h2c; calls are told by their content-type",
    "grpcs": "write https; calls are told by their content-type",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A TCP host and port, or a unix socket's path, a path prefix for requests, and if by TLS."""

    host: str = ""
    port: int = 0
    unix: str = ""
    prefix: str = ""
    # HTTP/2 by prior knowledge (RFC 9113 §3.3): written as h2c://.
    http2: bool = False
    secure: bool = False

    @property
    def authority(self) -> str:
        """For `Host`: as RFC 9110 §7.2 wants it; unix sockets are `localhost`."""
        if self.unix:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == self.usual_port else f"{host}:{self.port}"

    @property
    def usual_port(self) -> int:
        """The scheme's own."""
        return 443 if self.secure else 80

    @property
    def literal(self) -> bool:
        """Whether no name has to be looked up."""
        return bool(self.unix) or _is_ip(self.host)


def parse_listen(text: str) -> Place:
    """Read `HOST:PORT`, `[::1]:PORT` or `unix:/path`.

    Raises:
        ValueError: with what is allowed.
    """
    if text.startswith("unix:"):
        return Place(unix=_unix_path(text.removeprefix("unix:")))
    if "://" in text:
        msg = "not an address to listen on; write HOST:PORT or unix:/path.sock"
        raise ValueError(msg)
    if text.startswith(":"):
        msg = f"the host is missing; write 0.0.0.0{text} for all IPv4 addresses or [::]{text}"
        raise ValueError(msg)
    host, port = _host_port(text)
    if port is None:
        msg = "the port is missing; write HOST:PORT or unix:/path.sock"
        raise ValueError(msg)
    return Place(host=host, port=port)


def parse_url(text: str) -> Place:
    """Read `http(s)://HOST[:PORT][/prefix]`, `h2c://HOST[:PORT][/prefix]` or `unix:/path.sock`.

    Raises:
        ValueError: with what is allowed.
    """
    if text.startswith("unix:"):
        return Place(unix=_unix_path(text.removeprefix("unix:").removeprefix("//")))
    scheme, separator, rest = text.partition("://")
    if not separator:
        msg = "not a URL; write http://HOST:PORT or unix:/path.sock"
        raise ValueError(msg)
    if scheme.lower() in _LATER:
        msg = f"scheme {scheme} is not supported: {_LATER[scheme.lower()]}"
        raise ValueError(msg)
    if scheme.lower() not in ("http", "https", "h2c"):
        msg = "unsupported scheme; allowed: http, https, h2c, unix"
        raise ValueError(msg)
    if "?" in rest or "#" in rest:
        msg = "a query or fragment has no place in an endpoint's URL"
        raise ValueError(msg)
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        msg = "credentials do not belong in a URL; use credentials of the pool"
        raise ValueError(msg)
    host, port = _host_port(authority)
    if port == 0:
        msg = "port 0 cannot be connected to"
        raise ValueError(msg)
    prefix = (slash + path).rstrip("/")
    if not _PREFIX.fullmatch(prefix):
        msg = f'the path "{prefix}" has empty segments or characters that must be percent-encoded'
        raise ValueError(msg)
    secure, http2 = scheme.lower() == "https", scheme.lower() == "h2c"
    place = Place(host=host, prefix=prefix, http2=http2, secure=secure)
    return replace(place, port=place.usual_port if port is None else port)


def system_resolve(name: str) -> list[str]:
    """Addresses of `name` as the system gives them, IPv4 first.

    Raises:
        OSError: there are none.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    return sorted(dict.fromkeys(addresses), key=lambda text: ":" in text)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, tail = text[1:].partition("]")
        if not bracket or not _is_ip(host) or ":" not in host or "%" in host:
            msg = "not an IPv6 address in brackets"
            raise ValueError(msg)
        if tail and not tail.startswith(":"):
            msg = f'"{tail}" after the bracket is not :PORT'
            raise ValueError(msg)
        return host, _port(tail[1:]) if tail else None
    host, colon, tail = text.rpartition(":")
    if not colon:
        host, port = text, None
    else:
        port = _port(tail)
    if ":" in host:
        msg = f"an IPv6 address needs brackets; write [{text}]:PORT"
        raise ValueError(msg)
    looks_numeric = re.fullmatch(r"[0-9.]+", host) is not None
    if (looks_numeric and not _is_ip(host)) or not _HOST.fullmatch(host) or len(host) > 253:
        msg = (
            f'"{host}" is neither an IP address nor a host name' if host else "the host is missing"
        )
        raise ValueError(msg)
    return host, port


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65_535:
        msg = f'"{text}" is not a port; allowed: 0 to 65535'
        raise ValueError(msg)
    return int(text)


def _unix_path(path: str) -> str:
    if not path.startswith("/"):
        msg = "the path of a unix socket must be absolute: unix:/run/engine.sock"
        raise ValueError(msg)
    if len(path.encode()) > _UNIX_PATH_BYTES_MAX or "\0" in path:
        msg = f"the path of a unix socket has at most {_UNIX_PATH_BYTES_MAX} bytes"
        raise ValueError(msg)
    return path
