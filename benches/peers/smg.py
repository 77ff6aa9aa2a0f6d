"""smg (Shepherd Model Gateway): one runtime thread, round robin, no retries, errors logged only."""

import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from benches.harness.processes import free_port
from benches.peers.base import AbsentError, Launch, Needs, Peer


class Smg(Peer):
    """The gateway that grew out of the SGLang router, Rust under a Python launcher."""

    name = "smg"
    title = "smg"
    unix_engines = False

    def version(self) -> str:
        """Version of the installed package."""
        try:
            return metadata.version("smg")
        except metadata.PackageNotFoundError:
            msg = "not installed: `make bench` does it (requirements/bench.txt)"
            raise AbsentError(msg) from None

    def launch(self, directory: Path, port: int, engines: Sequence[str], needs: Needs) -> Launch:
        """It takes everything from its command line."""
        del directory
        argv = [sys.executable, "-m", "smg.cli", "launch"]
        argv += ["--host", "127.0.0.1", "--port", str(port)]
        argv += ["--worker-urls", *[f"http://{engine}" for engine in engines]]
        argv += ["--policy", "round_robin", "--disable-retries", "--disable-circuit-breaker"]
        argv += ["--disable-load-monitoring", "--disable-worker-overload-protection"]
        argv += ["--log-level", "error", "--prometheus-port", str(free_port())]
        argv += ["--request-timeout-secs", str(needs.idle_s)]
        argv += ["--worker-startup-check-interval", "1", "--worker-startup-delay", "0"]
        argv += ["--max-concurrent-requests", "-1"]
        return Launch(argv, f"127.0.0.1:{port}", env={"TOKIO_WORKER_THREADS": "1"})
