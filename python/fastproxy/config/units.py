"""Values with units, as people write them: `500ms`, `32MiB`, `20%`.

A plain number is refused: `timeout: 30` has meant seconds, milliseconds and minutes in three
proxies, and the mistake shows only in production.
"""

import re
from typing import Self

__all__ = ["AutoSize", "Duration", "Ratio", "Size"]

_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
# A year: beyond it, `off` was meant.
_DURATION_MAX_MS = 366 * 86_400_000
_SIZE_MAX = 1024**4


class Duration(int):
    """A time span in whole milliseconds; 0 is written `off`.

    Examples:
        >>> Duration.parse("1m30s")
        Duration('90s')
        >>> int(Duration.parse("500ms"))
        500
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read `500ms`, `2s`, `1m30s`, `1h` or `off`.

        Raises:
            ValueError: with what to write instead.
        """
        if isinstance(text, cls):
            return text
        if isinstance(text, int | float) and not isinstance(text, bool):
            if text == 0:
                return cls(0)
            msg = f"a duration needs a unit; write {text}s for seconds or {text}ms for milliseconds"
            raise ValueError(msg)
        if text == "off" or text is False:
            return cls(0)
        if not isinstance(text, str):
            msg = "not a duration; write it like 500ms, 2s, 1m or off"
            raise ValueError(msg)
        total = cls._sum(text.strip())
        if 0 < total < 1 or total > _DURATION_MAX_MS:
            msg = "out of range; allowed: 1ms to 366d, or off"
            raise ValueError(msg)
        return cls(round(total))

    @staticmethod
    def _sum(text: str) -> float:
        """Milliseconds of `1m30s`."""
        total, position = 0.0, 0
        while match := _QUANTITY.match(text, position):
            if match[2] not in _MILLISECONDS:
                break
            total += float(match[1]) * _MILLISECONDS[match[2]]
            position = match.end()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            msg = f"a duration needs a unit; write {text}s or {text}ms"
            raise ValueError(msg)
        if not text or position < len(text):
            msg = "not a duration; write it like 500ms, 2s, 1m or off"
            raise ValueError(msg)
        return total

    def __str__(self) -> str:
        """As it would be written."""
        value = int(self)
        if value == 0:
            return "off"
        for unit in ("h", "m", "s"):
            if value % _MILLISECONDS[unit] == 0 and (unit != "m" or value >= 5 * 60_000):
                return f"{value // _MILLISECONDS[unit]}{unit}"
        return f"{value}ms"

    def __repr__(self) -> str:
        """With its unit."""
        return f"Duration({str(self)!r})"


class Size(int):
    """A number of bytes.

    Examples:
        >>> int(Size.parse("64KiB"))
        65536
        >>> Size.parse("32MiB")
        Size('32MiB')
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read `512B`, `64KiB`, `32MiB`, `1GB`.

        Raises:
            ValueError: with what to write instead.
        """
        if isinstance(text, cls):
            return text
        if isinstance(text, int | float) and not isinstance(text, bool):
            msg = f"a size needs a unit; write {text}B for bytes, or KiB, MiB, GiB"
            raise ValueError(msg)
        if not isinstance(text, str):
            msg = "not a size; write it like 512B, 64KiB or 32MiB"
            raise ValueError(msg)
        stripped = text.strip()
        match = _QUANTITY.fullmatch(stripped)
        if match is None:
            if stripped.isdecimal():
                msg = f"a size needs a unit; write {stripped}B for bytes, or KiB, MiB, GiB"
                raise ValueError(msg)
            msg = "not a size; write it like 512B, 64KiB or 32MiB"
            raise ValueError(msg)
        if match[2] not in _BYTES:
            msg = f'unknown unit "{match[2]}"; allowed: {", ".join(_BYTES)}'
            raise ValueError(msg)
        value = round(float(match[1]) * _BYTES[match[2]])
        if not 1 <= value <= _SIZE_MAX:
            msg = "out of range; allowed: 1B to 1024GiB"
            raise ValueError(msg)
        return cls(value)

    def __str__(self) -> str:
        """As it would be written."""
        value = int(self)
        for unit in ("GiB", "MiB", "KiB"):
            if value and value % _BYTES[unit] == 0:
                return f"{value // _BYTES[unit]}{unit}"
        return f"{value}B"

    def __repr__(self) -> str:
        """With its unit."""
        return f"Size({str(self)!r})"


class AutoSize(Size):
    """A number of bytes, or `auto` (0)."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read `auto`, or a size."""
        return cls(0) if text == "auto" else super().parse(text)

    def __str__(self) -> str:
        """As it would be written."""
        return super().__str__() if self else "auto"


class Ratio(float):
    """A share from 0 to 1, written `20%`.

    Examples:
        >>> float(Ratio.parse("20%"))
        0.2
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read `20%`, `0%`, `off`.

        Raises:
            ValueError: with what to write instead.
        """
        if isinstance(text, cls):
            return text
        if text == "off" or text is False:
            return cls(0.0)
        if isinstance(text, int | float) and not isinstance(text, bool):
            percent = text * 100 if 0 < text < 1 else text
            msg = f"a share needs a percent sign; write {percent:g}%"
            raise ValueError(msg)
        match = (
            re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip()) if isinstance(text, str) else None
        )
        if match is None:
            msg = "not a share; write it like 20%"
            raise ValueError(msg)
        value = float(match[1]) / 100
        if value > 1:
            msg = "out of range; allowed: 0% to 100%"
            raise ValueError(msg)
        return cls(value)

    def __str__(self) -> str:
        """As it would be written."""
        return f"{float(self) * 100:g}%"

    def __repr__(self) -> str:
        """With its sign."""
        return f"Ratio({str(self)!r})"
