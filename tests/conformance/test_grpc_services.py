"""gRPC services by name: KServe's open inference protocol routed, and our own health told.

Messages are bytes: what is in them is between the two ends.
"""

import contextlib
import http.server
import signal
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from harness.background import in_background
from harness.pki import Authority
from harness.proxy import RunningProxy, running_proxy

pytestmark = pytest.mark.timeout(60)
WAIT_S = 10
KSERVE = "inference.GRPCInferenceService"
SERVING, NOT_SERVING, UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


class Engine:
    """A server of the protocol that says which one it is."""

    def __init__(self, name: str, keys: Any = None) -> None:
        """Listen; with `keys` over TLS."""
        self.name = name
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        methods = {
            "ServerLive": grpc.unary_unary_rpc_method_handler(self._say),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._say),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._each),
        }
        handler = grpc.method_handlers_generic_handler(KSERVE, methods)
        self.server.add_generic_rpc_handlers((handler,))
        here = "127.0.0.1:0"
        if keys is None:
            self.port = self.server.add_insecure_port(here)
        else:
            self.port = self.server.add_secure_port(here, keys)
        self.server.start()

    def _say(self, message: bytes, context: Any) -> bytes:
        models = [value for name, value in context.invocation_metadata() if name == "x-model"]
        return b"%s %s %s" % (self.name.encode(), ",".join(models).encode(), message)

    def _each(self, messages: Iterator[bytes], _context: Any) -> Iterator[bytes]:
        for one in messages:
            yield b"%s %s" % (self.name.encode(), one)


@contextlib.contextmanager
def engines(*names: str) -> Iterator[dict[str, Engine]]:
    """One server a name."""
    servers = {name: Engine(name) for name in names}
    yield servers
    for one in servers.values():
        one.server.stop(0).wait(WAIT_S)


@contextlib.contextmanager
def channel(address: str) -> Iterator[Any]:
    """A connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options) as made:
        yield made


def staged(config: dict[str, Any]) -> Callable[[], Any]:
    """The proxy, for a background loop."""

    @contextlib.asynccontextmanager
    async def stage() -> AsyncIterator[RunningProxy]:
        async with running_proxy(config) as proxy:
            yield proxy

    return stage


def test_calls_go_by_service_method_and_model_header() -> None:
    """As a gateway in front of Triton would be configured."""
    service = f"/{KSERVE}/*"
    with engines("llama", "others", "streams") as servers:
        config = {
            "pools": {
                name: {"endpoints": [{"url": f"http://127.0.0.1:{one.port}"}]}
                for name, one in servers.items()
            },
            "routes": [
                {"match": {"path": f"/{KSERVE}/ModelStreamInfer"}, "pool": "streams"},
                {"match": {"path": service, "headers": {"x-model": "llama"}}, "pool": "llama"},
                {"match": {"path": service}, "pool": "others"},
            ],
        }
        with in_background(staged(config)) as (_, proxy), channel(proxy.address) as line:
            infer = line.unary_unary(f"/{KSERVE}/ModelInfer")
            llama = [("x-model", "llama")]
            assert infer(b"\x00\xff", metadata=llama, timeout=WAIT_S) == b"llama llama \x00\xff"
            other = [("x-model", "gemma")]
            assert infer(b"", metadata=other, timeout=WAIT_S) == b"others gemma "
            live = line.unary_unary(f"/{KSERVE}/ServerLive")
            assert live(b"", timeout=WAIT_S) == b"others  "
            stream = line.stream_stream(f"/{KSERVE}/ModelStreamInfer")
            said = stream(iter([b"a", b"b"]), metadata=llama, timeout=WAIT_S)
            assert list(said) == [b"streams a", b"streams b"]
            with pytest.raises(grpc.RpcError) as failed:
                line.unary_unary("/other.Service/Call")(b"", timeout=WAIT_S)
            assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
            with pytest.raises(grpc.RpcError) as failed:
                line.unary_unary(f"/{KSERVE}/RepositoryIndex")(b"", timeout=WAIT_S)
            assert "Method not found" in failed.value.details(), "the engine says so, not we"


def test_an_endpoint_without_http2_is_passed_over(tmp_path: Path) -> None:
    """Behind TLS the handshake tells; the call goes where it can, or says why it cannot."""
    authority = Authority(tmp_path)
    own = authority.issue("127.0.0.1")
    keys = grpc.ssl_server_credentials([(own.key.read_bytes(), own.cert.read_bytes())])
    one = Engine("engine", keys)
    with plain_https(own) as port:
        for ports, served in (([port, one.port], True), ([port], False)):
            endpoints = [{"url": f"https://127.0.0.1:{at}"} for at in ports]
            tls = {"ca": str(authority.bundle)}
            config = {"pools": {"main": {"endpoints": endpoints, "tls": tls}}}
            with in_background(staged(config)) as (_, proxy), channel(proxy.address) as line:
                call = line.unary_unary(f"/{KSERVE}/ServerLive")
                if served:
                    for _ in range(8):
                        assert call(b"", timeout=WAIT_S) == b"engine  "
                    continue
                with pytest.raises(grpc.RpcError) as failed:
                    call(b"", timeout=WAIT_S)
                assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
                assert "gRPC needs HTTP/2" in failed.value.details()
    one.server.stop(0).wait(WAIT_S)


@contextlib.contextmanager
def plain_https(own: Any) -> Iterator[int]:
    """A server of HTTP/1.1 behind TLS, which says so by ALPN."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)
    context.set_alpn_protocols(["http/1.1"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join(WAIT_S)


def test_our_health_is_told_and_watched() -> None:
    """What a balancer sees over the life of a process: serving, draining, gone."""
    config = {
        "pools": {"main": {"endpoints": [{"url": "http://127.0.0.1:1"}]}},
        "drain": {"delay": "1500ms", "deadline": "5s"},
    }
    with in_background(staged(config)) as (background, proxy), channel(proxy.admin) as line:
        health = "/grpc.health.v1.Health/{}".format
        check, watch = line.unary_unary(health("Check")), line.unary_stream(health("Watch"))
        assert check(b"", timeout=WAIT_S) == SERVING
        with pytest.raises(grpc.RpcError) as failed:
            check(b"\x0a\x05other", timeout=WAIT_S)
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND
        assert next(watch(b"\x0a\x05other", timeout=WAIT_S)) == UNKNOWN, "no error, by protocol"
        with pytest.raises(grpc.RpcError) as failed:
            line.unary_unary(health("List"))(b"", timeout=WAIT_S)
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
        states = watch(b"\x0a\x09readiness", timeout=WAIT_S)
        assert next(states) == SERVING
        proxy.signal(signal.SIGTERM)
        assert next(states) == NOT_SERVING
        assert check(b"", timeout=WAIT_S) == NOT_SERVING
        with pytest.raises(grpc.RpcError) as failed:
            next(states)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert background.run(proxy.wait()) == 0
