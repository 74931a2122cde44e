"""What QuickBooks wraps its objects in: pages of the query endpoint, change data capture, faults in four shapes."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from common import codec
from common.wire import WireError, read, utc


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of the query endpoint: the server's time when it began, and the objects still undecoded."""

    time: datetime
    objects: tuple[msgspec.Raw, ...]
    total: int | None = None


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of change data capture; `objects` holds live objects and stubs of deleted ones per entity."""

    time: datetime
    objects: dict[str, tuple[msgspec.Raw, ...]]

    @property
    def total(self) -> int:
        """How many objects came; 1000 or more means the answer was cut, deletes first."""
        return sum(len(found) for found in self.objects.values())


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """An error of QuickBooks, whatever shape it came in. `code` is empty where none was given.

    `detail` is None where it may repeat the token it is about ("Token expired: …", in full).
    """

    status: int
    code: str
    message: str
    detail: str | None = None
    kind: str | None = None

    def __str__(self) -> str:
        words = f"{self.message}: {self.detail}" if self.detail else self.message
        return f"HTTP {self.status} code {self.code or '–'}: {words:.300}"


class FaultError(WireError):
    """QuickBooks answered with a fault, possibly under HTTP 200."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def query_page(body: bytes, entity: str) -> Page:
    """The objects of a query answer; an empty answer is `{}`. FaultError for a fault under HTTP 200."""
    outer = read(body, dict[str, msgspec.Raw], "query answer")
    if "QueryResponse" not in outer:
        raise FaultError(fault(200, body))
    inner = read(outer["QueryResponse"], dict[str, msgspec.Raw], "QueryResponse")
    total = inner.get("totalCount")
    return Page(
        time=_time(outer),
        objects=_objects(inner, entity),
        total=read(total, int, "totalCount") if total is not None else None,
    )


def changes(body: bytes) -> Changes:
    """The objects of a CDC answer by entity. FaultError for a fault, also one inside."""
    outer = read(body, dict[str, msgspec.Raw], "CDC answer")
    if "CDCResponse" not in outer:
        raise FaultError(fault(200, body))
    found: dict[str, tuple[msgspec.Raw, ...]] = {}
    for response in read(outer["CDCResponse"], list[dict[str, msgspec.Raw]], "CDCResponse"):
        if "Fault" in response:
            raise FaultError(fault(200, msgspec.json.encode({"Fault": response["Fault"]})))
        for query in read(response.get("QueryResponse", msgspec.Raw(b"[]")), list[dict[str, msgspec.Raw]], "CDC"):
            for entity in query:
                if entity[:1].isupper():
                    found[entity] = found.get(entity, ()) + _objects(query, entity)
    return Changes(time=_time(outer), objects=found)


def single(body: bytes, entity: str) -> msgspec.Raw:
    """The object of a read-by-id answer."""
    outer = read(body, dict[str, msgspec.Raw], f"{entity} answer")
    if entity not in outer:
        raise FaultError(fault(200, body))
    return outer[entity]


_OF_A_TOKEN = {"3200", "AuthenticationFailed", "AUTHENTICATION"}
"""Codes and types of faults that are about the token, in both of the gateway's shapes."""
_XML_ERROR = re.compile(r"<Error code=\"(\d+)\"[^>]*>(.*?)</Error>", re.DOTALL)
_XML_PART = re.compile(r"<(Message|Detail)>(.*?)</\1>", re.DOTALL)


def fault(status: int, body: bytes) -> Fault:
    """Read an error body: `Fault` or `fault` JSON, the gateway's flat JSON, XML, or none of these."""
    try:
        outer = _mapping(codec.decode(body, object))
    except msgspec.DecodeError:
        return _xml_fault(status, body)
    inner = _mapping(outer.get("Fault") or outer.get("fault"))
    errors = inner.get("Error") or inner.get("error")
    first = _mapping(errors[0] if isinstance(errors, list) and errors else errors) or outer
    code = str(first.get("code") or "").lstrip("0")
    kind = _text(inner.get("type") or outer.get("type"))
    return Fault(
        status=status,
        code=code,
        message=str(first.get("Message") or first.get("message") or first.get("error") or f"HTTP {status}"),
        detail=None
        if code in _OF_A_TOKEN or kind in _OF_A_TOKEN
        else _text(first.get("Detail") or first.get("detail")),
        kind=kind,
    )


def _xml_fault(status: int, body: bytes) -> Fault:
    text = body[:20_000].decode(errors="replace")
    error = _XML_ERROR.search(text)
    if error is None:
        return Fault(status=status, code="", message=f"HTTP {status}")
    parts = {name: value.strip() for name, value in _XML_PART.findall(error[2])}
    return Fault(
        status=status,
        code=error[1].lstrip("0"),
        message=parts.get("Message", f"HTTP {status}"),
        detail=parts.get("Detail"),
    )


def _time(outer: Mapping[str, msgspec.Raw]) -> datetime:
    if "time" not in outer:
        raise WireError("time: the answer does not say when it was made")
    return utc(read(outer["time"], datetime, "time"))


def _objects(inner: Mapping[str, msgspec.Raw], entity: str) -> tuple[msgspec.Raw, ...]:
    return tuple(read(inner[entity], list[msgspec.Raw], entity)) if entity in inner else ()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
