"""Plots as inline SVG: dots for rounds, a bar for the median, a whisker for the interval."""

import html
import math
from collections.abc import Mapping, Sequence

from benches.harness.stats import estimate

_ROW = 34
_LEFT = 150
_RIGHT = 90
_WIDTH = 820
_INK = "#1c2733"
_OURS = "#0b7a75"
_THEIRS = "#8a97a6"
_SOFT = "#e4e9ee"


def _nice(value: float) -> float:
    """A round number not under `value`."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)


def dots(
    title: str, unit: str, values: Mapping[str, Sequence[float]], *, ours: str, limit: float = 0.0
) -> str:
    """Horizontal bars of medians with every round as a dot. `limit` cuts outliers off the axis."""
    top = _nice(limit or max((max(series) for series in values.values() if series), default=1.0))
    height = 56 + _ROW * len(values)
    span = _WIDTH - _LEFT - _RIGHT
    parts = [
        (
            f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{html.escape(title)}" '
            'xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" font-size="12">'
        ),
        (
            f'<text x="0" y="16" font-size="14" font-weight="600" fill="{_INK}">'
            f"{html.escape(title)}</text>"
        ),
    ]
    for tick in range(5):
        x = _LEFT + span * tick / 4
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="26" y2="{height - 24}" stroke="{_SOFT}"/>'
            f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle" fill="{_THEIRS}">'
            f"{top * tick / 4:g} {html.escape(unit) if tick == 4 else ''}</text>"
        )
    for row, (name, series) in enumerate(values.items()):
        parts += _series(row, name, series, top, span, _OURS if name == ours else _THEIRS)
    return "".join(parts) + "</svg>"


def _series(  # noqa: PLR0913 - a row is its parameters
    row: int, name: str, series: Sequence[float], top: float, span: int, colour: str
) -> list[str]:
    y = 32 + row * _ROW
    middle = y + _ROW / 2 - 4
    parts = [
        (
            f'<text x="{_LEFT - 10}" y="{middle + 4:.1f}" text-anchor="end" fill="{_INK}">'
            f"{html.escape(name)}</text>"
        )
    ]
    if not series:
        return parts
    found = estimate(series)

    def at(value: float) -> float:
        return _LEFT + span * min(value, top) / top

    parts.append(
        f'<rect x="{_LEFT}" y="{middle - 8:.1f}" width="{at(found.median) - _LEFT:.1f}" '
        f'height="16" fill="{colour}" opacity="0.35"/>'
        f'<line x1="{at(found.low):.1f}" x2="{at(found.high):.1f}" y1="{middle:.1f}" '
        f'y2="{middle:.1f}" stroke="{colour}" stroke-width="2"/>'
    )
    parts += [
        f'<circle cx="{at(value):.1f}" cy="{middle:.1f}" r="2.6" fill="{colour}"/>'
        for value in series
    ]
    parts.append(
        f'<text x="{_WIDTH - _RIGHT + 10}" y="{middle + 4:.1f}" fill="{_INK}">'
        f"{found.median:.2f}</text>"
    )
    return parts


def curves(
    title: str,
    unit: str,
    series: Mapping[str, Sequence[float]],
    labels: Sequence[str],
    *,
    ours: str,
) -> str:
    """One line for each contender over a few labelled positions (percentiles), log scale."""
    values = [value for line in series.values() for value in line if value > 0]
    if not values:
        return ""
    low, high = math.log10(min(values)), math.log10(max(values) * 1.1)
    width, height = _WIDTH - _RIGHT - 60, 220
    step = width / max(1, len(labels) - 1)

    def y(value: float) -> float:
        share = (math.log10(max(value, 1e-3)) - low) / max(1e-9, high - low)
        return 30 + (height - 30) * (1 - share)

    parts = [
        (
            f'<svg viewBox="0 0 {_WIDTH} {height + 30}" role="img" '
            f'aria-label="{html.escape(title)}" xmlns="http://www.w3.org/2000/svg" '
            'font-family="system-ui, sans-serif" font-size="12">'
            f'<text x="0" y="16" font-size="14" font-weight="600" fill="{_INK}">'
            f"{html.escape(title)} ({html.escape(unit)}, logarithmic)</text>"
        )
    ]
    for at, label in enumerate(labels):
        x = 50 + at * step
        parts.append(
            f'<text x="{x:.1f}" y="{height + 20}" text-anchor="middle" fill="{_THEIRS}">'
            f"{html.escape(label)}</text>"
        )
    for name, line in series.items():
        colour = _OURS if name == ours else _THEIRS
        points = " ".join(f"{50 + at * step:.1f},{y(value):.1f}" for at, value in enumerate(line))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" '
            f'stroke-width="{2.4 if name == ours else 1.2}"/>'
            f'<text x="{56 + width:.1f}" y="{y(line[-1]) + 4:.1f}" fill="{colour}">'
            f"{html.escape(name)} {line[-1]:.0f}</text>"
        )
    return "".join(parts) + "</svg>"
