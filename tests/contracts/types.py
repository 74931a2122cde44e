"""Hypothesis makes messages up from their types, as msgspec sees those."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect as shapes

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**12), max_value=10**12)
_INSTANTS = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (hypothesis adds the zone)
_SIMPLE: dict[type, st.SearchStrategy[Any]] = {
    shapes.StrType: _TEXT,
    shapes.IntType: st.integers(-(2**53), 2**53),
    shapes.FloatType: st.floats(0, 1) | st.floats(allow_nan=False, allow_infinity=False),
    shapes.BoolType: st.booleans(),
    shapes.NoneType: st.none(),
    shapes.BytesType: st.binary(max_size=8),
    shapes.DecimalType: _AMOUNTS,
    shapes.DateTimeType: _INSTANTS,
    shapes.DateType: st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    shapes.TimeDeltaType: st.timedeltas(timedelta(0), timedelta(400)),
}


def made_of(type_: Any) -> st.SearchStrategy[Any]:
    """Anything of this type that its own checks let pass."""
    return _of(shapes.type_info(type_))


def _of(shape: shapes.Type) -> st.SearchStrategy[Any]:
    if type(shape) in _SIMPLE:
        return _SIMPLE[type(shape)]
    match shape:
        case shapes.LiteralType():
            return st.sampled_from(shape.values)
        case shapes.EnumType():
            return st.sampled_from(list(shape.cls))
        case shapes.UnionType():
            return st.one_of([_of(one) for one in shape.types])
        case shapes.VarTupleType():
            return st.lists(_of(shape.item_type), max_size=2).map(tuple)
        case shapes.DictType():
            return st.dictionaries(_of(shape.key_type), _of(shape.value_type), max_size=2)
        case shapes.StructType():
            return st.fixed_dictionaries(
                {one.name: _of(one.type) for one in shape.fields if one.required},
                optional={one.name: _of(one.type) for one in shape.fields if not one.required},
            ).flatmap(lambda fields: _made(shape.cls, fields))
        case _:
            raise NotImplementedError(f"no way to make up {shape}")


def _made(cls: type, fields: dict[str, Any]) -> st.SearchStrategy[Any]:
    try:
        return st.just(cls(**fields))
    except ValueError:  # one of the struct's own checks
        return st.nothing()


def with_more(value: Any) -> Any:
    """The JSON of a message in which every struct has fields that nobody knows yet."""
    if isinstance(value, msgspec.Struct):
        told = dict(msgspec.to_builtins(value, str_keys=True, builtin_types=(msgspec.Raw,)).items())
        nested = {one.encode_name: getattr(value, one.name) for one in msgspec.structs.fields(value)}
        return {
            **{name: with_more(nested[name]) if name in nested else part for name, part in told.items()},
            "added_later": {"type": "unheard-of.9", "parts": [1, "two", None]},
        }
    if isinstance(value, dict):
        return {str(name): with_more(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_more(one) for one in value]
    return value
