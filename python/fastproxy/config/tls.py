"""The files that TLS is made of: which there are, and what is wrong with them.

The judge is the native side, so that what `check` finds good is what a listener can use. Keys are
read there, too: none ever comes into this process's Python objects.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from fastproxy.config.document import Key
from fastproxy.config.model import Config, Endpoint, Pool, UpstreamTls
from fastproxy.config.verify import Findings
from fastproxy.config.watch import Stamp, stamp

__all__ = ["examine", "files_of", "stamps_of", "upstream_tls"]

Where = tuple[Key, ...]


def upstream_tls(pool: Pool, endpoint: Endpoint) -> UpstreamTls:
    """The settings of an `https` endpoint: its own, else its pool's, else the defaults."""
    return endpoint.tls or pool.tls or UpstreamTls()


def examine(config: Config, found: Findings) -> None:
    """Add what is wrong with the files of `config`."""
    for path, cert, key in _pairs(config):
        if cert and key:
            from fastproxy import _native  # noqa: PLC0415 - configurations without TLS need none

            _add(found, path, _native.check_certificate(cert, key))
    for path, bundle in _bundles(config):
        from fastproxy import _native  # noqa: PLC0415 - as above

        _add(found, path, _native.check_bundle(bundle))


def files_of(config: Config) -> list[Path]:
    """Every file that TLS is made of, each once."""
    names = [name for _, *pair in _pairs(config) for name in pair if name]
    names += [bundle for _, bundle in _bundles(config)]
    return [Path(name) for name in dict.fromkeys(names)]


def stamps_of(config: Config) -> dict[Path, Stamp | None]:
    """What those files look like now; taken before they are read to be served."""
    return {path: stamp(path) for path in files_of(config)}


def _add(found: Findings, path: Where, remarks: Iterable[tuple[str, str, bool]]) -> None:
    for part, why, fatal in remarks:
        # The bundle of a listener's clients has a name of its own.
        where = path if part == "ca" else (*path, part)
        (found.wrong if fatal else found.useless)(where, why)


def _pairs(config: Config) -> Iterator[tuple[Where, str, str]]:
    for n, listener in enumerate(config.listen):
        if listener.tls is not None:
            for m, pair in enumerate(listener.tls.certificates):
                yield ("listen", n, "tls", "certificates", m), pair.cert, pair.key
    for path, tls in _upstreams(config):
        if tls.cert is not None and tls.key is not None:
            yield path, tls.cert, tls.key


def _bundles(config: Config) -> Iterator[tuple[Where, str]]:
    for n, listener in enumerate(config.listen):
        if listener.tls is not None and listener.tls.client_ca is not None:
            yield ("listen", n, "tls", "client_ca"), listener.tls.client_ca
    for path, tls in _upstreams(config):
        if tls.ca is not None:
            yield (*path, "ca"), tls.ca


def _upstreams(config: Config) -> Iterator[tuple[Where, UpstreamTls]]:
    for name, pool in config.pools.items():
        if pool.tls is not None:
            yield ("pools", name, "tls"), pool.tls
        for n, endpoint in enumerate(pool.endpoints):
            if endpoint.tls is not None:
                yield ("pools", name, "endpoints", n, "tls"), endpoint.tls
