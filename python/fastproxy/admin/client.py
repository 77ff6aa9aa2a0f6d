"""Asks the admin API of a running proxy; for the commands that do."""

import http.client
import socket

from fastproxy.config.address import Place, parse_listen
from fastproxy.errors import AdminError

__all__ = ["ask"]

_TIMEOUT_S = 15.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)


def ask(
    address: str, method: str, path: str, *, token: str | None, body: bytes = b""
) -> tuple[int, bytes]:
    """Status and body of one admin request.

    Args:
        address: of the admin listener, as it is configured: `HOST:PORT` or `unix:PATH`.
        method: of the request.
        path: of the request.
        token: the admin token, if there is one.
        body: of the request.

    Raises:
        AdminError: nothing answers there.
        ValueError: `address` is none.
    """
    place = parse_listen(address)
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    connection = _connection(place)
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        msg = f"no admin API answers on {address}: {error}"
        raise AdminError(msg) from error
    finally:
        connection.close()


def _connection(place: Place) -> http.client.HTTPConnection:
    if place.unix:
        return _UnixConnection(place.unix)
    return http.client.HTTPConnection(place.host, place.port, timeout=_TIMEOUT_S)
