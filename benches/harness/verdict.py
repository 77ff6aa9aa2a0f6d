"""What a bar says about its figures: the limit, the figure, PASS or MISS; nothing is hidden."""

import datetime as dt
import json
import operator
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from benches.harness import machine
from benches.harness.stats import Estimate

OUT = Path(__file__).resolve().parents[1] / "out"

SERIES = {"3": "bar", "4": "wire"}
"""Which scripts are the bars of which issue: `bar08_*.py` is bar 3.8, `wire08_*.py` bar 4.8."""


def bar_name(number: int | str) -> str:
    """`3.8` of `8`: a plain number is of the first series."""
    text = str(number)
    return text if "." in text else f"3.{text}"


def bar_file(number: int | str, part: str = "") -> Path:
    """Where a bar writes its figures, or one part of it by itself."""
    series, _, position = bar_name(number).partition(".")
    behind = f"-{part}" if part else ""
    return OUT / f"{SERIES[series]}{int(position):02d}{behind}.json"


Sense = Literal["<=", ">=", "=="]
_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a bar."""

    what: str
    value: float | None
    """None: it could not be measured, and why is in `note`."""
    sense: Sense | None = None
    """None: reported without a limit."""
    limit: float | None = None
    unit: str = ""
    interval: tuple[float, float] | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """PASS, MISS, `-` for figures without a limit, or NONE."""
        if self.value is None:
            return "NONE"
        if self.sense is None or self.limit is None:
            return "-"
        return "PASS" if _HOLDS[self.sense](self.value, self.limit) else "MISS"


@dataclass(slots=True)
class Bar:
    """One acceptance bar: its figures, and whatever else its report should keep."""

    number: int | str
    """A number of the data plane's bars, or the name of another: `4.8`."""
    title: str
    quick: bool = False
    part: str = ""
    """The only part that was asked for."""
    figures: list[Figure] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(  # noqa: PLR0913 - one call is one row of the table
        self,
        what: str,
        value: float | Estimate | None,
        sense: Sense | None = None,
        limit: float | None = None,
        *,
        unit: str = "",
        note: str = "",
    ) -> Figure:
        """Add a figure and print it."""
        interval = None
        if isinstance(value, Estimate):
            interval = (value.low, value.high)
            spread = f"{value.rounds} rounds, interval covers {value.coverage:.0%}"
            note = f"{note}; {spread}" if note else spread
            value = value.median
        figure = Figure(what, value, sense, limit, unit, interval, note)
        self.figures.append(figure)
        print(line(figure), flush=True)
        return figure

    def fact(self, what: str, holds: bool, note: str = "") -> Figure:  # noqa: FBT001
        """Add something that either holds or does not."""
        return self.add(what, 1.0 if holds else 0.0, "==", 1.0, note=note)

    def say(self, text: str) -> None:
        """Print and keep a remark."""
        self.notes.append(text)
        print(f"  . {text}", flush=True)

    def finish(self) -> int:
        """Write the JSON, print the sum; the exit status: 0 unless something was unmeasurable."""
        OUT.mkdir(parents=True, exist_ok=True)
        path = bar_file(self.number, self.part)
        document = {
            "bar": self.number,
            "title": self.title,
            "quick": self.quick,
            "taken": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "command": " ".join(sys.argv),
            "machine": machine.as_dict(),
            "figures": [{**asdict(figure), "verdict": figure.verdict} for figure in self.figures],
            "notes": self.notes,
            "data": self.data,
        }
        path.write_text(json.dumps(document, indent=1, default=_plain) + "\n")
        counts = dict.fromkeys(("PASS", "MISS", "NONE"), 0)
        for figure in self.figures:
            if figure.verdict in counts:
                counts[figure.verdict] += 1
        print(
            f"bar {self.number}: {counts['PASS']} pass, {counts['MISS']} miss, "
            f"{counts['NONE']} not measured -> {path.relative_to(OUT.parents[1])}"
        )
        return 2 if counts["NONE"] else 0


def _plain(value: object) -> object:
    if isinstance(value, Estimate):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    return repr(value)


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def line(figure: Figure) -> str:
    """One row of text."""
    value = "?" if figure.value is None else _number(figure.value)
    unit = f" {figure.unit}" if figure.unit else ""
    limit = ""
    if figure.sense and figure.limit is not None:
        limit = f"(bar {figure.sense} {_number(figure.limit)}{unit})"
    spread = ""
    if figure.interval:
        spread = f"[{_number(figure.interval[0])}, {_number(figure.interval[1])}]"
    words = [figure.verdict.ljust(5), figure.what.ljust(58), value + unit, spread, limit]
    note = f"  {figure.note}" if figure.note else ""
    return " ".join(word for word in words if word) + note
