"""Bar 4.6: what TLS adds to a token, and what a handshake costs beside HAProxy's.

How many tokens a proxy finds at one wake decides what each costs: alone it is up to three times as
dear as among twenty. Streams that start together stay together in cleartext, while handshakes pull
them apart, and so the two would not be the same load. Here each stream has a phase of its own.
"""

from dataclasses import replace

import _path  # noqa: F401

from benches.harness.acceptance import main, rounds
from benches.harness.compare import compare
from benches.harness.results import Result, text
from benches.harness.stats import Estimate, estimate
from benches.harness.verdict import Bar
from benches.peers.haproxy import HAProxy
from benches.scenarios import SCENARIOS
from benches.scenarios.base import Json, Scenario, model_body, scaled
from benches.scenarios.streams import GAP_US, TOKENS
from benches.scenarios.versions import front

TITLE = "what TLS adds to a token, and handshakes beside HAProxy"

OURS, THEIRS = "fastproxy", "haproxy"
TLS, RESUMED = "@tls", "@resume"

TOKEN_MAX = 1.25
"""CPU of a token under TLS over cleartext, at most."""

HANDSHAKES_MIN = 1.0
"""Our handshakes per CPU-second over HAProxy's, at least."""


def _load() -> Json:
    return {
        "mode": {"kind": "concurrency", "connections": 8},
        "body": model_body(size=256, stream=False),
        "new_connection_ratio": 1.0,
        "duration_s": scaled(6.0, 2.0),
        "warmup_s": 0.5,
        "drain_s": 5.0,
    }


HANDSHAKES = Scenario(
    name="handshakes",
    title="unary requests, each on a connection of its own",
    unit="request",
    engine={"unary_us": 0, "slots": 0},
    load=_load,
)


def shown(bar: Bar, scenario: Scenario, labels: list[str]) -> Result:
    """Runs a scenario, shows it and keeps it."""
    bar.say(scenario.title)
    result = compare(scenario, labels, rounds(bar), say=bar.say)
    result.save(suffix="-tls")
    print(text(result), flush=True)
    bar.data[scenario.name] = {"samples": result.table.samples, "versions": result.versions}
    return result


def apart(scenario: Scenario) -> Scenario:
    """The same streams, whose starts fall on distinct moments of the gap between tokens.

    Spread over 61 gaps, 200 streams have 200 phases; over 60 gaps they have ten.
    """

    def load() -> Json:
        found = scenario.load()
        spread_ms = (TOKENS + 1) * GAP_US // 1000
        return {**found, "mode": {**found["mode"], "spread_ms": spread_ms}}

    return replace(
        scenario,
        name=f"{scenario.name}_apart",
        title=f"{scenario.title}; no two streams in one phase",
        load=load,
    )


def tokens(bar: Bar) -> None:
    """Token streams, one a connection and many a connection, apart and in steps."""
    together = [SCENARIOS["streams_aligned"], front("aligned")]
    for scenario in [apart(SCENARIOS["streams"]), apart(front("staggered")), *together]:
        table = shown(bar, scenario, [OURS, OURS + TLS, THEIRS, THEIRS + TLS]).table
        for name, limit in ((OURS, TOKEN_MAX), (THEIRS, None)):
            if table.has(name, name + TLS):
                ratio = table.ratio(name + TLS, name, "cpu_us")
                sense = "<=" if limit else None
                bar.add(f"{scenario.name}: {name}, TLS / cleartext", ratio, sense, limit)
        if table.has(OURS, THEIRS + TLS):
            ratio = table.ratio(OURS + TLS, THEIRS + TLS, "cpu_us")
            bar.add(f"{scenario.name}: CPU a token under TLS / HAProxy", ratio)


def per_second(result: Result, name: str, kind: str) -> list[float]:
    """Handshakes per CPU-second, by round: what a connection costs more than in cleartext."""
    under = result.table.values(name + kind, "cpu_us")
    clear = result.table.values(name, "cpu_us")
    return [1e6 / max(1e-3, more - less) for more, less in zip(under, clear, strict=True)]


def handshakes(bar: Bar) -> None:
    """Full and resumed ones."""
    kinds = {"full": TLS, "resumed": RESUMED}
    labels = [name + kind for name in (OURS, THEIRS) for kind in ("", *kinds.values())]
    result = shown(bar, HANDSHAKES, labels)
    for what, kind in kinds.items():
        if not result.table.has(OURS + kind, THEIRS + kind):
            bar.add(f"{what} handshakes / HAProxy", None, ">=", HANDSHAKES_MIN)
            continue
        ours, theirs = per_second(result, OURS, kind), per_second(result, THEIRS, kind)
        found: Estimate = estimate([our / their for our, their in zip(ours, theirs, strict=True)])
        bar.add(f"{what} handshakes per CPU-second / HAProxy", found, ">=", HANDSHAKES_MIN)
        bar.add(f"{what} handshakes per CPU-second, {OURS}", estimate(ours))
        bar.add(f"{what} handshakes per CPU-second, {THEIRS}", estimate(theirs))


def measure(bar: Bar) -> None:
    """Tokens, then handshakes."""
    bar.say("ECDSA P-256, TLS 1.3, AES-128-GCM, X25519; ours is rustls on aws-lc-rs")
    bar.say(f"HAProxy runs on {HAProxy().tls_library()}")
    handshakes(bar)
    tokens(bar)


if __name__ == "__main__":
    main("4.6", TITLE, measure)
