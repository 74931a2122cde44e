"""What QuickBooks' webhooks carry: that an object changed, never what it says.

Two formats are sent: `eventNotifications`, and a batch of CloudEvents 1.0, which takes its place from May 2026
(developer.intuit.com, "Webhooks"). Neither is worth more than a hint: deliveries come late, twice, in any order,
or not at all.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import msgspec

from common import codec
from common.wire import WireError

T = TypeVar("T")
_REALM = re.compile(r"[0-9]{1,20}\Z")
_TYPE = re.compile(r"qbo\.([a-z]{1,40})\.([a-z]{1,40})\.v[0-9]{1,3}\Z")
_LEGACY = {"create": "created", "update": "updated", "delete": "deleted", "merge": "merged", "void": "voided"}


class Event(NamedTuple):
    """One object of the company `realm` changed at the instant `at`, by QuickBooks' clock.

    `entity` and `operation` are lower case in both formats: `billpayment`, `updated`. `id` is the object's.
    """

    realm: str
    entity: str
    operation: str
    id: str
    at: datetime

    @property
    def removes(self) -> bool:
        """Whether an object may be gone since, which only change data capture tells."""
        return self.operation in {"deleted", "merged"}


class Events(NamedTuple):
    """The events of one delivery, and how many of it are of a kind that is not known here."""

    known: tuple[Event, ...]
    unknown: int


class _Change(msgspec.Struct, rename="camel"):
    name: str
    id: str
    operation: str
    last_updated: str


class _Changes(msgspec.Struct):
    entities: list[msgspec.Raw] = []


class _Company(msgspec.Struct, rename="camel"):
    realm_id: str
    data_change_event: _Changes


class _Notifications(msgspec.Struct, rename="camel"):
    event_notifications: list[msgspec.Raw]


class _CloudEvent(msgspec.Struct):
    type: str
    time: str
    intuitaccountid: str
    intuitentityid: str


def events(body: bytes) -> Events:
    """The events of a webhook's body, in either format; WireError if it is neither.

    What is new in a part of it costs that part only: the rest is told all the same.
    """
    try:
        if body.lstrip()[:1] == b"[":
            found = [_cloud_event(item) for item in codec.decode(body, list[msgspec.Raw])]
        else:
            told = codec.decode(body, _Notifications).event_notifications
            found = [event for company in told for event in _changes(company)]
    except msgspec.MsgspecError as error:
        raise WireError(f"webhook: {error}") from None
    known = tuple(event for event in found if event is not None)
    return Events(known, len(found) - len(known))


def _changes(raw: msgspec.Raw) -> Sequence[Event | None]:
    company = _known(raw, _Company)
    if company is None:
        return [None]
    return [_legacy(company.realm_id, item) for item in company.data_change_event.entities]


def _legacy(realm: str, raw: msgspec.Raw) -> Event | None:
    change = _known(raw, _Change)
    if change is None:
        return None
    operation = change.operation.lower()
    return _event(realm, change.name.lower(), _LEGACY.get(operation, operation), change.id, change.last_updated)


def _cloud_event(raw: msgspec.Raw) -> Event | None:
    event = _known(raw, _CloudEvent)
    kind = None if event is None else _TYPE.match(event.type)
    if event is None or kind is None:
        return None
    return _event(event.intuitaccountid, kind[1], kind[2], event.intuitentityid, event.time)


def _event(realm: str, entity: str, operation: str, ident: str, time: str) -> Event | None:
    at = _instant(time)
    # The realm will be part of a key: nothing but digits may pass.
    return Event(realm, entity, operation, ident, at) if at is not None and _REALM.match(realm) else None


def _instant(text: str) -> datetime | None:
    """The instant in UTC, to the microsecond; None if it is none, or has no zone to place it by."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _known(raw: msgspec.Raw, shape: type[T]) -> T | None:
    try:
        return codec.decode(raw, shape)
    except msgspec.MsgspecError:
        return None
