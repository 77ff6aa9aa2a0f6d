"""fastproxy itself: one worker, a `model` route, metrics on, configured as a user would."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from benches.harness import machine
from benches.harness.processes import Child, StartError, connection, free_port, get
from benches.peers.base import AbsentError, Launch, Needs, Peer

TOKEN = "bench-admin-token"  # noqa: S105 - guards nothing
"""What the admin API asks for."""


def admin_get(admin: str, path: str) -> Any:  # noqa: ANN401 - JSON
    """A GET of the admin API, as JSON."""
    status, body = get(admin, path, headers={"authorization": f"Bearer {TOKEN}"})
    if status != HTTPStatus.OK:
        msg = f"{path} answered {status}: {body[:200]!r}"
        raise StartError(msg)
    return json.loads(body)


def admin_post(admin: str, path: str) -> None:
    """A POST to the admin API.

    Raises:
        StartError: it was refused.
    """
    client = connection(admin)
    try:
        client.request("POST", path, headers={"authorization": f"Bearer {TOKEN}"})
        answer = client.getresponse()
        text = answer.read()
    finally:
        client.close()
    if answer.status != HTTPStatus.OK:
        msg = f"{path} answered {answer.status}: {text[:200]!r}"
        raise StartError(msg)


def _url(engine: str, needs: Needs) -> str:
    clear = "h2c" if needs.back == "h2" else "http"
    scheme = "https" if needs.back_tls else clear
    return engine if engine.startswith("unix:") else f"{scheme}://{engine}"


def document(
    address: str, admin: str, engines: Sequence[str], needs: Needs, *, workers: int
) -> str:
    """The YAML configuration: metrics on, and a route that needs the body's `model`."""
    channel = [f"max_wait: {needs.max_wait}"]
    if needs.capacity is not None:
        channel.append(f"capacity: {needs.capacity}")
    concurrency = "" if needs.concurrency is None else f", concurrency: {needs.concurrency}"
    tls = ""
    if needs.tls is not None:
        pair = f"{{cert: {needs.tls.cert}, key: {needs.tls.key}}}"
        tls = f", tls: {{certificates: [{pair}], min_version: tls1.3}}"
    more = "" if needs.gathers else ", gather_max_us: 0"
    if needs.trusted:
        more += f", trusted_peers: {json.dumps(needs.trusted)}"
    lines = [f"listen: {{address: {address}, idle: {needs.idle_s}s{more}{tls}}}"]
    lines += [f"admin: {{listen: {admin}, token: {TOKEN}}}", f"workers: {workers}"]
    if needs.access_log is not None:
        lines.append(f"access_log: {needs.access_log}")
    lines += ["pools:", "  engines:", "    endpoints:"]
    lines += [f'      - {{url: "{_url(engine, needs)}"{concurrency}}}' for engine in engines]
    lines += [f"    http2: {'always' if needs.back == 'h2' else 'never'}"]
    if needs.back_tls is not None:
        lines += [f"    tls: {{ca: {needs.back_tls.ca}, min_version: tls1.3}}"]
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
    tls = True
    speaks = frozenset({"h1-h1", "h1-h2", "h2-h1", "h2-h2"})
    workers = 1
    arguments: tuple[str, ...] = ()

    def program(self) -> list[str]:
        """The installed command, or the module of the environment that runs this."""
        beside = Path(sys.executable).with_name("fastproxy")
        if beside.exists():
            return [str(beside)]
        if importlib.util.find_spec("fastproxy") is None:
            msg = "`make setup` installs it"
            raise AbsentError(msg)
        return [sys.executable, "-m", "fastproxy"]

    def version(self) -> str:
        """Version as the program says it."""
        argv = [*self.program(), "--version"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return (done.stdout.split() or ["unknown"])[-1]

    def launch(self, directory: Path, port: int, engines: Sequence[str], needs: Needs) -> Launch:
        """Write fastproxy.yaml."""
        address, admin = f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"
        config = directory / "fastproxy.yaml"
        config.write_text(document(address, admin, engines, needs, workers=self.workers))
        argv = [*self.program(), "serve", str(config), *self.arguments]
        return Launch(argv, address, admin=admin, config=config)

    def ready(self, child: Child, launch: Launch) -> None:
        """Ready by its own word, then by an answer."""
        if launch.admin:
            child.wait_http(launch.admin, "/readyz", below=300)
        super().ready(child, launch)


class OneWorker(FastProxy):
    """fastproxy with one worker thread, free to run on either core."""

    name = "fastproxy_one"
    title = "fastproxy, one worker on both cores"

    def cores(self) -> set[int]:
        """All of them."""
        return machine.usable()


class TwoWorkers(OneWorker):
    """fastproxy with two worker threads."""

    name = "fastproxy_two"
    title = "fastproxy, two workers on both cores"
    workers = 2


class Inline(FastProxy):
    """fastproxy driven by uvloop in the main thread."""

    name = "fastproxy_inline"
    title = "fastproxy inline, uvloop"
    workers = 0


class InlineAsyncio(Inline):
    """fastproxy driven by asyncio's own loop."""

    name = "fastproxy_asyncio"
    title = "fastproxy inline, asyncio"
    arguments = ("--plain-asyncio",)
