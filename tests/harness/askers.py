"""Clients of other makers, all asked in one way: wishes in, outcomes out.

Every body, either way, is the bytes 0 to 255 over and over, so that both ends know its digest.
"""

import asyncio
import hashlib
import json
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import httpx

from harness.programs import ROOT, built

PATIENCE_S = 45
TEXT_MAX = 4096
RAMP = bytes(range(256)) * 256
PEER_MJS = ROOT / "tests/conformance/node/peer.mjs"


@dataclass(frozen=True, slots=True)
class Wish:
    """One request, made `count` times at once."""

    path: str
    method: str = "GET"
    fields: dict[str, str] = field(default_factory=dict)
    body: int = 0
    """Length of the request's body."""
    pause_ms: int = 0
    """Waited between the head and the first read of the body (curl: it reads slowly instead)."""
    cancel_after: int = 0
    """Given up once that many bytes came; 0: never."""
    count: int = 1


@dataclass(slots=True)
class Outcome:
    """What became of one request."""

    status: int = 0
    version: str = ""
    length: int = -1
    bytes: int = 0
    sha256: str = ""
    events: int = 0
    spread_ms: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    error: str = ""


class Asker(Protocol):
    """A client of HTTP/2."""

    name: str
    shows_trailers: bool
    takes_early_answers: bool
    """Whether an answer counts that comes with a reset, before the request was sent."""
    at_once: int
    """How many requests it makes at once on cleartext."""

    def ask(self, base: str, wishes: Sequence[Wish], authority: Path | None) -> list[list[Outcome]]:
        """Make the requests, wish by wish, on as few connections as the client likes."""


def ramp_digest(length: int) -> str:
    """SHA-256 of a body of that length."""
    digest = hashlib.sha256()
    whole, rest = divmod(length, len(RAMP))
    for _ in range(whole):
        digest.update(RAMP)
    digest.update(RAMP[:rest])
    return digest.hexdigest()


