"""The end of a proxy, in order: not ready, a delay, no more connections, finish, cut.

The delay is for load balancers, which go on sending until they have seen `/readyz` fail.
"""

import asyncio

from fastproxy import _native
from fastproxy.config.model import Drain

__all__ = ["drain", "drained"]

_POLL_S = 0.02
# The core cuts at the deadline; what is still there after this is not waited for.
_GRACE_S = 2.0


async def drain(core: _native.Core, how: Drain) -> bool:
    """Drain `core`; whether everything ended before it had to be cut off."""
    core.ready(ready=False)
    await asyncio.sleep(int(how.delay) / 1000)
    core.drain(int(how.deadline), int(how.idle))
    return await drained(core, int(how.deadline))


async def drained(core: _native.Core, deadline_ms: int) -> bool:
    """Wait for a drain that was ordered; whether it ended soon after its deadline at the latest."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + deadline_ms / 1000 + _GRACE_S
    while not core.drained():
        if loop.time() > give_up_at:
            return False
        await asyncio.sleep(_POLL_S)
    return True
