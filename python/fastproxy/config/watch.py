"""Whether a configuration file changed, by asking once a second.

Polling, because it is the one thing that works alike on local disks, network file systems and
Kubernetes volumes, where an update swaps a symbolic link and the watched inode never changes.
Content decides: a file that was only touched is no change.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Stamp", "changes", "digest_of", "replacements", "stamp"]

_FILE_BYTES_MAX = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file looked like.

    Attributes:
        identity: device, inode, size and time of change; cheap to take.
        digest: of the content.
    """

    identity: tuple[int, ...]
    digest: bytes


def digest_of(content: bytes) -> bytes:
    """What stands for the content of a file."""
    return hashlib.blake2b(content, digest_size=16).digest()


def stamp(path: Path, before: Stamp | None = None) -> Stamp | None:
    """Look at `path`, reading it only if it may have changed since `before`.

    Returns:
        None while the file cannot be read, as happens in the middle of a replacement, and for a
        name that no file can have.
    """
    try:
        with path.open("rb") as stream:
            found = os.fstat(stream.fileno())
            identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if before is not None and before.identity == identity:
                return before
            digest = digest_of(stream.read(_FILE_BYTES_MAX))
    except (OSError, ValueError):
        return None
    return Stamp(identity, digest)


async def changes(path: Path, *, interval_s: float = 1.0) -> AsyncIterator[Stamp]:
    """Yield each time the content of `path` is another than before."""
    last = stamp(path)
    while True:
        await asyncio.sleep(interval_s)
        now = stamp(path, last)
        if now is None:
            continue
        changed = last is None or now.digest != last.digest
        last = now
        if changed:
            yield now


async def replacements(
    files: Callable[[], Mapping[Path, Stamp | None]], *, interval_s: float = 1.0
) -> AsyncIterator[Path]:
    """Yield one of `files` each time that some of them have changed and all have come to rest.

    A certificate and its key are two files, and one of them is always replaced first.

    Args:
        files: which there are now, and what each looked like before it was last read: what changes
            while a configuration is taken in is seen, too.
        interval_s: from one look to the next.
    """
    last = dict(files())
    restless: Path | None = None
    while True:
        await asyncio.sleep(interval_s)
        changed: Path | None = None
        last = {path: last.get(path) or seen for path, seen in files().items()}
        for path, before in last.items():
            now = stamp(path, before)
            if now is None:
                continue
            if before is None or before.digest != now.digest:
                changed = path
            last[path] = now
        if changed is None and restless is not None:
            yield restless
        restless = changed
