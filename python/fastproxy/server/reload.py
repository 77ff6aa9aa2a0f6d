"""Validate, compile, swap; or keep the old configuration and say why.

**Invariant:** the native core is asked to apply a plan only if every check before passed, and what
`loaded` says is what the core runs.
"""

import asyncio
import logging
from collections.abc import Callable

from fastproxy import _native
from fastproxy.config.compile import host_names
from fastproxy.config.load import Loaded, Source, load
from fastproxy.errors import Error, PlanRefused, StartError
from fastproxy.fleet.names import Names
from fastproxy.observe.metrics import Reloads

__all__ = ["Reloader", "compiled"]

logger = logging.getLogger(__name__)


async def compiled(source: Source | Loaded, names: Names) -> tuple[Loaded, bytes]:
    """Read, verify, resolve; in threads, for files and names may be slow.

    A name of an endpoint that has no address yet is no mistake: it is looked up again.

    Raises:
        ConfigError: with every mistake.
    """
    loaded = source if isinstance(source, Loaded) else await asyncio.to_thread(load, source)
    answers = await names.ready(host_names(loaded.config))
    return loaded, await asyncio.to_thread(loaded.plan, answers=answers)


class Reloader:
    """Replaces the configuration of one core, one reload at a time."""

    def __init__(self, core: _native.Core, source: Source, loaded: Loaded, names: Names) -> None:
        """Reload `core`, which runs `loaded`, from `source`; `names` knows what names mean."""
        self.loaded = loaded
        self.reloads = Reloads()
        self._core = core
        self._names = names
        self._source = source
        self._lock = asyncio.Lock()

    async def reload(self, source: Source | None, swapped: Callable[[Loaded], None]) -> int:
        """Apply `source`, or what the first source says now; the generation.

        Args:
            source: a new configuration, which also becomes what later reloads read.
            swapped: called after the swap, before anyone else runs.

        Raises:
            ConfigError: the old configuration goes on.
            StartError: a new listener cannot be bound; the old configuration goes on.
        """
        async with self._lock:
            try:
                wanted = self._source if source is None else source
                loaded, plan = await compiled(wanted, self._names)
                generation = self._apply(plan)
            except Error as error:
                self.reloads.fail(str(error))
                raise
            if loaded.config.workers != self.loaded.config.workers:
                logger.warning("workers: a change takes effect at the next start only")
            if source is not None:
                self._source = source
            self.loaded = loaded
            self.reloads.succeed()
            swapped(loaded)
            return generation

    def _apply(self, plan: bytes) -> int:
        try:
            return self._core.apply(plan)
        except _native.PlanError as error:
            raise PlanRefused(str(error)) from error
        except _native.StartError as error:
            raise StartError(str(error)) from error
