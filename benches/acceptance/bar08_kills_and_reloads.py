"""Bar 8: an engine killed in the middle of streams, and a configuration replaced under load."""

import http.client
import os
import signal
import threading
import time
from collections import Counter
from typing import Any, Self

import _path  # noqa: F401
import httpx2
import openai

from benches.harness import native
from benches.harness.acceptance import main
from benches.harness.processes import free_port, get
from benches.harness.rawclient import Ended, stream
from benches.harness.verdict import Bar
from benches.peers import PEERS, PLAIN, Running, Speech
from benches.peers.fastproxy import admin_get, admin_post
from benches.scenarios.base import model_body, scaled

TITLE = "200 kills of an engine mid-stream; 1,000 reloads under load"

KILLS = 200
RELOADS = 1000
TOKENS = 200
CALM = {"slots": 0, "gap_us": 10_000, "first_token_us": 10_000, "unary_us": 1_000}
ENGINE = {"slots": 0, "gap_us": 2_000, "first_token_us": 1_000, "steps": "staggered"}


def official(address: str, speech: Speech) -> Any:  # noqa: ANN401 - the client has no base
    """The official client."""
    if speech == PLAIN:
        http_client, scheme = None, "http"
    else:
        http2 = speech.front == "h2"
        verify = speech.context() or True
        http_client = httpx2.Client(http1=not http2, http2=http2, verify=verify, timeout=20.0)
        scheme = "https" if speech.front_tls else "http"
    return openai.OpenAI(
        base_url=f"{scheme}://{address}/v1",
        api_key="none",
        max_retries=0,
        timeout=20.0,
        http_client=http_client,
    )


def ask_client(address: str, speech: Speech, seen: Counter[str], started: threading.Event) -> None:
    """One stream by the official client; counts how it ends."""
    api = official(address, speech)
    try:
        events = api.chat.completions.create(
            model="sim",
            stream=True,
            max_tokens=TOKENS,
            messages=[{"role": "user", "content": "hi"}],
        )
        for count, _ in enumerate(events):
            if count == 3:
                started.set()
    except openai.APIError as error:
        seen[f"raised {type(error).__name__}"] += 1
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not clean
        seen[f"unclean: {type(error).__name__}: {error}"] += 1
    else:
        seen["ended without an error"] += 1
    finally:
        started.set()
        api.close()


def one_kill(running: Running, port: int, seen: Counter[str], speech: Speech) -> Ended:
    """Start the engine, let two streams run, kill it; how the raw one ended."""
    with native.engine(speech.engine(ENGINE), port=port) as engine:
        started = threading.Event()
        asking = threading.Thread(
            target=ask_client, args=(running.address, speech, seen, started), daemon=True
        )
        asking.start()
        raw = stream(running.address, TOKENS, speech)
        raw.read_events(4)
        started.wait(10.0)
        engine.child.kill()
        ended = raw.rest()
        asking.join(25.0)
        if asking.is_alive():
            seen["hung"] += 1
    return ended


def kills(bar: Bar, speech: Speech = PLAIN) -> None:
    """`kill -9` while streams flow."""
    says = speech.says
    count = int(scaled(KILLS, 15))
    port = free_port()
    seen: Counter[str] = Counter()
    found: Counter[str] = Counter()
    with native.engine(speech.engine(ENGINE), port=port) as first:
        running_block = PEERS["fastproxy"]().running([first.address], speech.needs())
        running = running_block.__enter__()
    try:
        for _ in range(count):
            ended = one_kill(running, port, seen, speech)
            found["streams"] += 1
            found["200"] += ended.status == 200
            found["looks complete"] += ended.looks_complete
            found["body terminated"] += ended.framed
            found["error event"] += ended.says_error
            found["whole events only"] += ended.whole_events
    finally:
        running_block.__exit__(None, None, None)
    bar.data[says("kills")] = {"raw": dict(found), "sdk": dict(seen)}
    bar.add(says("killed streams"), found["200"], "==", count, note=dict_text(found))
    bar.add(says("truncated streams that look complete"), found["looks complete"], "==", 0)
    bar.add(says("truncated streams whose body was terminated"), found["body terminated"], "==", 0)
    bar.add(says("truncated streams with an error event"), found["error event"], "==", count)
    whole = found["whole events only"]
    bar.add(says("truncated streams of whole events only"), whole, "==", count)
    clean = sum(times for how, times in seen.items() if how.startswith("raised"))
    what = says("the openai client raised a clean error")
    bar.add(what, clean, "==", count, note=dict_text(seen))


def dict_text(counts: Counter[str]) -> str:
    """Counts in one line."""
    return ", ".join(f"{name}: {number}" for name, number in counts.most_common())


