"""Bar 4.2: the same frames to us, to Python's `h2` and `hpack`, and to the `h2` crate.

`FP_DRAW` changes how many times as many scripts are drawn as in `make test`.
"""

import os

import _path  # noqa: F401
from bar10_proof import CARGO, PYTEST, Stage, python_passed, run, rust_passed

from benches.harness.acceptance import main
from benches.harness.verdict import Bar

TITLE = "HTTP/2 and HPACK against other implementations, frame by frame"

DRAW = 10
STAGE_S = 3600


def stages(*, quick: bool) -> list[Stage]:
    """In memory, over sockets, and in Rust."""
    draw = os.environ.get("FP_DRAW", "1" if quick else str(DRAW))
    pytest = [*PYTEST, "--timeout", str(STAGE_S)]
    return [
        Stage(
            "memory",
            f"server and client against Python's h2, {draw} times as many scripts",
            [*pytest, "tests/differential/test_h2.py"],
            {"FASTPROXY_DRAW": draw},
            python_passed,
            200,
            "tests",
        ),
        Stage(
            "hpack",
            f"HPACK against Python's hpack, both ways, {draw} times as many",
            [*pytest, "tests/differential/test_hpack.py"],
            {"FASTPROXY_DRAW": draw},
            python_passed,
            4,
            "tests",
        ),
        Stage(
            "socket",
            "the verdicts again, by a served proxy",
            [*pytest, "tests/differential/test_h2_socket.py"],
            {},
            python_passed,
            140,
            "tests",
        ),
        Stage(
            "crate",
            "against the h2 crate",
            [*CARGO, "-p", "wire", "--release", "--test", "h2_differential"],
            {},
            rust_passed,
            1,
            "tests",
        ),
    ]


def measure(bar: Bar) -> None:
    """Every stage, whatever became of the one before."""
    for stage in stages(quick=bar.quick):
        run(bar, stage)


if __name__ == "__main__":
    main("4.2", TITLE, measure, pin=False)
