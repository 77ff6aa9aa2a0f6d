"""A verified `Config` to the native plan: JSON, every field of `engine::snapshot::Plan`.

The only place where names are looked up and secrets are revealed.
"""

import ipaddress
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from fastproxy.config.address import (
    Place,
    Resolve,
    parse_listen,
    parse_url,
    system_resolve,
)
from fastproxy.config.document import Key
from fastproxy.config.model import Config, Headers, Listener, Pool, Route, UpstreamTls
from fastproxy.config.tls import upstream_tls
from fastproxy.config.verify import Finding

__all__ = ["Answers", "compile_plan", "held_bytes_max", "host_names"]

logger = logging.getLogger(__name__)

_CLASSES = {"high": 0, "normal": 1, "low": 2}
_HELD_BYTES_WITHOUT_LIMIT = 1024**3
_ADMIN_CONNECTIONS_MAX = 256
# Protocols offered by ALPN (RFC 7301), most wanted first, by whether HTTP/2 is wanted.
_ALPN = {"auto": ("h2", "http/1.1"), "always": ("h2",), "never": ("http/1.1",)}

Json = dict[str, object]
# What names mean, as far as it is known; best first.
Answers = Mapping[str, Sequence[str]]


def compile_plan(
    config: Config, look_up: Resolve = system_resolve, answers: Answers | None = None
) -> tuple[bytes, list[Finding]]:
    """The plan of `config`, with host names resolved.

    Args:
        config: what to compile.
        look_up: looks up the names of listeners, and of endpoints without `answers`.
        answers: what the names of endpoints mean; those that are not in it come later.

    Returns:
        The plan, and what keeps it from being used: names that have no address.
    """
    compiler = _Compiler(look_up, answers)
    plan = compiler.plan(config)
    return orjson.dumps(plan), compiler.findings


def host_names(config: Config) -> frozenset[str]:
    """Names of endpoints that have to be looked up."""
    endpoints = (endpoint for pool in config.pools.values() for endpoint in pool.endpoints)
    places = (parse_url(endpoint.url) for endpoint in endpoints)
    return frozenset(place.host.lower() for place in places if not place.literal)


