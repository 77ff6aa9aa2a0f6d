"""HTTP/2 with clients and servers that others wrote: client, proxy, server, over real sockets.

Each client is put in front of one server of Go's, and each server behind one client of Go's; every
pair then does the same things.
"""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.address import free_port
from harness.askers import CURL, GO, HTTPX, NODE, PEER_MJS, Asker, Outcome, Wish, ramp_digest
from harness.background import Background, in_background
from harness.engine import SimEngine
from harness.programs import Server, built, no_go, no_program
from harness.proxy import RunningProxy, pool, running_proxy

pytestmark = pytest.mark.timeout(500)
MIB = 1024 * 1024
TOKENS = 40
GAP_MS = 10


@dataclass(frozen=True, slots=True)
class Pair:
    """A client, a proxy, and how it is reached."""

    asker: Asker
    proxy: RunningProxy
    background: Background
    upstream_version: str

    def ask(self, *wishes: Wish) -> list[list[Outcome]]:
        """All wishes, none of which may fail."""
        rows = self.asker.ask(self.proxy.url, wishes, None)
        for wish, row in zip(wishes, rows, strict=True):
            assert len(row) == wish.count
            for said in row:
                assert not said.error, (wish.path, said.error)
                assert said.version in {"HTTP/2", "HTTP/2.0"}, said.version
        return rows

    def one(self, wish: Wish) -> Outcome:
        """One request."""
        return self.ask(wish)[0][0]


def server(name: str) -> Server:
    """A server by name."""
    match name:
        case "go-http1":
            return Server(str(built("./peer")), "serve", "-http1")
        case "go" | "proxy":
            return Server(str(built("./peer")), "serve", scheme="h2c")
        case _:
            return Server("node", str(PEER_MJS), "serve", scheme="h2c")


@contextlib.contextmanager
def fronted(name: str) -> Iterator[tuple[Background, RunningProxy]]:
    """A proxy in front of a server; for `proxy`, with another proxy between them."""
    with server(name) as upstream:

        @contextlib.asynccontextmanager
        async def stage() -> AsyncIterator[RunningProxy]:
            async with contextlib.AsyncExitStack() as held:
                url = upstream.url
                if name == "proxy":
                    inner = await held.enter_async_context(running_proxy(pool(url)))
                    url = f"h2c://{inner.address}"
                proxy = await held.enter_async_context(running_proxy(pool(url)))
                yield proxy
                await proxy.quiet()

        with in_background(stage) as (background, proxy):
            yield background, proxy


@pytest.fixture(scope="module")
def proxies() -> Iterator[dict[str, tuple[Background, RunningProxy]]]:
    """One proxy for each server, started when it is first asked for."""
    with contextlib.ExitStack() as held:

        class Started(dict[str, tuple[Background, RunningProxy]]):
            def __missing__(self, name: str) -> tuple[Background, RunningProxy]:
                self[name] = held.enter_context(fronted(name))
                return self[name]

        yield Started()


PAIRS: list[tuple[Asker, str]] = [
    (GO, "go"), (NODE, "go"), (CURL, "go"), (HTTPX, "go"), (GO, "node"), (GO, "go-http1"),
    (GO, "proxy"),
]  # fmt: skip


@pytest.fixture(params=PAIRS, ids=[f"{asker.name} to {name}" for asker, name in PAIRS])
def pair(
    request: pytest.FixtureRequest, proxies: dict[str, tuple[Background, RunningProxy]]
) -> Pair:
    """A client and a server, with the proxy between them."""
    asker, name = request.param
    programs = [no_go()]
    programs += [no_program("node")] if "node" in (asker.name, name) else []
    programs += [no_program("curl")] if asker is CURL else []
    for missing in filter(None, programs):
        pytest.skip(missing)
    background, proxy = proxies[name]
    return Pair(asker, proxy, background, "HTTP/1.1" if name == "go-http1" else "HTTP/2.0")


