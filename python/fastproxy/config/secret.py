"""Secrets and where they come from: `${ENV}`, `${ENV:-default}`, `file:PATH`, `{file: PATH}`.

**Invariant:** the value of a `Secret` never shows in a representation, a message or a dump; only
`reveal()` gives it, and only `config.compile` and `admin` call that.
"""

import hmac
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

__all__ = ["MASK", "Concealed", "Secret", "expand", "read_secret_file"]

MASK = "***"
_SECRET_FILE_BYTES_MAX = 64 * 1024
_REFERENCE = re.compile(r"\$(?:\$|\{([^}]*)\})")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class Secret:
    """A value that is not to be shown.

    Examples:
        >>> Secret("hunter2")
        Secret('***')
        >>> Secret("hunter2").matches(b"hunter2")
        True
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Keep `value`."""
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def matches(self, candidate: bytes) -> bool:
        """Whether `candidate` is the value, in a time that tells nothing of where they differ."""
        return hmac.compare_digest(self._value.encode(), candidate)

    def __repr__(self) -> str:
        """Nothing of the value."""
        return f"Secret({MASK!r})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Equal values."""
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        """Of the value."""
        return hash(self._value)


class Concealed(str):
    """A string that may well hold a secret: its representation does not show it."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Take any string.

        Raises:
            ValueError: it is none.
        """
        if not isinstance(text, str):
            msg = "must be a string; quote it"
            raise ValueError(msg)
        return cls(text)

    def __repr__(self) -> str:
        """Nothing of the value."""
        return repr(MASK)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace `${NAME}` and `${NAME:-default}`; `$$` is a dollar sign.

    Raises:
        ValueError: a variable is not set, or the reference is malformed.
    """

    def value_of(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        parts = _NAME.fullmatch(match[1])
        if parts is None:
            msg = f"malformed reference {match[0]}; write ${{NAME}} or ${{NAME:-default}}"
            raise ValueError(msg)
        value = environment.get(parts[1])
        if value is None or (value == "" and parts[2] is not None):
            if parts[2] is None:
                msg = (
                    f"environment variable {parts[1]} is not set; "
                    f"set it or write ${{{parts[1]}:-default}}"
                )
                raise ValueError(msg)
            return parts[2]
        return value

    return _REFERENCE.sub(value_of, text)


def read_secret_file(path: Path) -> str:
    """The content of a secret's file, less the line end that editors add.

    Raises:
        ValueError: it cannot be read, is too large, or is no text.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_SECRET_FILE_BYTES_MAX + 1)
    except OSError as error:
        msg = f"cannot read the secret's file {path}: {error.strerror}"
        raise ValueError(msg) from None
    if len(content) > _SECRET_FILE_BYTES_MAX:
        msg = f"the secret's file {path} is larger than 64KiB"
        raise ValueError(msg)
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        msg = f"the secret's file {path} is not UTF-8 text"
        raise ValueError(msg) from None
