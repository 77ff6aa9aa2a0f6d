"""Text to a tree of nodes that know their lines: YAML 1.2 (and so JSON), or TOML.

Unlike PyYAML's own loading, a repeated key is a mistake, `off`, `no` and `12:30` are strings, and
what aliases may grow to is bounded. No value is judged here; `config.read` does that.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import yaml

from fastproxy.errors import ConfigError, Mistake

__all__ = ["Blank", "Key", "Node", "Scalar", "parse", "path_text", "tree_of"]

type_names = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}

Scalar = str | int | float | bool | None
Key = str | int

DOCUMENT_BYTES_MAX = 16 * 1024**2
NODES_MAX = 1_000_000
DEPTH_MAX = 64


@dataclass(slots=True)
class Node:
    """A value and where it was written.

    Attributes:
        value: a scalar, a list of nodes, or a mapping of nodes; or any object of a Python tree.
        line: line of the value, from 1.
        key_line: line of its key, which is where a reader looks.
    """

    value: object
    line: int | None = None
    key_line: int | None = None

    def kind(self) -> str:
        """What it is, in words."""
        if self.value is None:
            return "nothing"
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        return type_names.get(type(self.value), f"a {type(self.value).__name__}")

    def shown(self) -> str | None:
        """A scalar as it was written, shortened; None for anything else."""
        if not isinstance(self.value, str | int | float | bool):
            return None
        text = json.dumps(self.value, ensure_ascii=False)
        return text if len(text) <= 80 else f"{text[:77]}..."

    def at(self, path: tuple[Key, ...]) -> "Node":
        """The node at `path`, or the nearest that encloses it."""
        node = self
        for key in path:
            found = None
            if key == 0 and not isinstance(node.value, list):
                # A list of one may be written as its item.
                continue
            if isinstance(node.value, dict):
                found = node.value.get(key)
            elif isinstance(node.value, list) and isinstance(key, int) and key < len(node.value):
                found = node.value[key]
            if found is None:
                break
            node = found
        return node


@dataclass(slots=True)
class Blank(Node):
    """A key behind which nothing stands, not even `null`."""


def path_text(path: tuple[Key, ...]) -> str:
    """`pools.llama.endpoints[0].url`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif re.fullmatch(r"[\w-]+", key):
            text += f".{key}" if text else key
        else:
            text += f"[{json.dumps(key, ensure_ascii=False)}]"
    return text


def tree_of(value: object) -> Node:
    """The tree of a Python value: mappings, models and sequences; all else stays itself."""
    if isinstance(value, msgspec.Struct):
        return tree_of({name: getattr(value, name) for name in value.__struct_fields__})
    if isinstance(value, Mapping):
        return Node({str(key): tree_of(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return Node([tree_of(inner) for inner in value])
    return Node(value)


def parse(text: str, *, file: str, toml: bool = False) -> tuple[Node, list[Mistake]]:
    """Parse `text`; the second part lists what the syntax allows but we do not.

    Raises:
        ConfigError: it is no YAML, JSON or TOML at all.
    """
    if len(text) > DOCUMENT_BYTES_MAX:
        raise ConfigError([Mistake("", None, "larger than 16MiB", file)])
    if toml:
        try:
            return tree_of(tomllib.loads(text)), []
        except tomllib.TOMLDecodeError as error:
            raise ConfigError([Mistake("", None, f"not TOML: {error}", file)]) from None
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise ConfigError([Mistake("", None, "the file is empty", file, 1)])
        walk = _Walk(loader, file)
        return walk.node(root, ()), walk.mistakes
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        reason = error.problem or error.context or "malformed"
        raise ConfigError([Mistake("", None, f"not YAML: {reason}", file, line)]) from None
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError([Mistake("", None, f"not YAML: {reason}", file)]) from None
    except RecursionError:
        raise ConfigError([Mistake("", None, "nested too deeply", file)]) from None
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """PyYAML with the resolution rules of YAML 1.2's core schema."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's way


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), [*_first]
    )
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("$"), [""])


class _Walk:
    """From PyYAML's nodes to ours."""

    def __init__(self, loader: _Loader, file: str) -> None:
        self.loader = loader
        self.file = file
        self.mistakes: list[Mistake] = []
        self.count = 0

    def node(self, source: yaml.Node, path: tuple[Key, ...]) -> Node:
        line = source.start_mark.line + 1
        self.count += 1
        if self.count > NODES_MAX or len(path) > DEPTH_MAX:
            where = path_text(path[:4])
            raise ConfigError(
                [Mistake(where, None, "too many or too deep values", self.file, line)]
            )
        if isinstance(source, yaml.MappingNode):
            return Node(self.mapping(source, path), line)
        if isinstance(source, yaml.SequenceNode):
            values = [self.node(item, (*path, n)) for n, item in enumerate(source.value)]
            return Node(values, line)
        kind = Blank if source.value == "" and source.tag.endswith(":null") else Node
        return kind(self.scalar(source, path), line)

    def scalar(self, source: yaml.Node, path: tuple[Key, ...]) -> Scalar:
        text = str(source.value)
        match source.tag.rpartition(":")[2]:
            case "str" | "merge":
                return text
            case "int":
                return int(text, 0) if re.match(r"0[ox]", text) else int(text)
            case "float":
                return float(text)
            case "bool":
                return text.lower() == "true"
            case "null":
                return None
            case _:
                line = source.start_mark.line + 1
                reason = f"tag {source.tag} is not supported"
                self.mistakes.append(Mistake(path_text(path), None, reason, self.file, line))
                return text

    def mapping(self, source: yaml.MappingNode, path: tuple[Key, ...]) -> dict[str, Node]:
        merged: dict[str, Node] = {}
        own: dict[str, Node] = {}
        for key_node, value_node in source.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                for inner in self.merges(value_node, path):
                    merged = inner | merged
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                reason = "a key must be a plain string"
                self.mistakes.append(Mistake(path_text(path), None, reason, self.file, line))
                continue
            key = str(key_node.value)
            where = (*path, key)
            if key in own:
                reason = f"repeated key; first written on line {own[key].key_line}"
                self.mistakes.append(Mistake(path_text(where), None, reason, self.file, line))
                continue
            own[key] = self.node(value_node, where)
            own[key].key_line = line
        return merged | own

    def merges(self, source: yaml.Node, path: tuple[Key, ...]) -> list[dict[str, Node]]:
        sources = source.value if isinstance(source, yaml.SequenceNode) else [source]
        found = []
        for inner in sources:
            if isinstance(inner, yaml.MappingNode):
                found.append(self.mapping(inner, path))
            else:
                line = inner.start_mark.line + 1
                reason = "<< takes a mapping or a list of mappings"
                self.mistakes.append(Mistake(path_text(path), None, reason, self.file, line))
        return found
