"""A proxy as a process: signals, file watching, the service manager, upgrades, and the way out.

SIGTERM or SIGINT drains, a second one ends at once; SIGHUP reloads; SIGUSR1 reopens the access log;
SIGUSR2 starts the installed version beside this one, which then takes over.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

from fastproxy import _native
from fastproxy.config.load import Loaded, Source, load
from fastproxy.config.watch import changes, replacements
from fastproxy.errors import Error, StartError
from fastproxy.server import rendezvous
from fastproxy.server.handover import Offer
from fastproxy.server.notify import Notifier
from fastproxy.server.proxy import Proxy
from fastproxy.server.upgrade import Inherited, take_over

__all__ = ["Say", "run", "serve"]

Say = Callable[[str], None]

# How the native side writes that there is none.
_NO_LIMIT = 2**63

# Names the upgrade socket to a process that SIGUSR2 started.
_TAKE_OVER = "FASTPROXY_TAKEOVER"
_POLL_S = 0.2

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


async def serve(loaded: Loaded, say: Say, *, takeover: bool = False) -> None:
    """Serve `loaded` until a signal or the admin API ends it; `say` what a person wants to see.

    Args:
        loaded: the configuration.
        say: takes one line at a time.
        takeover: take the listeners of the process that serves now, if there is one.

    Raises:
        ConfigError: a name has no address.
        StartError: an address cannot be bound.
        UpgradeError: the process that serves now does not hand over; it goes on.
    """
    before, after = _native.raise_nofile_limit()
    path = rendezvous.place(loaded)
    given = os.environ.pop(_TAKE_OVER, None)
    asked = Path(given) if given else path
    inherited = await _inherit(asked, path, say) if takeover or given else None
    proxy = Proxy(loaded, inherited=inherited)
    try:
        await proxy.start()
    except StartError as error:
        if inherited is None and path is not None and rendezvous.answers(path):
            msg = f"{error}\nfastproxy serves there: --takeover takes over from it without a gap"
            raise StartError(msg) from error
        raise
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(proxy.stop)
        process = _Process(proxy, Notifier.of(), say)
        stack.enter_context(process.signals())
        # Who reads the announcement may send a signal at once.
        _announce(proxy, say, before, after)
        if path is not None:
            stack.callback(process.offer(path, None if inherited is None else inherited.control))
        process.notifier.ready(f"serving on {', '.join(proxy.addresses)}")
        process.begin(process.notifier.watch())
        process.begin(process.watch_tls())
        if loaded.file is not None:
            process.begin(process.watch(loaded))
        await proxy.wait()
        await process.end_background()
    say("stopped")


async def _inherit(asked: Path | None, own: Path | None, say: Say) -> Inherited | None:
    if asked is None:
        say("warning: no upgrade socket, so nobody is asked for listeners")
        return None
    inherited = await take_over(asked)
    if inherited is None:
        say(f"nobody serves at {asked}: starting afresh")
        return None
    if asked != own:
        inherited.leave_control()
    other = inherited.predecessor
    say(f"taking over from process {other.pid} (fastproxy {other.version})")
    return inherited


def _announce(proxy: Proxy, say: Say, before: int, after: int) -> None:
    for warning in proxy.loaded.warnings:
        say(f"warning: {warning}")
    for address, listener in zip(proxy.addresses, proxy.config.listen, strict=True):
        scheme = "http" if listener.tls is None else "https"
        shown = address if address.startswith("unix:") else f"{scheme}://{address}"
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
        self.background: list[asyncio.Task[None]] = []
        self.path: Path | None = None

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        actions = {
            signal.SIGTERM: self.end,
            signal.SIGINT: self.end,
            signal.SIGHUP: lambda: self.spawn(self.reload("SIGHUP")),
            signal.SIGUSR1: self.reopen,
            signal.SIGUSR2: lambda: self.spawn(self.upgrade()),
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

    def begin(self, work: Coroutine[None, None, None]) -> None:
        self.background.append(asyncio.get_running_loop().create_task(work))

    async def end_background(self) -> None:
        for task in self.background:
            task.cancel()
        await asyncio.gather(*self.background, return_exceptions=True)

    def offer(self, path: Path, control: socket.socket | None) -> Callable[[], None]:
        """Let a successor ask at `path`; what ends that."""
        try:
            offer = Offer(self.proxy, path, control or rendezvous.bind(path), self.say, self.handed)
        except OSError as error:
            self.say(f"warning: no upgrades without a gap: {path}: {error.strerror or error}")
            return lambda: None
        self.path = path
        offer.open()
        return offer.close

    def handed(self, pid: int) -> None:
        upgrade = self.proxy.config.upgrade
        within = "" if upgrade is None else f", finishing for at most {upgrade.deadline}"
        self.say(f"process {pid} has taken over{within}")
        self.notifier.succeeded(pid)
        for task in self.background:
            task.cancel()

    async def upgrade(self) -> None:
        """Start what is installed now, as this process was started; it takes over by itself."""
        if self.path is None or self.proxy.ending:
            self.say("no upgrade: there is no upgrade socket, or this process is ending")
            return
        environment = os.environ | {_TAKE_OVER: str(self.path)}
        # The new process has the watchdog of the service, under a number of its own.
        environment.pop("WATCHDOG_PID", None)
        command = [sys.executable, *sys.orig_argv[1:]]
        try:
            # Not a child of the event loop, which would end it with itself.
            child = await asyncio.to_thread(subprocess.Popen, command, env=environment)
        except OSError as error:
            self.say(f"no upgrade: {command[0]} cannot be started: {error.strerror or error}")
            return
        self.say(f"upgrade: process {child.pid} starts")
        while not self.proxy.handed_over:
            if child.poll() is not None:
                self.say(f"no upgrade: process {child.pid} ended with {child.returncode}")
                return
            await asyncio.sleep(_POLL_S)

    def end(self) -> None:
        if self.ending:
            self.say("stopping now")
            self.spawn(self.proxy.stop())
            return
        self.ending = True
        how = self.proxy.config.drain
        self.say(f"draining for at most {how.deadline}; a second signal stops at once")
        if not self.proxy.handed_over:
            self.notifier.stopping("draining")
        self.proxy.begin_drain()

    def reopen(self) -> None:
        self.proxy.reopen_log()
        self.say("access log reopened")

    async def reload(self, cause: str) -> None:
        if self.proxy.handed_over:
            return
        self.notifier.reloading()
        try:
            generation = await self.proxy.reload()
        except Exception as error:
            if not isinstance(error, Error):
                # A bug; but who watches the files must outlive it.
                logger.exception("reload (%s)", cause)
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

    async def watch_tls(self) -> None:
        async for path in replacements(lambda: self.proxy.loaded.stamps):
            await self.reload(f"{path} changed")
