"""The configuration: one typed model, read strictly, compiled to the native plan."""

from fastproxy.config.load import Loaded, load, load_text, validate
from fastproxy.config.model import Config, Endpoint, Listener, Pool, Route

__all__ = [
    "Config",
    "Endpoint",
    "Listener",
    "Loaded",
    "Pool",
    "Route",
    "load",
    "load_text",
    "validate",
]
