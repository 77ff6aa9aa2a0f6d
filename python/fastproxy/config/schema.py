"""JSON Schema of the configuration file, generated from the model; editors complete by it."""

import inspect as python_inspect
from typing import cast

import msgspec
from msgspec import inspect

from fastproxy.config.dump import shown
from fastproxy.config.files import FilePath
from fastproxy.config.model import Config, Model
from fastproxy.config.secret import Concealed, Secret
from fastproxy.config.units import AutoSize, Duration, Ratio, Size

__all__ = ["schema"]

Json = dict[str, object]

_REFERENCE: Json = {"type": "string", "pattern": r"\$\{[^}]+\}"}
_SIZE = r"\d+(\.\d+)?\s*([KMG]?B|[KMG]iB)"
_CUSTOM: dict[type, Json] = {
    Concealed: {"type": "string"},
    FilePath: {"type": "string", "minLength": 1},
    Duration: {"type": "string", "pattern": r"^(off|(\d+(\.\d+)?\s*(ms|s|m|h|d))+)$|\$\{"},
    Size: {"type": "string", "pattern": rf"^{_SIZE}$|\$\{{"},
    AutoSize: {"type": "string", "pattern": rf"^(auto|{_SIZE})$|\$\{{"},
    Ratio: {"type": "string", "pattern": r"^(off|\d+(\.\d+)?\s*%)$|\$\{"},
    Secret: {
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "properties": {"file": {"type": "string"}},
                "required": ["file"],
                "additionalProperties": False,
            },
        ]
    },
}


def schema() -> Json:
    """The whole schema."""
    writer = _Writer()
    root = writer.schema(inspect.type_info(Config))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fastproxy configuration",
        **root,
        "$defs": writer.definitions,
    }


class _Writer:
    """Collects the definitions of the structs that were met."""

    def __init__(self) -> None:
        self.definitions: dict[str, object] = {}

    def schema(self, kind: inspect.Type) -> Json:
        match kind:
            case inspect.Metadata():
                return self.described(kind)
            case inspect.UnionType():
                inner = [t for t in kind.types if not isinstance(t, inspect.NoneType)]
                parts = [self.schema(t) for t in inner]
                if kind.includes_none:
                    words = all(isinstance(t, inspect.LiteralType) for t in inner)
                    parts.append({"enum": [None] if words else [None, "off"]})
                return {"anyOf": parts}
            case inspect.StructType():
                return self.struct(kind)
            case inspect.DictType():
                return {
                    "type": "object",
                    "additionalProperties": self.schema(kind.value_type),
                }
            case inspect.VarTupleType():
                return {"type": "array", "items": self.schema(kind.item_type)}
            case inspect.CustomType():
                return dict(_CUSTOM[kind.cls])
            case inspect.LiteralType():
                return {"enum": list(kind.values)}
            case inspect.BoolType():
                return {"anyOf": [{"type": "boolean"}, _REFERENCE]}
            case inspect.IntType():
                limits = {"minimum": kind.ge, "maximum": kind.le}
                bounds = {key: value for key, value in limits.items() if value is not None}
                return {"anyOf": [{"type": "integer", **bounds}, _REFERENCE]}
            case _:
                return {"type": "string"}

    def described(self, kind: inspect.Metadata) -> Json:
        found = self.schema(kind.type)
        extra = kind.extra or {}
        if extra.get("one") and isinstance(found.get("items"), dict):
            found = {"anyOf": [found, found["items"]]}
        if extra.get("off"):
            parts = cast("list[Json]", found["anyOf"])
            found = {"anyOf": [*parts[:-1], {"enum": [None]}]}
        return found | (kind.extra_json_schema or {})

    def struct(self, kind: inspect.StructType) -> Json:
        cls = cast("type[Model]", kind.cls)
        name = cls.__name__
        if name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name] = self.definition(kind, cls)
        return {"$ref": f"#/$defs/{name}"}

    def definition(self, kind: inspect.StructType, cls: type[Model]) -> Json:
        properties: Json = {}
        for field in kind.fields:
            found = self.schema(field.type)
            if not field.required and field.default is not msgspec.NODEFAULT:
                found = found | {"default": shown(field.default)}
            properties[field.encode_name] = found
            extra = (field.type.extra or {}) if isinstance(field.type, inspect.Metadata) else {}
            if extra.get("aka"):
                properties[extra["aka"]] = found
        written: Json = {
            "type": "object",
            "description": (python_inspect.getdoc(cls) or "").splitlines()[0],
            "properties": properties,
            "required": [field.encode_name for field in kind.fields if field.required],
            "additionalProperties": False,
        }
        if cls.shorthand is not None:
            return {"anyOf": [{"type": "string"}, written]}
        return written
