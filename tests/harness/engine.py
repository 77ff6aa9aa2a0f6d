"""The simulated engine of the native module, as a context manager."""

import json
from types import TracebackType
from typing import Any, Self


class SimEngine:
    """A simulated inference engine on a native thread."""

    def __init__(self, **options: Any) -> None:
        """Options as `fastproxy engine` has them; short delays by default."""
        quick = {"listen": ["127.0.0.1:0"], "first_token_us": 2_000, "gap_us": 1_000, "tokens": 5}
        self.options = quick | options

    def __enter__(self) -> Self:
        """Start it."""
        from fastproxy import _native

        self._engine = _native.bench_engine(json.dumps(self.options).encode())
        self.address = self._engine.addresses()[0]
        self.url = self.address if self.address.startswith("unix:") else f"http://{self.address}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Stop it."""
        self._engine.stop()

    def stop(self) -> None:
        """Close everything now."""
        self._engine.stop()

    def stats(self) -> dict[str, Any]:
        """What it counted."""
        found: dict[str, Any] = json.loads(self._engine.stats())
        return found
