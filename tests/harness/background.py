"""An event loop on a thread, so that one proxy can serve many synchronous tests."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 90


class Background:
    """Runs coroutines on a loop of its own and waits for them."""

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Awaitable[T]) -> T:
        """Run one coroutine to its end."""

        async def waited() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(waited(), self._loop).result(PATIENCE_S)

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@contextlib.contextmanager
def in_background(
    make: Callable[[], "contextlib.AbstractAsyncContextManager[T]"],
) -> Iterator[tuple[Background, T]]:
    """Hold an async context manager open on a background loop."""
    background = Background()
    done = asyncio.Event()
    ready: asyncio.Future[T] = asyncio.Future(loop=background._loop)

    async def hold() -> None:
        try:
            async with make() as value:
                ready.set_result(value)
                await done.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
                return
            raise

    async def wait_ready() -> T:
        return await ready

    holding = asyncio.run_coroutine_threadsafe(hold(), background._loop)
    try:
        yield background, background.run(wait_ready())
        background._loop.call_soon_threadsafe(done.set)
        holding.result(PATIENCE_S)
    finally:
        background._loop.call_soon_threadsafe(done.set)
        background.stop()
