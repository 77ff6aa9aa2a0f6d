"""Tree to model, strictly, collecting every mistake on the way.

The walk is directed by the types of `config.model`: what a type does not allow is a mistake with
its path, value and what was allowed. A value that cannot be read is replaced by a neutral one, so
that the rest, and `config.verify` after it, can still be checked; what they would say below a path
already reported is dropped.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from msgspec import inspect

from fastproxy.config.document import Blank, Key, Node, path_text
from fastproxy.config.files import FilePath
from fastproxy.config.model import Config, Model
from fastproxy.config.secret import MASK, Concealed, Secret, expand, read_secret_file
from fastproxy.config.units import Duration, Ratio, Size
from fastproxy.errors import Mistake

__all__ = ["Reader", "read"]


@dataclass(slots=True)
class Reader:
    """One reading: what surrounds it, and what was found wrong.

    Attributes:
        environment: where `${NAME}` is looked up; None: it stands for itself.
        folder: where relative `file:` references start.
        file: shown in mistakes.
    """

    environment: Mapping[str, str] | None
    folder: Path
    file: str | None = None
    mistakes: list[Mistake] = field(default_factory=list)
    reported: list[tuple[Key, ...]] = field(default_factory=list)

    def refuse(
        self, path: tuple[Key, ...], node: Node, reason: str, *, shown: str | None = ""
    ) -> None:
        """Record a mistake at `path`."""
        value = node.shown() if shown == "" else shown
        line = node.key_line or node.line
        self.mistakes.append(Mistake(path_text(path), value, reason, self.file, line))
        self.reported.append(path)

    def covers(self, path: tuple[Key, ...]) -> bool:
        """Whether a mistake was already reported at, above or below `path`."""
        return any(path[: len(old)] == old or old[: len(path)] == path for old in self.reported)

    def read(self, node: Node, kind: inspect.Type, path: tuple[Key, ...]) -> object:
        """The value of `node` as `kind`; a neutral value if it is none."""
        node = self.expanded(node, path, kind)
        match kind:
            case inspect.Metadata():
                if self.misleads(node, kind, path):
                    return neutral(kind)
                return self.read(node, kind.type, path)
            case inspect.UnionType():
                return self.union(node, kind, path)
            case inspect.StructType():
                return self.struct(node, kind, path)
            case inspect.DictType():
                return self.mapping(node, kind, path)
            case inspect.VarTupleType():
                return self.sequence(node, kind, path)
            case inspect.CustomType():
                return self.custom(node, kind.cls, path)
            case _:
                return self.plain(node, kind, path)

    def expanded(self, node: Node, path: tuple[Key, ...], kind: inspect.Type) -> Node:
        """The node with `${NAME}` replaced, once."""
        if self.environment is None or isinstance(node, _Expanded):
            return node
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        try:
            text = expand(node.value, self.environment)
        except ValueError as error:
            self.refuse(path, node, str(error))
            return _Bad(neutral(kind), node.line, node.key_line)
        return _Expanded(text, node.line, node.key_line, node.value)

    def misleads(self, node: Node, kind: inspect.Metadata, path: tuple[Key, ...]) -> bool:
        """Refuse `off` and an empty value where leaving the key out means something else."""
        if said := _is_off(node.value) and _extra(kind, "off"):
            self.refuse(path, node, f"cannot be off; {said}")
        elif said := isinstance(node, Blank) and _extra(kind, "blank"):
            self.refuse(path, node, f"nothing stands here; {said}")
        return bool(said)

    def union(self, node: Node, kind: inspect.UnionType, path: tuple[Key, ...]) -> object:
        """An optional value, or a word besides something else."""
        inner = [t for t in kind.types if not isinstance(t, inspect.NoneType)]
        optional = len(inner) < len(kind.types)
        if isinstance(node, _Bad):
            return None if optional else neutral(inner[0])
        others = [t for t in inner if not isinstance(t, inspect.LiteralType)]
        if optional and node.value is None:
            return None
        if not others:
            # Among words `off` would be taken for one of them, not for leaving the key out.
            return self.plain(node, inner[0], path)
        if optional and not isinstance(inner[0], inspect.StrType) and _is_off(node.value):
            return None
        words = [w for t in inner if isinstance(t, inspect.LiteralType) for w in t.values]
        if node.value in words:
            return node.value
        if words and isinstance(node.value, str) and isinstance(others[0], inspect.IntType):
            if node.value.isdecimal():
                return self.read(node, others[0], path)
            allowed = " or ".join(f'"{word}"' for word in words)
            self.refuse(path, node, f"must be {allowed} or a number")
            return words[0]
        return self.read(node, others[0], path)

    def struct(self, node: Node, kind: inspect.StructType, path: tuple[Key, ...]) -> object:
        """A mapping with known keys."""
        cls = cast("type[Model]", kind.cls)
        if isinstance(node, _Bad):
            return neutral(kind)
        values = node.value
        if cls.shorthand is not None and isinstance(values, str):
            values = {cls.shorthand: node}
        if not isinstance(values, dict):
            also = "" if cls.shorthand is None else f", or the {cls.shorthand} as a string"
            self.refuse(path, node, f"must be a mapping{also}, not {node.kind()}")
            return neutral(kind)
        fields = {f.encode_name: f for f in kind.fields}
        aliases = {alias: name for name, f in fields.items() if (alias := _extra(f.type, "aka"))}
        found: dict[str, object] = {}
        for key, inner in values.items():
            name = aliases.get(key, key)
            below = path if node.value is not values else (*path, key)
            if name not in fields:
                self.unknown((*path, key), inner, [*fields])
            elif name in found:
                self.refuse(below, inner, f"says the same as {name}; write one of them")
            else:
                found[name] = self.read(inner, fields[name].type, below)
        for name, f in fields.items():
            if f.required and name not in found:
                self.refuse((*path, name), Node(None, node.line, node.key_line), "is missing")
                found[name] = neutral(f.type)
        return cls(**found)

    def unknown(self, path: tuple[Key, ...], node: Node, names: list[str]) -> None:
        """Report a key that does not exist, with the nearest one."""
        near = difflib.get_close_matches(str(path[-1]), names, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(names)}"
        self.refuse(path, node, f"unknown key; {hint}", shown=None)

    def mapping(self, node: Node, kind: inspect.DictType, path: tuple[Key, ...]) -> object:
        """A mapping with free keys."""
        if isinstance(node, _Bad):
            return {}
        if not isinstance(node.value, dict):
            self.refuse(path, node, f"must be a mapping, not {node.kind()}")
            return {}
        return {k: self.read(v, kind.value_type, (*path, k)) for k, v in node.value.items()}

    def sequence(self, node: Node, kind: inspect.VarTupleType, path: tuple[Key, ...]) -> object:
        """A list, or its single item."""
        if isinstance(node, _Bad):
            return ()
        if isinstance(node.value, list):
            items = enumerate(node.value)
            return tuple(self.read(item, kind.item_type, (*path, n)) for n, item in items)
        if node.value is None:
            self.refuse(path, node, "must be a list, not nothing")
            return ()
        return (self.read(node, kind.item_type, path),)

    def custom(self, node: Node, cls: type, path: tuple[Key, ...]) -> object:
        """A value with a unit, or a secret."""
        if isinstance(node, _Bad):
            return cls("") if cls is Secret else cls()
        if cls is Secret:
            return self.secret(node, path)
        parse = cast(
            "Callable[[object], object]",
            cast("type[Duration | Size | Ratio | Concealed | FilePath]", cls).parse,
        )
        try:
            value = parse(node.value)
        except ValueError as error:
            self.refuse(path, node, str(error))
            return cls()
        return FilePath(self.folder / value) if isinstance(value, FilePath) else value

    def secret(self, node: Node, path: tuple[Key, ...]) -> Secret:
        """A secret given as text, by `file:PATH` or by `{file: PATH}`."""
        value = node.value
        if isinstance(value, Secret):
            return value
        reference: object = None
        if isinstance(value, dict):
            if [*value] != ["file"]:
                self.refuse(path, node, "must be a string or {file: PATH}", shown=None)
                return Secret("")
            reference = value["file"].value
        elif isinstance(value, str) and value.startswith("file:"):
            reference = value.removeprefix("file:")
        text = value
        if reference is not None:
            try:
                text = read_secret_file(self.folder / str(reference))
            except ValueError as error:
                self.refuse(path, node, str(error), shown=None)
                return Secret("")
        if not isinstance(text, str):
            self.refuse(path, node, "must be a string; quote it", shown=MASK)
            return Secret("")
        if not text or text != text.strip() or not text.isprintable():
            reason = (
                "is empty" if not text.strip() else "has spaces or control characters around it"
            )
            self.refuse(path, node, f"the secret {reason}", shown=_raw(node))
            return Secret("")
        return Secret(text)

    def plain(self, node: Node, kind: inspect.Type, path: tuple[Key, ...]) -> object:
        """A string, number, boolean or one of some words."""
        value = node.value
        if isinstance(node, _Bad):
            return neutral(kind)
        match kind:
            case inspect.StrType():
                if isinstance(value, str):
                    return value
                self.refuse(path, node, f"must be a string, not {node.kind()}; quote it")
            case inspect.BoolType():
                if isinstance(node, _Expanded) and value in ("true", "false"):
                    return value == "true"
                if isinstance(value, bool):
                    return value
                self.refuse(path, node, f"must be true or false, not {node.kind()}")
            case inspect.IntType():
                return self.number(node, kind, path)
            case inspect.LiteralType():
                if value in kind.values and isinstance(value, str):
                    return value
                self.refuse(path, node, f"allowed: {', '.join(str(v) for v in kind.values)}")
            case _:
                msg = f"the model has a type the reader does not know: {kind}"
                raise AssertionError(msg)
        return neutral(kind)

    def number(self, node: Node, kind: inspect.IntType, path: tuple[Key, ...]) -> int:
        """A whole number in its range."""
        value = node.value
        if isinstance(node, _Expanded) and isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(path, node, f"must be a whole number, not {node.kind()}")
            return cast("int", neutral(kind))
        low, high = kind.ge, kind.le
        if (low is not None and value < low) or (high is not None and value > high):
            self.refuse(path, node, f"out of range; allowed: {low} to {high}")
            return int(low or 0)
        return value


def read(node: Node, reader: Reader) -> Config:
    """The whole document. What is wrong is in `reader.mistakes`."""
    return cast("Config", reader.read(node, inspect.type_info(Config), ()))


@dataclass(slots=True)
class _Bad(Node):
    """A value already reported: nothing more is said of it."""


@dataclass(slots=True)
class _Expanded(Node):
    """A string from the environment; only its reference is ever shown."""

    raw: str = ""

    def shown(self) -> str | None:
        return Node(self.raw).shown()


def _is_off(value: object) -> bool:
    return value is False or value == "off"


def _raw(node: Node) -> str | None:
    return node.shown() if isinstance(node, _Expanded) else None


def _extra(kind: inspect.Type, name: str) -> str | None:
    extra = kind.extra if isinstance(kind, inspect.Metadata) else None
    return None if extra is None else extra.get(name)


def neutral(kind: inspect.Type) -> object:
    """A value of `kind` that stands for one that could not be read."""
    match kind:
        case inspect.Metadata():
            return neutral(kind.type)
        case inspect.UnionType():
            return None if kind.includes_none else neutral(kind.types[0])
        case inspect.StructType():
            required = {f.name: neutral(f.type) for f in kind.fields if f.required}
            return kind.cls(**required)
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.CustomType():
            return kind.cls("") if kind.cls is Secret else kind.cls()
        case inspect.DictType():
            return {}
        case inspect.VarTupleType():
            return ()
        case inspect.BoolType():
            return False
        case inspect.IntType():
            return int(kind.ge or 0)
        case _:
            return ""
