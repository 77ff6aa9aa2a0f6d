"""A small streaming client on asyncio alone: what the demo sends through the gateway.

It checks what it reads: a stream that ends without its last chunk is an error, not an end.
"""

import asyncio
import json
from collections.abc import AsyncIterator

__all__ = ["events", "stream_chat"]

_LINE_BYTES_MAX = 64 * 1024


async def stream_chat(
    host: str, port: int, *, model: str, prompt: str, tokens: int
) -> AsyncIterator[str]:
    """Yield the pieces of text of one streamed chat completion.

    Raises:
        OSError: the connection failed, the status was not 200, or the stream was cut.
    """
    body = json.dumps(
        {
            "model": model,
            "stream": True,
            "max_tokens": tokens,
            "messages": [{"role": "user", "content": prompt}],
        }
    ).encode()
    reader, writer = await asyncio.open_connection(host, port, limit=_LINE_BYTES_MAX)
    try:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}:{port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        status = answer.split(b" ", 2)[1]
        if status != b"200" or b"chunked" not in answer.lower():
            msg = f"the gateway answered {status.decode()}"
            raise OSError(msg)
        async for event in events(reader):
            text = _text(event)
            if text:
                yield text
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        msg = "the stream was cut"
        raise OSError(msg) from error
    finally:
        writer.close()


async def events(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield the data of each server-sent event of a chunked body."""
    buffered = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        buffered += (await reader.readexactly(size + 2))[:-2]
        *whole, buffered = buffered.split(b"\n\n")
        for event in whole:
            for line in event.splitlines():
                if line.startswith(b"data:"):
                    yield line.removeprefix(b"data:").strip()


def _text(event: bytes) -> str:
    if event == b"[DONE]":
        return ""
    choices = json.loads(event).get("choices") or [{}]
    return str((choices[0].get("delta") or {}).get("content") or "")
