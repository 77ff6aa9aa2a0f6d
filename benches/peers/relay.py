"""The committed byte relay: one epoll thread that copies bytes and understands none. The floor."""

import json
from collections.abc import Sequence
from pathlib import Path

from benches.harness import native
from benches.harness.processes import Child, StartError
from benches.peers.base import Launch, Needs, Peer


class Relay(Peer):
    """One engine, one dial for each client connection, no parsing."""

    name = "relay"
    title = "byte relay"

    def version(self) -> str:
        """It has the version of the tree."""
        return native.version()

    def launch(
        self, directory: Path, port: int, engines: Sequence[str], needs: Needs
    ) -> Launch:
        """Its options are one JSON document."""
        del directory, needs
        if len(engines) != 1:
            raise StartError("the relay has one engine")
        address = f"127.0.0.1:{port}"
        options = json.dumps({"listen": [address], "to": engines[0]})
        return Launch(native.command("relay", options), address)

    def ready(self, child: Child, launch: Launch) -> None:
        """A GET through it is answered by the engine."""
        child.wait_http(launch.address, "/v1/models")
