"""A configuration as data to show: units as written, secrets masked.

**Invariant:** no value of a `Secret`, nor of a header set for endpoints, leaves here.
"""

import msgspec

from fastproxy.config.model import Config
from fastproxy.config.secret import MASK, Concealed, Secret
from fastproxy.config.units import Duration, Ratio, Size

__all__ = ["dump", "shown"]


def dump(config: Config) -> dict[str, object]:
    """All of `config`, defaults included, in the shape of the file."""
    return {name: shown(getattr(config, name)) for name in config.__struct_fields__}


def shown(value: object) -> object:
    """One value as JSON can hold it."""
    match value:
        case Secret() | Concealed():
            return MASK
        case Duration() | Size() | Ratio():
            return str(value)
        case msgspec.Struct():
            return {name: shown(getattr(value, name)) for name in value.__struct_fields__}
        case dict():
            return {key: shown(inner) for key, inner in value.items()}
        case tuple() | list():
            return [shown(inner) for inner in value]
        case _:
            return value
