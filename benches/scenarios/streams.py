"""Token streams: what a token costs, and how much later it comes than through a bare relay.

Real engines emit one token of every running stream in each step, so tokens come in bursts
(`streams_aligned`); behind many engines they come one by one (`streams`), which wakes a proxy up
for each.
"""

from benches.scenarios.base import Json, Scenario, model_body, scaled

STREAMS = 200
TOKENS = 60
GAP_US = 20_000


def _load() -> Json:
    return {
        "mode": {
            "kind": "streams",
            "streams": STREAMS,
            "tokens": TOKENS,
            "spread_ms": TOKENS * GAP_US // 1000,
        },
        "body": model_body(size=512, stream=True),
        "duration_s": scaled(7.0, 2.5),
        "warmup_s": 1.5,
        "drain_s": 5.0,
    }


def _engine(steps: str) -> Json:
    return {"gap_us": GAP_US, "first_token_us": GAP_US, "slots": 0, "steps": steps}


STREAMS_STAGGERED = Scenario(
    name="streams",
    title=f"{STREAMS} streams of {TOKENS} tokens, 20 ms apart, each with a clock of its own",
    unit="token",
    engine=_engine("staggered"),
    load=_load,
    unix=True,
)

STREAMS_ALIGNED = Scenario(
    name="streams_aligned",
    title=f"{STREAMS} streams of {TOKENS} tokens, 20 ms apart, all in the engine's step",
    unit="token",
    engine=_engine("aligned"),
    load=_load,
    unix=True,
)
