"""Token streams over HTTP/1.1 and HTTP/2, each on each side, at one rate of tokens in all.

Whether HTTP/2 is cheaper depends on how many streams share a connection and on whether their tokens
come together, so both are what varies. Streams outlast the measured part: a token's cost is not
mixed with a request's.
"""

import math

from benches.peers.base import Needs
from benches.scenarios.base import Json, Scenario, model_body, scaled
from benches.scenarios.streams import STREAMS, STREAMS_ALIGNED, STREAMS_STAGGERED

TOKENS_PER_S = 10_000
"""Of all streams together."""

CONNECTIONS = 8
"""HTTP/2 connections of the clients in bar 4.4."""

_SPREAD_S = 0.5
_WARM_S = 1.0
_AFTER_S = 0.3


def steady(streams: int, connections: int, steps: str) -> Scenario:
    """Streams that all run for the whole of the measured part, on so many connections of HTTP/2."""
    gap_us = 1_000_000 * streams // TOKENS_PER_S

    def load() -> Json:
        duration_s = scaled(4.0, 2.0)
        tokens = math.ceil((_WARM_S + duration_s + _AFTER_S) * 1e6 / gap_us)
        mode = {"kind": "streams", "streams": streams, "tokens": tokens}
        return {
            "mode": {**mode, "spread_ms": round(_SPREAD_S * 1000)},
            "body": model_body(size=512, stream=True),
            "duration_s": duration_s,
            "warmup_s": _WARM_S,
            "drain_s": 5.0,
        }

    return Scenario(
        name=f"versions_{streams}_{connections}_{steps}",
        title=(
            f"{streams} streams, {TOKENS_PER_S:,} tokens a second in all, {steps}; "
            f"HTTP/2 on {connections} connections"
        ),
        unit="token",
        engine={"gap_us": gap_us, "first_token_us": gap_us, "slots": 0, "steps": steps},
        load=load,
        needs=Needs(concurrency=4096, capacity=4096, connections=4096),
        connections=connections,
        streams=streams,
    )


def front(steps: str) -> Scenario:
    """The streams of bar 3.3, whose clients share few connections of HTTP/2."""
    same = STREAMS_ALIGNED if steps == "aligned" else STREAMS_STAGGERED
    return Scenario(
        name=f"front_{same.name}",
        title=f"{same.title}; clients on {CONNECTIONS} connections of HTTP/2",
        unit="token",
        engine=same.engine,
        load=same.load,
        versions="h2-h1",
        connections=CONNECTIONS,
        streams=STREAMS,
    )
