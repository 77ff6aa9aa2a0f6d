"""`fastproxy serve` as a person starts it: from flags, without a file."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benches.harness import machine
from benches.harness.processes import Child, free_port
from benches.peers.fastproxy import FastProxy


@contextlib.contextmanager
def served(upstreams: Sequence[str], *arguments: str) -> Iterator[tuple[str, Child]]:
    """`fastproxy serve --upstream ...` for the length of a block: its address and process."""
    directory = Path(tempfile.mkdtemp(prefix="fp-serve-"))
    address, admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    argv = [*FastProxy().program(), "serve", "--listen", address, "--admin", admin]
    for upstream in upstreams:
        argv += ["--upstream", upstream if upstream.startswith("unix:") else f"http://{upstream}"]
    child = Child(
        [*argv, *arguments], cores={machine.cores().proxy}, directory=directory, name="serve"
    )
    try:
        child.wait_http(admin, "/readyz", below=300)
        yield address, child
    finally:
        child.stop()
        shutil.rmtree(directory, ignore_errors=True)
