"""What both providers' wire shapes have in common: how values are read, and the error when they cannot be."""

import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from common import codec
from common.errors import WeirError

T = TypeVar("T")
_CENT = Decimal("0.01")
_LARGEST = Decimal(10) ** 18
"""No amount, quantity or rate reaches it, and up to it decimals lose nothing."""


class WireError(WeirError):
    """A provider's body does not have the shape it should; names the field."""


def read(body: bytes | msgspec.Raw, type_: type[T], what: str) -> T:
    """Decode `body`; WireError naming `what` and the field at fault."""
    try:
        return codec.decode(body, type_)
    except msgspec.MsgspecError as error:
        raise WireError(f"{what}: {error}") from None


def money(value: Decimal) -> Decimal:
    """The same amount with two decimals (more only if it has them), so that equal amounts look equal.

    WireError if it is none: NaN, infinite, or absurdly large.
    """
    stripped = _finite(value).normalize()
    exponent = stripped.as_tuple().exponent
    return stripped.quantize(_CENT) if isinstance(exponent, int) and exponent > -2 else stripped


def maybe_money(value: Decimal | None) -> Decimal | None:
    """`money`, or None."""
    return None if value is None else money(value)


def plain(value: Decimal | None) -> Decimal | None:
    """The same number without trailing zeros (quantities, rates); WireError as in `money`."""
    if value is None:
        return None
    stripped = _finite(value).normalize()
    return stripped.quantize(Decimal(1)) if stripped == stripped.to_integral_value() else stripped


def _finite(value: Decimal) -> Decimal:
    if not value.is_finite() or abs(value) >= _LARGEST:
        raise WireError(f"{value!s:.40} is no amount or number that can be kept")
    return value


def utc(value: datetime) -> datetime:
    """The instant in UTC; one without a zone is taken as UTC. WireError if it is none of the calendar in UTC."""
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:
        raise WireError(f"{value.isoformat()} lies outside of the calendar") from None


def maybe_utc(value: datetime | None) -> datetime | None:
    """`utc`, or None."""
    return None if value is None else utc(value)


def maybe_date(value: str | None, field: str) -> date | None:
    """A plain date, None for absent or empty; WireError naming the field otherwise."""
    if not value:
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        raise WireError(f"{field}: {value!r:.40} is not a date") from None


def fingerprint(*parts: Any) -> str:
    """SHA-256 over the canonical JSON of the parts."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
