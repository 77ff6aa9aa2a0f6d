"""Small answers on kept connections: what a request costs when nothing is streamed."""

from benches.scenarios.base import Json, Scenario, model_body, scaled


def _load(size: int) -> Json:
    return {
        "mode": {"kind": "concurrency", "connections": 64},
        "body": model_body(size=size, stream=False, tokens=1),
        "duration_s": scaled(6.0, 1.0),
        "warmup_s": scaled(1.0, 0.3),
        "drain_s": 5.0,
    }


def _engine(size: int) -> Json:
    return {"unary_us": 0, "slots": 0, "response_bytes": size}


UNARY = Scenario(
    name="unary",
    title="Unary, kept connections: 64 at a time, 1 KB in and out",
    unit="request",
    engine=_engine(1024),
    load=lambda: _load(1024),
    unix=True,
)

UNARY_16K = Scenario(
    name="unary_16k",
    title="Unary, kept connections: 64 at a time, 16 KB in and out",
    unit="request",
    engine=_engine(16 * 1024),
    load=lambda: _load(16 * 1024),
)
