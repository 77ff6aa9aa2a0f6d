"""TLS in the configuration: the plan, the files behind it, and what is wrong with them."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from fastproxy._native import Core, PlanError
from fastproxy.config import load_text
from fastproxy.config.load import load
from fastproxy.config.tls import files_of
from fastproxy.config.watch import Stamp, replacements, stamp
from fastproxy.errors import ConfigError
from harness.pki import Authority

TEXT = """\
listen:
  address: 127.0.0.1:0
  tls:
    certificates: {cert: api.crt, key: api.key}
    client_ca: issuer.pem
    client_auth: optional
    min_version: tls1.3
pools:
  a:
    endpoints:
      - https://engine.example/v1
      - {url: "https://10.0.0.1:8443", tls: {verify: off}}
      - http://10.0.0.2:80
    tls: {ca: issuer.pem, cert: api.crt, key: api.key, server_name: inner.example}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that `TEXT` names."""
    authority = Authority(tmp_path)
    authority.issue("api.example", stem="api")
    authority.issue("other.example", stem="other")
    authority.issue("old.example", stem="old", days=-3)
    authority.issue("soon.example", stem="soon", days=5)
    (tmp_path / "text").write_text("no PEM")
    return tmp_path


def plan_of(folder: Path) -> Any:
    """The plan of `TEXT`."""
    loaded = load_text(TEXT, file=folder / "f.yaml", environment={})
    return orjson.loads(loaded.plan(lambda _name: ["192.0.2.7"]))


def test_the_plan(folder: Path) -> None:
    """Files are absolute, names come from the URL, and the endpoint's own settings win."""
    plan = plan_of(folder)
    pair = {"cert": str(folder / "api.crt"), "key": str(folder / "api.key")}
    assert plan["listeners"][0]["tls"] == {
        "certificates": [pair],
        "client_ca": str(folder / "issuer.pem"),
        "client_optional": True,
        "min_version": "1.3",
        "alpn": ["h2", "http/1.1"],
    }
    one, two, three = plan["pools"][0]["endpoints"]
    assert one["address"]["name"]["addresses"] == ["192.0.2.7"]
    assert one["authority"] == "engine.example"
    assert one["tls"] == {
        "server_name": "inner.example",
        "ca": str(folder / "issuer.pem"),
        "certificate": pair,
        "verify": True,
        "min_version": "1.2",
        "alpn": ["h2", "http/1.1"],
    }
    assert (two["tls"]["server_name"], two["tls"]["verify"]) == ("10.0.0.1", False)
    assert two["authority"] == "10.0.0.1:8443"
    assert three["tls"] is None


def test_no_key_is_in_the_plan(folder: Path) -> None:
    """Files are named, never carried."""
    text = orjson.dumps(plan_of(folder)).decode()
    secret = (folder / "api.key").read_text().splitlines()[1]
    assert "PRIVATE" not in text
    assert secret not in text


def test_what_is_watched(folder: Path) -> None:
    """Each file once."""
    config = load_text(TEXT, file=folder / "f.yaml", environment={}).config
    names = [path.name for path in files_of(config)]
    assert names == ["api.crt", "api.key", "issuer.pem"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("cert: api.crt, key: api.key}", "cert: none, key: api.key}",
         ("f.yaml:4: listen[0].tls.certificates[0].cert: {}/none: cannot be read: "
         "No such file or directory (os error 2)")),
        ("cert: api.crt, key: api.key}", "cert: api.crt, key: other.key}",
         ("f.yaml:4: listen[0].tls.certificates[0].key: {0}/other.key: is not the key of the "
         "certificate in {0}/api.crt")),
        ("cert: api.crt, key: api.key}", "cert: text, key: api.key}",
         ("f.yaml:4: listen[0].tls.certificates[0].cert: {}/text: holds no certificate in PEM "
         "(-----BEGIN CERTIFICATE-----)")),
        ("client_ca: issuer.pem", "client_ca: text",
         ("f.yaml:5: listen[0].tls.client_ca: {}/text: holds no certificate in PEM "
         "(-----BEGIN CERTIFICATE-----)")),
        ("client_ca: issuer.pem", "",
         ("f.yaml:6: listen[0].tls.client_auth: \"optional\": asks for nobody's certificate "
         "without client_ca; name the issuers' bundle")),
        ("server_name: inner.example", "server_name: a.-b",
         ('f.yaml:14: pools.a.tls.server_name: "a.-b": must be a host name or an IP address, '
         "without a port")),
        ("min_version: tls1.3", "min_version: tls1.1",
         'f.yaml:7: listen.tls.min_version: "tls1.1": allowed: tls1.2, tls1.3'),
        ("key: api.key, server_name", "server_name",
         "f.yaml:14: pools.a.tls: cert and key belong together"),
        ("server_name: inner.example", "server_name: 'x:1/'",
         ('f.yaml:14: pools.a.tls.server_name: "x:1/": must be a host name or an IP address, '
         "without a port")),
        ("http://10.0.0.2:80", "{url: 'http://10.0.0.2:80', tls: {}}",
         ("f.yaml:13: pools.a.endpoints[2].tls: is for https endpoints; write https:// or leave "
         "it out")),
    ],
)  # fmt: skip
def test_mistakes(folder: Path, before: str, after: str, said: str) -> None:
    """By file, line, key and reason."""
    assert before in TEXT
    with pytest.raises(ConfigError) as caught:
        load_text(TEXT.replace(before, after, 1), file=folder / "f.yaml", environment={})
    expected = said.format(folder)
    assert [str(mistake) for mistake in caught.value.mistakes] == [f"{folder}/{expected}"]


