"""The configuration as people write it. Everything else is made from this model.

The reader (`config.read`), the JSON Schema (`config.schema`) and the documentation all walk these
types, so a key exists in all of them or in none. Field metadata: `doc` is the sentence the schema
shows; `one` lets a list be written as its single item; `aka` is a second accepted spelling.

A struct with `shorthand` may be written as one string, which becomes that field.
"""

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from fastproxy.config.files import FilePath
from fastproxy.config.secret import Concealed, Secret
from fastproxy.config.units import AutoSize, Duration, Ratio, Size

__all__ = [
    "AccessLog",
    "Admin",
    "Certificate",
    "Channel",
    "Config",
    "Cors",
    "Credentials",
    "Drain",
    "Eject",
    "Endpoint",
    "Headers",
    "Limits",
    "Listener",
    "Match",
    "Model",
    "Pool",
    "RequestHeaders",
    "Resolve",
    "ResponseHeaders",
    "Retry",
    "Route",
    "ServerTls",
    "Timeouts",
    "Upgrade",
    "UpstreamTls",
]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the structs below."""

    shorthand: ClassVar[str | None] = None


def doc(
    text: str,
    *,
    ge: int | None = None,
    le: int | None = None,
    one: bool = False,
    aka: str | None = None,
    **instead: str,
) -> Any:  # noqa: ANN401 - what `Annotated` takes
    """Metadata of a field; `off=` and `blank=` say what to write where these would mislead."""
    extra = {"one": one, "aka": aka, **instead}
    return msgspec.Meta(ge=ge, le=le, description=text, extra=extra)


class Cors(Model, frozen=True):
    """Cross-origin rules of a listener; without them, CORS headers pass untouched."""

    origins: Annotated[tuple[str, ...], doc("Allowed origins, exact, or `*`.", one=True)]
    methods: Annotated[tuple[str, ...], doc("Allowed methods.", one=True)] = ("GET", "POST")
    headers: Annotated[tuple[str, ...], doc("Allowed request headers, or `*`.", one=True)] = (
        "authorization",
        "content-type",
    )
    expose: Annotated[
        tuple[str, ...], doc("Response headers that scripts may read.", one=True)
    ] = ()
    max_age: Annotated[Duration, doc("How long a browser may keep a preflight's answer.")] = (
        Duration(600_000)
    )
    credentials: Annotated[bool, doc("Allow cookies and HTTP authentication.")] = False


class Certificate(Model, frozen=True):
    """A certificate and its private key, in PEM files."""

    cert: Annotated[FilePath, doc("The certificate, then its intermediates.")]
    key: Annotated[FilePath, doc("The key, not encrypted.")]


class ServerTls(Model, frozen=True):
    """TLS towards clients."""

    certificates: Annotated[
        tuple[Certificate, ...],
        doc("Chosen by the name that a client asks for; the first where none has it.", one=True),
    ]
    client_ca: Annotated[
        FilePath | None, doc("PEM bundle that client certificates must come from.")
    ] = None
    client_auth: Annotated[
        Literal["required", "optional"] | None,
        doc("With client_ca: whether a client must have a certificate; left out, it must."),
    ] = None
    min_version: Annotated[Literal["tls1.2", "tls1.3"], doc("The lowest version.")] = "tls1.2"


class UpstreamTls(Model, frozen=True):
    """TLS towards endpoints with an https:// URL."""

    ca: Annotated[FilePath | None, doc("PEM bundle of trusted issuers; else the system's.")] = None
    cert: Annotated[FilePath | None, doc("Our certificate, for endpoints that want one.")] = None
    key: Annotated[FilePath | None, doc("Its key.")] = None
    server_name: Annotated[
        str | None, doc("The name that the certificate must have; else the URL's host.")
    ] = None
    verify: Annotated[
        Literal["full", "off"],
        doc("off takes any certificate of anybody: for tests only, and warned of."),
    ] = "full"
    min_version: Annotated[Literal["tls1.2", "tls1.3"], doc("The lowest version.")] = "tls1.2"


