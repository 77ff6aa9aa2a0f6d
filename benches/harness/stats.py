"""Medians and honest intervals of paired ratios; nothing here assumes a normal distribution."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median with an interval that covers it, and the spread of what it was taken from."""

    median: float
    low: float
    high: float
    rounds: int
    coverage: float
    """Probability that the interval holds the true median."""
    values: tuple[float, ...]

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        return f"{self.median:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def estimate(values: Sequence[float]) -> Estimate:
    """Median and its order-statistic interval.

    The interval is the narrowest symmetric pair of order statistics whose binomial coverage is at
    least 95 %; with fewer than six values it is the whole range, and `coverage` says what that is
    worth.
    """
    if not values:
        msg = "no values to estimate from"
        raise ValueError(msg)
    ordered = sorted(values)
    count = len(ordered)
    outside, coverage = 0, _coverage(count, 0)
    while outside + 1 < count / 2 and _coverage(count, outside + 1) >= 0.95:
        outside += 1
        coverage = _coverage(count, outside)
    return Estimate(
        median=statistics.median(ordered),
        low=ordered[outside],
        high=ordered[count - 1 - outside],
        rounds=count,
        coverage=coverage,
        values=tuple(values),
    )


def _coverage(count: int, outside: int) -> float:
    """Chance that the median lies between the values of rank `outside` from each end."""
    tail = sum(math.comb(count, index) for index in range(outside + 1))
    return 1.0 - math.ldexp(tail, 1 - count)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Median of paired per-round ratios: round i of ours over round i of theirs."""
    if len(ours) != len(theirs):
        msg = "rounds are not paired"
        raise ValueError(msg)
    return estimate([our / their for our, their in zip(ours, theirs, strict=True)])


def differences(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Median of paired per-round differences."""
    return estimate([our - their for our, their in zip(ours, theirs, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """The value under which `share` (0 to 1) of the values lie; nearest rank."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]
