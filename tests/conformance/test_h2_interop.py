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
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.address import free_port
from harness.askers import CURL, GO, HTTPX, NODE, PEER_MJS, Asker, Outcome, Wish, ramp_digest
from harness.background import Background, in_background
from harness.engine import SimEngine
from harness.pki import Authority, Issued
from harness.programs import Server, built, no_go, no_program
from harness.proxy import RunningProxy, pool, running_proxy

pytestmark = pytest.mark.timeout(500)
MIB = 1024 * 1024
TOKENS = 40
GAP_MS = 10


@dataclass(frozen=True, slots=True)
class Row:
    """Who speaks with whom."""

    asker: Asker
    server: str
    """What `server` starts; `proxy` has another proxy before it."""
    tls: bool = False
    """Between the client and the proxy; a server's name says whether it wants TLS."""

    @property
    def name(self) -> str:
        """For the reader."""
        return f"{self.asker.name}{' over TLS' if self.tls else ''} to {self.server}"

    @property
    def missing(self) -> str | None:
        """Why it cannot run here."""
        programs = [no_go()]
        programs += [no_program("node")] if "node" in self.name else []
        programs += [no_program("curl")] if self.asker is CURL else []
        return next(filter(None, programs), None)


ROWS = [
    *(Row(asker, "go", tls) for asker in (GO, NODE, CURL, HTTPX) for tls in (False, True)),
    *(Row(GO, name) for name in ("go-http1", "go-tls", "node", "node-tls", "proxy")),
]


@dataclass(frozen=True, slots=True)
class Stage:
    """A running proxy, and how it is reached."""

    proxy: RunningProxy
    background: Background
    base: str
    authority: Path | None


@dataclass(frozen=True, slots=True)
class Pair:
    """A client, and the proxy with a server behind it."""

    row: Row
    stage: Stage

    @property
    def asker(self) -> Asker:
        """The client."""
        return self.row.asker

    def try_to(self, *wishes: Wish) -> list[list[Outcome]]:
        """All wishes, whatever becomes of them."""
        return self.asker.ask(self.stage.base, wishes, self.stage.authority)

    def ask(self, *wishes: Wish) -> list[list[Outcome]]:
        """All wishes, none of which may fail."""
        rows = self.try_to(*wishes)
        for wish, row in zip(wishes, rows, strict=True):
            assert len(row) == wish.count
            for said in row:
                assert not said.error, (wish.path, said.error)
                assert said.version in {"HTTP/2", "HTTP/2.0"}, said.version
        return rows

    def one(self, wish: Wish) -> Outcome:
        """One request."""
        return self.ask(wish)[0][0]


def server(name: str, own: Issued) -> Server:
    """A server by name."""
    program = [str(built("./peer")), "serve"]
    match name:
        case "go-http1":
            return Server(*program, "-http1")
        case "go-tls":
            keys = [f"-certificate={own.cert}", f"-key={own.key}"]
            return Server(*program, *keys, scheme="https")
        case "node":
            return Server("node", str(PEER_MJS), "serve", scheme="h2c")
        case "node-tls":
            keys = [str(own.cert), str(own.key)]
            return Server("node", str(PEER_MJS), "serve", *keys, scheme="https")
        case _:
            return Server(*program, scheme="h2c")


@contextlib.contextmanager
def staged(row: Row, authority: Authority) -> Iterator[Stage]:
    """A server, and a proxy in front of it."""
    own = authority.issue("127.0.0.1")
    with server(row.server, own) as upstream:

        @contextlib.asynccontextmanager
        async def stage() -> AsyncIterator[RunningProxy]:
            async with contextlib.AsyncExitStack() as held:
                url = upstream.url
                if row.server == "proxy":
                    inner = await held.enter_async_context(running_proxy(pool(url)))
                    url = f"h2c://{inner.address}"
                trust = {"tls": {"ca": str(authority.bundle)}} if "tls" in row.server else {}
                settings = pool(url, **trust)
                if row.tls:
                    settings["listen"] = {"tls": {"certificates": [own.pair]}}
                proxy = await held.enter_async_context(running_proxy(settings))
                yield proxy
                await proxy.quiet()

        with in_background(stage) as (background, proxy):
            if row.tls:
                yield Stage(proxy, background, f"https://{proxy.address}", authority.bundle)
            else:
                yield Stage(proxy, background, proxy.url, None)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Row, Stage]]:
    """One proxy for each server and each way to reach it, started when it is first asked for."""
    authority = Authority(tmp_path_factory.mktemp("pki"))
    with contextlib.ExitStack() as held:

        class Started(dict[Row, Stage]):
            def __missing__(self, row: Row) -> Stage:
                self[row] = held.enter_context(staged(row, authority))
                return self[row]

        yield Started()


@pytest.fixture(params=ROWS, ids=[row.name for row in ROWS])
def pair(request: pytest.FixtureRequest, stages: dict[Row, Stage]) -> Pair:
    """A client and a server, with the proxy between them."""
    row: Row = request.param
    if row.missing:
        pytest.skip(row.missing)
    return Pair(row, stages[replace(row, asker=GO)])


def test_both_sides_speak_the_version_they_should(pair: Pair) -> None:
    """The method, the target with its query, the authority and the fields get through."""
    said = pair.one(Wish("/info?a=b%2Fc&d", fields={"x-team": "red", "te": "trailers"}))
    assert said.status == 200
    seen = json.loads(said.text)
    assert seen["version"] == ("HTTP/1.1" if pair.row.server == "go-http1" else "HTTP/2.0")
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
    pair.try_to(Wish("/hold", cancel_after=5, count=3))
    pair.stage.background.run(pair.stage.proxy.quiet())
    until = time.monotonic() + 2
    while True:
        after = json.loads(pair.one(Wish("/held")).text)
        if (after["holding"], after["left"] - before["left"]) == (0, 3):
            return
        assert time.monotonic() < until, (before, after)


def test_an_answer_that_comes_early(pair: Pair) -> None:
    """413 to a body that nobody reads."""
    if not pair.asker.takes_early_answers:
        pytest.skip("this client stumbles over the reset behind an early answer, from any server")
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
