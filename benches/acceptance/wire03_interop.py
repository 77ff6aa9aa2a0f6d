"""Bar 4.3: HTTP/2 and gRPC with the clients and servers of others, in both directions."""

import _path  # noqa: F401
from bar10_proof import PYTEST, Stage, python_passed, run

from benches.harness.acceptance import main
from benches.harness.verdict import Bar

TITLE = "curl, nghttp2, Go, Node, httpx and grpcio, in front and behind"

STAGES = [
    Stage(
        "http2",
        "curl, nghttp, h2load, nghttpd, Go, Node and httpx",
        [*PYTEST, "-rs", "tests/conformance/test_h2_interop.py"],
        {},
        python_passed,
        70,
        "tests",
    ),
    Stage(
        "grpc",
        "grpcio: four kinds of call, cancel, deadline, 4 MB messages",
        [*PYTEST, "-rs", "tests/conformance/test_grpc.py"],
        {},
        python_passed,
        30,
        "tests",
    ),
]


def measure(bar: Bar) -> None:
    """Every stage, whatever became of the one before."""
    for stage in STAGES:
        run(bar, stage)


if __name__ == "__main__":
    main("4.3", TITLE, measure, pin=False)
