"""What a process holds, before and after."""

import asyncio
import os
import time
from pathlib import Path


def descriptors(pid: int) -> int:
    """Open descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident_bytes(pid: int) -> int:
    """Resident set of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def settles_to(pid: int, count: int, seconds: float = 8) -> None:
    """Wait until the process holds at most `count` descriptors."""
    until = time.monotonic() + seconds
    while (now := descriptors(pid)) > count:
        if time.monotonic() > until:
            msg = f"{now} descriptors, {count} before"
            raise AssertionError(msg)
        await asyncio.sleep(0.1)
