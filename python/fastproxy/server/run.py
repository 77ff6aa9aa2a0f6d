"""A proxy as a process: signals, file watching, the service manager, and the way out.

SIGTERM or SIGINT drains, a second one ends at once; SIGHUP reloads; SIGUSR1 reopens the access log.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator

from fastproxy import _native
from fastproxy.config.load import Loaded, Source, load
from fastproxy.config.watch import changes
from fastproxy.errors import Error
from fastproxy.server.notify import Notifier
from fastproxy.server.proxy import Proxy

__all__ = ["Say", "run", "serve"]

Say = Callable[[str], None]

# How the native side writes that there is none.
_NO_LIMIT = 2**63

logger = logging.getLogger(__name__)


def run(config: Source | Loaded) -> None:
    """Serve until a signal ends it.

    Args:
        config: a `Config`, a mapping of the same shape, a file's path, or one endpoint's URL.

    Raises:
        ConfigError: the configuration has mistakes.
        StartError: an address cannot be bound.
    """
    loaded = config if isinstance(config, Loaded) else load(config)
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - absent where it cannot be built; plain asyncio then does

        uvloop.run(serve(loaded, logger.info))
        return
    asyncio.run(serve(loaded, logger.info))


async def serve(loaded: Loaded, say: Say) -> None:
    """Serve `loaded` until a signal or the admin API ends it; `say` what a person wants to see."""
    before, after = _native.raise_nofile_limit()
    notifier = Notifier.of()
    proxy = Proxy(loaded)
    async with proxy:
        process = _Process(proxy, notifier, say)
        with process.signals():
            # Who reads the announcement may send a signal at once.
            _announce(proxy, say, before, after)
            notifier.ready(f"serving on {', '.join(proxy.addresses)}")
            background = [asyncio.create_task(notifier.watch())]
            if loaded.file is not None:
                background.append(asyncio.create_task(process.watch(loaded)))
            await proxy.wait()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
    say("stopped")


def _announce(proxy: Proxy, say: Say, before: int, after: int) -> None:
    for warning in proxy.loaded.warnings:
        say(f"warning: {warning}")
    for address in proxy.addresses:
        shown = address if address.startswith("unix:") else f"http://{address}"
        say(f"listening on {shown}")
    admin = proxy.config.admin
    if admin is not None:
        say(f"admin on {proxy.admin_address}")
        if admin.token is None:
            say(
                f"admin token (made for this run; set admin.token to keep one): {proxy.admin_token}"
            )
    limit = "no limit" if after >= _NO_LIMIT else str(after)
    raised = limit if before == after else f"{limit} (raised from {before})"
    say(f"open files at most: {raised}")


class _Process:
    """What signals and file changes do to one proxy."""

    def __init__(self, proxy: Proxy, notifier: Notifier, say: Say) -> None:
        self.proxy = proxy
        self.notifier = notifier
        self.say = say
        self.ending = False
        self.tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        actions = {
            signal.SIGTERM: self.end,
            signal.SIGINT: self.end,
            signal.SIGHUP: lambda: self.spawn(self.reload("SIGHUP")),
            signal.SIGUSR1: self.reopen,
        }
        for number, action in actions.items():
            loop.add_signal_handler(number, action)
        try:
            yield
        finally:
            for number in actions:
                loop.remove_signal_handler(number)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def end(self) -> None:
        if self.ending:
            self.say("stopping now")
            self.spawn(self.proxy.stop())
            return
        self.ending = True
        how = self.proxy.config.drain
        self.say(f"draining for at most {how.deadline}; a second signal stops at once")
        self.notifier.stopping("draining")
        self.proxy.begin_drain()

    def reopen(self) -> None:
        self.proxy.reopen_log()
        self.say("access log reopened")

    async def reload(self, cause: str) -> None:
        self.notifier.reloading()
        try:
            generation = await self.proxy.reload()
        except Error as error:
            self.say(f"reload ({cause}) refused, the old configuration goes on:\n{error}")
            self.notifier.ready("serving an older configuration: the last reload was refused")
            return
        for warning in self.proxy.loaded.warnings:
            self.say(f"warning: {warning}")
        self.say(f"reloaded ({cause}), generation {generation}")
        self.notifier.ready(f"serving generation {generation}")

    async def watch(self, loaded: Loaded) -> None:
        if loaded.file is None:
            return
        async for now in changes(loaded.file):
            if now.digest == self.proxy.loaded.digest:
                # A signal or the admin API was quicker.
                continue
            await self.reload(f"{loaded.file} changed")