class Listener(Model, frozen=True):
    """An address on which clients are served."""

    shorthand = "address"

    address: Annotated[str, doc("HOST:PORT (port 0: the system chooses) or unix:/path.sock.")]
    trusted_peers: Annotated[
        tuple[str, ...],
        doc("CIDR blocks, or `unix`, whose forwarding headers are believed.", one=True),
    ] = ()
    proxy_protocol: Annotated[
        bool, doc("Every connection begins with a PROXY protocol v1 or v2 header.")
    ] = False
    http2: Annotated[bool, doc("HTTP/2 is served on the same port as HTTP/1.1.")] = True
    gather_max_us: Annotated[
        int,
        doc(
            "Microseconds that tokens on a connection of HTTP/2 may wait for others of the same"
            " step of an engine, while such steps are seen; 0: never.",
            ge=0,
            le=100,
        ),
    ] = 50
    half_close: Annotated[
        Literal["gone", "allow"],
        doc("What a client's FIN after a complete request means: it left, or it still listens."),
    ] = "gone"
    tls: Annotated[
        ServerTls | None,
        doc("TLS; cleartext when left out.", blank="write certificates, or off for cleartext"),
    ] = None
    cors: Annotated[Cors | None, doc("Cross-origin rules.")] = None
    connections_max: Annotated[int, doc("Connections at a time.", ge=1, le=10_000_000)] = 65_536
    connections_per_source_max: Annotated[
        int, doc("Connections at a time from one source address; 0: no cap.", ge=0, le=10_000_000)
    ] = 0
    idle: Annotated[Duration, doc("How long a kept connection may be idle.")] = Duration(75_000)
    head_timeout: Annotated[Duration, doc("For a header block to be complete.")] = Duration(10_000)
    requests_max: Annotated[
        int, doc("Requests on one connection before it is closed; 0: no cap.", ge=0, le=2**32 - 1)
    ] = 0


class Admin(Model, frozen=True):
    """Where operators look: /metrics /healthz /readyz /endpoints /config and more."""

    shorthand = "listen"

    listen: Annotated[str, doc("HOST:PORT or unix:/path.sock.")]
    token: Annotated[
        Secret | None,
        doc("Bearer token for everything but /metrics, /healthz and /readyz; else one is made."),
    ] = None


class Endpoint(Model, frozen=True):
    """One engine."""

    shorthand = "url"

    url: Annotated[str, doc("http(s)://HOST[:PORT][/prefix], h2c://... or unix:/path.sock.")]
    http2: Annotated[
        Literal["auto", "always", "never"] | None,
        doc("Whether HTTP/2 is spoken to it; else the pool's. h2c:// means always."),
    ] = None
    weight: Annotated[int, doc("Relative share.", ge=1, le=1_000_000)] = 1
    concurrency: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None,
        doc("Requests at a time; else the pool's.", off="leave it out for the pool's"),
    ] = None
    tls: Annotated[
        UpstreamTls | None,
        doc(
            "TLS settings; else the pool's.",
            off="leave it out for the pool's, or write http:// for cleartext",
        ),
    ] = None


class Channel(Model, frozen=True):
    """The bounded channel in front of a pool: full or hopeless means 429 at once."""

    capacity: Annotated[
        int, doc("Waiting requests at most; 0: never wait.", ge=0, le=1_000_000)
    ] = 128
    max_wait: Annotated[Duration, doc("Longest wait; a longer expected wait is refused.")] = (
        Duration(2_000)
    )
    bytes_max: Annotated[Size, doc("Body bytes of waiting requests at most.")] = Size(64 * 1024**2)


class Timeouts(Model, frozen=True):
    """Timeouts in the units of the work; `off` disables one."""

    connect: Annotated[Duration, doc("For a connection to an endpoint.")] = Duration(2_000)
    head: Annotated[Duration, doc("From the request sent to the response's head.")] = Duration(0)
    first_token: Annotated[Duration, doc("From dispatch to a stream's first event.")] = Duration(
        120_000
    )
    inter_token: Annotated[Duration, doc("Between bytes of a stream.")] = Duration(60_000)
    total: Annotated[Duration, doc("A whole exchange that is no stream.")] = Duration(600_000)
    stream_total: Annotated[Duration, doc("A whole stream.")] = Duration(0)
    client_stall: Annotated[Duration, doc("A client that takes no byte of what waits for it.")] = (
        Duration(30_000)
    )


class Retry(Model, frozen=True):
    """Attempts at other endpoints, until the first byte was sent to the client."""

    attempts: Annotated[int, doc("In all, the first included; 1: no retries.", ge=1, le=16)] = 3
    budget: Annotated[Ratio, doc("Share of requests that may be tried again.")] = Ratio(0.2)
    min_per_second: Annotated[
        int, doc("Retries a second that are always allowed.", ge=0, le=1_000_000)
    ] = 10
    statuses: Annotated[tuple[int, ...], doc("Statuses that are tried elsewhere.", one=True)] = (
        502,
        503,
    )


