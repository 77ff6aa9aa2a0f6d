"""fastproxy itself: one worker, a `model` route, metrics on, configured as a user would."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benches.harness.processes import Child, free_port
from benches.peers.base import Absent, Launch, Needs, Peer


def _url(engine: str) -> str:
    return engine if engine.startswith("unix:") else f"http://{engine}"


def document(
    address: str, admin: str, engines: Sequence[str], needs: Needs, *, workers: int
) -> str:
    """The YAML configuration: metrics on, and a route that needs the body's `model`."""
    channel = [f"max_wait: {needs.max_wait}"]
    if needs.capacity is not None:
        channel.append(f"capacity: {needs.capacity}")
    concurrency = "" if needs.concurrency is None else f", concurrency: {needs.concurrency}"
    lines = [f"listen: {{address: {address}, idle: {needs.idle_s}s}}"]
    lines += [f"admin: {admin}", f"workers: {workers}"]
    if needs.access_log is not None:
        lines.append(f"access_log: {needs.access_log}")
    lines += ["pools:", "  engines:", "    endpoints:"]
    lines += [f'      - {{url: "{_url(engine)}"{concurrency}}}' for engine in engines]
    lines += ["    balance: least_loaded", f"    channel: {{{', '.join(channel)}}}"]
    lines += [f"    timeouts: {{inter_token: {needs.idle_s}s}}"]
    if needs.connections is not None:
        lines.append(f"    connections_max: {needs.connections}")
    lines += ["routes:", f"  - match: {{model: {json.dumps(needs.models)}}}", "    pool: engines"]
    if needs.default:
        lines.append("default_pool: engines")
    return "\n".join(lines) + "\n"


class FastProxy(Peer):
    """fastproxy with one worker thread."""

    name = "fastproxy"
    title = "fastproxy"
    workers = 1

    def program(self) -> str:
        """The installed command."""
        beside = Path(sys.executable).with_name("fastproxy")
        found = str(beside) if beside.exists() else shutil.which("fastproxy")
        if found is None:
            raise Absent("`make setup` installs it")
        return found

    def version(self) -> str:
        """Version as the program says it."""
        done = subprocess.run(
            [self.program(), "--version"], capture_output=True, text=True, check=False
        )
        return (done.stdout.split() or ["unknown"])[-1]

    def launch(
        self, directory: Path, port: int, engines: Sequence[str], needs: Needs
    ) -> Launch:
        """Write fastproxy.yaml."""
        address, admin = f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"
        config = directory / "fastproxy.yaml"
        config.write_text(document(address, admin, engines, needs, workers=self.workers))
        argv = [self.program(), "serve", str(config), "--workers", str(self.workers)]
        return Launch(argv, address, admin=admin, config=config)

    def ready(self, child: Child, launch: Launch) -> None:
        """Ready by its own word, then by an answer."""
        if launch.admin:
            child.wait_http(launch.admin, "/readyz", below=300)
        super().ready(child, launch)


class Inline(FastProxy):
    """fastproxy driven by the event loop of the main thread."""

    name = "fastproxy_inline"
    title = "fastproxy inline"
    workers = 0
