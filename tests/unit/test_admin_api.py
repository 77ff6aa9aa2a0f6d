"""Who may ask the admin API, what each path answers, and what a failed reload says."""

import orjson
import pytest

from fastproxy.admin.access import Access
from fastproxy.admin.api import Api, Reply, Request
from fastproxy.config.load import load, of_upstreams
from fastproxy.config.model import Config
from fastproxy.config.secret import Secret
from fastproxy.errors import ConfigError, Mistake, StartError

TOKEN = b"Bearer hunter2"


class Controls:
    """Stands for a running proxy: what the API asks of it is recorded."""

    version = "9.9.9"

    def __init__(self) -> None:
        self.config: Config = load(
            {
                "admin": {"listen": "127.0.0.1:1", "token": "hunter2"},
                "pools": {"a": {"endpoints": "http://10.0.0.1"}},
            }
        ).config
        self.refusal: Exception | None = None
        self.asked: list[bytes] = []
        self.draining = False

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        return b"metrics", accept or "text/plain"

    def state(self) -> bytes:
        return b'{"pools": []}'

    def explain(self, request: bytes) -> bytes:
        self.asked.append(request)
        return b"{}"

    async def reload(self) -> int:
        if self.refusal is not None:
            raise self.refusal
        return 7

    def begin_drain(self) -> None:
        self.draining = True


def api(controls: Controls | None = None) -> Api:
    """An API with a token."""
    access = Access(Secret("hunter2"), frozenset(["gw.example"]))
    return Api(controls or Controls(), access)


async def ask(
    target: str,
    method: str = "GET",
    *,
    on: Api | None = None,
    host: str | None = "127.0.0.1:9090",
    authorization: bytes | None = TOKEN,
    loopback: bool = True,
    body: bytes = b"",
    accept: str = "",
) -> Reply:
    """The reply to one request."""
    fields = [("accept", accept.encode())]
    if host is not None:
        fields.append(("host", host.encode()))
    request = Request(method, target, fields, body, loopback, authorization)
    return await (on or api()).answer(request)


@pytest.mark.parametrize(
    ("path", "authorization", "loopback", "status"),
    [
        ("/metrics", None, True, 200),
        ("/metrics", None, False, 401),
        ("/metrics", TOKEN, False, 200),
        ("/config", None, True, 401),
        ("/config", TOKEN, True, 200),
        ("/config", b"bearer hunter2", True, 200),
        ("/config", b"Bearer hunter", True, 401),
        ("/config", b"Bearer hunter22", True, 401),
        ("/config", b"Basic hunter2", True, 401),
        ("/config", b"hunter2", True, 401),
        ("/config", b"", True, 401),
        ("/config", b"Bearer \xff", True, 401),
        ("/nothing", None, True, 401),
        ("/nothing", TOKEN, True, 404),
    ],
)
async def test_tokens(
    path: str, authorization: bytes | None, status: int, *, loopback: bool
) -> None:
    """Only metrics are open, and only on loopback."""
    reply = await ask(path, authorization=authorization, loopback=loopback)
    assert reply.status == status
    assert (("www-authenticate", "Bearer") in reply.fields) == (status == 401)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9090", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:9090", 200),
        ("10.1.2.3", 200),
        ("gw.example:9090", 200),
        (None, 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("[evil", 421),
    ],
)
async def test_hosts(host: str | None, status: int) -> None:
    """A name that is not ours is a page in somebody's browser."""
    assert (await ask("/metrics", host=host)).status == status


@pytest.mark.parametrize("path", ["/", "/metrics", "/endpoints", "/config", "/version"])
async def test_reading_paths_take_get(path: str) -> None:
    """And HEAD; nothing else."""
    assert (await ask(path)).status == 200
    assert (await ask(path, "HEAD")).status == 200
    reply = await ask(path, "POST")
    assert (reply.status, ("allow", "GET, HEAD") in reply.fields) == (405, True)


@pytest.mark.parametrize("path", ["/reload", "/explain", "/drain"])
async def test_acting_paths_take_post(path: str) -> None:
    """A link cannot reload."""
    reply = await ask(path)
    assert (reply.status, ("allow", "POST") in reply.fields) == (405, True)


async def test_pages() -> None:
    """What is in them."""
    assert (await ask("/metrics", accept="application/openmetrics-text")).content_type == (
        "application/openmetrics-text"
    )
    assert orjson.loads((await ask("/version")).body) == {"version": "9.9.9"}
    assert (await ask("/endpoints?x=1")).body == b'{"pools": []}'
    index = (await ask("/")).body.decode()
    assert all(path in index for path in ("/metrics", "/healthz", "/readyz", "/reload"))
    shown = orjson.loads((await ask("/config")).body)
    assert shown["admin"]["token"] == "***"
    assert ("cache-control", "no-store") in (await ask("/config")).fields


async def test_reload() -> None:
    """The generation, or all mistakes and that the old one goes on."""
    controls = Controls()
    on = api(controls)
    assert orjson.loads((await ask("/reload", "POST", on=on)).body) == {"generation": 7}
    controls.refusal = ConfigError(
        [Mistake("via", None, "wrong", "f", 3), Mistake("x", "1", "bad")]
    )
    reply = await ask("/reload", "POST", on=on)
    assert reply.status == 422
    said = {"kept": True, "mistakes": ["f:3: via: wrong", "x: 1: bad"]}
    assert orjson.loads(reply.body) == said
    controls.refusal = StartError("taken")
    reply = await ask("/reload", "POST", on=on)
    assert (reply.status, orjson.loads(reply.body)["mistakes"]) == (409, ["taken"])


async def test_explain() -> None:
    """Defaults are filled in; headers may be a mapping."""
    controls = Controls()
    on = api(controls)
    body = orjson.dumps({"model": "m", "headers": {"x-a": "1"}})
    assert (await ask("/explain", "POST", on=on, body=body)).status == 200
    assert orjson.loads(controls.asked[0]) == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": [["x-a", "1"]],
        "model": "m",
    }


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"modle": 1}', b'{"model": 1}', b'{"headers": [1]}', b'{"headers": 1}']
)
async def test_explain_refuses(body: bytes) -> None:
    """What it does not understand."""
    assert (await ask("/explain", "POST", body=body)).status == 400


async def test_drain() -> None:
    """Begins, and answers at once."""
    controls = Controls()
    assert (await ask("/drain", "POST", on=api(controls))).status == 202
    assert controls.draining


async def test_a_reload_may_change_the_token() -> None:
    """The old one is refused from then on."""
    on = api()
    on.access(Access(Secret("other")))
    assert (await ask("/config", on=on)).status == 401
    assert (await ask("/config", on=on, authorization=b"Bearer other")).status == 200


def test_upstreams() -> None:
    """The configuration of `serve --upstream`."""
    config = of_upstreams(["http://h:1", "unix:/s"], admin="127.0.0.1:1")
    assert [endpoint.url for endpoint in config.pools["default"].endpoints] == [
        "http://h:1",
        "unix:/s",
    ]
