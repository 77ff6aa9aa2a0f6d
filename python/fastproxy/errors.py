"""Everything that fastproxy raises on purpose.

The tree::

    Exception
    └── Error
        ├── ConfigError         what was written cannot be used; lists every mistake
        │   └── PlanRefused     the native core refused a compiled plan (a bug or a version skew)
        ├── StartError          an address cannot be bound, a thread cannot be started
        ├── UpgradeError        the process that serves now does not hand over
        ├── StateError          called at the wrong moment: not started, stopped, after a fork
        └── AdminError          a running proxy's admin API refused or cannot be reached

Bugs of ours are `RuntimeError` from the native module: report them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "AdminError",
    "ConfigError",
    "Error",
    "Mistake",
    "PlanRefused",
    "StartError",
    "StateError",
    "UpgradeError",
]


class Error(Exception):
    """Base of all errors of fastproxy."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in a configuration.

    Attributes:
        where: path of keys and positions, as `pools.llama.endpoints[0].url`; empty: all of it.
        value: the value as it was written, or None when there is none to show.
        reason: what is wrong and what is allowed.
        file: name of the file, or None for a configuration made in Python.
        line: line in the file, from 1, or None when it is not known.
    """

    where: str
    value: str | None
    reason: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        """One line: `FILE:LINE: KEY: VALUE: REASON`."""
        place = [] if self.file is None else [self.file]
        if place and self.line is not None:
            place[0] += f":{self.line}"
        return ": ".join(part for part in (*place, self.where, self.value, self.reason) if part)


class ConfigError(Error):
    """The configuration cannot be used.

    Attributes:
        mistakes: all of them, in the order of the document.
    """

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        """Keep `mistakes`; the message has one line for each."""
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = tuple(mistakes)


class PlanRefused(ConfigError):  # noqa: N818 - the name says what happened
    """The native core refused a compiled plan; the configuration in force was kept."""

    def __init__(self, reason: str) -> None:
        """Wrap the core's own words."""
        super().__init__([Mistake("", None, f"the native core refused the plan: {reason}")])


class StartError(Error):
    """The data plane cannot start: an address is taken or not ours, a path cannot be made."""


class UpgradeError(Error):
    """The process that serves now did not hand its listeners over; it goes on as before."""


class StateError(Error):
    """The call does not fit the moment: not started, already stopped, or after a fork."""


class AdminError(Error):
    """The admin API of a running proxy refused, or nothing answers there."""
