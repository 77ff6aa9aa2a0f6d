"""From YAML to the native plan: every field, defaults included."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from fastproxy._native import Core, PlanError
from fastproxy.config.address import system_resolve
from fastproxy.config.compile import compile_plan, held_bytes_max, host_names
from fastproxy.config.load import load, load_text, of_upstreams
from fastproxy.config.model import Config, Endpoint, Limits, Pool
from fastproxy.config.units import AutoSize, Size

FULL = """\
listen:
  - {address: "127.0.0.1:8080", trusted_peers: [10.0.0.0/8, unix], proxy_protocol: true,
     half_close: allow, cors: {origins: "https://app.example", headers: [Authorization]},
     connections_max: 10, idle: 5s, head_timeout: 1s, requests_max: 7,
     connections_per_source_max: 3}
  - unix:/run/fastproxy.sock
admin: {listen: "[::1]:9090", token: "${TOKEN}"}
workers: 2
via: edge
access_log: {path: /var/log/x, headers: X-Team}
limits: {held_bytes: 64MiB, held_body: 1MiB}
pools:
  a:
    endpoints:
      - {url: "http://engine.example:8000/base/", weight: 3, concurrency: 4}
      - "http://[2001:db8::1]"
      - unix:/run/engine.sock
    balance: round_robin
    concurrency: 9
    host: llm.example
    strip_prefix: /a
    heartbeat: 15s
    commit: head
    credentials: {bearer: "${KEY:-fallback}"}
    headers:
      request: {set: {X-A: "1"}, remove: Cookie}
      response: {set: {X-B: "2"}, remove: [Server]}
    models: m1
  b: {endpoints: "http://10.0.0.2:1", balance: peak_ewma, modality: embeddings,
      credentials: {header: X-Api-Key, value: s3cret}}
routes:
  - {pool: b, match: {path: /v1/embeddings, method: POST, headers: {X-Env: "*"}}, priority: low,
     priority_header: X-Priority}
  - {pool: a, match: {models: ["m*"]}, dialect: anthropic, body_max: 1MiB, expose: true,
     websocket: false, name: main}
  - {pool: a}
  - {pool: a}
