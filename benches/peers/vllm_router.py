"""vllm-router: one runtime thread, round robin, no retries or circuit breaker, errors logged."""

import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from benches.harness.processes import free_port
from benches.peers.base import AbsentError, Launch, Needs, Peer


class VllmRouter(Peer):
    """The router of the vLLM project, Rust under a Python launcher."""

    name = "vllm_router"
    title = "vllm-router"
    unix_engines = False

    def version(self) -> str:
        """Version of the installed package."""
        try:
            return metadata.version("vllm-router")
        except metadata.PackageNotFoundError:
            msg = "not installed: `make bench` does it (requirements/bench.txt)"
            raise AbsentError(msg) from None

    def launch(self, directory: Path, port: int, engines: Sequence[str], needs: Needs) -> Launch:
        """It takes everything from its command line."""
        del directory
        argv = [sys.executable, "-m", "vllm_router.launch_router"]
        argv += ["--host", "127.0.0.1", "--port", str(port)]
        argv += ["--worker-urls", *[f"http://{engine}" for engine in engines]]
        argv += ["--policy", "round_robin", "--disable-retries", "--disable-circuit-breaker"]
        argv += ["--log-level", "error", "--prometheus-port", str(free_port())]
        argv += ["--request-timeout-secs", str(needs.idle_s)]
        argv += ["--worker-startup-check-interval", "1"]
        return Launch(argv, f"127.0.0.1:{port}", env={"TOKIO_WORKER_THREADS": "1"})
