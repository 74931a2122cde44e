"""JSON in and out, strictly typed: a wrong type is an error here, not a surprise later."""

from functools import cache
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_encoder = msgspec.json.Encoder(decimal_format="string")


def encode(message: Any) -> bytes:
    """The JSON bytes of a message; decimals are strings, instants RFC 3339."""
    return _encoder.encode(message)


def decode(data: bytes | msgspec.Raw, type_: type[T]) -> T:
    """The message in `data`; msgspec.ValidationError names the field that does not fit.

    Whatever else is wrong with it is an msgspec.DecodeError, text that is no UTF-8 and bottomless nesting too.
    """
    shape: Any = type_
    try:
        message: T = _decoder(shape).decode(data)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"not UTF-8 ({error.reason})") from error
    except RecursionError as error:
        raise msgspec.DecodeError("nested too deeply") from error
    return message


@cache
def _decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape, strict=True)