def test_both_sides_speak_the_version_they_should(pair: Pair) -> None:
    """The method, the target with its query, the authority and the fields get through."""
    said = pair.one(Wish("/info?a=b%2Fc&d", fields={"x-team": "red", "te": "trailers"}))
    assert said.status == 200
    seen = json.loads(said.text)
    assert seen["version"] == pair.upstream_version
    assert (seen["method"], seen["target"]) == ("GET", "/info?a=b%2Fc&d")
    assert seen["authority"]
    fields = {name.lower(): value for name, value in seen["fields"].items()}
    assert fields["x-team"] in ("red", ["red"])
    assert not {"connection", "keep-alive", "upgrade", "http2-settings"} & set(fields)


def test_statuses_and_head(pair: Pair) -> None:
    """A status without a body, an unknown path, and a length without its body."""
    rows = pair.ask(
        Wish("/status?code=204"), Wish("/nothing"), Wish("/status?code=418"),
        Wish("/big?bytes=100000", method="HEAD"),
    )  # fmt: skip
    assert [row[0].status for row in rows] == [204, 404, 418, 200]
    assert rows[3][0].length == 100_000
    assert rows[3][0].bytes == 0


def test_a_big_body_waits_for_its_reader(pair: Pair) -> None:
    """8 MiB to a client that pauses before it reads, whole and in order."""
    said = pair.one(Wish(f"/big?bytes={8 * MIB}", pause_ms=200))
    assert (said.bytes, said.sha256) == (8 * MIB, ramp_digest(8 * MIB))


def test_a_big_body_waits_for_the_server(pair: Pair) -> None:
    """4 MiB to a server that pauses before it reads."""
    said = pair.one(Wish("/sink?pause_ms=200", method="POST", body=4 * MIB))
    assert json.loads(said.text) == {"bytes": 4 * MIB, "sha256": ramp_digest(4 * MIB)}


def test_both_directions_at_once(pair: Pair) -> None:
    """What is sent comes back, several times beside one another."""
    for said in pair.ask(Wish("/echo", method="POST", body=300_000, count=8))[0]:
        assert (said.bytes, said.sha256) == (300_000, ramp_digest(300_000))


def test_tokens_come_one_by_one(pair: Pair) -> None:
    """A stream of events is not gathered: it takes as long to come as it took to make."""
    said = pair.one(Wish(f"/events?n={TOKENS}&gap_ms={GAP_MS}"))
    assert said.events == TOKENS + 1
    assert said.text.endswith("data: [DONE]\n\n")
    assert said.spread_ms >= TOKENS * GAP_MS * 0.7


def test_many_streams_at_once(pair: Pair) -> None:
    """More than the 100 that one connection takes: they wait or spread, and none is lost."""
    count = min(150, pair.asker.at_once)
    rows = pair.ask(Wish("/events?n=10&gap_ms=3", count=count))
    assert [said.events for said in rows[0]] == [11] * count


def test_trailers(pair: Pair) -> None:
    """Those that a forwarder may keep come through, from every version."""
    said = pair.one(Wish("/trailers", fields={"te": "trailers"}))
    assert said.text == "before the trailers\n"
    if pair.asker.shows_trailers:
        assert said.trailers.get("grpc-status") == "0"
        assert said.trailers.get("repr-digest") == "sha-256=:AAAA:"
        assert "grpc-status" not in said.fields or pair.asker is CURL


def test_a_client_that_leaves_is_gone_upstream(pair: Pair) -> None:
    """The server sees its stream cancelled; streams beside it go on."""
    before = json.loads(pair.one(Wish("/held")).text)
    pair.asker.ask(pair.proxy.url, [Wish("/hold", cancel_after=5, count=3)], None)
    pair.background.run(pair.proxy.quiet())
    until = time.monotonic() + 2
    while True:
        after = json.loads(pair.one(Wish("/held")).text)
        if (after["holding"], after["left"] - before["left"]) == (0, 3):
            return
        assert time.monotonic() < until, (before, after)


def test_an_answer_that_comes_early(pair: Pair) -> None:
    """413 to a body that nobody reads."""
    if not pair.asker.takes_early_answers:
        pytest.skip("this client calls the reset behind an early answer an error, from any server")
    assert pair.one(Wish("/early", method="POST", body=2 * MIB)).status == 413


# ---- the tools of nghttp2 ----------------------------------------------------------------------