def _monotonic(text: str) -> dict[str, float]:
    """Series of an exposition that must never fall."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        series, _, value = line.rpartition(" ")
        name = series.split("{")[0]
        if name.endswith(("_total", "_count", "_bucket", "_sum")):
            found[series] = float(value)
    return found


class Scraper:
    """Reads the metrics all the time; remembers every counter that fell or vanished.

    Attributes:
        fallen: what was seen to fall, with both values.
        failed: scrapes that were not answered.
        scrapes: those that were.
    """

    def __init__(self, admin: str) -> None:
        self.admin = admin
        self.fallen: list[str] = []
        self.failed: list[str] = []
        self.scrapes = 0
        self._last: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            try:
                status, body = get(self.admin, "/metrics")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                continue
            if status != http.HTTPStatus.OK:
                self.failed.append(f"status {status}")
                continue
            now = _monotonic(body.decode())
            self.fallen += [
                f"{name}: {value} -> {now.get(name)}"
                for name, value in self._last.items()
                if now.get(name, -1.0) < value
            ]
            self._last = now
            self.scrapes += 1


def _rewrite(running: Running, number: int) -> None:
    """A configuration that differs each time."""
    config = running.config
    if config is None:
        msg = "this proxy has no file"
        raise RuntimeError(msg)
    lines = [
        f"    channel: {{max_wait: {2 + number % 5}s}}" if line.startswith("    channel:") else line
        for line in config.read_text().splitlines()
    ]
    temporary = config.with_suffix(".new")
    temporary.write_text("\n".join(lines) + "\n")
    temporary.replace(config)


def _wait_generation(running: Running, least: int, seconds: float = 5.0) -> int:
    deadline = time.monotonic() + seconds
    while True:
        generation = int(admin_get(running.admin or "", "/endpoints")["generation"])
        if generation >= least or time.monotonic() > deadline:
            return generation
        time.sleep(0.002)


def reloads(
    bar: Bar,
    speech: Speech = PLAIN,
    *,
    unary_speech: Speech | None = None,
    new_connections: float = 0.0,
) -> None:
    """By signal and by the admin API in turn, under unary load and streams.

    Unary clients may speak otherwise than the others on the same listener. A share of
    `new_connections` of their requests are each on a connection of their own.
    """
    says = speech.says
    count = int(scaled(RELOADS, 60))
    unary = {
        **(unary_speech or speech).load(),
        "mode": {"kind": "concurrency", "connections": 16},
        "new_connection_ratio": new_connections,
        "body": model_body(size=1024, stream=False, tokens=1),
    }
    streams = {
        **speech.load(streams=50, connections=5),
        "mode": {"kind": "streams", "streams": 50, "tokens": 60},
        "body": model_body(size=512, stream=True),
    }
    with (
        native.engine(speech.engine(CALM)) as engine,
        PEERS["fastproxy"]().running([engine.address], speech.needs()) as running,
        Scraper(running.admin or "") as scraper,
    ):
        common = {"targets": [running.address], "duration_s": 3600.0, "drain_s": 10.0}
        started = int(admin_get(running.admin or "", "/endpoints")["generation"])
        with (
            native.loading({**common, **unary}) as first,
            native.loading({**common, **streams}) as second,
        ):
            time.sleep(1.0)
            for number in range(count):
                before = int(admin_get(running.admin or "", "/endpoints")["generation"])
                _rewrite(running, number)
                if number % 2:
                    admin_post(running.admin or "", "/reload")
                else:
                    os.kill(running.child.pid, signal.SIGHUP)
                _wait_generation(running, before + 1)
            reports = [load.end() for load in (first, second)]
        generation = int(admin_get(running.admin or "", "/endpoints")["generation"])
    bar.add(says("generations"), generation - started, ">=", count)
    for name, report in zip(("unary requests", "streams"), reports, strict=True):
        total = report["total"]
        bar.data[says(name)] = {"outcomes": total["outcomes"], "offered": total["offered"]}
        shaken = total["handshakes_full"] + total["handshakes_resumed"]
        bar.add(
            says(f"{name} that failed"),
            total["failed"] + total["shed"],
            "==",
            0,
            note=f"{total['good']} good" + f", {shaken} handshakes" * bool(shaken),
        )
    note = f"{scraper.scrapes} scrapes; {scraper.fallen[:2]}"
    bar.add(says("counters that fell"), len(scraper.fallen), "==", 0, note=note)


def measure(bar: Bar) -> None:
    """Both halves."""
    kills(bar)
    reloads(bar)


if __name__ == "__main__":
    main(8, TITLE, measure)
