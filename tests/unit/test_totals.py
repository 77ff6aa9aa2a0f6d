"""Counts of several processes as one."""

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.observe.metrics import Family, Sample
from fastproxy.observe.totals import added, cumulative


def counter(name: str, **values: float) -> Family:
    """A counter by route."""
    return Family(name, "X.", "counter", [Sample({"route": k}, v) for k, v in values.items()])


def histogram(bounds: list[float | None], counts: list[float], total: float) -> Family:
    """A histogram of one series."""
    buckets = list(zip(bounds, counts, strict=True))
    return Family("h", "H.", "histogram", [Sample({}, None, buckets, total, counts[-1])])


def test_counters_are_added_by_labels() -> None:
    """A series of only one of the two stays what it was."""
    merged = added([counter("x_total", a=1, b=2)], [counter("x_total", b=40, gone=7)])
    values = {sample.labels["route"]: sample.value for sample in merged[0].samples}
    assert values == {"a": 1, "b": 42, "gone": 7}


def test_gauges_are_of_one_process() -> None:
    """And what this version does not know any more is still shown."""
    gauge = Family("g", "G.", "gauge", [Sample({}, 1.0)])
    merged = added([gauge], [gauge, counter("retired_total", a=3)])
    assert [family.name for family in merged] == ["g", "retired_total"]
    assert merged[0].samples[0].value == 1
    assert cumulative(merged) == merged[1:]


def test_series_with_other_labels_are_left_out() -> None:
    """They cannot stand beside ours in one family."""
    other = Family("x_total", "X.", "counter", [Sample({"pool": "p"}, 3.0)])
    assert added([counter("x_total", a=1)], [other]) == [counter("x_total", a=1)]


def test_histograms_are_added_bucket_by_bucket() -> None:
    """With the same bounds exactly; with others, what is surely below a bound."""
    ours = histogram([0.1, 1.0, None], [1, 2, 3], 4.5)
    same = added([ours], [ours])[0].samples[0]
    assert same.buckets == [(0.1, 2), (1.0, 4), (None, 6)]
    assert (same.sum, same.count) == (9, 6)
    finer = histogram([0.05, 0.5, None], [10, 20, 30], 1.0)
    mixed = added([ours], [finer])[0].samples[0]
    assert mixed.buckets == [(0.1, 11), (1.0, 22), (None, 33)]


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(0, 1e15)), min_size=2, max_size=5)
)
def test_a_total_never_falls(steps: list[dict[str, float]]) -> None:
    """Whatever each of two processes counts next, no sum is less than before."""
    left: dict[str, float] = {}
    right: dict[str, float] = {}
    seen: dict[str, float] = {}
    for n, step in enumerate(steps):
        side = right if n % 2 else left
        for key, more in step.items():
            side[key] = side.get(key, 0.0) + more
        merged = added([counter("x_total", **left)], [counter("x_total", **right)])[0]
        now = {sample.labels["route"]: sample.value or 0.0 for sample in merged.samples}
        assert all(now[key] >= value for key, value in seen.items())
        seen = now
