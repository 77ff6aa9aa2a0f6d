"""The committed byte relay: one epoll thread that copies bytes and understands none. The floor."""

import json
from collections.abc import Sequence
from pathlib import Path

from benches.harness import native
from benches.harness.processes import Child
from benches.peers.base import Launch, Needs, Peer


class Relay(Peer):
    """One dial for each client connection, no parsing."""

    name = "relay"
    title = "byte relay"
    speaks = frozenset({"h1-h1", "h2-h2"})

    def version(self) -> str:
        """It has the version of the tree."""
        return native.version()

    def launch(self, directory: Path, port: int, engines: Sequence[str], needs: Needs) -> Launch:
        """Its options are one JSON document."""
        del directory, needs
        address = f"127.0.0.1:{port}"
        options = json.dumps({"listen": [address], "upstream": list(engines)})
        return Launch(native.command("relay", options), address)

    def ready(self, child: Child, launch: Launch) -> None:
        """A GET through it is answered by the engine."""
        child.wait_http(launch.address, "/v1/models")
