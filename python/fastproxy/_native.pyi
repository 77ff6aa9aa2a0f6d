"""The native module: where bytes move. Hand-written contract, checked by stubtest.

No call here blocks on the network, and none but `Core.stop` and the bench entries takes longer
than a millisecond; those release the GIL. Only `fastproxy.server`, `fastproxy.primitives`,
`fastproxy.observe.metrics`, `fastproxy.config.compile`, `fastproxy.config.tls` and `fastproxy.cli`
import this module.
"""

from collections.abc import Callable
from typing import final

__all__ = [
    "Ask",
    "Channel",
    "Core",
    "H2Probe",
    "Hpack",
    "Picker",
    "PlanError",
    "RequestHead",
    "Running",
    "StartError",
    "__version__",
    "bench_engine",
    "bench_html",
    "bench_relay",
    "bench_run",
    "bench_text",
    "check_bundle",
    "check_certificate",
    "parse_request_head",
    "raise_nofile_limit",
    "usable_cpus",
]

__version__: str

class PlanError(ValueError): ...
class StartError(OSError): ...

@final
class Core:
    """The data plane: listeners, workers, recorder.

    One per process is the usual number; several work. Thread-safe; worker threads never take the
    GIL. After `os.fork` every method raises `RuntimeError`.
    """

    def __new__(cls, plan: bytes, options: bytes) -> Core:
        """Check and compile `plan` (the JSON document of `engine::snapshot::Plan`).

        `options` is JSON: `{"workers": int | null, "seed": int | null}`; `workers` 0 is inline,
        null is auto.

        Raises:
            PlanError: the plan does not hold together.
        """

    def start(self, adopted: list[tuple[str, str, int]] = ...) -> None:
        """Bind the listeners and start the workers (or the inline reactor).

        `adopted`: name, address and descriptor of listening sockets that a predecessor gave. A
        listener with such an address takes the socket; the caller keeps its descriptors.

        Raises:
            StartError: an address cannot be bound; says which, why and what to do.
        """

    def fileno(self) -> int:
        """Descriptor of the inline reactor's poller, -1 with worker threads."""

    def turn(self) -> None:
        """Run one bounded turn of the inline reactor. Call it when `fileno()` is readable."""

    def addresses(self) -> list[tuple[str, str, str]]:
        """(configured name, kind `data` or `admin`, bound `HOST:PORT` or `unix:PATH`)."""

    def apply(self, plan: bytes) -> int:
        """Replace the configuration: compile, bind new listeners, swap. Returns the generation.

        Raises:
            PlanError: nothing was changed.
            StartError: a new listener cannot be bound; nothing was changed.
        """

    def asks_fileno(self) -> int:
        """Descriptor that is readable while `asks()` has something."""

    def asks(self) -> list[Ask]: ...
    def answer(self, ask: Ask, status: int, fields: list[tuple[str, str]], body: bytes) -> None: ...
    def resolve(self, host: str, addresses: list[str]) -> None:
        """Tell what looking `host` up came to: IP addresses, best first; none keeps what is known.

        Raises:
            ValueError: one is no IP address.
        """

    def ready(self, *, ready: bool) -> None:
        """What `/readyz` says."""

    def drain(self, deadline_ms: int, idle_ms: int) -> None:
        """Stop accepting, finish, and cut what runs still after `deadline_ms`.

        A kept connection is closed after its next answer, or after `idle_ms` of silence.
        """

    def offer(self) -> list[tuple[str, str, str, int]]:
        """The listening sockets: name, kind, address, and a descriptor that the caller closes."""

    def hand_over(self, adopted: list[str], deadline_ms: int) -> None:
        """Drain because a successor accepts at the addresses `adopted`; admin listeners go, too."""

    def export_ticket_keys(self) -> bytes:
        """The keys of TLS session tickets, for a successor. They are secrets."""

    def import_ticket_keys(self, exported: bytes) -> None:
        """Take a predecessor's keys: its tickets go on to resume sessions.

        Raises:
            ValueError: it is no export of a version that this one knows; nothing was changed.
        """

    def inherit(self) -> None:
        """The predecessor has let go: files of adopted unix sockets are removed by us."""

    def drained(self) -> bool: ...
    def stop(self) -> None:
        """Close everything and join the threads (GIL released)."""

    def metrics(self) -> bytes:
        """All cells, merged over workers: JSON list of families (see `observe.metrics`)."""

    def state(self) -> bytes:
        """JSON: generation, pools with channel depth and endpoints, workers, connections."""

    def explain(self, request: bytes) -> bytes:
        """Which route, pool and endpoint a request would meet, and why (JSON in, JSON out).

        In: `{"method", "path", "headers": [[name, value]], "model"}`.
        """

    def reopen_log(self) -> None: ...

