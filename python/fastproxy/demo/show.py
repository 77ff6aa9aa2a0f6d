"""The demo itself: engines, gateway, one reply to see, a light load, a table that moves."""

import asyncio
import contextlib
import random
import signal
import socket
import sys

from rich.console import Console
from rich.live import Live

from fastproxy.config.model import Config, Endpoint, Listener, Match, Pool, Route
from fastproxy.demo.client import stream_chat
from fastproxy.demo.engines import Engines, simulated, smollm2
from fastproxy.demo.table import Flow, line, reading, table
from fastproxy.errors import StartError
from fastproxy.observe.metrics import decode
from fastproxy.server.proxy import Proxy

__all__ = ["show"]

_HOST = "127.0.0.1"
_PORTS_TRIED = 20
_CLIENTS = 6
_REFRESH_S = 0.25
_LINE_EVERY_S = 2.0


async def show(model: str | None, port: int, duration_s: float | None) -> None:
    """Run the demo until Ctrl-C, SIGTERM or `duration_s`."""
    console = Console()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    if model is not None:
        console.print("starting the model (a few seconds) ...")
    async with smollm2() if model else simulated() as engines:
        free = _free_port(port)
        if free != port:
            console.print(f"port {port} is taken; using {free} instead")
        async with Proxy(_config(engines, free)) as proxy:
            _plain(console, f"gateway on http://{proxy.address} over {', '.join(engines.urls)}\n")
            await _first_reply(console, proxy, engines)
            _invite(console, proxy, engines)
            load = [asyncio.create_task(_client(proxy, engines, n)) for n in range(_CLIENTS)]
            try:
                async with asyncio.timeout(duration_s):
                    await _watch(console, proxy, engines, ended)
            except TimeoutError:
                pass
            finally:
                for task in load:
                    task.cancel()
                await asyncio.gather(*load, return_exceptions=True)
    console.print("stopped")


def _config(engines: Engines, port: int) -> Config:
    endpoints = tuple(Endpoint(url=url) for url in engines.urls)
    return Config(
        listen=(Listener(address=f"{_HOST}:{port}"),),
        pools={"demo": Pool(endpoints=endpoints, models=(engines.model,))},
        routes=(Route(pool="demo", match=Match(model=("*",))),),
        default_pool="demo",
    )


def _free_port(wanted: int) -> int:
    for port in range(wanted, min(wanted + _PORTS_TRIED, 65_536)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((_HOST, port))
            return port
    msg = f"no free port from {wanted} to {wanted + _PORTS_TRIED - 1}; choose one with --port"
    raise StartError(msg)


async def _first_reply(console: Console, proxy: Proxy, engines: Engines) -> None:
    host, _, port = proxy.address.rpartition(":")
    console.print(f"one reply, streamed through the gateway ({engines.model}):", style="bold")
    try:
        async for text in stream_chat(
            host, int(port), model=engines.model, prompt=engines.prompt, tokens=engines.tokens
        ):
            sys.stdout.write(text)
            sys.stdout.flush()
    except OSError as error:
        console.print(f"\n{error}", style="red")
    sys.stdout.write("\n\n")
    sys.stdout.flush()


def _invite(console: Console, proxy: Proxy, engines: Engines) -> None:
    url = f"http://{proxy.address}"
    body = (
        f'{{"model": "{engines.model}", "stream": true, "max_tokens": 20, '
        '"messages": [{"role": "user", "content": "hi"}]}'
    )
    console.print("try it:", style="bold")
    command = f"curl -N {url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"
    _plain(console, command + "\n")
    snippet = f"""\
from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="any")
for chunk in client.chat.completions.create(model="{engines.model}", stream=True, max_tokens=20,
                                            messages=[{{"role": "user", "content": "hi"}}]):
    print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
"""
    _plain(console, snippet)


def _plain(console: Console, text: str) -> None:
    """Print for copying: no markup, no wrapping."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


async def _client(proxy: Proxy, engines: Engines, number: int) -> None:
    """One of the light load: ask, read, pause, for ever."""
    draw = random.Random(number)  # noqa: S311 - a load, no secret
    host, _, port = proxy.address.rpartition(":")
    while True:
        await asyncio.sleep(draw.expovariate(0.7))
        tokens = draw.randint(engines.tokens // 2, engines.tokens * 2)
        with contextlib.suppress(OSError):
            async for _ in stream_chat(
                host, int(port), model=engines.model, prompt=engines.prompt, tokens=tokens
            ):
                pass


async def _watch(console: Console, proxy: Proxy, engines: Engines, ended: asyncio.Event) -> None:
    flow = Flow()
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    console.print("Ctrl-C ends it.")
    with live or contextlib.nullcontext():
        while not ended.is_set():
            flow.update(reading(decode(proxy.cells())))
            if live is not None:
                live.update(table(flow, engines.urls), refresh=True)
            else:
                console.print(line(flow), highlight=False, soft_wrap=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_S if live else _LINE_EVERY_S):
                    await ended.wait()
