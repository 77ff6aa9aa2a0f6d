"""Names of endpoints: an injected resolver stands for DNS."""

import asyncio
import threading
import time
from collections import Counter

import pytest

from fastproxy.config.model import Resolve
from fastproxy.config.units import Duration
from fastproxy.fleet.names import Names, interleaved, system_look_up

OFTEN = Resolve(interval=Duration(20), retry=Duration(10))


class Dns:
    """Answers from a table; counts questions, and how many are asked at a time."""

    def __init__(self, table: dict[str, list[str]], pause_s: float = 0) -> None:
        self.table = table
        self.pause_s = pause_s
        self.asked: Counter[str] = Counter()
        self.running = 0
        self.most = 0
        self.lock = threading.Lock()

    def __call__(self, name: str) -> list[str]:
        with self.lock:
            self.asked[name] += 1
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(self.pause_s)
        with self.lock:
            self.running -= 1
        if name not in self.table:
            raise OSError(-2, "Name or service not known")
        return self.table[name]


class Told:
    """What was told, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, list[str]]] = []
        self.news = asyncio.Event()

    def __call__(self, host: str, found: list[str]) -> None:
        self.all.append((host, found))
        self.news.set()

    async def until(self, host: str, found: list[str]) -> None:
        async with asyncio.timeout(5):
            while (host, found) not in self.all:
                self.news.clear()
                await self.news.wait()


async def test_known_at_once() -> None:
    """A start waits for its names, and each is asked for once however many endpoints have it."""
    dns = Dns({"a.test": ["10.0.0.1"], "b.test": ["10.0.0.2", "::2"]})
    names = Names(dns)
    assert await names.ready(["a.test", "b.test", "a.test"]) == {
        "a.test": ["10.0.0.1"],
        "b.test": ["10.0.0.2", "::2"],
    }
    assert dns.asked == {"a.test": 1, "b.test": 1}
    await names.close()


async def test_a_name_without_an_answer_keeps_nobody_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is left out, said once, and asked for again until it has one."""
    dns = Dns({})
    names, told = Names(dns), Told()
    assert await names.ready(["late.test"]) == {}
    names.follow(["late.test"], OFTEN, told)
    await told.until("late.test", [])
    await asyncio.sleep(0.1)
    dns.table["late.test"] = ["10.0.0.9"]
    await told.until("late.test", ["10.0.0.9"])
    assert dns.asked["late.test"] > 3
    assert [record.getMessage() for record in caplog.records] == [
        "late.test cannot be resolved: Name or service not known; until it can, requests fail",
        "late.test is resolved: 10.0.0.9",
    ]
    await names.close()


async def test_the_last_good_answer_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """With DNS gone a reload still knows what a name meant."""
    dns = Dns({"a.test": ["10.0.0.1"]})
    names, told = Names(dns), Told()
    await names.ready(["a.test"])
    names.follow(["a.test"], OFTEN, told)
    dns.table.clear()
    await told.until("a.test", [])
    assert await names.ready(["a.test"]) == {"a.test": ["10.0.0.1"]}
    assert "its last addresses are used" in caplog.text
    await names.close()


async def test_a_new_answer_is_told() -> None:
    """Without a reload."""
    dns = Dns({"a.test": ["10.0.0.1"]})
    names, told = Names(dns), Told()
    await names.ready(["a.test"])
    names.follow(["a.test"], OFTEN, told)
    dns.table["a.test"] = ["10.0.0.2"]
    await told.until("a.test", ["10.0.0.2"])
    await names.close()


async def test_names_that_are_gone_are_left_alone() -> None:
    """A reload without them ends their lookups, and forgets them."""
    dns = Dns({"a.test": ["10.0.0.1"], "b.test": ["10.0.0.2"]})
    names, told = Names(dns), Told()
    names.follow(["a.test", "b.test"], OFTEN, told)
    await told.until("a.test", ["10.0.0.1"])
    names.follow(["b.test"], OFTEN, told)
    await asyncio.sleep(0.05)
    asked = dns.asked["a.test"]
    await asyncio.sleep(0.1)
    assert dns.asked["a.test"] == asked
    dns.table["a.test"] = ["10.0.0.3"]
    assert await names.ready(["a.test"]) == {"a.test": ["10.0.0.3"]}
    await names.close()


async def test_once() -> None:
    """`interval: off` asks until there is an answer, and then no more."""
    dns = Dns({"a.test": ["10.0.0.1"]})
    names, told = Names(dns), Told()
    names.follow(["a.test"], Resolve(interval=Duration(0), retry=Duration(10)), told)
    await told.until("a.test", ["10.0.0.1"])
    await asyncio.sleep(0.1)
    assert dns.asked["a.test"] == 1
    await names.close()


async def test_a_thousand_names_are_no_thousand_threads() -> None:
    """At most eight lookups at a time, and all of them in the end."""
    hosts = [f"e{n}.test" for n in range(1000)]
    dns = Dns({host: ["10.0.0.1"] for host in hosts}, pause_s=0.001)
    names = Names(dns)
    assert len(await names.ready(hosts, wait_s=30)) == 1000
    assert dns.most <= 8
    await names.close()


async def test_a_resolver_that_hangs() -> None:
    """A start goes on without it; the loop never waits for it."""
    release = threading.Event()

    def hang(name: str) -> list[str]:
        release.wait(5)
        return [name]

    names = Names(hang)
    began = time.monotonic()
    assert await names.ready(["slow.test"], wait_s=0.05) == {}
    assert time.monotonic() - began < 1
    await names.close()
    release.set()


async def test_a_name_of_a_fleet(caplog: pytest.LogCaptureFixture) -> None:
    """One endpoint is one engine; one address of each family is one machine."""
    names = Names(Dns({"many.test": ["10.0.0.1", "10.0.0.2"], "two.test": ["10.0.0.1", "2001::1"]}))
    await names.ready(["many.test", "two.test"])
    (record,) = caplog.records
    assert record.getMessage().startswith("many.test has several addresses: 10.0.0.1, 10.0.0.2;")
    await names.close()


def test_families_take_turns() -> None:
    """RFC 8305 §4: the first family leads, and a broken family costs one delay, not all."""
    assert interleaved(["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"]) == [
        "::1",
        "10.0.0.1",
        "::2",
        "10.0.0.2",
        "::3",
    ]
    assert interleaved(["10.0.0.1", "10.0.0.1"]) == ["10.0.0.1"]
    assert interleaved([]) == []


def test_the_systems_own() -> None:
    """Of a name that every machine has."""
    assert "127.0.0.1" in system_look_up("localhost")
    with pytest.raises(OSError, match=r"not known|No address|failure"):
        system_look_up("nowhere.invalid")
