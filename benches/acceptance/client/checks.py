"""The checks themselves: each adds one figure that either holds or does not."""

import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import openai

from benches.acceptance.client.scripted import MIB, Scripted
from benches.harness import smollm2
from benches.harness.tap import Tap
from benches.harness.verdict import Bar

Through = Callable[[str], AbstractContextManager[tuple[str, Any]]]
"""Starts a proxy in front of an engine; gives its address."""

Api = Any
"""The official client, used as people use it: with plain dictionaries."""

PROMPT = [{"role": "user", "content": "Write one sentence about rivers."}]
PLAIN = {"accept-encoding": "identity"}


def client(address: str, retries: int = 0) -> openai.OpenAI:
    """The official client."""
    return openai.OpenAI(
        base_url=f"http://{address}/v1", api_key="none", max_retries=retries, timeout=60.0
    )


def _tag() -> str:
    return uuid.uuid4().hex


def _same(bar: Bar, what: str, tap: Tap, call: Callable[[dict[str, str]], bytes]) -> None:
    """One call whose body must be what the engine wrote for it."""
    tag = _tag()
    read = call({"x-tap": tag, **PLAIN})
    _, answer = tap.answer(tag)
    written = answer.body if answer and answer.complete else b""
    holds = bool(read) and read == written
    bar.fact(what, holds, f"{len(read)} bytes read, {len(written)} written")


def real_model(bar: Bar, where: str, address: str, tap: Tap) -> None:
    """Streams, whole answers, names with slashes, errors, and a client that leaves."""
    api: Api = client(address)
    base = {"messages": PROMPT, "max_tokens": 48, "temperature": 0.0}

    def chat(model: str, *, stream: bool) -> Callable[[dict[str, str]], bytes]:
        def call(headers: dict[str, str]) -> bytes:
            with api.chat.completions.with_streaming_response.create(
                model=model, stream=stream, extra_headers=headers, **base
            ) as response:
                return b"".join(response.iter_bytes())

        return call

    def legacy(headers: dict[str, str]) -> bytes:
        with api.completions.with_streaming_response.create(
            model="smollm2", prompt="Rivers", max_tokens=24, stream=True, extra_headers=headers
        ) as response:
            return b"".join(response.iter_bytes())

    for model in smollm2.NAMES:
        _same(bar, f"{where}: stream of {model}", tap, chat(model, stream=True))
        _same(bar, f"{where}: whole answer of {model}", tap, chat(model, stream=False))
    _same(bar, f"{where}: stream of /v1/completions", tap, legacy)
    _parsed(bar, where, api, base)
    _refused(bar, where, api, tap)
    _leaves(bar, where, api, tap)


def _parsed(bar: Bar, where: str, api: Api, base: dict[str, Any]) -> None:
    """What the client makes of a stream is what it makes of the whole answer."""
    chunks = api.chat.completions.create(model="smollm2", stream=True, **base)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    whole = api.chat.completions.create(model="smollm2", **base).choices[0].message.content
    bar.fact(f"{where}: the stream's text is the whole answer's", text == whole, repr(text[:40]))
    listed = {model.id for model in api.models.list().data}
    bar.fact(f"{where}: models are listed", bool(listed & set(smollm2.NAMES)), str(sorted(listed)))


def _refused(bar: Bar, where: str, api: Api, tap: Tap) -> None:
    """The engine's error reaches the client as the engine wrote it."""
    tag = _tag()
    try:
        api.chat.completions.create(
            model="smollm2",
            messages=PROMPT,
            max_tokens=-5,
            extra_headers={"x-tap": tag, **PLAIN},
        )
    except openai.BadRequestError as error:
        _, answer = tap.answer(tag)
        same = answer is not None and answer.body == error.response.content
        bar.fact(f"{where}: an error raises BadRequestError, same bytes", same)
    else:
        bar.fact(f"{where}: an error raises BadRequestError, same bytes", holds=False)


def _leaves(bar: Bar, where: str, api: Api, tap: Tap) -> None:
    """A client that leaves a stream frees the engine."""
    tag = _tag()
    stream = api.chat.completions.create(
        model="smollm2",
        messages=PROMPT,
        max_tokens=1500,
        stream=True,
        extra_headers={"x-tap": tag},
    )
    for count, _ in enumerate(stream):
        if count == 5:
            break
    left = time.monotonic()
    stream.close()
    flow = next(
        flow
        for flow in tap.flows
        if any(request.get(b"x-tap") == tag.encode() for request, _ in flow.exchanges())
    )
    while not flow.closed and time.monotonic() - left < 5.0:
        time.sleep(0.005)
    bar.add(
        f"{where}: engine's connection closed after the client left",
        (time.monotonic() - left) * 1000 if flow.closed else None,
        "<=",
        1000.0,
        unit="ms",
    )


def embeddings(bar: Bar, where: str, address: str, tap: Tap) -> None:
    """Embeddings of several inputs."""
    api: Api = client(address)

    def call(headers: dict[str, str]) -> bytes:
        with api.embeddings.with_streaming_response.create(
            model="smollm2", input=["rivers", "mountains", "sea"], extra_headers=headers
        ) as response:
            return b"".join(response.iter_bytes())

    _same(bar, f"{where}: embeddings", tap, call)


def scripted(bar: Bar, where: str, through: Through) -> None:
    """Retries that the client acts on, and bodies of 16 MiB both ways."""
    with Scripted() as engine, through(engine.address) as (address, _):
        _retries(bar, where, address, engine)
        _large(bar, where, address, engine)


def _ask(address: str, script: str, retries: int = 2, content: str = "hi") -> tuple[str, Any]:
    """One call of a script: (tag, answer or error)."""
    tag = _tag()
    try:
        answer = client(address, retries).chat.completions.create(
            model="smollm2",
            messages=[{"role": "user", "content": content}],
            extra_headers={"x-tap": tag, "x-script": script, **PLAIN},
        )
    except openai.APIError as error:
        return tag, error
    return tag, answer


def _retries(bar: Bar, where: str, address: str, engine: Scripted) -> None:
    tag, answer = _ask(address, "limited")
    times = engine.times.get(tag, [])
    waited = times[1] - times[0] if len(times) > 1 else 0.0
    good = hasattr(answer, "choices") and engine.seen[tag] == 2 and waited >= 0.14
    bar.fact(
        f"{where}: 429 with retry-after-ms is retried by the client, after that time",
        good,
        f"{engine.seen[tag]} requests, {waited * 1000:.0f} ms apart",
    )
    tag, answer = _ask(address, "internal")
    good = hasattr(answer, "choices") and engine.seen[tag] == 2
    bar.fact(f"{where}: 500 is retried by the client", good, f"{engine.seen[tag]} requests")
    tag, answer = _ask(address, "never")
    good = isinstance(answer, openai.InternalServerError) and engine.seen[tag] == 1
    bar.fact(f"{where}: x-should-retry: false is obeyed", good, f"{engine.seen[tag]} requests")


def _large(bar: Bar, where: str, address: str, engine: Scripted) -> None:
    tag, answer = _ask(address, "large", retries=0, content="y" * (16 * MIB))
    text = answer.choices[0].message.content if hasattr(answer, "choices") else repr(answer)[:80]
    good = text == "x" * (16 * MIB) and engine.sizes.get(tag, 0) > 16 * MIB
    bar.fact(
        f"{where}: 16 MiB there and back",
        good,
        f"{engine.sizes.get(tag, 0)} bytes there, {len(text)} back",
    )