default_pool: b
"""


def look_up(name: str) -> list[str]:
    """One name."""
    return {"engine.example": ["192.0.2.7"]}[name]


def plan_of(text: str, **environment: str) -> dict[str, Any]:
    """The plan as data."""
    loaded = load_text(text, file=Path("f.yaml"), environment=environment)
    found: dict[str, Any] = orjson.loads(loaded.plan(look_up))
    return found


def test_everything() -> None:
    """Each key reaches its field."""
    plan = plan_of(FULL, TOKEN="t")
    assert {key: plan[key] for key in plan if key not in ("listeners", "pools", "routes")} == {
        "via": "edge",
        "default_pool": 1,
        "held_bytes_max": 64 * 1024**2,
        "held_body_bytes_max": 1024**2,
        "access_log": "/var/log/x",
        "log_fields": ["x-team"],
    }
    data, unix, admin = plan["listeners"]
    assert data == {
        "name": "127.0.0.1:8080",
        "address": {"tcp": "127.0.0.1:8080"},
        "kind": "data",
        "trusted_peers": ["10.0.0.0/8"],
        "trust_unix": True,
        "proxy_protocol": True,
        "http2": True,
        "gather_max_us": 50,
        "half_close": True,
        "cors": {
            "origins": ["https://app.example"],
            "methods": ["GET", "POST"],
            "headers": ["authorization"],
            "expose": [],
            "max_age_s": 600,
            "credentials": False,
        },
        "connections_max": 10,
        "connections_per_source_max": 3,
        "idle_ms": 5000,
        "head_ms": 1000,
        "requests_max": 7,
        "tls": None,
    }
    assert unix["address"] == {"unix": "/run/fastproxy.sock"}
    assert (admin["kind"], admin["address"]) == ("admin", {"tcp": "[::1]:9090"})


def test_every_key_of_a_pool() -> None:
    """Each key of a pool reaches its field."""
    a, b = plan_of(FULL, TOKEN="t")["pools"]
    assert a["endpoints"] == [
        {
            "name": "http://engine.example:8000/base/",
            "address": {
                "name": {"host": "engine.example", "port": 8000, "addresses": ["192.0.2.7"]}
            },
            "authority": "engine.example:8000",
            "path_prefix": "/base",
            "weight": 1,
            "concurrency": 4,
            "http2": "auto",
            "tls": None,
        },
        {
            "name": "http://[2001:db8::1]",
            "address": {"tcp": "[2001:db8::1]:80"},
            "authority": "[2001:db8::1]",
            "path_prefix": "",
            "weight": 1,
            "concurrency": 9,
            "http2": "auto",
            "tls": None,
        },
        {
            "name": "unix:/run/engine.sock",
            "address": {"unix": "/run/engine.sock"},
            "authority": "localhost",
            "path_prefix": "",
            "weight": 1,
            "concurrency": 9,
            "http2": "auto",
            "tls": None,
        },
    ]
    assert a["headers"] == {
        "request_set": [["x-a", "1"], ["authorization", "Bearer fallback"]],
        "request_remove": ["cookie"],
        "response_set": [["x-b", "2"]],
        "response_remove": ["server"],
    }
    shown = ("balance", "host", "strip_prefix", "heartbeat_ms", "commit", "models", "modality")
    assert [a[key] for key in shown] == [
        *("weighted", {"literal": "llm.example"}, "/a", 15_000, "head", ["m1"], "chat"),
    ]
    assert b["headers"]["request_set"] == [["x-api-key", "s3cret"]]
    assert (b["balance"], b["host"], b["modality"]) == ("peak_ewma", "endpoint", "embeddings")


def test_routes() -> None:
    """Names that were left out are made, and are unique."""
    routes = plan_of(FULL, TOKEN="t")["routes"]
    assert [route["name"] for route in routes] == ["b", "main", "a", "a-2"]
    assert routes[0] == {
        "name": "b",
        "match": {
            "path": "/v1/embeddings",
            "methods": ["POST"],
            "headers": [["x-env", "*"]],
            "models": [],
        },
        "pool": 1,
        "class": 2,
        "class_header": "x-priority",
        "dialect": None,
        "body_bytes_max": 32 * 1024**2,
        "expose": False,
        "websocket": True,
    }
    assert routes[1]["dialect"] == "anthropic"


def test_defaults() -> None:
    """What a pool that says nothing gets."""
    (pool,) = plan_of("pools: {a: {endpoints: 'http://10.0.0.1:80'}}\n")["pools"]
    assert {key: pool[key] for key in ("channel", "timeouts", "retry", "eject")} == {
        "channel": {"capacity": 128, "bytes_max": 64 * 1024**2, "max_wait_ms": 2000},
        "timeouts": {
            "connect_ms": 2000,
            "head_ms": 0,
            "first_token_ms": 120_000,
            "inter_token_ms": 60_000,
            "unary_total_ms": 600_000,
            "stream_total_ms": 0,
            "client_stall_ms": 30_000,
        },
        "retry": {
            "attempts_max": 3,
            "budget_ratio": 0.2,
            "budget_min_per_s": 10,
            "statuses": [502, 503],
        },
        "eject": {"consecutive": 5, "base_ms": 10_000, "max_ms": 300_000, "max_percent": 50},
    }
    assert (pool["connections_max"], pool["idle_ms"], pool["commit"]) == (1024, 3000, "first_event")


def test_one_pool_without_routes_is_the_default() -> None:
    """And with routes it is not."""
    one = "pools: {a: {endpoints: 'http://10.0.0.1:80'}}\n"
    assert plan_of(one)["default_pool"] == 0
    assert plan_of(one + "routes: [{pool: a, match: {model: x}}]\n")["default_pool"] is None


def test_two_listeners_on_port_0() -> None:
    """Each has a name of its own."""
    config = load(
        {"listen": ["[::1]:0", "[::1]:0"], "pools": {"a": {"endpoints": "http://10.0.0.1"}}}
    )
    listeners = orjson.loads(config.plan())["listeners"]
    assert [listener["name"] for listener in listeners] == ["[::1]:0", "[::1]:0#2"]


def test_the_native_side_takes_the_plan() -> None:
    """Field by field: it refuses what it does not know."""
    plan = load_text(FULL, file=Path("f.yaml"), environment={"TOKEN": "t"}).plan(look_up)
    options = orjson.dumps({"workers": 0, "seed": 1})
    core = Core(plan, options)
    said = orjson.loads(core.explain(orjson.dumps({"method": "POST", "path": "/", "model": "m7"})))
    assert (said["route"], said["pool"]["name"]) == ("main", "a")
    with pytest.raises(PlanError):
        Core(plan.replace(b'"via"', b'"vai"'), options)


def test_held_bytes(tmp_path: Path) -> None:
    """An eighth of the smallest limit there is, or what was said."""
    config = of_upstreams(["http://10.0.0.1"])
    assert held_bytes_max(config, tmp_path) == 1024**3
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:  4194304 kB\n")
    assert held_bytes_max(config, tmp_path) == 512 * 1024**2
    (tmp_path / "sys/fs/cgroup/memory.max").write_text(f"{2 * 1024**3}\n")
    assert held_bytes_max(config, tmp_path) == 256 * 1024**2
    said = Config(
        pools={"a": Pool((Endpoint("http://10.0.0.1"),))},
        limits=Limits(held_bytes=AutoSize(5), held_body=Size(1)),
    )
    assert held_bytes_max(said, tmp_path) == 5


def test_real_names() -> None:
    """The system's own resolver, IPv4 first."""
    assert system_resolve("localhost")[0] == "127.0.0.1"
    _, findings = compile_plan(of_upstreams(["http://localhost:1"], listen="localhost:0"))
    assert findings == []


