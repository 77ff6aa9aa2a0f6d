"""What surrounds the model: secrets, dumps, the schema, changes of files."""

import asyncio
import os
from pathlib import Path

import jsonschema
import orjson
import pytest
import yaml

from fastproxy.config import load_text
from fastproxy.config.dump import dump
from fastproxy.config.load import load
from fastproxy.config.schema import schema
from fastproxy.config.secret import Secret, expand
from fastproxy.config.watch import changes, stamp

TEXT = """\
admin: {listen: "127.0.0.1:1", token: hunter2}
pools:
  a:
    endpoints: ["http://10.0.0.1:80"]
    credentials: {bearer: {file: key.txt}}
    headers: {request: {set: {X-Key: hunter4}}, response: {set: {X-Shown: "1"}}}
    idle: 4s
  b:
    endpoints: ["http://10.0.0.2:80"]
    credentials: {header: x-api-key, value: "file:key.txt"}
default_pool: a
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with secrets of all kinds."""
    (tmp_path / "key.txt").write_text("hunter3\n")
    path = tmp_path / "fastproxy.yaml"
    path.write_text(TEXT)
    return path


def test_secrets_from_files(file: Path) -> None:
    """Relative to the configuration's own folder; the line end is not part of it."""
    pools = load(file).config.pools
    assert pools["a"].credentials is not None
    assert pools["a"].credentials.bearer == Secret("hunter3")
    assert pools["b"].credentials is not None
    assert pools["b"].credentials.value == Secret("hunter3")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a${X}b", "a1b"),
        ("${Y:-d}", "d"),
        ("${E:-d}", "d"),
        ("${E}", ""),
        ("${Y:-}", ""),
        ("$$ $x $${X}", "$ $x ${X}"),
        ("${X}${X}", "11"),
    ],
)
def test_references(text: str, value: str) -> None:
    """As a shell reads them, and nothing more."""
    assert expand(text, {"X": "1", "E": ""}) == value


def test_nothing_secret_is_dumped(file: Path) -> None:
    """Neither by `dump` nor by `repr`."""
    config = load(file).config
    shown = orjson.dumps(dump(config)).decode()
    assert "hunter" not in shown + repr(config)
    assert '"X-Shown":"1"' in shown
    assert '"X-Key":"***"' in shown
    assert '"idle":"4s"' in shown


def test_a_dump_without_secrets_reads_back() -> None:
    """Units survive the way out and in."""
    config = load_text(
        "pools: {a: {endpoints: 'http://10.0.0.1:80', timeouts: {total: 90s}}}"
    ).config
    assert load(dump(config)).config == config


def test_schema(file: Path) -> None:
    """It is one, it takes what the reader takes, and refuses what it refuses."""
    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    validator = jsonschema.Draft202012Validator(found)
    validator.validate(yaml.safe_load(file.read_text()))
    validator.validate(dump(load(file).config))
    for text in (
        "pools: {a: {endpoints: 'http://x', idel: 3s}}",
        "pools: {a: {endpoints: 'http://x', idle: 3}}",
        "pools: {a: {endpoints: 'http://x', retry: {attempts: 99}}}",
        "{}",
    ):
        assert not validator.is_valid(yaml.safe_load(text)), text


def test_every_field_is_described() -> None:
    """An editor shows something for each key."""
    definitions = schema()["$defs"]
    assert isinstance(definitions, dict)
    for name, definition in definitions.items():
        body = definition.get("anyOf", [definition])[-1]
        for key, value in body["properties"].items():
            assert value.get("description"), f"{name}.{key}"


async def test_changes(tmp_path: Path) -> None:
    """A new content is a change; a touch, or a moment without the file, is none."""
    path = tmp_path / "f"
    path.write_text("1")
    seen = changes(path, interval_s=0.01)

    async def next_one() -> None:
        await anext(seen)

    waiting = asyncio.create_task(next_one())
    await asyncio.sleep(0.05)
    os.utime(path, (1, 1))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    path.unlink()
    await asyncio.sleep(0.05)
    assert not waiting.done()
    path.write_text("2")
    await asyncio.wait_for(waiting, 2)


async def test_swapped_links(tmp_path: Path) -> None:
    """As Kubernetes updates a mounted volume."""
    for name, text in (("v1", "1"), ("v2", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(text)
    (tmp_path / "data").symlink_to("v1")
    (tmp_path / "f").symlink_to("data/f")
    first = stamp(tmp_path / "f")
    assert first is not None
    assert stamp(tmp_path / "f", first) is first
    waiting = asyncio.ensure_future(anext(changes(tmp_path / "f", interval_s=0.01)))
    await asyncio.sleep(0.05)
    (tmp_path / "new").symlink_to("v2")
    (tmp_path / "new").rename(tmp_path / "data")
    assert (await asyncio.wait_for(waiting, 2)).digest != first.digest
    assert stamp(tmp_path / "none") is None
