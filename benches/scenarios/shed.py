"""What a 429 costs on a kept connection, beside a served unary request and a whole stream."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator

from benches.harness import native
from benches.harness.reading import Reading, UnmeasuredError
from benches.harness.rounds import Sample, Table, interleave
from benches.peers import PEERS, Needs
from benches.scenarios.base import MODEL, Json, model_body, scaled
from benches.scenarios.streams import STREAMS_STAGGERED, TOKENS
from benches.scenarios.unary import UNARY

FULL = Needs(concurrency=1, capacity=0)
"""One request at a time and none that waits: with one held, every other is refused."""


@contextlib.contextmanager
def _held(address: str) -> Iterator[None]:
    """Keep the only permit: a stream that the engine stalls."""
    body = json.dumps({"model": MODEL, "stream": True, "max_tokens": 5, "messages": []}).encode()
    host, _, port = address.rpartition(":")
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"x-sim-fault: stall:1\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10.0) as sock:
        sock.sendall(head.encode() + body)
        if not sock.recv(65536).startswith(b"HTTP/1.1 200"):
            msg = "the stream that should hold the permit was refused"
            raise UnmeasuredError(msg)
        yield


def _refusal() -> Sample:
    load: Json = {**UNARY.load(), "duration_s": scaled(4.0, 1.0)}
    with (
        native.engine(UNARY.engine) as engine,
        PEERS["fastproxy"]().running([engine.address], FULL) as running,
        _held(running.address),
    ):
        report = native.load({**load, "targets": [running.address], "pids": running.pids})
    reading = Reading.of(report)
    shed = reading.count("shed")
    if shed < 0.99 * reading.count("offered"):
        msg = f"only {shed} of {reading.count('offered')} were refused"
        raise UnmeasuredError(msg)
    return {"cpu_us": reading.cpu_us("request"), "p50_us": reading.us("shed_latency", "p50")}


def _request() -> Sample:
    with (
        native.engine(UNARY.engine) as engine,
        PEERS["fastproxy"]().running([engine.address]) as running,
    ):
        load = {**UNARY.load(), "targets": [running.address], "pids": running.pids}
        return Reading.of(native.load(load)).sample("request")


def _stream() -> Sample:
    with (
        native.engine(STREAMS_STAGGERED.engine) as engine,
        PEERS["fastproxy"]().running([engine.address]) as running,
    ):
        load = {**STREAMS_STAGGERED.load(), "body": model_body(size=1024, stream=True)}
        load |= {"targets": [running.address], "pids": running.pids}
        sample = Reading.of(native.load(load)).sample("token")
    return {"cpu_us": sample["cpu_us"] * TOKENS}


def costs(rounds: int, *, say: Callable[[str], None]) -> Table:
    """CPU microseconds of each kind, in interleaved rounds."""
    kinds: dict[str, Callable[[], Sample]] = {
        "refusal": _refusal,
        "request": _request,
        "stream": _stream,
    }
    return interleave(list(kinds), rounds, lambda kind: kinds[kind](), say=say)
