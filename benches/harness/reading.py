"""The load generator's report, read into the figures that scenarios compare."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


class Unmeasured(RuntimeError):
    """The run cannot be believed: too many failures, or nothing happened."""
