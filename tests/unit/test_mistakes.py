"""Every kind of mistake in a configuration file, in the exact words a person reads."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import inspect

from fastproxy.config import load_text, validate
from fastproxy.config.load import load
from fastproxy.config.model import Config, Endpoint, Pool
from fastproxy.errors import ConfigError

GOOD = 'pools: {a: {endpoints: ["http://10.0.0.1:80"]}}\n'


def mistakes(text: str, file: str = "f.yaml", **environment: str) -> list[str]:
    """What is said of `text`."""
    with pytest.raises(ConfigError) as caught:
        load_text(text, file=Path(file), environment=environment)
    assert str(caught.value) == "\n".join(str(m) for m in caught.value.mistakes)
    return [str(mistake) for mistake in caught.value.mistakes]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.yaml:1: the file is empty"),
        ("a: [", "f.yaml:1: not YAML: expected the node content, but found '<stream end>'"),
        ("- 1\n", "f.yaml:1: must be a mapping, not a list"),
        ("listen: x:1\n", "f.yaml:1: pools: is missing"),
        ("pools: {}\n", "f.yaml:1: pools: at least one pool is needed"),
        ("pools: 5\n", "f.yaml:1: pools: 5: must be a mapping, not a number"),
        ("pools: {a: }\n", "f.yaml:1: pools.a: must be a mapping, not nothing"),
        ("pools: {a: {}}\n", "f.yaml:1: pools.a.endpoints: is missing"),
        (
            "pools: {a: {endpoints: []}}\n",
            "f.yaml:1: pools.a.endpoints: at least one endpoint is needed",
        ),
        (GOOD + "wrokers: 2\n", "f.yaml:2: wrokers: unknown key; did you mean workers?"),
        (
            GOOD + "drain: {x: 1}\n",
            "f.yaml:2: drain.x: unknown key; allowed: delay, deadline, idle",
        ),
        (GOOD + "via: a\nvia: b\n", "f.yaml:3: via: repeated key; first written on line 2"),
        (
            GOOD + "via: a b\n",
            'f.yaml:2: via: "a b": must be a token of letters, digits and !#$%&\'*+-.^_`|~',
        ),
        (GOOD + "via: 5\n", "f.yaml:2: via: 5: must be a string, not a number; quote it"),
        (GOOD + "via: !x y\n", "f.yaml:2: via: tag !x is not supported"),
        (GOOD + "? [a]\n: 1\n", "f.yaml:2: a key must be a plain string"),
        (GOOD + "workers: many\n", 'f.yaml:2: workers: "many": must be "auto" or a number'),
        (GOOD + "workers: 5000\n", "f.yaml:2: workers: 5000: out of range; allowed: 0 to 1024"),
        (GOOD + "workers: 1.5\n", "f.yaml:2: workers: 1.5: must be a whole number, not a number"),
        (
            GOOD + "drain: {delay: 5}\n",
            (
                "f.yaml:2: drain.delay: 5: a duration needs a unit; write 5s for seconds or "
                "5ms for milliseconds"
            ),
        ),
        (
            GOOD + "limits: {held_body: 5}\n",
            (
                "f.yaml:2: limits.held_body: 5: a size needs a unit; write 5B for bytes, or "
                "KiB, MiB, GiB"
            ),
        ),
        (
            GOOD + "limits: {held_bytes: 1KiB}\n",
            'f.yaml:2: limits.held_bytes: "1KiB": is less than limits.held_body',
        ),
        (GOOD + "default_pool: b\n", 'f.yaml:2: default_pool: "b": no such pool; there are: a'),
        (
            GOOD + "routes: [{pool: b}]\n",
            'f.yaml:2: routes[0].pool: "b": no such pool; there are: a',
        ),
        (
            GOOD + "routes: [{pool: a, priority: top}]\n",
            'f.yaml:2: routes[0].priority: "top": allowed: high, low, normal',
        ),
        (
            GOOD + "routes: [{pool: a, expose: yes}]\n",
            'f.yaml:2: routes[0].expose: "yes": must be true or false, not a string',
        ),
        (
            GOOD + "routes: [{pool: a, match: {path: v1}}]\n",
            'f.yaml:2: routes[0].match.path: "v1": must start with /',
        ),
        (
            GOOD + "routes: [{pool: a, match: {path: /a*b}}]\n",
            'f.yaml:2: routes[0].match.path: "/a*b": a * may only be at the end',
        ),
        (
            GOOD + "routes: [{pool: a, match: {method: get}}]\n",
            'f.yaml:2: routes[0].match.method[0]: "get": must be upper case, as POST',
        ),
        (
            GOOD + "routes: [{pool: a, match: {model: a, models: b}}]\n",
            'f.yaml:2: routes[0].match.models: "b": says the same as model; write one of them',
        ),
        (
            GOOD + "routes: [{pool: a, match: {headers: {a b: c}}}]\n",
            'f.yaml:2: routes[0].match.headers["a b"]: "a b": not a header name',
        ),
        (
            GOOD + "routes: [{pool: a, name: x}, {pool: a, name: x}]\n",
            'f.yaml:2: routes[1].name: "x": the same name as routes[0]',
        ),
        (GOOD + "listen: []\n", "f.yaml:2: listen: at least one address is needed"),
        (
            GOOD + "listen: ':80'\n",
            (
                'f.yaml:2: listen[0].address: ":80": the host is missing; write 0.0.0.0:80 '
                "for all IPv4 addresses or [::]:80"
            ),
        ),
        (
            GOOD + "listen: 10.0.0.1\n",
            (
                'f.yaml:2: listen[0].address: "10.0.0.1": the port is missing; write '
                "HOST:PORT or unix:/path.sock"
            ),
        ),
        (
            GOOD + "listen: 10.0.0.1:99999\n",
            (
                'f.yaml:2: listen[0].address: "10.0.0.1:99999": "99999" is not a port; '
                "allowed: 0 to 65535"
            ),
        ),
        (
            GOOD + "listen: 'unix:x'\n",
            (
                'f.yaml:2: listen[0].address: "unix:x": the path of a unix socket must be '
                "absolute: unix:/run/engine.sock"
            ),
        ),
        (
            GOOD + "listen: [h:1, h:1]\n",
            'f.yaml:2: listen[1].address: "h:1": the address is used twice',
        ),
        (
            GOOD + "listen: {address: 'h:1', trusted_peers: all}\n",
            (
                'f.yaml:2: listen[0].trusted_peers[0]: "all": not a CIDR block; write it '
                "like 10.0.0.0/8, ::1 or unix"
            ),
        ),
        (
            GOOD + "listen: {address: 'h:1', cors: {origins: '*', credentials: true}}\n",
            "f.yaml:2: listen[0].cors.credentials: browsers refuse credentials with the origin *",
        ),
        (
            GOOD + "listen: {address: 'h:1', cors: {origins: 'app.example'}}\n",
            (
                'f.yaml:2: listen[0].cors.origins[0]: "app.example": not an origin; write '
                "it like https://app.example, without a path"
            ),
        ),
        *(
            (
                f"pools: {{a: {{endpoints: [{{url: 'https://h', http2: {word}}}]}}}}\n",
                f"f.yaml:1: pools.a.endpoints[0].http2: {shown}: allowed: always, auto, never",
            )
            for word, shown in [("off", '"off"'), ("sometimes", '"sometimes"'), ("true", "true")]
        ),
        *(
            (
                f"pools: {{a: {{endpoints: [{{url: 'https://h', {key}: {value}}}]}}}}\n",
                f"f.yaml:1: pools.a.endpoints[0].{key}: {shown}: {reason}",
            )
            for key, value, shown, reason in [
                ("concurrency", "off", '"off"', "cannot be off; leave it out for the pool's"),
                ("concurrency", "false", "false", "cannot be off; leave it out for the pool's"),
                ("concurrency", "0", "0", "out of range; allowed: 1 to 1000000"),
                (
                    "tls",
                    "off",
                    '"off"',
                    "cannot be off; leave it out for the pool's, or write http:// for cleartext",
                ),
            ]
        ),
        (
            "pools: {a: {endpoints: 'https://h', tls: off}}\n",
            (
                'f.yaml:1: pools.a.tls: "off": cannot be off; leave it out for the usual ones, or '
                "write http:// for cleartext"
            ),
        ),
        (
            GOOD + "listen:\n  address: h:1\n  tls:\n",
            "f.yaml:4: listen.tls: nothing stands here; write certificates, or off for cleartext",
        ),
        (
            "pools: {a: {endpoints: [{url: 'h2c://h', http2: never}]}}\n",
            (
                'f.yaml:1: pools.a.endpoints[0].http2: "never": h2c:// means always; write '
                "http:// or leave it out"
            ),
        ),
        (
            GOOD + "admin: {listen: 'h:1', token: ''}\n",
            "f.yaml:2: admin.token: the secret is empty",
        ),
        (
            GOOD + "admin: {listen: 'h:1', token: 5}\n",
            "f.yaml:2: admin.token: ***: must be a string; quote it",
        ),
        (
            GOOD + "admin: {listen: 'h:1', token: {path: x}}\n",
            "f.yaml:2: admin.token: must be a string or {file: PATH}",
        ),
        (
            GOOD + "admin: {listen: 'h:1', token: 'file:/nowhere/x'}\n",
            (
                "f.yaml:2: admin.token: cannot read the secret's file /nowhere/x: No such "
                "file or directory"
            ),
        ),
        (
            GOOD + "admin: {listen: 'h:1', token: '${T}'}\n",
            (
                'f.yaml:2: admin.token: "${T}": environment variable T is not set; set it '
                "or write ${T:-default}"
            ),
        ),
        (
            GOOD + "via: '${a b}'\n",
            (
                'f.yaml:2: via: "${a b}": malformed reference ${a b}; write ${NAME} or '
                "${NAME:-default}"
            ),
        ),
        (
            GOOD + "access_log: {path: ''}\n",
            "f.yaml:2: access_log.path: is empty; write a path, - or off",
        ),
    ],
)
def test_one(text: str, said: str) -> None:
    """One mistake, one line."""
    assert mistakes(text) == [said]


def test_what_is_left_out_in_so_many_words() -> None:
    """`off` where nothing else can be meant, and `null` as a dump writes it, are no mistakes."""
    for word in ("off", "null", "~"):
        text = f"listen: {{address: 'h:1', tls: {word}}}\n" + GOOD
        assert load_text(text, environment={}).config.listen[0].tls is None
    endpoint = "{url: 'http://10.0.0.1:80', concurrency: '${C}'}"
    text = f"pools: {{a: {{endpoints: [{endpoint}]}}}}\n"
    assert mistakes(text, C="off") == [
        (
            'f.yaml:1: pools.a.endpoints[0].concurrency: "${C}": cannot be off; leave it out for '
            "the pool's"
        )
    ]


def test_a_reference_is_replaced_once() -> None:
    """What the environment says is a value, not another reference."""
    text = GOOD + "routes: [{pool: a, match: {path: '${A}'}}]\n"
    loaded = load_text(text, environment={"A": "/$$b"})
    assert loaded.config.routes[0].match.path == "/$$b"


def places(kind: inspect.Type, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of the model that a value can stand at."""
    yield path
    match kind:
        case inspect.Metadata():
            yield from places(kind.type, path)
        case inspect.UnionType():
            for each in kind.types:
                yield from places(each, path)
        case inspect.StructType():
            for field in kind.fields:
                yield from places(field.type, (*path, field.encode_name))
        case inspect.DictType():
            yield from places(kind.value_type, (*path, "a"))
        case inspect.VarTupleType():
            yield from places(kind.item_type, (*path, 0))