class Program:
    """A client program that reads wishes as JSON and writes outcomes as JSON."""

    shows_trailers = True
    at_once = 1000

    def __init__(self, name: str) -> None:
        """`go` or `node`, whose streams do not always end when theirs is reset in mid-request."""
        self.name = name
        self.takes_early_answers = name == "go"

    def ask(self, base: str, wishes: Sequence[Wish], authority: Path | None) -> list[list[Outcome]]:
        """Run it once."""
        if self.name == "go":
            trust = ["-authority", str(authority)] if authority else []
            command = [str(built("./peer")), "ask", *trust, base]
        else:
            trust = [str(authority)] if authority else []
            command = ["node", str(PEER_MJS), "ask", base, *trust]
        done = subprocess.run(
            command,
            input=json.dumps([asdict(wish) for wish in wishes]),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: list[list[dict[str, Any]]] = json.loads(done.stdout)
        return [[Outcome(**one) for one in row] for row in found]


class Curl:
    """`curl`, a process for each wish; many transfers of one wish share its connection.

    On cleartext each transfer has a process of its own: 7.88 breaks a connection that it uses again
    by prior knowledge, in front of any server.
    """

    name = "curl"
    shows_trailers = True
    takes_early_answers = False
    at_once = 20

    def ask(self, base: str, wishes: Sequence[Wish], authority: Path | None) -> list[list[Outcome]]:
        """Run it for each wish."""
        return [self._some(base, wish, authority) for wish in wishes]

    def _some(self, base: str, wish: Wish, authority: Path | None) -> list[Outcome]:
        if authority or wish.count == 1:
            return self._one(base, wish, authority)
        alone = replace(wish, count=1)
        with ThreadPoolExecutor(wish.count) as threads:
            running = [threads.submit(self._one, base, alone, None) for _ in range(wish.count)]
            return [one.result()[0] for one in running]

    def _one(self, base: str, wish: Wish, authority: Path | None) -> list[Outcome]:
        with tempfile.TemporaryDirectory(prefix="fastproxy-curl-") as folder:
            return self._run(base, wish, authority, Path(folder))

    def _run(self, base: str, wish: Wish, authority: Path | None, folder: Path) -> list[Outcome]:
        head = folder / "head"
        head.write_bytes(b"")
        command = [
            "curl", "--silent", "--show-error", "--globoff", "--noproxy", "*",
            "--max-time", "0.5" if wish.cancel_after else str(PATIENCE_S - 5),
            "--write-out", "%{stderr}\n%{json}\n", "--dump-header", str(head),
        ]  # fmt: skip
        command += ["--cacert", str(authority), "--http2"] if authority else []
        command += [] if authority else ["--http2-prior-knowledge"]
        command += ["--head"] if wish.method == "HEAD" else ["--request", wish.method]
        command += ["--limit-rate", "8M"] if wish.pause_ms else []
        command += ["--parallel", "--parallel-max", "300"] if wish.count > 1 else []
        for name, value in wish.fields.items():
            command += ["--header", f"{name}: {value}"]
        if wish.body:
            sent = folder / "sent"
            sent.write_bytes((RAMP * (wish.body // len(RAMP) + 1))[: wish.body])
            command += ["--data-binary", f"@{sent}"]
        for number in range(wish.count):
            command += ["--output", str(folder / f"body{number}"), base + wish.path]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        rows = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        assert len(rows) == wish.count, done.stderr[-2000:]
        return [self._outcome(row, wish, head) for row in rows]

    def _outcome(self, row: dict[str, Any], wish: Wish, head: Path) -> Outcome:
        said = Outcome(
            status=row["response_code"],
            version=f"HTTP/{row['http_version']}",
            spread_ms=round(1000 * (row["time_total"] - row["time_starttransfer"])),
        )
        path = Path(row["filename_effective"] or "")
        # For HEAD curl writes the head where the body would be.
        body = path.read_bytes() if path.is_file() and wish.method != "HEAD" else b""
        path.unlink(missing_ok=True)
        digest = hashlib.sha256(body).hexdigest()
        said.bytes, said.sha256, said.events = len(body), digest, body.count(b"data: ")
        said.text = body[:TEXT_MAX].decode(errors="replace")
        if wish.count == 1:
            # It writes trailers below the head, with nothing between.
            said.fields = said.trailers = fields_of(head.read_text("latin-1"))
            said.length = int(said.fields.get("content-length", -1))
        if row["exitcode"] and not wish.cancel_after:
            said.error = row["errormsg"]
        return said


def fields_of(block: str) -> dict[str, str]:
    """Names and values of lines."""
    pairs = (line.partition(":") for line in block.splitlines() if ": " in line)
    return {name.lower(): value.strip() for name, _, value in pairs}


class Httpx:
    """`httpx` with its HTTP/2, which is Python's `h2`."""

    name = "httpx"
    shows_trailers = False
    takes_early_answers = False
    at_once = 1000

    def ask(self, base: str, wishes: Sequence[Wish], authority: Path | None) -> list[list[Outcome]]:
        """On a loop of its own."""
        return asyncio.run(self._all(base, wishes, authority))

    async def _all(
        self, base: str, wishes: Sequence[Wish], authority: Path | None
    ) -> list[list[Outcome]]:
        trust = ssl.create_default_context(cafile=authority) if authority else False
        async with httpx.AsyncClient(
            base_url=base,
            http1=False,
            http2=True,
            verify=trust,
            timeout=PATIENCE_S,
            trust_env=False,
        ) as client:
            found = []
            for wish in wishes:
                calls = [self._one(client, wish) for _ in range(wish.count)]
                found.append(await asyncio.gather(*calls))
            return found

    async def _one(self, client: httpx.AsyncClient, wish: Wish) -> Outcome:
        async def body() -> AsyncIterator[bytes]:
            for at in range(0, wish.body, len(RAMP)):
                yield RAMP[: wish.body - at]

        said = Outcome()
        sent = body() if wish.body else None
        digest = hashlib.sha256()
        first = last = 0.0
        try:
            async with client.stream(
                wish.method, wish.path, headers=wish.fields, content=sent
            ) as answer:
                said.status, said.version = answer.status_code, answer.http_version
                said.fields = dict(answer.headers)
                said.length = int(answer.headers.get("content-length", -1))
                await asyncio.sleep(wish.pause_ms / 1000)
                async for part in answer.aiter_raw():
                    last = time.monotonic()
                    first = first or last
                    said.bytes += len(part)
                    said.events += part.count(b"data: ")
                    digest.update(part)
                    said.text += part[: TEXT_MAX - len(said.text)].decode(errors="replace")
                    if wish.cancel_after and said.bytes >= wish.cancel_after:
                        break
        except httpx.HTTPError as error:
            said.error = repr(error)
        said.sha256 = digest.hexdigest()
        said.spread_ms = round(1000 * (last - first))
        return said


GO, NODE, CURL, HTTPX = Program("go"), Program("node"), Curl(), Httpx()
