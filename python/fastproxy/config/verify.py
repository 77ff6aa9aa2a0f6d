"""What types cannot say: references, names, addresses, and routes that never match.

Each check adds findings and goes on. A mistake makes the configuration unusable; a warning says
that a part of it does nothing.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from fastproxy.config.address import parse_listen, parse_url
from fastproxy.config.document import Key
from fastproxy.config.model import (
    Config,
    Cors,
    Listener,
    Match,
    Pool,
    RequestHeaders,
    ResponseHeaders,
    Route,
    ServerTls,
    UpstreamTls,
)

__all__ = ["Finding", "Findings", "is_token", "verify"]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
_PART = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_PART}(\.{_PART})*|[0-9a-fA-F:]+(:[0-9.]+)?")
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,99}")
# Set by the proxy itself, or what frames a message: RFC 9110 §7.6.1, RFC 9112 §6.
_OWNED = frozenset(
    (
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    )
)

# Between two lookups of one name: more often than this only loads the resolver.
_PAUSE_MIN_MS = 100

# sun_path has 108 on Linux, 104 elsewhere, with a zero at the end.
_SOCKET_PATH_BYTES_MAX = 103

Path = tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found, by path. `shown` is the value, when it helps."""

    path: Path
    reason: str
    shown: str | None = None


@dataclass(slots=True)
class Findings:
    """What is wrong, and what is merely useless."""

    mistakes: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def wrong(self, path: Path, reason: str, shown: object = None) -> None:
        """Add a mistake."""
        self.mistakes.append(Finding(path, reason, _quoted(shown)))

    def useless(self, path: Path, reason: str, shown: object = None) -> None:
        """Add a warning."""
        self.warnings.append(Finding(path, reason, _quoted(shown)))


def verify(config: Config) -> Findings:
    """Check all of `config`."""
    found = Findings()
    _listeners(config, found)
    if not is_token(config.via):
        found.wrong(("via",), "must be a token of letters, digits and !#$%&'*+-.^_`|~", config.via)
    if not config.pools:
        found.wrong(("pools",), "at least one pool is needed")
    for name, pool in config.pools.items():
        _pool(name, pool, found)
    _routes(config, found)
    if config.default_pool is not None and config.default_pool not in config.pools:
        found.wrong(("default_pool",), _no_pool(config), config.default_pool)
    if config.access_log is not None:
        if not config.access_log.path:
            found.wrong(("access_log", "path"), "is empty; write a path, - or off")
        _names(("access_log", "headers"), config.access_log.headers, found)
    if config.upgrade is not None:
        _upgrade_socket(config.upgrade.socket, found)
    for key in ("interval", "retry"):
        pause = getattr(config.resolve, key)
        if 0 < pause < _PAUSE_MIN_MS or (key == "retry" and not pause):
            found.wrong(("resolve", key), f"must be at least {_PAUSE_MIN_MS}ms", str(pause))
    held = config.limits.held_bytes
    if held and held < config.limits.held_body:
        found.wrong(("limits", "held_bytes"), "is less than limits.held_body", str(held))
    return found


def _upgrade_socket(path: str, found: Findings) -> None:
    if path == "auto":
        return
    where = ("upgrade", "socket")
    if not path.startswith("/"):
        found.wrong(where, "must be an absolute path, or auto", path)
    elif len(path.encode()) > _SOCKET_PATH_BYTES_MAX:
        found.wrong(where, f"has more than {_SOCKET_PATH_BYTES_MAX} bytes", path)


def is_token(text: str) -> bool:
    """RFC 9110 §5.6.2."""
    return _TOKEN.fullmatch(text) is not None


def _quoted(value: object) -> str | None:
    if value is None:
        return None
    return f'"{value}"' if isinstance(value, str) else str(value)


def _no_pool(config: Config) -> str:
    return f"no such pool; there are: {', '.join(config.pools) or 'none'}"


def _listeners(config: Config, found: Findings) -> None:
    if not config.listen:
        found.wrong(("listen",), "at least one address is needed")
    seen: set[str] = set()
    places: list[tuple[Path, str]] = [
        (("listen", n, "address"), each.address) for n, each in enumerate(config.listen)
    ]
    if config.admin is not None:
        places.append((("admin", "listen"), config.admin.listen))
    for path, address in places:
        try:
            place = parse_listen(address)
        except ValueError as error:
            found.wrong(path, str(error), address)
            continue
        if address in seen and place.port != 0:
            found.wrong(path, "the address is used twice", address)
        seen.add(address)
    for n, listener in enumerate(config.listen):
        _listener(("listen", n), listener, found)


