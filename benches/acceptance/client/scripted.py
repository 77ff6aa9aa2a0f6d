"""An engine that answers by script, and counts: for retries, errors, large bodies and leavers."""

import json
import socketserver
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

MIB = 1024 * 1024

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "smollm2",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Handler(BaseHTTPRequestHandler):
    """Answers by the header `x-script`."""

    protocol_version = "HTTP/1.1"
    server: "Scripted"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Health and the list of models."""
        self._answer(200, {"object": "list", "data": [{"id": "smollm2", "object": "model"}]})

    def do_POST(self) -> None:
        """Follow the script that the request names."""
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        script = self.headers.get("x-script", "")
        tag = self.headers.get("x-tap", "")
        with self.server.lock:
            self.server.seen[tag] += 1
            turn = self.server.seen[tag]
            self.server.sizes[tag] = len(body)
            self.server.times.setdefault(tag, []).append(time.monotonic())
        getattr(self, f"script_{script}", self.script_plain)(turn)

    def script_plain(self, _: int) -> None:
        """200."""
        self._answer(200, ANSWER)

    def script_limited(self, turn: int) -> None:
        """429 with a time to come again, then 200."""
        if turn == 1:
            self._answer(429, {"error": {"message": "busy"}}, {"retry-after-ms": "150"})
        else:
            self._answer(200, ANSWER)

    def script_internal(self, turn: int) -> None:
        """500, then 200."""
        if turn == 1:
            self._answer(500, {"error": {"message": "broken"}})
        else:
            self._answer(200, ANSWER)

    def script_never(self, _: int) -> None:
        """500, and do not come again."""
        self._answer(500, {"error": {"message": "broken"}}, {"x-should-retry": "false"})

    def script_large(self, _: int) -> None:
        """A body of 16 MiB."""
        text = "x" * (16 * MIB)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._answer(200, {**ANSWER, "choices": [choice]})

    def script_slow(self, _: int) -> None:
        """A stream that ends only when its reader leaves."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        event = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
        tag = self.headers.get("x-tap", "")
        try:
            while True:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                self.wfile.flush()
                time.sleep(0.01)
        except OSError:
            with self.server.lock:
                self.server.left[tag] = time.monotonic()
        self.close_connection = True

    def _answer(self, status: int, document: object, more: dict[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Scripted(ThreadingHTTPServer):
    """The engine; use it as a context manager."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.sizes: dict[str, int] = {}
        self.times: dict[str, list[float]] = {}
        self.left: dict[str, float] = {}
        self.address = f"127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        socketserver.TCPServer.server_close(self)

    def handle_error(self, *_: object) -> None:
        """Leavers are part of the script."""