class Eject(Model, frozen=True):
    """Endpoints that fail are left alone for a while."""

    consecutive: Annotated[int, doc("Failures in a row; 0: never.", ge=0, le=1_000_000)] = 5
    base: Annotated[Duration, doc("First ejection; it doubles each time.")] = Duration(10_000)
    max: Annotated[Duration, doc("Longest ejection.")] = Duration(300_000)
    max_percent: Annotated[int, doc("Share of the endpoints ejected at most.", ge=0, le=100)] = 50


class RequestHeaders(Model, frozen=True):
    """Headers set and removed towards the endpoint."""

    set: Annotated[
        dict[str, Concealed], doc("Names and their values; replaces what was there.")
    ] = {}
    remove: Annotated[tuple[str, ...], doc("Names.", one=True)] = ()


class ResponseHeaders(Model, frozen=True):
    """Headers set and removed towards the client."""

    set: Annotated[dict[str, str], doc("Names and their values; replaces what was there.")] = {}
    remove: Annotated[tuple[str, ...], doc("Names.", one=True)] = ()


class Headers(Model, frozen=True):
    """Changes to headers on the way through."""

    request: Annotated[RequestHeaders, doc("Towards the endpoint.")] = RequestHeaders()
    response: Annotated[ResponseHeaders, doc("Towards the client.")] = ResponseHeaders()


class Credentials(Model, frozen=True):
    """What the endpoints want to see; the client's own credentials are replaced."""

    bearer: Annotated[Secret | None, doc("Sent as `Authorization: Bearer ...`.")] = None
    header: Annotated[str | None, doc("Another header to use, as `x-api-key`.")] = None
    value: Annotated[Secret | None, doc("The value of that header.")] = None


class Pool(Model, frozen=True):
    """Endpoints that serve the same models."""

    endpoints: Annotated[tuple[Endpoint, ...], doc("The engines.", one=True)]
    balance: Annotated[
        Literal["least_loaded", "weighted", "peak_ewma", "round_robin"],
        doc("How one is chosen; round_robin is weighted with equal weights."),
    ] = "least_loaded"
    channel: Annotated[Channel, doc("The bounded channel.")] = Channel()
    timeouts: Annotated[Timeouts, doc("Timeouts.")] = Timeouts()
    retry: Annotated[Retry, doc("Attempts elsewhere.")] = Retry()
    eject: Annotated[Eject, doc("Passive ejection.")] = Eject()
    headers: Annotated[Headers, doc("Headers set and removed.")] = Headers()
    credentials: Annotated[Credentials | None, doc("Credentials for the endpoints.")] = None
    tls: Annotated[
        UpstreamTls | None,
        doc(
            "TLS settings of https endpoints.",
            off="leave it out for the usual ones, or write http:// for cleartext",
        ),
    ] = None
    host: Annotated[
        str, doc("What the endpoints see as Host: `endpoint`, `client`, or this name.")
    ] = "endpoint"
    strip_prefix: Annotated[str, doc("Path prefix removed before forwarding, as /llama.")] = ""
    http2: Annotated[
        Literal["auto", "always", "never"],
        doc("Whether HTTP/2 is spoken: auto is what TLS agrees on, and in cleartext gRPC only."),
    ] = "auto"
    concurrency: Annotated[
        int, doc("Requests at a time on each endpoint that says nothing else.", ge=1, le=1_000_000)
    ] = 256
    connections_max: Annotated[
        int,
        doc(
            "Connections to each endpoint, of all workers; over HTTP/1.1 also requests at a time.",
            ge=1,
            le=1_000_000,
        ),
    ] = 1024
    idle: Annotated[Duration, doc("How long an idle connection is kept (vLLM closes at 5s).")] = (
        Duration(3_000)
    )
    heartbeat: Annotated[
        Duration, doc("Silence after which a comment is sent on an event stream.")
    ] = Duration(0)
    commit: Annotated[
        Literal["first_event", "head"],
        doc("When a stream's head goes to the client: with its first event, or at once."),
    ] = "first_event"
    modality: Annotated[str, doc("Label of metrics: chat, embeddings, ...")] = "chat"
    models: Annotated[
        tuple[str, ...], doc("Model names, for lists when the engines cannot be asked.", one=True)
    ] = ()


class Match(Model, frozen=True):
    """Conditions; all that are given must hold."""

    path: Annotated[str | None, doc("Exact path, or a prefix when it ends in `*`.")] = None
    method: Annotated[tuple[str, ...], doc("Methods.", one=True, aka="methods")] = ()
    headers: Annotated[dict[str, str], doc("Names and values; `*` asks for presence.")] = {}
    model: Annotated[
        tuple[str, ...], doc("Globs of the body's `model`.", one=True, aka="models")
    ] = ()


