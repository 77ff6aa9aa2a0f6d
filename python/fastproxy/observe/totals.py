"""Counts of several processes as one: what an upgrade must not set back to zero.

Only what rises is added: counters and histograms. A gauge is of the process that shows it.
**Invariant:** no sample of either side is lost, and none is less than before: who has seen a total
never sees it fall.
"""

from bisect import bisect_right
from collections.abc import Iterable

import msgspec

from fastproxy.observe.metrics import Family, Sample

__all__ = ["added", "cumulative"]

_RISING = ("counter", "histogram")
Labels = tuple[tuple[str, str], ...]


def cumulative(families: Iterable[Family]) -> list[Family]:
    """Those of `families` that only rise."""
    return [family for family in families if family.kind in _RISING]


def added(ours: Iterable[Family], before: Iterable[Family]) -> list[Family]:
    """`ours`, with what another process counted in `before` added.

    A series that only the other has is kept, as is a family that this version does not know.
    """
    others = {family.name: family for family in before if family.kind in _RISING}
    merged = []
    for family in ours:
        other = others.pop(family.name, None)
        if other is None or other.kind != family.kind:
            merged.append(family)
        else:
            merged.append(msgspec.structs.replace(family, samples=_samples(family, other)))
    return merged + [family for family in others.values() if family.samples]


def _samples(ours: Family, other: Family) -> list[Sample]:
    names = {name for sample in ours.samples[:1] for name in sample.labels}
    if ours.samples and other.samples and names != set(other.samples[0].labels):
        # Another version had other labels: its series cannot be shown beside these.
        return ours.samples
    found: dict[Labels, Sample] = {_labels(sample): sample for sample in ours.samples}
    for sample in other.samples:
        key = _labels(sample)
        found[key] = _sum(found[key], sample) if key in found else sample
    return [*found.values()]


def _labels(sample: Sample) -> Labels:
    return tuple(sorted(sample.labels.items()))


def _sum(ours: Sample, other: Sample) -> Sample:
    if ours.count is None or other.count is None:
        return Sample(ours.labels, (ours.value or 0) + (other.value or 0))
    # Buckets are cumulative: below one of our bounds are at least those of the other's nearest
    # bound below it. With the same bounds, as usual, that is exact.
    bounds = [_bound(bound) for bound, _ in other.buckets]
    counts = [0.0, *(count for _, count in other.buckets)]
    buckets = [
        (bound, count + counts[bisect_right(bounds, _bound(bound))])
        for bound, count in ours.buckets
    ]
    return Sample(
        ours.labels,
        buckets=buckets,
        sum=ours.sum + other.sum,
        count=ours.count + other.count,
    )


def _bound(bound: float | None) -> float:
    return float("inf") if bound is None else bound