@final
class Ask:
    kind: str
    """`admin` or `models`."""
    method: str
    target: str
    fields: list[tuple[str, bytes]]
    body: bytes
    loopback: bool
    authorization: bytes | None

def raise_nofile_limit() -> tuple[int, int]:
    """Raise RLIMIT_NOFILE to the hard limit: (before, after)."""

def usable_cpus() -> int:
    """CPUs under affinity and cgroup quota, at least 1."""

def check_certificate(cert: str, key: str) -> list[tuple[str, str, bool]]:
    """What is wrong with a PEM certificate chain and its key: (`cert` or `key`, why, fatal)."""

def check_bundle(ca: str) -> list[tuple[str, str, bool]]:
    """What is wrong with a PEM bundle of issuers: (`ca`, why, fatal)."""

# The three primitives by themselves.

@final
class RequestHead:
    method: str
    target: str
    authority: str
    version: tuple[int, int]
    headers: list[tuple[str, bytes]]
    body: str
    """`none`, `chunked` or a decimal length."""

def parse_request_head(data: bytes) -> tuple[RequestHead, int] | None:
    """Parse one HTTP/1.1 request head: the head and the bytes it took, or None if incomplete.

    Raises:
        ValueError: the bytes break a rule of RFC 9112; the message names it.
    """

@final
class Channel:
    """A bounded channel: `try_send` refuses at once when it is full. Three priority classes."""

    def __new__(cls, capacity: int = 128, bytes_max: int = 0) -> Channel: ...
    def try_send(self, item: object, *, priority: int = 1, size: int = 0) -> bool: ...
    def try_recv(self) -> object | None: ...
    def __len__(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def high_water(self) -> int: ...
    def depth_histogram(self) -> list[tuple[int, int]]: ...

@final
class Picker:
    """Smooth weighted round-robin (nginx's algorithm): `pick()` returns an index."""

    def __new__(cls, weights: list[int]) -> Picker: ...
    def pick(self, excluded: list[int] = ...) -> int | None: ...
    def set_weight(self, index: int, weight: int) -> None: ...

# HTTP/2 by itself, for tests that compare it with other implementations.

@final
class H2Probe:
    """One end of an HTTP/2 connection in memory, with the data plane's defaults."""

    def __new__(cls, *, client: bool) -> H2Probe: ...
    def receive(self, data: bytes) -> list[tuple[object, ...]]:
        """What the peer's bytes say: tuples of a kind, a stream where there is one, and the rest.

        `head` (a server's: method, authority, target; a client's: status), fields, end; `bad` why,
        reset; `interim` status; `data` content, credit, end; `trailers` fields; `end`; `reset`
        code, why if by us; `goaway` last, code; `settings`; `closing` code, cause, then no more.
        """

    def sent(self) -> bytes:
        """Take what is to be sent."""

    def consume(self, stream: int, credit: int) -> None: ...
    def respond(
        self, stream: int, status: int, fields: list[tuple[bytes, bytes]], *, end: bool
    ) -> None: ...
    def request(self, method: bytes, target: bytes, *, end: bool) -> int | None:
        """A request of a client to `http://probe.test`; None at a limit on streams."""

    def data(self, stream: int, content: bytes, *, end: bool) -> None: ...
    def cancel(self, stream: int) -> None: ...
    def forget(self, stream: int) -> None:
        """The caller's work for the stream is over."""

    def queued(self, stream: int) -> int: ...
    def streams(self) -> int: ...

@final
class Hpack:
    """The encoder and the decoder of one end of HPACK (RFC 7541), of 4,096 bytes each."""

    def __new__(cls) -> Hpack: ...
    def resize(self, peer_max_bytes: int) -> None: ...
    def encode(self, fields: list[tuple[bytes, bytes]]) -> bytes: ...
    def decode(self, block: bytes) -> list[tuple[bytes, bytes, bool]]:
        """Name, value, and whether the field is never to be indexed.

        Raises:
            ValueError: the block is broken, and the decoder with it.
        """

# Load generator, simulated engine, relay: JSON options in, JSON out (crate `bench`).

def bench_run(options: bytes, progress: Callable[[bytes], bool]) -> bytes: ...
def bench_text(report: bytes) -> str: ...
def bench_html(report: bytes) -> str: ...

@final
class Running:
    """A simulated engine or a byte relay on a thread of its own; it ends with this object."""

    def addresses(self) -> list[str]: ...
    def stats(self) -> bytes: ...
    def stop(self) -> None: ...

def bench_engine(options: bytes) -> Running:
    """Start a simulated inference engine."""

def bench_relay(options: bytes) -> Running:
    """Start the byte relay that proxies are measured against."""
