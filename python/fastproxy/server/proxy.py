"""The composition root: a configuration, a native core and the event loop that answers its asks.

The native side moves bytes in threads of its own, or in this loop with `workers: 0`. What comes
here is rare by design: admin requests, lists of models, reloads.
"""

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Self

import orjson

from fastproxy import _native
from fastproxy.admin.access import Access
from fastproxy.admin.api import Api, Reply, Request
from fastproxy.config.address import parse_listen
from fastproxy.config.compile import host_names
from fastproxy.config.load import Loaded, Source
from fastproxy.config.model import Config, Upgrade
from fastproxy.config.secret import Secret
from fastproxy.errors import PlanRefused, StartError, StateError, UpgradeError
from fastproxy.fleet.models import Models
from fastproxy.fleet.names import Names
from fastproxy.observe.metrics import Collector, Family, Reloads, decode, expose
from fastproxy.observe.totals import added, cumulative
from fastproxy.server.drain import drain, drained
from fastproxy.server.handover import Successor
from fastproxy.server.reload import Reloader, compiled
from fastproxy.server.upgrade import Inherited, Predecessor, upgrades

__all__ = ["Proxy"]

logger = logging.getLogger(__name__)

# Answers in the making; the native side bounds connections, this bounds the work of each.
_ASKS_MAX = 64