@pytest.mark.parametrize("path", sorted(set(places(inspect.type_info(Config))), key=str), ids=str)
def test_no_value_is_more_than_a_mistake(path: tuple[str | int, ...]) -> None:
    """Whatever stands anywhere, it is read or refused in words: a reload survives it."""
    values: list[object] = [None, "x", "", "off", "${X}", True, -1, 10**30, 1.5, [], [[]], {}]
    for value in [*values, {"x": 1}]:
        document = value
        for key in reversed(path):
            document = [document] if key == 0 else {key: document}
        if isinstance(document, dict):
            document = {"pools": {"a": {"endpoints": ["http://10.0.0.1:80"]}}} | document
        with contextlib.suppress(ConfigError):
            load_text(json.dumps(document), environment={})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://x", "unsupported scheme; allowed: http, https, h2c, unix"),
        ("x:80", "not a URL; write http://HOST:PORT or unix:/path.sock"),
        (
            "grpc://x",
            "scheme grpc is not supported: write h2c; calls are told by their content-type",
        ),
        ("http://u:p@x", "credentials do not belong in a URL; use credentials of the pool"),
        ("http://x/?a", "a query or fragment has no place in an endpoint's URL"),
        ("http://", "the host is missing"),
        ("http://x:0", "port 0 cannot be connected to"),
        ("http://1.2.3:80", '"1.2.3" is neither an IP address nor a host name'),
        ("http://-x:80", '"-x" is neither an IP address nor a host name'),
        ("http://::1:80", "an IPv6 address needs brackets; write [::1:80]:PORT"),
        ("http://[::1", "not an IPv6 address in brackets"),
        ("http://[::1]x", '"x" after the bracket is not :PORT'),
        (
            "http://x//y",
            'the path "//y" has empty segments or characters that must be percent-encoded',
        ),
        ("unix:a", "the path of a unix socket must be absolute: unix:/run/engine.sock"),
        ("unix:/" + "a" * 120, "the path of a unix socket has at most 107 bytes"),
    ],
)
def test_endpoint_urls(url: str, reason: str) -> None:
    """What an endpoint's URL may not be."""
    (said,) = mistakes(f'pools:\n  a:\n    endpoints: ["{url}"]\n')
    assert said.startswith("f.yaml:3: pools.a.endpoints[0].url: ")
    assert said.endswith(f": {reason}")


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("host: 'a b'", 'host: "a b": must be endpoint, client or a host name'),
        (
            "strip_prefix: llama",
            'strip_prefix: "llama": must start with / and not end with it, as /llama',
        ),
        ("modality: ''", 'modality: "": must be a short word'),
        (
            "retry: {statuses: [404]}",
            "retry.statuses[0]: 404: only 5xx, 408, 425 and 429 can be tried elsewhere",
        ),
        ("retry: {attempts: 0}", "retry.attempts: 0: out of range; allowed: 1 to 16"),
        ("retry: {budget: 0.2}", "retry.budget: 0.2: a share needs a percent sign; write 20%"),
        ("eject: {base: 2s, max: 1s}", 'eject.max: "1s": is less than eject.base'),
        ("timeouts: {connect: off}", "timeouts.connect: cannot be off; write a duration"),
        ("credentials: {}", "credentials: needs bearer, or header and value"),
        ("credentials: {header: x-api-key}", "credentials: header and value belong together"),
        (
            "credentials: {bearer: a, header: b, value: c}",
            "credentials: bearer or header, not both",
        ),
        (
            "headers: {request: {set: {Host: x}}}",
            'headers.request.set.Host: "Host": host is managed by the proxy',
        ),
        (
            "headers: {request: {remove: Content-Length}}",
            'headers.request.remove[0]: "Content-Length": content-length is managed by the proxy',
        ),
        (
            'headers: {response: {set: {x: "a\\nb"}}}',
            "headers.response.set.x: has line ends, control characters or spaces around it",
        ),
    ],
)
def test_pools(inside: str, said: str) -> None:
    """What a pool may not say."""
    text = f'pools:\n  a:\n    endpoints: ["http://h:1"]\n    {inside}\n'
    assert mistakes(text) == [f"f.yaml:4: pools.a.{said}"]


