"""The interpreter stands still; the streams go on."""

import asyncio
import ctypes
import sys
import time

import fastproxy
from harness.client import CHAT, JSON, chat
from harness.engine import SimEngine
from harness.http import request
from harness.proxy import pool

HELD_S = 2.0
LATE_S = 0.5


async def test_tokens_flow_while_the_lock_is_held() -> None:
    """A sleeping C call holds the GIL for two seconds; a second process reads on."""
    code = (
        "import socket,sys,time\n"
        "host,port=sys.argv[1].rsplit(':',1)\n"
        "s=socket.create_connection((host,int(port)))\n"
        "s.sendall(sys.stdin.buffer.read())\n"
        "last=time.monotonic(); worst=0.0; print('go',flush=True)\n"
        "data=b''\n"
        "while b'[DONE]' not in data[-64:]:\n"
        "  part=s.recv(65536)\n"
        "  if not part: sys.exit(3)\n"
        "  now=time.monotonic(); worst=max(worst,now-last); last=now; data+=part\n"
        "print(worst)\n"
    )
    with SimEngine(tokens=200, gap_us=20_000, first_token_us=20_000) as engine:
        config = pool(engine.url) | {"listen": "127.0.0.1:0", "workers": 1}
        async with fastproxy.Proxy(config) as proxy:
            reader = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, proxy.address,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert reader.stdin is not None
            assert reader.stdout is not None
            body = chat(stream=True, max_tokens=200)
            reader.stdin.write(request("POST", CHAT, JSON, body))
            reader.stdin.close()
            assert await reader.stdout.readline() == b"go\n"
            await asyncio.sleep(0.5)
            began = time.monotonic()
            ctypes.PyDLL(None).usleep(int(HELD_S * 1e6))
            assert time.monotonic() - began >= HELD_S * 0.9
            worst = float(await asyncio.wait_for(reader.stdout.readline(), 20))
            assert await reader.wait() == 0
            assert worst < LATE_S, f"a token came {worst:.3f} s late"
