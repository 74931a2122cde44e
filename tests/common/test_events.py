"""Webhooks in both formats tell the same events, and what is new in them costs nothing else."""

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.quickbooks.events import Event, events
from common.wire import WireError

LEGACY = b"""{"eventNotifications":[{"realmId":"1185883450","dataChangeEvent":{"entities":[
{"name":"Bill","id":"1","operation":"Update","lastUpdated":"2026-10-05T14:42:19-0700"},
{"name":"Vendor","id":"56","operation":"Merge","lastUpdated":"2026-10-05T14:42:20-0700","deletedId":"57"}]}},
{"realmId":"310687","dataChangeEvent":{"entities":[
{"name":"BillPayment","id":"7","operation":"Void","lastUpdated":"2026-10-05T21:42:21.000Z"}]}}]}"""

CLOUD = b"""[{"specversion":"1.0","id":"88cd52aa-33b6-4351-9aa4-47572edbd068","source":"intuit.fictional=",
"type":"qbo.vendorcredit.updated.v1","datacontenttype":"application/json","time":"2026-09-10T21:31:25.179851517Z",
"intuitentityid":"1234","intuitaccountid":"310687","data":{}}]"""

REALMS = st.from_regex(r"[0-9]{9,19}", fullmatch=True)
IDS = st.from_regex(r"[0-9]{1,9}", fullmatch=True)
ENTITIES = st.sampled_from(["Bill", "Vendor", "BillPayment", "VendorCredit", "Customer", "Invoice", "Purchase"])
OPERATIONS = {"Create": "created", "Update": "updated", "Delete": "deleted", "Merge": "merged", "Void": "voided"}
ZONES = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))
SECONDS = st.datetimes(datetime(2000, 1, 2), datetime(2100, 1, 1), timezones=ZONES).map(  # noqa: DTZ001 (it says which)
    lambda moment: moment.replace(microsecond=0)
)
TOLD = st.lists(st.tuples(REALMS, ENTITIES, st.sampled_from(sorted(OPERATIONS)), IDS, SECONDS), max_size=100)
JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, 7, "text", [], {}, {"type": "qbo.bill.updated.v1"}, {"realmId": 5}, {"realmId": "1", "entities": 0}]
)


def legacy(told: list[tuple[str, str, str, str, datetime]], junk: list[Any]) -> bytes:
    companies: list[Any] = [
        {
            "realmId": realm,
            "dataChangeEvent": {
                "entities": [
                    {
                        "name": name,
                        "id": ident,
                        "operation": operation,
                        "lastUpdated": at.strftime("%Y-%m-%dT%H:%M:%S%z"),
                        "new": [1],
                    }
                ]
            },
        }
        for realm, name, operation, ident, at in told
    ]
    return json.dumps({"eventNotifications": junk + companies, "new": {"field": 1}}).encode()


def cloud(told: list[tuple[str, str, str, str, datetime]], junk: list[Any]) -> bytes:
    found: list[Any] = [
        {
            "specversion": "1.0",
            "id": f"{number}",
            "type": f"qbo.{name.lower()}.{OPERATIONS[operation]}.v1",
            "time": f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000000000Z",
            "intuitentityid": ident,
            "intuitaccountid": realm,
            "new": {},
        }
        for number, (realm, name, operation, ident, at) in enumerate(told)
    ]
    return json.dumps(junk + found).encode()


def test_the_format_of_event_notifications_is_read() -> None:
    found = events(LEGACY)
    assert found.unknown == 0
    assert found.known == (
        Event("1185883450", "bill", "updated", "1", datetime(2026, 10, 5, 21, 42, 19, tzinfo=UTC)),
        Event("1185883450", "vendor", "merged", "56", datetime(2026, 10, 5, 21, 42, 20, tzinfo=UTC)),
        Event("310687", "billpayment", "voided", "7", datetime(2026, 10, 5, 21, 42, 21, tzinfo=UTC)),
    )
    assert [event.removes for event in found.known] == [False, True, False]


def test_cloud_events_are_read() -> None:
    at = datetime(2026, 9, 10, 21, 31, 25, 179851, tzinfo=UTC)
    assert events(CLOUD) == ((Event("310687", "vendorcredit", "updated", "1234", at),), 0)


@given(TOLD, st.lists(JUNK, max_size=5))
def test_both_formats_tell_the_same_whatever_is_between(
    told: list[tuple[str, str, str, str, datetime]], junk: list[Any]
) -> None:
    meant = tuple(
        Event(realm, name.lower(), OPERATIONS[operation], ident, at) for realm, name, operation, ident, at in told
    )
    assert events(legacy(told, junk)) == (meant, len(junk))
    assert events(cloud(told, junk)) == (meant, len(junk))
    assert all(event.at.utcoffset() == timedelta(0) for event in events(legacy(told, [])).known)


@pytest.mark.parametrize(
    "field, value",
    [
        ("time", "2026-09-10T21:31:25"),
        ("time", "yesterday"),
        ("time", "0001-01-01T00:00:00+14:00"),
        ("time", ""),
        ("intuitaccountid", "*"),
        ("intuitaccountid", "1.2"),
        ("intuitaccountid", "١٢٣"),
        ("intuitaccountid", ""),
        ("intuitaccountid", 310687),
        ("type", "qbo.bill"),
        ("type", "qbo.bill.updated.v1\n"),
        ("type", "elsewhere.bill.updated.v1"),
    ],
)
def test_an_event_that_cannot_be_placed_is_counted_and_left_out(field: str, value: Any) -> None:
    (event,) = json.loads(CLOUD)
    assert events(json.dumps([{**event, field: value}, event]).encode()) == (events(CLOUD).known, 1)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"{}", b"null", b"7", b'"text"', b'{"eventNotifications":1}', b"[1,\xff]", b"[" * 100_000]
)
def test_what_is_neither_format_is_said_so(body: bytes) -> None:
    with pytest.raises(WireError, match="webhook"):
        events(body)


@pytest.mark.parametrize("body", [b"[]", b'{"eventNotifications":[]}'])
def test_a_delivery_without_events_is_one_too(body: bytes) -> None:
    assert events(body) == ((), 0)


@given(st.binary(max_size=80) | st.text('[]{}":,1eventNotificationstype\\u', max_size=80).map(str.encode))
def test_no_bytes_at_all_end_otherwise(body: bytes) -> None:
    # Whatever else were raised would be a bug of ours that a stranger's bytes can set off.
    with contextlib.suppress(WireError):
        assert events(body).unknown >= 0
