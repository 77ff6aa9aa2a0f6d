"""The end of a proxy, in order: not ready, a delay, no more connections, finish, cut.

The delay is for load balancers, which go on sending until they have seen `/readyz` fail.
"""

import asyncio

from fastproxy import _native
from fastproxy.config.model import Drain

__all__ = ["drain"]

_POLL_S = 0.02
# The core cuts at the deadline; what is still there after this is not waited for.
_GRACE_S = 2.0


async def drain(core: _native.Core, how: Drain) -> bool:
    """Drain `core`; whether everything ended before it had to be cut off."""
    core.ready(ready=False)
    await asyncio.sleep(int(how.delay) / 1000)
    loop = asyncio.get_running_loop()
    core.drain(int(how.deadline))
    give_up_at = loop.time() + int(how.deadline) / 1000 + _GRACE_S
    while not core.drained():
        if loop.time() > give_up_at:
            return False
        await asyncio.sleep(_POLL_S)
    return True
