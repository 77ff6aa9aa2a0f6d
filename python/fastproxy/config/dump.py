"""A configuration as data to show: units as written, secrets masked.

**Invariant:** no value of a `Secret`, nor of a header set for endpoints, leaves here.
"""

import msgspec

from fastproxy.config.model import Config, HeaderChange
from fastproxy.config.secret import MASK, Secret
from fastproxy.config.units import Duration, Ratio, Size

__all__ = ["dump", "shown"]


def dump(config: Config) -> dict[str, object]:
    """All of `config`, defaults included, in the shape of the file."""
    found = {name: shown(getattr(config, name)) for name in config.__struct_fields__}
    for name, pool in config.pools.items():
        masked = dict.fromkeys(pool.headers.request.set, MASK)
        change = HeaderChange(set=masked, remove=pool.headers.request.remove)
        pools = found["pools"]
        assert isinstance(pools, dict)
        pools[name]["headers"]["request"] = shown(change)
    return found


def shown(value: object) -> object:
    """One value as JSON can hold it."""
    match value:
        case Secret():
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