def _listener(path: Path, listener: Listener, found: Findings) -> None:
    for n, peer in enumerate(listener.trusted_peers):
        if peer == "unix":
            continue
        try:
            ipaddress.ip_network(peer, strict=False)
        except ValueError:
            reason = "not a CIDR block; write it like 10.0.0.0/8, ::1 or unix"
            found.wrong((*path, "trusted_peers", n), reason, peer)
    if listener.tls is not None:
        _server_tls((*path, "tls"), listener.tls, found)
    if listener.cors is not None:
        _cors((*path, "cors"), listener.cors, found)


def _server_tls(path: Path, tls: ServerTls, found: Findings) -> None:
    if not tls.certificates:
        found.wrong((*path, "certificates"), "at least one certificate is needed")
    if tls.client_auth is not None and tls.client_ca is None:
        # Else a listener would serve anybody where a certificate was thought to be required.
        reason = "asks for nobody's certificate without client_ca; name the issuers' bundle"
        found.wrong((*path, "client_auth"), reason, tls.client_auth)


def _cors(path: Path, cors: Cors, found: Findings) -> None:
    if not cors.origins:
        found.wrong((*path, "origins"), "at least one origin is needed")
    for n, origin in enumerate(cors.origins):
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#\s]+", origin):
            reason = "not an origin; write it like https://app.example, without a path"
            found.wrong((*path, "origins", n), reason, origin)
    if cors.credentials and "*" in cors.origins:
        found.wrong((*path, "credentials"), "browsers refuse credentials with the origin *")
    _names((*path, "methods"), cors.methods, found)
    _names((*path, "headers"), [name for name in cors.headers if name != "*"], found)
    _names((*path, "expose"), [name for name in cors.expose if name != "*"], found)


def _pool(name: str, pool: Pool, found: Findings) -> None:
    path: Path = ("pools", name)
    if not _LABEL.fullmatch(name):
        found.wrong(path, "a pool's name has letters, digits and _.:/-, at most 100")
    if not _LABEL.fullmatch(pool.modality):
        found.wrong((*path, "modality"), "must be a short word", pool.modality)
    _endpoints(path, pool, found)
    if pool.tls is not None:
        secure = any(each.url.lower().startswith("https:") for each in pool.endpoints)
        _upstream_tls((*path, "tls"), pool.tls, secure=secure, found=found)
    if not pool.host.isprintable() or not pool.host or re.search(r"[\s/?#@]", pool.host):
        reason = "must be endpoint, client or a host name"
        found.wrong((*path, "host"), reason, pool.host)
    prefix = pool.strip_prefix
    if prefix and (not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix):
        reason = "must start with / and not end with it, as /llama"
        found.wrong((*path, "strip_prefix"), reason, prefix)
    for n, status in enumerate(pool.retry.statuses):
        if not 500 <= status <= 599 and status not in (408, 425, 429):
            reason = "only 5xx, 408, 425 and 429 can be tried elsewhere"
            found.wrong((*path, "retry", "statuses", n), reason, status)
    if pool.eject.max < pool.eject.base:
        found.wrong((*path, "eject", "max"), "is less than eject.base", str(pool.eject.max))
    if pool.timeouts.connect == 0:
        found.wrong((*path, "timeouts", "connect"), "cannot be off; write a duration")
    _change((*path, "headers", "request"), pool.headers.request, found)
    _change((*path, "headers", "response"), pool.headers.response, found)
    _credentials(path, pool, found)


def _endpoints(path: Path, pool: Pool, found: Findings) -> None:
    if not pool.endpoints:
        found.wrong((*path, "endpoints"), "at least one endpoint is needed")
    seen: dict[str, int] = {}
    for n, endpoint in enumerate(pool.endpoints):
        where = (*path, "endpoints", n, "url")
        try:
            place = parse_url(endpoint.url)
            secure = place.secure
            if place.http2 and endpoint.http2 not in (None, "always"):
                reason = "h2c:// means always; write http:// or leave it out"
                found.wrong((*path, "endpoints", n, "http2"), reason, endpoint.http2)
        except ValueError as error:
            found.wrong(where, str(error), endpoint.url)
            secure = endpoint.tls is not None
        if endpoint.tls is not None:
            _upstream_tls((*path, "endpoints", n, "tls"), endpoint.tls, secure=secure, found=found)
        if endpoint.url in seen:
            reason = (
                f"the same endpoint as endpoints[{seen[endpoint.url]}]; give it a weight instead"
            )
            found.wrong(where, reason, endpoint.url)
        seen.setdefault(endpoint.url, n)


def _upstream_tls(path: Path, tls: UpstreamTls, *, secure: bool, found: Findings) -> None:
    if not secure:
        found.wrong(path, "is for https endpoints; write https:// or leave it out")
    if (tls.cert is None) != (tls.key is None):
        found.wrong(path, "cert and key belong together")
    if tls.server_name is not None and not _NAME.fullmatch(tls.server_name):
        reason = "must be a host name or an IP address, without a port"
        found.wrong((*path, "server_name"), reason, tls.server_name)
    if tls.verify == "off":
        reason = "off: any certificate is taken, and anybody on the way can read and change all"
        found.useless((*path, "verify"), reason)
        if tls.ca is not None:
            found.wrong((*path, "ca"), "says nothing while verify is off; leave one of them out")


