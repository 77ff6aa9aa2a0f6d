"""Addresses of tests: ports below the range that the kernel hands out for outgoing connections."""

import random
import socket

PORTS = range(20_000, 32_000)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on right now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in random.sample(PORTS, 200):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    msg = f"no free port on {host}"
    raise RuntimeError(msg)


def split(address: str) -> tuple[str, int]:
    """`HOST:PORT` or `[HOST]:PORT` in its parts."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
