"""The QuickBooks Online API as one company's connection reaches it: reading only.

Every answer is judged here: what passes, what is worth another try, what a person has to mend, and what is
wrong for good. Status first, then the code in the body, which comes in several shapes.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, NoReturn, TypeVar

import httpx
import msgspec
import stamina
import structlog

from common import http as requests
from common import quickbooks as wire
from common.connections import Connections, Grant
from common.errors import Refused, RetryLater, WeirError
from common.settings import loopback
from common.wire import WireError, read
from services.puller.window import Page, Row, Window, statement

log = structlog.get_logger()
T = TypeVar("T")

MINOR_VERSION = "75"
TIMEOUT = httpx.Timeout(125.0, connect=10.0)
"""QuickBooks itself gives up after 120 s."""
LARGEST_FILE = 10 * 2**20
"""Bytes of an attachment that is fetched: Qonto takes no larger file."""
THROTTLE_WAIT = 60.0
"""Seconds to stay away when throttled and not told for how long (the provider's advice)."""

_MISSING = "610"
_UNSUPPORTED = "500"
_THROTTLED = {"3001", "3002"}
_NOT_NOW = {"130", "140", "150"}
_LOST = {
    "100": "QuickBooks does not let this connection into the company",
    "120": "the person who connected QuickBooks no longer has access to the company",
    "3100": "QuickBooks does not let this app into the company",
    "6190": "the company's QuickBooks subscription has ended",
}


class Missing(WeirError):  # noqa: N818
    """There is no such object, or no longer."""


class Unsupported(Refused):
    """QuickBooks cannot answer this call at all (change data capture too far back)."""


class Expired(WeirError):  # noqa: N818
    """The link to a file is no longer good."""


class TooLarge(WeirError):  # noqa: N818
    """The file is larger than LARGEST_FILE."""


class _Id(msgspec.Struct, rename="pascal"):
    id: str


class _Meta(msgspec.Struct, rename="pascal"):
    last_updated_time: datetime


class _Head(msgspec.Struct, rename="pascal"):
    id: str
    meta_data: _Meta
    status: str | None = msgspec.field(name="status", default=None)


class Capture(NamedTuple):
    """An answer of change data capture: live objects and ids of deleted ones, by entity, and how many in all."""

    time: datetime
    total: int
    live: dict[str, list[Row]]
    deleted: dict[str, list[str]]


class Company:
    """One connected company. All calls raise NotConnected, RetryLater or Refused as the answer demands."""

    def __init__(
        self, http: httpx.AsyncClient, connections: Connections, api_url: str, workspace: str, realm: str
    ) -> None:
        self._http = http
        self._connections = connections
        self._base = f"{api_url}/v3/company/{realm}"
        self.workspace = workspace
        self.realm = realm

    async def page(self, entity: str, window: Window, *, inactive: bool = False) -> Page:
        """The next page of a window; a refusal names the entity and where the window stood."""

        def parse(body: bytes) -> Page:
            answer = wire.query_page(body, entity)
            return Page([_row(entity, item) for item in answer.objects], answer.time)

        try:
            return await self._get("query", parse, query=statement(entity, window, inactive=inactive))
        except Refused as error:
            raise Refused(f"{entity} changed since {window.since:%Y-%m-%d %H:%M:%S} UTC: {error}") from error

    async def rows(self, entity: str, text: str) -> list[Row]:
        """The objects of one statement that asks for whole objects of `entity`."""

        def parse(body: bytes) -> list[Row]:
            return [_row(entity, item) for item in wire.query_page(body, entity).objects]

        return await self._get("query", parse, query=text)

    async def query(self, entity: str, text: str) -> wire.Page:
        """The objects of one statement about `entity`."""
        return await self._get("query", lambda body: wire.query_page(body, entity), query=text)

    async def changes(self, entities: Sequence[str], since: datetime) -> Capture:
        """Everything of these entities that changed or was deleted since; Unsupported if that is too long ago.

        An answer of 1000 objects was cut off, and what it lacks is the deletions.
        """
        moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return await self._get("cdc", _capture, entities=",".join(entities), changedSince=moment)

    async def read(self, entity: str, ident: str) -> Row:
        """One object; Missing if it is gone."""
        return await self._get(f"{entity.lower()}/{ident}", lambda body: _row(entity, wire.single(body, entity)))

    async def file(self, attachable: wire.Attachable) -> bytes:
        """The bytes of an attachment; a link that has expired is asked for anew. Expired, Missing or TooLarge."""
        if attachable.url is not None:
            try:
                return await self._fetch(attachable.url)
            except Expired:
                log.info("quickbooks.link_expired", attachable=attachable.id)
        # The documentation shows the link both bare and in quotes.
        link = await self._get(f"download/{attachable.id}", lambda body: body.decode().strip().strip('"'))
        return await self._fetch(link)

    async def _get(self, path: str, parse: Callable[[bytes], T], **params: str) -> T:
        grant = await self._grant()
        response = await self._send(path, params, grant)
        if response.status_code == 401:
            grant = await self._grant(rejected=grant.access)
            response = await self._send(path, params, grant)
        if response.status_code != 200:
            await self._refused(path, response, wire.fault(response.status_code, response.content))
        try:
            return parse(response.content)
        except wire.FaultError as error:
            await self._refused(path, response, error.fault)
        except (WireError, UnicodeDecodeError) as error:
            log.warning("quickbooks.unreadable", path=path, tid=_tid(response), error=error)
            raise RetryLater(f"QuickBooks' answer to {path} cannot be read: {error}") from None

    async def _grant(self, *, rejected: str | None = None) -> Grant:
        grant = await self._connections.grant(self.workspace, rejected=rejected)
        if grant.account != self.realm:
            raise RetryLater(f"{self.workspace} was connected to another company meanwhile", delay=1.0)
        return grant

    async def _send(self, path: str, params: dict[str, str], grant: Grant) -> httpx.Response:
        try:
            return await requests.repeated(
                self._http,
                "GET",
                f"{self._base}/{path}",
                params={**params, "minorversion": MINOR_VERSION},
                headers={"Authorization": f"Bearer {grant.access}", "Accept": "application/json"},
                timeout=TIMEOUT,
            )
        except requests.NotRepeated as error:
            log.warning("quickbooks.not_now", path=path, status=error.response.status_code, tid=_tid(error.response))
            raise RetryLater(f"QuickBooks: {error}", delay=error.wait or THROTTLE_WAIT) from None
        except httpx.TransportError as error:
            raise RetryLater(f"QuickBooks cannot be reached: {type(error).__name__}") from None

    async def _refused(self, path: str, response: httpx.Response, fault: wire.Fault) -> NoReturn:
        # A missing object is the answer hoped for when a deletion is confirmed.
        report = log.info if fault.code == _MISSING else log.warning
        report("quickbooks.refused", path=path, status=response.status_code, code=fault.code, tid=_tid(response))
        said = f"QuickBooks refused {path}: {fault}"
        if fault.code in _LOST:
            raise await self._connections.lost(self.workspace, _LOST[fault.code])
        if fault.code in _THROTTLED:
            raise RetryLater(said, delay=requests.retry_after(response) or THROTTLE_WAIT)
        if fault.code == _MISSING:
            raise Missing(said)
        if fault.code == _UNSUPPORTED:
            raise Unsupported(said)
        if fault.code in _NOT_NOW or not fault.code or response.status_code == 401:
            raise RetryLater(said)
        raise Refused(said)

    async def _fetch(self, link: str) -> bytes:
        # Whoever holds the link may read the file: it is not logged, and our token does not go there.
        if not link.startswith("https://") and not loopback(link):
            raise Refused("QuickBooks gave a link to a file that is not https")
        try:
            async for attempt in stamina.retry_context(on=httpx.TransportError, attempts=3, timeout=None):
                with attempt:
                    return await self._download(link)
        except httpx.TransportError as error:
            raise RetryLater(f"a file of {self.realm} cannot be fetched: {type(error).__name__}") from None
        raise AssertionError("stamina ends by returning or raising")

    async def _download(self, link: str) -> bytes:
        async with self._http.stream("GET", link) as response:
            if response.status_code in {400, 401, 403, 404, 410}:
                raise Expired(f"the file host answered with HTTP {response.status_code}")
            if response.status_code != 200:
                raise RetryLater(f"the file host answered with HTTP {response.status_code}")
            data = bytearray()
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > LARGEST_FILE:
                    raise TooLarge(f"the file is larger than {LARGEST_FILE >> 20} MB")
            return bytes(data)


def ident(item: msgspec.Raw) -> str:
    """The id of an object of which nothing else was asked."""
    return read(item, _Id, "object").id


def _row(entity: str, item: msgspec.Raw) -> Row:
    head = read(item, _Head, entity)
    return Row(head.id, head.meta_data.last_updated_time, item)


def _capture(body: bytes) -> Capture:
    changes = wire.changes(body)
    live: dict[str, list[Row]] = {}
    deleted: dict[str, list[str]] = {}
    for entity, objects in changes.objects.items():
        for item in objects:
            head = read(item, _Head, entity)
            if head.status == "Deleted":
                deleted.setdefault(entity, []).append(head.id)
            else:
                live.setdefault(entity, []).append(Row(head.id, head.meta_data.last_updated_time, item))
    return Capture(changes.time, changes.total, live, deleted)


def _tid(response: httpx.Response) -> str:
    return str(response.headers.get("intuit_tid", ""))
