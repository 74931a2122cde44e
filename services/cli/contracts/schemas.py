"""JSON Schemas of messages and values, from their types.

msgspec describes the structs; formats that it leaves out (decimals, instants, dates) are added from the same
types, and rules that structs check by code are told here.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import inspect as shapes

from common.messages import ReviewResolved, Search

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DECIMAL = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"

_FORMATS: dict[type, dict[str, str]] = {
    shapes.DecimalType: {"format": "decimal", "pattern": DECIMAL},
    shapes.DateTimeType: {"format": "date-time"},
    shapes.DateType: {"format": "date"},
    shapes.TimeDeltaType: {"format": "duration"},
}

_RULES: dict[type, dict[str, Any]] = {
    ReviewResolved: {
        "properties": {"by": {"type": "string", "pattern": r"\S"}},
        "if": {"properties": {"action": {"const": "link"}}, "required": ["action"]},
        "then": {"properties": {"entry": {"type": "string", "minLength": 1}}, "required": ["entry"]},
    },
    Search: {"properties": {"limit": {"type": "integer", "minimum": 1, "maximum": 50, "default": 20}}},
}


def tag(type_: Any) -> str | None:
    """A message's type and version as it stands on the wire."""
    config = getattr(type_, "__struct_config__", None)
    return str(config.tag) if config is not None and config.tag is not None else None


def components(types: Iterable[Any], prefix: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The schema of each type, and of every struct they are made of; those are referred to as `{prefix}{name}`."""
    asked = list(types)
    heads, parts = msgspec.json.schema_components(asked, ref_template=f"{prefix}{{name}}")
    known: dict[str, tuple[type, shapes.StructType]] = {}
    for shape in shapes.multi_type_info(asked):
        known.update({one.cls.__name__: (one.cls, one) for one in _structs(shape, set())})
    for name, (cls, shape) in known.items():
        part = parts[name]
        properties = part["properties"]
        for field in shape.fields:
            properties[field.encode_name] = _formatted(properties[field.encode_name], field.type)
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])
        rules = _RULES.get(cls, {})
        part.update({**rules, "properties": {**properties, **rules.get("properties", {})}})
    return [_formatted(head, shape) for head, shape in zip(heads, shapes.multi_type_info(asked), strict=True)], parts


def alone(type_: Any, ident: str, title: str, examples: list[Any]) -> dict[str, Any]:
    """A schema that stands on its own."""
    [head], parts = components([type_], "#/$defs/")
    name = head.get("$ref", "").removeprefix("#/$defs/")
    body = parts.pop(name) if name in parts and not _mentions(parts, head["$ref"]) else head
    schema = {"$schema": DIALECT, "$id": ident, **body, "title": title}
    if examples:
        schema["examples"] = examples
    if parts:
        schema["$defs"] = dict(sorted(parts.items()))
    return schema


def _mentions(parts: dict[str, Any], reference: str) -> bool:
    return re.search(re.escape(f'"{reference}"'), msgspec.json.encode(parts).decode()) is not None


def _structs(shape: shapes.Type, seen: set[type]) -> Iterator[shapes.StructType]:
    match shape:
        case shapes.StructType() if shape.cls not in seen:
            seen.add(shape.cls)
            yield shape
            for field in shape.fields:
                yield from _structs(field.type, seen)
        case shapes.UnionType():
            for one in shape.types:
                yield from _structs(one, seen)
        case shapes.DictType():
            yield from _structs(shape.value_type, seen)
        case shapes.CollectionType() | shapes.VarTupleType() | shapes.ListType():
            yield from _structs(shape.item_type, seen)
        case shapes.Metadata():
            yield from _structs(shape.type, seen)


def _formatted(schema: dict[str, Any], shape: shapes.Type) -> dict[str, Any]:
    """The schema with the format of what the type says and the schema does not."""
    match shape:
        case shapes.DecimalType() | shapes.DateTimeType() | shapes.DateType() | shapes.TimeDeltaType():
            return {**schema, **_FORMATS[type(shape)]}
        case shapes.UnionType() if "anyOf" in schema and len(schema["anyOf"]) == len(shape.types):
            ways = zip(schema["anyOf"], shape.types, strict=True)
            return {**schema, "anyOf": [_formatted(way, one) for way, one in ways]}
        case shapes.DictType() if isinstance(schema.get("additionalProperties"), dict):
            return {**schema, "additionalProperties": _formatted(schema["additionalProperties"], shape.value_type)}
        case shapes.VarTupleType() | shapes.ListType() if isinstance(schema.get("items"), dict):
            return {**schema, "items": _formatted(schema["items"], shape.item_type)}
        case _:
            return schema