class Proxy:
    """A running proxy, as an async context manager in any asyncio program.

    With `workers: 0` the calling event loop drives it; otherwise native threads do, and the loop
    only answers admin requests. One process may run several.

    Examples:
        ::

            async with fastproxy.Proxy("http://127.0.0.1:8000") as proxy:
                print(proxy.address)      # 127.0.0.1:43210
                await proxy.reload({"listen": ..., "pools": ...})
                await proxy.drain()       # for a graceful end; leaving the block stops at once

    Args:
        config: a `Config`, a mapping of the same shape, a file's path, or one endpoint's URL.
        inherited: what `server.upgrade.take_over` got from the process that serves now.
    """

    def __init__(self, config: Source | Loaded, *, inherited: Inherited | None = None) -> None:
        """Remember `config`; nothing is read or opened before the block is entered."""
        self._source = config
        self._inherited = inherited
        self._predecessor: Predecessor | None = None
        self._successor: Successor | None = None
        self._handed_over = False
        self._core: _native.Core | None = None
        self._reloader: Reloader | None = None
        self._api: Api | None = None
        self._models = Models()
        self._names = Names()
        self._token = Secret(secrets.token_urlsafe(24))
        if inherited is not None and inherited.token is not None:
            # Whoever had it from the process before goes on with it.
            self._token = inherited.token
        self._pid = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._readers: list[int] = []
        self._draining: asyncio.Task[bool] | None = None
        self._stopped = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start.

        Raises:
            ConfigError: the configuration has mistakes.
            StartError: an address cannot be bound.
        """
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop at once. `drain()` before it for a graceful end."""
        await self.stop()

    async def start(self) -> None:
        """Read the configuration, bind, serve."""
        if self._core is not None or self._stopped.is_set():
            msg = "a Proxy starts once; make another one"
            raise StateError(msg)
        inherited = self._inherited
        try:
            await self._begin(inherited)
        except BaseException:
            await self._give_up(inherited)
            raise
        finally:
            if inherited is not None:
                inherited.release()

    async def _give_up(self, inherited: Inherited | None) -> None:
        if self._core is not None:
            await self.stop()
        await self._names.close()
        if inherited is not None:
            inherited.close()

    async def _begin(self, inherited: Inherited | None) -> None:
        if inherited is not None:
            await inherited.predecessor.open()
        loaded, plan = await compiled(self._source, self._names)
        workers = None if loaded.config.workers == "auto" else loaded.config.workers
        try:
            core = _native.Core(plan, orjson.dumps({"workers": workers, "seed": None}))
            if inherited is not None and inherited.ticket_keys:
                # Keys of a version that writes them in another way: sessions begin anew.
                with contextlib.suppress(ValueError):
                    core.import_ticket_keys(inherited.ticket_keys)
            core.start([] if inherited is None else inherited.listeners)
        except _native.PlanError as error:
            raise PlanRefused(str(error)) from error
        except _native.StartError as error:
            raise StartError(str(error)) from error
        self._core, self._pid = core, os.getpid()
        source = self._source.config if isinstance(self._source, Loaded) else self._source
        if isinstance(self._source, Loaded) and self._source.file is not None:
            source = self._source.file
        self._reloader = Reloader(core, source, loaded, self._names)
        self._follow_names(loaded)
        self._api = Api(self, self._access(loaded.config))
        self._read(core.asks_fileno(), self._take_asks)
        if core.fileno() >= 0:
            self._read(core.fileno(), core.turn)
        core.ready(ready=True)
        if inherited is not None:
            self._predecessor = predecessor = inherited.predecessor
            adopted = [address for _, _, address in core.addresses()]
            control = inherited.control is not None
            try:
                await predecessor.ready(adopted, control=control, scrape=self.scrape)
            except UpgradeError:
                if predecessor.draining:
                    raise
                # It died meanwhile, so everything is ours.
            core.inherit()

    async def stop(self) -> None:
        """Close everything now. Does nothing the second time."""
        core, self._core = self._core, None
        self._stopped.set()
        for other in (self._predecessor, self._successor):
            if other is not None:
                other.close()
        if core is None:
            return
        await self._names.close()
        loop = asyncio.get_running_loop()
        for descriptor in self._readers:
            loop.remove_reader(descriptor)
        pending = [*self._tasks, *([self._draining] if self._draining else [])]
        current = asyncio.current_task()
        for task in pending:
            if task is not current:
                task.cancel()
        await asyncio.gather(*(t for t in pending if t is not current), return_exceptions=True)
        if os.getpid() == self._pid:
            await asyncio.to_thread(core.stop)

    @property
    def address(self) -> str:
        """The first client listener: `HOST:PORT` or `unix:PATH`."""
        return self.addresses[0]

    @property
    def addresses(self) -> list[str]:
        """All client listeners, in the order of the configuration."""
        return [bound for _, kind, bound in self._running().addresses() if kind == "data"]

    @property
    def admin_address(self) -> str | None:
        """The admin listener, None when it is off."""
        bound = [bound for _, kind, bound in self._running().addresses() if kind == "admin"]
        return bound[0] if bound else None

    @property
    def admin_token(self) -> str:
        """The bearer token of the admin API: the configured one, else one made at start."""
        admin = self.config.admin
        token = self._token if admin is None or admin.token is None else admin.token
        return token.reveal()

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.loaded.config

    @property
    def loaded(self) -> Loaded:
        """The configuration in force, with its warnings and file."""
        return self._managed().loaded

    @property
    def reloads(self) -> Reloads:
        """What became of the reloads."""
        return self._managed().reloads

    @property
    def version(self) -> str:
        """Of the native build."""
        return _native.__version__

    async def reload(self, config: Source | None = None) -> int:
        """Validate, compile, swap; or keep the old configuration.

        Args:
            config: a new one; left out, what the proxy was made from is read again.

        Returns:
            The generation now in force.

        Raises:
            ConfigError: with every mistake; the old configuration goes on.
            StartError: a new listener cannot be bound; the old configuration goes on.
        """
        self._running()
        if self._handed_over:
            msg = "another process has taken over; reload that one"
            raise StateError(msg)
        return await self._managed().reload(config, self._swapped)

    async def drain(self) -> bool:
        """End gracefully: not ready, `drain.delay`, no new connections, `drain.deadline`.

        Returns:
            Whether everything ended by itself, rather than being cut.
        """
        self.begin_drain()
        assert self._draining is not None
        return await asyncio.shield(self._draining)

    def begin_drain(self) -> None:
        """Start what `drain` waits for. Does nothing the second time."""
        core, how = self._running(), self.config.drain
        if self._handed_over:
            # It drains already, with all the time in the world.
            core.drain(int(how.deadline), int(how.idle))
        self._leave(drain(core, how))

    def _leave(self, way: Coroutine[None, None, bool]) -> None:
        if self._draining is not None:
            way.close()
            return
        self._draining = asyncio.get_running_loop().create_task(way)
        self._draining.add_done_callback(lambda _: self._stopped.set())

    @property
    def ending(self) -> bool:
        """Whether it drains, or has stopped."""
        return self._draining is not None or self._stopped.is_set()

    @property
    def handed_over(self) -> bool:
        """Whether another process has the listeners."""
        return self._handed_over

    @property
    def run_token(self) -> Secret:
        """The token that was made at start, or taken over; in force unless one is configured."""
        return self._token

    def sockets(self) -> list[tuple[str, str, str, int]]:
        """Name, kind, address and a descriptor of each listening socket; the caller closes them."""
        return self._running().offer()

    def ticket_keys(self) -> bytes:
        """Keys of TLS session tickets, for a successor."""
        return self._running().export_ticket_keys()

    def expect(self, successor: Successor | None) -> None:
        """Another process is about to take over, or has failed to: it is asked for metrics."""
        self._successor = successor

    def hand_over(self, adopted: list[str]) -> None:
        """Leave `adopted` addresses to the successor, and drain within `upgrade.deadline`."""
        core = self._running()
        deadline_ms = int((self.config.upgrade or Upgrade()).deadline)
        self._handed_over = True
        core.hand_over(adopted, deadline_ms)
        self._leave(self._follow(core, deadline_ms))

    async def _follow(self, core: _native.Core, deadline_ms: int) -> bool:
        """Drain, outlive the predecessor, and leave the successor the last counts of both."""
        ended = await drained(core, deadline_ms)
        if self._predecessor is not None:
            await self._predecessor.gone()
        if self._successor is not None:
            await self._successor.end(await self.counted())
        return ended

    async def wait(self) -> None:
        """Return when the proxy has drained or stopped, whoever asked for it."""
        await self._stopped.wait()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Metrics as Prometheus (or OpenMetrics, if `accept` says so) and their content type."""
        known = [] if self._predecessor is None else self._predecessor.known()
        found = expose(Collector(self._families(known), self.reloads, self.version), accept)
        return found.body, found.content_type

    async def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """As `exposition`, with what other processes of an upgrade have counted by now.

        Once there is a successor it alone answers: a total that was seen never falls.
        """
        if self._successor is not None and (found := await self._successor.scrape(accept)):
            return found
        if self._predecessor is not None:
            await self._predecessor.families()
        return self.exposition(accept)

    async def counted(self) -> list[Family]:
        """Everything counted so far, those before this process included."""
        before = [] if self._predecessor is None else await self._predecessor.families()
        return cumulative(self._families(before))

    def _families(self, before: list[Family]) -> list[Family]:
        ours = [
            *decode(self._running().metrics()),
            self.reloads.family(),
            *upgrades(self._predecessor),
        ]
        return added(ours, before)

    def cells(self) -> bytes:
        """All native cells, merged over workers, JSON; `observe.metrics.decode` reads it."""
        return self._running().metrics()

    def state(self) -> bytes:
        """Pools, channels and endpoints as they are now, JSON."""
        return self._running().state()

    def explain(self, request: bytes) -> bytes:
        """Which route, pool and endpoint a request would meet, and why, JSON."""
        return self._running().explain(request)

    def reopen_log(self) -> None:
        """Open the access log by its name again, after a rotation."""
        self._running().reopen_log()

    def _running(self) -> _native.Core:
        if self._core is None:
            msg = "the proxy is not running; use it inside `async with Proxy(...)`"
            raise StateError(msg)
        if os.getpid() != self._pid:
            msg = (
                f"this Proxy was started in process {self._pid} and its threads are not in this "
                "one; make a Proxy after forking"
            )
            raise StateError(msg)
        return self._core

    def _managed(self) -> Reloader:
        if self._reloader is None:
            msg = "the proxy was not started"
            raise StateError(msg)
        return self._reloader

    def _read(self, descriptor: int, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().add_reader(descriptor, callback)
        self._readers.append(descriptor)

    def _access(self, config: Config) -> Access:
        if config.admin is None:
            return Access(self._token)
        host = parse_listen(config.admin.listen).host.lower()
        return Access(config.admin.token or self._token, frozenset([host] if host else []))

    def _follow_names(self, loaded: Loaded) -> None:
        core = self._running()
        self._names.follow(host_names(loaded.config), loaded.config.resolve, core.resolve)

    def _swapped(self, loaded: Loaded) -> None:
        self._follow_names(loaded)
        self._models.forget()
        if self._api is not None:
            self._api.access(self._access(loaded.config))

    def _take_asks(self) -> None:
        core = self._core
        for ask in [] if core is None else core.asks():
            if len(self._tasks) >= _ASKS_MAX:
                self._reply(ask, Reply(503, b'{"detail":"too many admin requests at once"}'))
                continue
            task = asyncio.get_running_loop().create_task(self._answer(ask))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, ask: _native.Ask) -> None:
        try:
            reply = await self._reply_of(ask)
        except Exception:
            logger.exception("%s %s could not be answered", ask.method, ask.target)
            reply = Reply(500, b'{"detail":"internal error; the log of the proxy says more"}')
        self._reply(ask, reply)

    async def _reply_of(self, ask: _native.Ask) -> Reply:
        if ask.kind == "models":
            return Reply(200, await self._models.answer(self.config, ask.authorization))
        if self._api is None:
            return Reply(503, b'{"detail":"starting"}')
        request = Request(
            ask.method, ask.target, ask.fields, ask.body, ask.loopback, ask.authorization
        )
        return await self._api.answer(request)

    def _reply(self, ask: _native.Ask, reply: Reply) -> None:
        if self._core is not None:
            self._core.answer(ask, reply.status, reply.fields, reply.body)