def test_twice_the_same_endpoint() -> None:
    """A weight is meant."""
    assert mistakes("pools:\n  a:\n    endpoints: [http://h:1, http://h:1]\n") == [
        (
            'f.yaml:3: pools.a.endpoints[1].url: "http://h:1": the same endpoint as endpoints[0]; '
            "give it a weight instead"
        )
    ]


def test_all_at_once_in_order() -> None:
    """Several mistakes of several kinds; consequences of one are not reported again."""
    text = """\
listen: 127.0.0.1:x
pools:
  a:
    endpoints:
      - {url: "ftp://x", wieght: 3}
      - weight: 0
    channel: {max_wait: 2}
  b: 7
routes:
  - {pool: c}
  - {pool: b}
"""
    assert [line.partition(": ")[0] for line in mistakes(text)] == [
        f"f.yaml:{n}" for n in (1, 5, 5, 6, 6, 7, 8, 10)
    ]


def test_secrets_are_never_shown() -> None:
    """Not even wrong ones."""
    text = GOOD + "admin: {listen: 'h:1', token: '${T}'}\n"
    (said,) = mistakes(text, T=" hunter2 ")
    assert said == (
        'f.yaml:2: admin.token: "${T}": the secret has spaces or control characters around it'
    )


def test_expanded_values_are_shown_as_written() -> None:
    """A value from the environment may be a secret."""
    (said,) = mistakes(GOOD + "default_pool: '${P}'\nworkers: '${W}'\n", P="a", W="hunter2")
    assert said == 'f.yaml:3: workers: "${W}": must be "auto" or a number'


