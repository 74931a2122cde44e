"""What every message is made of: the two bases, instants, the names that all share."""

from datetime import UTC, datetime
from typing import Literal

import msgspec

Provider = Literal["quickbooks", "qonto"]

NAMES: dict[Provider, str] = {"quickbooks": "QuickBooks", "qonto": "Qonto"}
"""Providers as people know them."""

RecordKind = Literal["bill", "vendor", "customer", "taxcode", "billpayment", "vendorcredit", "company"]

EntryKind = Literal["invoice", "transaction"]


def now() -> datetime:
    """The present instant in UTC."""
    return datetime.now(UTC)


def said(instant: datetime) -> str:
    """An instant as people read it, to the minute."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of what travels on a subject: immutable, tagged with its type and version."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what is nested in a message."""


class Ref(Part, frozen=True, kw_only=True):
    """A QuickBooks reference: the id is what counts, the name is what people read."""

    id: str
    name: str | None = None


class Address(Part, frozen=True, kw_only=True):
    """A postal address as QuickBooks keeps it; `country` is whatever people typed."""

    lines: tuple[str, ...] = ()
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None
