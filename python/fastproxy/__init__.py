"""A data-plane proxy for AI inference: Rust where bytes move, Python where people decide.

Examples:
    In any asyncio program::

        async with fastproxy.Proxy("http://10.0.0.11:8000") as proxy:
            print(proxy.address)

    From a file, until a signal ends it::

        fastproxy.run("fastproxy.yaml")
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fastproxy import errors

if TYPE_CHECKING:
    from fastproxy._native import __version__
    from fastproxy.config.model import Config
    from fastproxy.primitives import Channel, Picker, parse_request_head
    from fastproxy.server.proxy import Proxy
    from fastproxy.server.run import run

__all__ = [
    "Channel",
    "Config",
    "Picker",
    "Proxy",
    "__version__",
    "errors",
    "parse_request_head",
    "run",
]


def __getattr__(name: str) -> object:
    """Import what is used first, so that `fastproxy --help` need not wait for all of it."""
    home = {
        "Channel": "fastproxy.primitives",
        "Config": "fastproxy.config.model",
        "Picker": "fastproxy.primitives",
        "Proxy": "fastproxy.server.proxy",
        "__version__": "fastproxy._native",
        "parse_request_head": "fastproxy.primitives",
        "run": "fastproxy.server.run",
    }.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