def test_bombs_are_bounded() -> None:
    """Aliases of aliases."""
    tens = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *tens]
    (said,) = mistakes("\n".join(lines))
    assert said.endswith("too many or too deep values")
    (said,) = mistakes("a: " + "[" * 2000)
    assert "nested too deeply" in said or "too many or too deep" in said or "not YAML" in said


def test_toml_and_json() -> None:
    """The same model; TOML has no lines."""
    text = '{"pools": {"a": {"endpoints": "http://h:1"}}}'
    assert list(load_text(text, file=Path("x.json")).config.pools) == ["a"]
    text = '[pools.a]\nendpoints = ["http://h:1"]\nidle = "4s"\n'
    assert int(load_text(text, file=Path("x.toml")).config.pools["a"].idle) == 4000
    assert mistakes("workers = 1\n", "x.toml") == ["x.toml: pools: is missing"]
    (said,) = mistakes("workers = \n", "x.toml")
    assert said.startswith("x.toml: not TOML: ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """One line, no traceback."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path}/none.yaml: cannot be read: No such file or directory"
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(tmp_path / "bytes.yaml")


def test_models_made_in_python_meet_the_same_checks() -> None:
    """`Config(...)` is not checked by its constructor, but by everything that takes it."""
    wrong: Any = None
    pool = Pool(endpoints=(Endpoint("ftp://x", weight=0),), retry=wrong)
    config = Config(pools={"a": pool})
    with pytest.raises(ConfigError) as caught:
        validate(config)
    assert str(caught.value) == (
        "pools.a.endpoints[0].weight: 0: out of range; allowed: 1 to 1000000\n"
        "pools.a.retry: must be a mapping, not nothing\n"
        'pools.a.endpoints[0].url: "ftp://x": unsupported scheme; allowed: http, https, h2c, unix'
    )


def test_warnings() -> None:
    """Useless parts are said, and are no mistakes."""
    text = """\
pools:
  a: {endpoints: http://h:1}
  b: {endpoints: http://h:2}
routes:
  - {pool: a, match: {path: /v1/*}}
  - {pool: a, match: {path: /v1/chat, model: x}}
  - {pool: a, match: {model: "m-*"}}
  - {pool: a, match: {model: ["m-1", "m-2*"]}}
  - {pool: a, match: {model: ["n", "m-2*"]}}
"""
    loaded = load_text(text, file=Path("f.yaml"), environment={})
    assert [str(warning) for warning in loaded.warnings] == [
        "f.yaml:6: routes[1]: never reached: routes[0] takes all it matches",
        "f.yaml:8: routes[3]: never reached: routes[2] takes all it matches",
        "f.yaml:3: pools.b: no route and no default_pool leads here",
    ]


def test_names_without_an_address() -> None:
    """Found when the plan is made, with file and line."""

    def nothing(name: str) -> list[str]:
        raise OSError(-2, f"no {name}")

    text = "pools:\n  a:\n    endpoints:\n      - http://engine:80\n      - http://engine:80/b\n"
    loaded = load_text(text, file=Path("f.yaml"), environment={})
    with pytest.raises(ConfigError) as caught:
        loaded.plan(nothing)
    assert "the host name cannot be resolved: no engine" in str(caught.value)
    assert caught.value.mistakes[0].file == "f.yaml"
