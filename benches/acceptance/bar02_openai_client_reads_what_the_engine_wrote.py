"""Bar 2: the official client, through the proxy, to a real model; every body byte compared.

The engine's own bytes are recorded on its socket by a tap between proxy and engine.
"""

import _path  # noqa: F401

from benches.acceptance.client import checks
from benches.harness import embedded, smollm2
from benches.harness.acceptance import main
from benches.harness.served import served
from benches.harness.tap import Tap
from benches.harness.verdict import Bar
from benches.peers import Needs

TITLE = "the openai client reads the bytes that the engine wrote"


def through_serve(bar: Bar, chat: Tap, embeddings: Tap) -> None:
    """`fastproxy serve`, one worker thread."""
    with (
        served([chat.address], "--workers", "1") as (first, _),
        served([embeddings.address], "--workers", "1") as (second, _),
    ):
        checks.real_model(bar, "serve", first, chat)
        checks.embeddings(bar, "serve", second, embeddings)
    checks.scripted(bar, "serve", lambda engine: served([engine], "--workers", "1"))


def through_program(bar: Bar, chat: Tap, embeddings: Tap, loop: str) -> None:
    """`workers: 0` inside an asyncio program."""
    needs = Needs(models=tuple(smollm2.NAMES), default=True)
    where = f"workers 0 on {loop}"
    with (
        embedded.running([chat.address], needs, workers=0, loop=loop) as (first, _),
        embedded.running([embeddings.address], needs, workers=0, loop=loop) as (second, _),
    ):
        checks.real_model(bar, where, first, chat)
        checks.embeddings(bar, where, second, embeddings)
    checks.scripted(
        bar, where, lambda engine: embedded.running([engine], needs, workers=0, loop=loop)
    )


def measure(bar: Bar) -> None:
    """All checks, by worker threads and inline."""
    with (
        smollm2.running() as chat_engine,
        smollm2.running(embedding=True) as embedding_engine,
        Tap(chat_engine) as chat,
        Tap(embedding_engine) as embeddings,
    ):
        through_serve(bar, chat, embeddings)
        for loop in ("uvloop", "asyncio"):
            through_program(bar, chat, embeddings, loop)


if __name__ == "__main__":
    main(2, TITLE, measure, pin=False)
