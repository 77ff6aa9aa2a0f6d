"""The collector: native cells to Prometheus text."""

import orjson
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from fastproxy.observe.metrics import Collector, Reloads, decode, expose

CELLS = [
    {
        "name": "x_total",
        "help": "X.",
        "kind": "counter",
        "samples": [{"labels": {"a": 'b"\\'}, "value": 3}],
    },
    {"name": "g", "help": "G.", "kind": "gauge", "samples": [{"labels": {}, "value": 1.5}]},
    {"name": "none_total", "help": "N.", "kind": "counter", "samples": []},
    {
        "name": "h_seconds",
        "help": "H.",
        "kind": "histogram",
        "samples": [
            {
                "labels": {"p": "1"},
                "buckets": [[0.001, 1], [0.5, 2], [None, 4]],
                "sum": 9.5,
                "count": 4,
            }
        ],
    },
]


def collector() -> Collector:
    """Over fixed cells."""
    families = [*decode(orjson.dumps(CELLS)), Reloads().family()]
    return Collector(families, Reloads(), "1.2.3")


def test_prometheus() -> None:
    """Values, labels and buckets arrive."""
    found = expose(collector(), "")
    assert found.content_type.startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in parse(found.body.decode())}
    assert families["x"].samples[0].labels == {"a": 'b"\\'}
    assert families["x"].samples[0].value == 3
    assert families["g"].samples[0].value == 1.5
    buckets = [(s.labels.get("le"), s.value) for s in families["h_seconds"].samples]
    assert buckets == [("0.001", 1), ("0.5", 2), ("+Inf", 4), (None, 4), (None, 9.5)]
    assert families["fastproxy_build_info"].samples[0].labels["version"] == "1.2.3"
    assert families["process_resident_memory_bytes"].samples[0].value > 1e6


def test_openmetrics() -> None:
    """When it is asked for."""
    found = expose(collector(), "application/openmetrics-text; version=1.0.0")
    assert found.content_type.startswith("application/openmetrics-text")
    families = parse_openmetrics(found.body.decode())  # type: ignore[no-untyped-call]
    assert {family.name for family in families} >= {"x", "h_seconds"}


def test_reloads() -> None:
    """Both results are counted, and why the last one failed is kept."""
    reloads = Reloads()
    reloads.fail("bad")
    assert (reloads.failed, reloads.last_ok, reloads.last_error) == (1, False, "bad")
    reloads.succeed()
    assert (reloads.succeeded, reloads.last_ok, reloads.last_error) == (1, True, "")
    assert reloads.last_at > 0