class Route(Model, frozen=True):
    """Which requests go to which pool; the first that matches wins."""

    pool: Annotated[str, doc("Name of the pool.")]
    name: Annotated[str | None, doc("Label of metrics; else made from the pool's name.")] = None
    match: Annotated[Match, doc("Conditions.")] = Match()
    priority: Annotated[Literal["high", "normal", "low"], doc("Class in the channel.")] = "normal"
    priority_header: Annotated[str | None, doc("Header by which a client may lower its class.")] = (
        None
    )
    dialect: Annotated[
        Literal["auto", "openai", "anthropic", "problem"],
        doc("Form of error bodies; auto: by path."),
    ] = "auto"
    body_max: Annotated[Size, doc("Largest request body.")] = Size(32 * 1024**2)
    expose: Annotated[bool, doc("Tell clients the endpoint and Server-Timing.")] = False
    websocket: Annotated[bool, doc("Allow WebSocket upgrades.")] = True


class AccessLog(Model, frozen=True):
    """One JSON record for each exchange."""

    shorthand = "path"

    path: Annotated[str, doc("A file (reopened on SIGUSR1), or `-` for standard output.")] = "-"
    headers: Annotated[tuple[str, ...], doc("Headers whose values are logged.", one=True)] = ()


class Drain(Model, frozen=True):
    """How the proxy ends."""

    delay: Annotated[
        Duration, doc("From not ready to not accepting, for load balancers to notice.")
    ] = Duration(0)
    deadline: Annotated[Duration, doc("For what still runs; then streams are cut.")] = Duration(
        30_000
    )
    idle: Annotated[
        Duration, doc("Silence after which a kept connection closes; until then it is served.")
    ] = Duration(1_000)


class Upgrade(Model, frozen=True):
    """How a new process takes over from this one without a gap."""

    shorthand = "socket"

    socket: Annotated[str, doc("Unix socket where a successor asks: /path.sock, or auto.")] = "auto"
    deadline: Annotated[
        Duration, doc("For what still runs after the hand-over; then streams are cut.")
    ] = Duration(3_600_000)


class Resolve(Model, frozen=True):
    """How often the names of endpoints are looked up; the last good answer is kept."""

    shorthand = "interval"

    interval: Annotated[
        Duration, doc("From one lookup of a name to the next, more or less; off: once.")
    ] = Duration(30_000)
    retry: Annotated[Duration, doc("After a lookup that failed.")] = Duration(5_000)


class Limits(Model, frozen=True):
    """Bounds of the whole process."""

    held_bytes: Annotated[
        AutoSize, doc("Request bodies held in all; auto: 1/8 of the memory limit.")
    ] = AutoSize()
    held_body: Annotated[Size, doc("One held body; a larger one streams, without retries.")] = Size(
        32 * 1024**2
    )


class Config(Model, frozen=True, kw_only=True):
    """The whole configuration.

    Examples:
        >>> pool = Pool(endpoints=(Endpoint("http://10.0.0.11:8000"),))
        >>> config = Config(pools={"llama": pool})
        >>> config.pools["llama"].channel.capacity
        128
    """

    listen: Annotated[tuple[Listener, ...], doc("Where clients are served.", one=True)] = (
        Listener(address="127.0.0.1:8080"),
    )
    admin: Annotated[Admin | None, doc("The admin listener; off when left out.")] = None
    workers: Annotated[
        Literal["auto"] | Annotated[int, msgspec.Meta(ge=0, le=1024)],
        doc("Threads; auto: usable CPUs; 0: driven by the event loop."),
    ] = "auto"
    pools: Annotated[dict[str, Pool], doc("Endpoints by what they serve.")]
    routes: Annotated[tuple[Route, ...], doc("Which request goes where, first match wins.")] = ()
    default_pool: Annotated[
        str | None, doc("For requests that no route takes; a single pool without routes is it.")
    ] = None
    access_log: Annotated[AccessLog | None, doc("The access log; off when left out.")] = None
    drain: Annotated[Drain, doc("How the proxy ends.")] = Drain()
    upgrade: Annotated[Upgrade | None, doc("How a new process takes over; or off.")] = Upgrade()
    resolve: Annotated[Resolve, doc("How the names of endpoints are looked up.")] = Resolve()
    limits: Annotated[Limits, doc("Bounds of the whole process.")] = Limits()
    via: Annotated[str, doc("Name in the Via header.")] = "fastproxy"