@pytest.mark.parametrize(
    ("stem", "words"), [("old", "expired 3 days ago"), ("soon", "expires in ")]
)
def test_time_that_is_up_is_a_warning(folder: Path, stem: str, words: str) -> None:
    """A restart must not turn an old certificate into no service."""
    text = TEXT.replace("api.crt, key: api.key}", f"{stem}.crt, key: {stem}.key}}", 1)
    warnings = load_text(text, file=folder / "f.yaml", environment={}).warnings
    assert any(words in str(warning) for warning in warnings)
    assert any("any certificate is taken" in str(warning) for warning in warnings)


def test_a_file_that_goes_bad_later_is_refused(folder: Path) -> None:
    """Between the check and the start, too."""
    plan = orjson.dumps(plan_of(folder))
    (folder / "api.key").write_text("gone")
    with pytest.raises(PlanError, match=r"api\.key: holds no private key"):
        Core(plan, b"{}")


def test_ticket_keys_pass_on(folder: Path) -> None:
    """To a successor; and only what was exported is imported."""
    plan = orjson.dumps(plan_of(folder))
    old, new = Core(plan, b'{"workers": 0}'), Core(plan, b'{"workers": 0}')
    exported = old.export_ticket_keys()
    new.import_ticket_keys(exported)
    assert new.export_ticket_keys() == exported
    with pytest.raises(ValueError, match="not ticket keys"):
        new.import_ticket_keys(exported[:-1])


@pytest.mark.asyncio
async def test_a_pair_is_told_of_once_it_rests(folder: Path) -> None:
    """The certificate comes first, its key a moment later: one reload, of both."""
    files = [folder / "api.crt", folder / "api.key"]
    stamps = {path: stamp(path) for path in files}
    told = replacements(lambda: stamps, interval_s=0.2)
    first = asyncio.ensure_future(anext(told))
    await asyncio.sleep(0.3)
    files[0].write_bytes((folder / "other.crt").read_bytes())
    await asyncio.sleep(0.2)
    assert not first.done()
    files[1].write_bytes((folder / "other.key").read_bytes())
    assert await asyncio.wait_for(first, 5) in files
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(told), 1)


@pytest.mark.asyncio
@pytest.mark.parametrize("added", [False, True])
async def test_what_changes_before_the_first_look_is_told_of(folder: Path, *, added: bool) -> None:
    """After the files were read: at the start, and with a reload that adds them."""
    (folder / "f.yaml").write_text(TEXT)
    stamps = load(folder / "f.yaml").stamps
    assert folder / "api.key" in stamps
    (folder / "issuer.pem").write_bytes((folder / "api.crt").read_bytes())
    earlier: Iterator[Mapping[Path, Stamp | None]] = iter([{}] if added else [])
    told = replacements(lambda: next(earlier, stamps), interval_s=0.1)
    assert await asyncio.wait_for(anext(told), 5) == folder / "issuer.pem"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(told), 0.5)


def test_relative_files_start_at_the_file(folder: Path) -> None:
    """Not where the process happens to run."""
    (folder / "f.yaml").write_text(TEXT)
    tls = load(folder / "f.yaml").config.listen[0].tls
    assert tls is not None
    assert tls.certificates[0].cert == str(folder / "api.crt")