def held_bytes_max(config: Config, root: Path = Path("/")) -> int:
    """Bytes of held bodies: as configured, or an eighth of the memory limit."""
    held = config.limits.held_bytes
    if held:
        return int(held)
    limits = [_HELD_BYTES_WITHOUT_LIMIT * 8]
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _text_of(root / name)
        if text.isdecimal():
            limits.append(int(text))
    total = _text_of(root / "proc/meminfo").partition("\n")[0].split()
    if len(total) > 1:
        limits.append(int(total[1]) * 1024)
    return max(min(limits) // 8, int(config.limits.held_body))


def _text_of(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


class _Compiler:
    """One compilation: what it looked up, and what had no address."""

    def __init__(self, look_up: Resolve, answers: Answers | None) -> None:
        self.look_up = look_up
        self.answers = answers
        self.findings: list[Finding] = []
        self.known: dict[str, list[str]] = {}

    def plan(self, config: Config) -> Json:
        positions = {name: n for n, name in enumerate(config.pools)}
        default = config.default_pool
        if default is None and len(config.pools) == 1 and not config.routes:
            default = next(iter(config.pools))
        log = config.access_log
        return {
            "via": config.via,
            "listeners": self.listeners(config),
            "pools": [self.pool(name, pool) for name, pool in config.pools.items()],
            "routes": self.routes(config, positions),
            "default_pool": None if default is None else positions[default],
            "held_bytes_max": held_bytes_max(config),
            "held_body_bytes_max": int(config.limits.held_body),
            "access_log": None if log is None else log.path,
            "log_fields": [] if log is None else [name.lower() for name in log.headers],
        }

    def addresses(self, place: Place, path: tuple[Key, ...], shown: str) -> list[str]:
        """What the host of a TCP place means; a finding when it means nothing."""
        if place.literal:
            return [place.host]
        host = place.host.lower()
        if host not in self.known:
            why = "no address"
            try:
                self.known[host] = self.look_up(host)
            except (OSError, UnicodeError) as error:
                self.known[host] = []
                why = getattr(error, "strerror", None) or why
            if not self.known[host]:
                reason = f"the host name cannot be resolved: {why}"
                self.findings.append(Finding(path, reason, f'"{shown}"'))
        return self.known[host]

    def listen_on(self, place: Place, path: tuple[Key, ...], shown: str) -> Json:
        """The address to bind: of a name, the first."""
        if place.unix:
            return {"unix": place.unix}
        found = self.addresses(place, path, shown)
        others = [one for one in found[1:] if not ipaddress.ip_address(one).is_loopback]
        if others:
            logger.warning("%s: listening on %s, not on %s", shown, found[0], ", ".join(others))
        return {"tcp": _socket(found[0], place.port) if found else None}

    def target(self, place: Place, path: tuple[Key, ...], shown: str) -> Json:
        """Where an endpoint is: of a name, all addresses."""
        if place.unix:
            return {"unix": place.unix}
        if place.literal:
            return {"tcp": _socket(place.host, place.port)}
        host = place.host.lower()
        if self.answers is not None:
            known = self.answers.get(host, ())
        else:
            known = self.addresses(place, path, shown)
        return {"name": {"host": host, "port": place.port, "addresses": [*known]}}

    def listeners(self, config: Config) -> list[Json]:
        listeners = []
        names: Counter[str] = Counter()
        for n, listener in enumerate(config.listen):
            names[listener.address] += 1
            count = names[listener.address]
            name = listener.address if count == 1 else f"{listener.address}#{count}"
            listeners.append(self.listener(listener, name, ("listen", n, "address")))
        if config.admin is not None:
            path = ("admin", "listen")
            plain = Listener(address=config.admin.listen, connections_max=_ADMIN_CONNECTIONS_MAX)
            listeners.append(
                self.listener(plain, f"admin {plain.address}", path) | {"kind": "admin"}
            )
        return listeners

    def listener(self, listener: Listener, name: str, path: tuple[Key, ...]) -> Json:
        cors = listener.cors
        return {
            "name": name,
            "address": self.listen_on(parse_listen(listener.address), path, listener.address),
            "kind": "data",
            "trusted_peers": [peer for peer in listener.trusted_peers if peer != "unix"],
            "trust_unix": "unix" in listener.trusted_peers,
            "proxy_protocol": listener.proxy_protocol,
            "http2": listener.http2,
            "gather_max_us": listener.gather_max_us,
            "half_close": listener.half_close == "allow",
            "cors": None
            if cors is None
            else {
                "origins": cors.origins,
                "methods": cors.methods,
                "headers": [header.lower() for header in cors.headers],
                "expose": cors.expose,
                "max_age_s": int(cors.max_age) // 1000,
                "credentials": cors.credentials,
            },
            "connections_max": listener.connections_max,
            "connections_per_source_max": listener.connections_per_source_max,
            "idle_ms": int(listener.idle),
            "head_ms": int(listener.head_timeout),
            "requests_max": listener.requests_max,
            "tls": _server_tls(listener),
        }

    def pool(self, name: str, pool: Pool) -> Json:
        equal = pool.balance == "round_robin"
        timeouts, retry, eject = pool.timeouts, pool.retry, pool.eject
        return {
            "name": name,
            "modality": pool.modality,
            "balance": "weighted" if equal else pool.balance,
            "endpoints": self.endpoints(name, pool, equal=equal),
            "channel": {
                "capacity": pool.channel.capacity,
                "bytes_max": int(pool.channel.bytes_max),
                "max_wait_ms": int(pool.channel.max_wait),
            },
            "timeouts": {
                "connect_ms": int(timeouts.connect),
                "head_ms": int(timeouts.head),
                "first_token_ms": int(timeouts.first_token),
                "inter_token_ms": int(timeouts.inter_token),
                "unary_total_ms": int(timeouts.total),
                "stream_total_ms": int(timeouts.stream_total),
                "client_stall_ms": int(timeouts.client_stall),
            },
            "retry": {
                "attempts_max": retry.attempts,
                "budget_ratio": float(retry.budget),
                "budget_min_per_s": retry.min_per_second,
                "statuses": retry.statuses,
            },
            "eject": {
                "consecutive": eject.consecutive,
                "base_ms": int(eject.base),
                "max_ms": int(eject.max),
                "max_percent": eject.max_percent,
            },
            "headers": _headers(pool.headers, pool),
            "host": pool.host if pool.host in ("endpoint", "client") else {"literal": pool.host},
            "strip_prefix": pool.strip_prefix,
            "connections_max": pool.connections_max,
            "idle_ms": int(pool.idle),
            "heartbeat_ms": int(pool.heartbeat),
            "commit": pool.commit,
            "models": pool.models,
        }

    def endpoints(self, name: str, pool: Pool, *, equal: bool) -> list[Json]:
        endpoints = []
        for n, endpoint in enumerate(pool.endpoints):
            place = parse_url(endpoint.url)
            path = ("pools", name, "endpoints", n, "url")
            http2 = endpoint.http2 or ("always" if place.http2 else pool.http2)
            tls = upstream_tls(pool, endpoint) if place.secure else None
            endpoints.append(
                {
                    "name": endpoint.url,
                    "address": self.target(place, path, endpoint.url),
                    "authority": place.authority,
                    "path_prefix": place.prefix,
                    "weight": 1 if equal else endpoint.weight,
                    "concurrency": endpoint.concurrency or pool.concurrency,
                    "http2": http2,
                    "tls": None if tls is None else _client_tls(tls, place, http2),
                }
            )
        return endpoints

    def routes(self, config: Config, positions: dict[str, int]) -> list[Json]:
        taken = {route.name for route in config.routes}
        counts: Counter[str] = Counter()
        routes = []
        for route in config.routes:
            name = route.name
            while name is None or (route.name is None and name in taken):
                counts[route.pool] += 1
                count = counts[route.pool]
                name = route.pool if count == 1 else f"{route.pool}-{count}"
            taken.add(name)
            routes.append(_route(route, name, positions[route.pool]))
        return routes


def _server_tls(listener: Listener) -> Json | None:
    tls = listener.tls
    if tls is None:
        return None
    return {
        "certificates": [{"cert": pair.cert, "key": pair.key} for pair in tls.certificates],
        "client_ca": tls.client_ca,
        "client_optional": tls.client_auth == "optional",
        "min_version": tls.min_version.removeprefix("tls"),
        "alpn": _ALPN["auto" if listener.http2 else "never"],
    }


def _client_tls(tls: UpstreamTls, place: Place, http2: str) -> Json:
    own = None if tls.cert is None else {"cert": tls.cert, "key": tls.key}
    return {
        "server_name": tls.server_name or place.host,
        "ca": tls.ca,
        "certificate": own,
        "verify": tls.verify == "full",
        "min_version": tls.min_version.removeprefix("tls"),
        "alpn": _ALPN[http2],
    }


def _socket(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _route(route: Route, name: str, pool: int) -> Json:
    return {
        "name": name,
        "match": {
            "path": route.match.path,
            "methods": route.match.method,
            "headers": [(key.lower(), value) for key, value in route.match.headers.items()],
            "models": route.match.model,
        },
        "pool": pool,
        "class": _CLASSES[route.priority],
        "class_header": None if route.priority_header is None else route.priority_header.lower(),
        "dialect": None if route.dialect == "auto" else route.dialect,
        "body_bytes_max": int(route.body_max),
        "expose": route.expose,
        "websocket": route.websocket,
    }


def _headers(headers: Headers, pool: Pool) -> Json:
    request = [(name.lower(), str(value)) for name, value in headers.request.set.items()]
    credentials = pool.credentials
    if credentials is not None and credentials.bearer is not None:
        request.append(("authorization", f"Bearer {credentials.bearer.reveal()}"))
    elif credentials is not None and credentials.header is not None and credentials.value:
        request.append((credentials.header.lower(), credentials.value.reveal()))
    return {
        "request_set": request,
        "request_remove": [name.lower() for name in headers.request.remove],
        "response_set": [(name.lower(), value) for name, value in headers.response.set.items()],
        "response_remove": [name.lower() for name in headers.response.remove],
    }
