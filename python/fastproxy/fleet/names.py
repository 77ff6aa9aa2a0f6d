"""Names of endpoints and what they mean: looked up off the loop, again and again.

The C library answers without times to live, so names are asked for at an interval. **Invariants:**
what fails never replaces what is known; at most `_AT_ONCE` lookups run at a time, one a name.
"""

import asyncio
import contextlib
import ipaddress
import logging
import random
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, zip_longest

from fastproxy.config.model import Resolve
from fastproxy.config.units import Duration

__all__ = ["LookUp", "Names", "interleaved", "system_look_up"]

logger = logging.getLogger(__name__)

# Looks a name up: IP addresses as text, in the order of preference. May block; raises OSError.
LookUp = Callable[[str], list[str]]
# Takes what a lookup came to; nothing when it failed.
Tell = Callable[[str, list[str]], None]

# Lookups at a time: enough for a thousand names within the interval, at 100 ms each.
_AT_ONCE = 8
# What a start or a reload waits for names that it meets for the first time.
_WAIT_S = 2.0
# Part of an interval that is random, so that names are not asked for in bursts.
_JITTER = 0.2


class Names:
    """Keeps the addresses of names, and tells of what it finds.

    Args:
        look_up: how a name is looked up; runs in a thread.
    """

    def __init__(self, look_up: LookUp | None = None) -> None:
        """Know nothing yet."""
        self._look_up = look_up or system_look_up
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._known: dict[str, list[str]] = {}
        self._failing: set[str] = set()
        self._asking: dict[str, asyncio.Task[list[str]]] = {}
        self._following: dict[str, asyncio.Task[None]] = {}
        self._how = Resolve()
        self._tell: Tell = _nobody

    async def ready(self, hosts: Iterable[str], wait_s: float = _WAIT_S) -> Mapping[str, list[str]]:
        """What `hosts` mean, as far as it is known within `wait_s`; lookups go on after that."""
        wanted = frozenset(hosts)
        asked = [self._ask(host) for host in wanted if host not in self._following]
        if asked:
            await asyncio.wait(asked, timeout=wait_s)
        for host in wanted:
            if host not in self._known and host not in self._failing:
                logger.warning("%s: still being looked up; until then requests fail", host)
        return {host: self._known[host] for host in wanted if host in self._known}

    def follow(self, hosts: Iterable[str], how: Resolve, tell: Tell) -> None:
        """Keep these names fresh from now on, and no others, and tell of each lookup."""
        wanted = frozenset(hosts)
        self._how, self._tell = how, tell
        for host in self._following.keys() - wanted:
            self._following.pop(host).cancel()
        for host in self._known.keys() - wanted:
            del self._known[host]
        self._failing &= wanted
        for host in wanted:
            if host not in self._following or self._following[host].done():
                self._following[host] = asyncio.create_task(self._follow(host))

    async def close(self) -> None:
        """Stop. A lookup in a thread that is under way ends by itself."""
        tasks = [*self._following.values(), *self._asking.values()]
        self._following.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, host: str) -> None:
        if host in self._known:
            # It was just looked up: each begins anywhere in its interval.
            await _pause(self._how.interval, 0)
        while host not in self._known or self._how.interval:
            self._tell(host, await asyncio.shield(self._ask(host)))
            failed = host in self._failing
            await _pause(self._how.retry if failed else self._how.interval, 1 - _JITTER)

    def _ask(self, host: str) -> asyncio.Task[list[str]]:
        """The lookup of `host` that is under way, or a new one."""
        if host not in self._asking:
            task = self._asking[host] = asyncio.create_task(self._answer(host))
            task.add_done_callback(lambda _: self._asking.pop(host, None))
        return self._asking[host]

    async def _answer(self, host: str) -> list[str]:
        why = "no address"
        async with self._slots:
            try:
                found = interleaved(await _in_thread(self._look_up, host))
            except Exception as error:  # noqa: BLE001 - whatever it is, there is no answer
                found, why = [], getattr(error, "strerror", None) or str(error)
        if found:
            self._found(host, found)
        elif host not in self._failing:
            self._failing.add(host)
            then = "its last addresses are used" if host in self._known else "requests fail"
            logger.warning("%s cannot be resolved: %s; until it can, %s", host, why, then)
        return found

    def _found(self, host: str, found: list[str]) -> None:
        if host in self._failing:
            self._failing.discard(host)
            logger.warning("%s is resolved: %s", host, ", ".join(found))
        if host not in self._known and _is_a_fleet(found):
            logger.warning(
                "%s has several addresses: %s; a connection goes to the first that answers, so "
                "name each engine by itself to spread load", host, ", ".join(found),
            )  # fmt: skip
        self._known[host] = found


def interleaved(addresses: Iterable[str]) -> list[str]:
    """Both families in turn, in their order, beginning with that of the first (RFC 8305 §4)."""
    families: dict[bool, list[str]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(":" in address, []).append(address)
    pairs = zip_longest(*families.values())
    return [address for address in chain.from_iterable(pairs) if address is not None]


def system_look_up(name: str) -> list[str]:
    """Addresses of `name`, sorted by the system (RFC 6724); those of a link only are left out.

    Raises:
        OSError: there are none.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found if "%" not in str(entry[4][0])]


def _is_a_fleet(addresses: list[str]) -> bool:
    """Whether there are two of a family: one machine has one of each as a rule."""
    public = [one for one in addresses if not ipaddress.ip_address(one).is_loopback]
    return len(public) > len({":" in one for one in public})


async def _pause(length: Duration, least: float) -> None:
    """Part of `length`, from `least` of it to a little more than all."""
    share = random.uniform(least, 1 + _JITTER)  # noqa: S311 - it hides nothing
    await asyncio.sleep(int(length) / 1000 * share)


def _nobody(_host: str, _found: list[str]) -> None:
    """Before `follow`: what is found is kept only."""


async def _in_thread(look_up: LookUp, name: str) -> list[str]:
    """In a thread of its own, which may hang without keeping the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[str]] = loop.create_future()

    def settle(found: list[str], error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)

    def run() -> None:
        found: list[str] = []
        failure: Exception | None = None
        try:
            found = look_up(name)
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            failure = error
        # The loop may be gone by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, found, failure)

    threading.Thread(target=run, name="fastproxy-names", daemon=True).start()
    return await future