@pytest.fixture
def engine_proxy() -> Iterator[RunningProxy]:
    """A proxy in front of a simulated engine."""

    @contextlib.asynccontextmanager
    async def stage() -> AsyncIterator[RunningProxy]:
        with SimEngine(tokens=20, gap_us=500) as engine:
            async with running_proxy(pool(engine.url, concurrency=1000)) as proxy:
                yield proxy
                await proxy.quiet()

    with in_background(stage) as (_background, proxy):
        yield proxy


def said_by(*command: str) -> str:
    """The output of a tool that has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nghttp(engine_proxy: RunningProxy, tmp_path: Path) -> None:
    """With its tree of priorities, several requests on one connection, and a streamed answer."""
    if missing := no_program("nghttp"):
        pytest.skip(missing)
    body = tmp_path / "chat.json"
    body.write_text(json.dumps({"model": "sim", "messages": [], "stream": True}))
    said = said_by(
        "nghttp", "--verbose", "--null-out", "--header=content-type: application/json",
        f"--data={body}", "--timeout=20s", "--multiply=5",
        f"{engine_proxy.url}/v1/chat/completions",
    )  # fmt: skip
    assert len(re.findall(r"recv \(stream_id=\d+\) :status: 200", said)) == 5
    assert len(re.findall(r"recv DATA frame <length=0, flags=0x01", said)) <= 5
    assert "RST_STREAM" not in said
    assert not re.search(r"GOAWAY frame .*\n.*error_code=(?!NO_ERROR)", said)


@pytest.mark.parametrize("streams", [1, 32, 100])
def test_h2load(engine_proxy: RunningProxy, streams: int) -> None:
    """2,000 answers on 4 connections, all of them whole."""
    if missing := no_program("h2load"):
        pytest.skip(missing)
    said = said_by(
        "h2load", "--requests=2000", "--clients=4", f"--max-concurrent-streams={streams}",
        f"{engine_proxy.url}/v1/models",
    )  # fmt: skip
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert "status codes: 2000 2xx" in said


def test_h2load_streams_tokens(engine_proxy: RunningProxy, tmp_path: Path) -> None:
    """300 streams of tokens on 4 connections, each to its end."""
    if missing := no_program("h2load"):
        pytest.skip(missing)
    body = tmp_path / "chat.json"
    body.write_text(json.dumps({"model": "sim", "messages": [], "stream": True}))
    said = said_by(
        "h2load", "--requests=300", "--clients=4", "--max-concurrent-streams=75",
        f"--data={body}", "--header=content-type: application/json",
        f"{engine_proxy.url}/v1/chat/completions",
    )  # fmt: skip
    assert "300 succeeded, 0 failed, 0 errored, 0 timeout" in said


def test_nghttpd(tmp_path: Path) -> None:
    """nghttp2's server behind the proxy: a file, and a body that comes back, with trailers."""
    if missing := no_program("nghttpd") or no_go():
        pytest.skip(missing)
    (tmp_path / "file").write_bytes((bytes(range(256)) * 4096)[:MIB])
    port = free_port()
    command = [
        "nghttpd", "--no-tls", "--address=127.0.0.1", "--echo-upload",
        "--trailer=grpc-status: 0", f"--htdocs={tmp_path}", str(port),
    ]  # fmt: skip
    with subprocess.Popen(command) as process:

        @contextlib.asynccontextmanager
        async def stage() -> AsyncIterator[RunningProxy]:
            async with running_proxy(pool(f"h2c://127.0.0.1:{port}")) as proxy:
                yield proxy

        try:
            with in_background(stage) as (_background, proxy):
                wishes = [
                    Wish("/file", fields={"te": "trailers"}, count=4),
                    Wish("/", method="POST", body=300_000, count=4),
                ]
                files, echoes = GO.ask(proxy.url, wishes, None)
        finally:
            process.terminate()
    for said in files:
        assert (said.status, said.sha256) == (200, ramp_digest(MIB)), said.error
        assert said.trailers == {"grpc-status": "0"}
    for said in echoes:
        assert (said.status, said.sha256) == (200, ramp_digest(300_000)), said.error