def test_names_of_endpoints_keep_all_addresses() -> None:
    """Names and not addresses go to the native side, with what is known of them."""
    config = of_upstreams(["http://Many.example:1", "http://10.0.0.1:2"], listen="127.0.0.1:0")
    addresses = ["192.0.2.1", "2001:db8::1"]
    assert host_names(config) == {"many.example"}
    for plan, findings in (
        compile_plan(config, lambda _: addresses),
        compile_plan(config, _never, {"many.example": addresses}),
    ):
        assert findings == []
        named, literal = orjson.loads(plan)["pools"][0]["endpoints"]
        assert named["address"] == {
            "name": {"host": "many.example", "port": 1, "addresses": addresses}
        }
        assert named["authority"] == "Many.example:1"
        assert literal["address"] == {"tcp": "10.0.0.1:2"}


def test_a_name_may_have_no_address_yet() -> None:
    """Where it is looked up later, that is no mistake."""
    config = of_upstreams(["http://later.example:1"], listen="127.0.0.1:0")
    plan, findings = compile_plan(config, _never, {})
    assert findings == []
    address = orjson.loads(plan)["pools"][0]["endpoints"][0]["address"]
    assert address["name"]["addresses"] == []


def test_a_listener_takes_the_first_address(caplog: pytest.LogCaptureFixture) -> None:
    """And says which it does not take; loopback's second family is nothing to speak of."""
    config = of_upstreams(["http://10.0.0.1:1"], listen="here.example:0")
    plan, _ = compile_plan(config, lambda _: ["192.0.2.1", "192.0.2.2"])
    assert orjson.loads(plan)["listeners"][0]["address"] == {"tcp": "192.0.2.1:0"}
    (record,) = caplog.records
    assert record.getMessage() == "here.example:0: listening on 192.0.2.1, not on 192.0.2.2"
    caplog.clear()
    compile_plan(config, lambda _: ["127.0.0.1", "::1"])
    assert not caplog.records


def _never(name: str) -> list[str]:
    pytest.fail(f"{name} was looked up")