def _credentials(path: Path, pool: Pool, found: Findings) -> None:
    given = pool.credentials
    if given is None:
        return
    path = (*path, "credentials")
    if given.bearer is None and given.header is None:
        found.wrong(path, "needs bearer, or header and value")
    elif (given.header is None) != (given.value is None):
        found.wrong(path, "header and value belong together")
    elif given.bearer is not None and given.header is not None:
        found.wrong(path, "bearer or header, not both")
    if given.header is not None:
        _names((*path, "header"), [given.header], found)


def _change(path: Path, change: RequestHeaders | ResponseHeaders, found: Findings) -> None:
    _names((*path, "set"), change.set, found, owned=True)
    _names((*path, "remove"), change.remove, found, owned=True)
    for name, value in change.set.items():
        if not _FIELD_VALUE.fullmatch(value) or value != value.strip(" \t"):
            reason = "has line ends, control characters or spaces around it"
            found.wrong((*path, "set", name), reason)


def _names(path: Path, names: Iterable[str], found: Findings, *, owned: bool = False) -> None:
    keyed = isinstance(names, dict)
    for n, name in enumerate(names):
        where = (*path, name if keyed else n)
        if not is_token(name):
            found.wrong(where, "not a header name", name)
        elif owned and name.lower() in _OWNED:
            found.wrong(where, f"{name.lower()} is managed by the proxy", name)


def _routes(config: Config, found: Findings) -> None:
    earlier: list[tuple[int, Match]] = []
    named: dict[str, int] = {}
    for n, route in enumerate(config.routes):
        path: Path = ("routes", n)
        if route.pool not in config.pools:
            found.wrong((*path, "pool"), _no_pool(config), route.pool)
        _route(path, route, found)
        if route.name is not None and route.name in named:
            reason = f"the same name as routes[{named[route.name]}]"
            found.wrong((*path, "name"), reason, route.name)
        elif route.name is not None:
            named[route.name] = n
        for position, before in earlier:
            if _includes(before, route.match):
                found.useless(path, f"never reached: routes[{position}] takes all it matches")
                break
        earlier.append((n, route.match))
    _reached(config, found)


def _reached(config: Config, found: Findings) -> None:
    """Pools that nothing leads to."""
    used = {route.pool for route in config.routes} | {config.default_pool}
    if config.routes or len(config.pools) > 1:
        for name in config.pools:
            if name not in used:
                found.useless(("pools", name), "no route and no default_pool leads here")
        if not config.routes and config.default_pool is None:
            reason = "several pools need routes, or a default_pool, to choose by"
            found.wrong(("pools",), reason)


def _route(path: Path, route: Route, found: Findings) -> None:
    match = route.match
    if route.name is not None and not _LABEL.fullmatch(route.name):
        found.wrong(
            (*path, "name"), "must be a short word of letters, digits and _.:/-", route.name
        )
    if match.path is not None and not match.path.startswith(("/", "*")):
        found.wrong((*path, "match", "path"), "must start with /", match.path)
    elif match.path is not None and "*" in match.path[:-1]:
        found.wrong((*path, "match", "path"), "a * may only be at the end", match.path)
    for n, method in enumerate(match.method):
        if not re.fullmatch(r"[A-Z-]+", method):
            found.wrong((*path, "match", "method", n), "must be upper case, as POST", method)
    _names((*path, "match", "headers"), match.headers, found)
    for n, model in enumerate(match.model):
        if not model:
            found.wrong((*path, "match", "model", n), "is empty; write * for any model")
    if route.priority_header is not None:
        _names((*path, "priority_header"), [route.priority_header], found)


def _includes(first: Match, second: Match) -> bool:
    """Whether everything that `second` matches is matched by `first`, as far as is certain."""
    if first.path is not None and not _path_includes(first.path, second.path):
        return False
    if first.method and not (second.method and set(second.method) <= set(first.method)):
        return False
    for name, value in first.headers.items():
        if name not in second.headers or value not in ("*", second.headers[name]):
            return False
    if not first.model:
        return True
    globs = [re.compile(re.escape(glob).replace(r"\*", ".*")) for glob in first.model]
    covered = (any(glob.fullmatch(model) for glob in globs) for model in second.model)
    return bool(second.model) and all(covered)


def _path_includes(first: str, second: str | None) -> bool:
    if second is None:
        return first in ("*", "/*")
    if first.endswith("*"):
        return second.removesuffix("*").startswith(first[:-1])
    return first == second
