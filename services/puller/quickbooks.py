"""The QuickBooks Online API as one company's connection reaches it: reading only.

Every answer is judged here: what passes, what is worth another try, what a person has to mend, and what is
wrong for good. Status first, then the code in the body, which comes in several shapes.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, NoReturn, TypeVar

import anyio
import httpx
import msgspec
import structlog

from common import http as requests
from common import quickbooks as wire
from common import subjects
from common.connections import Connections, Grant
from common.errors import Refused, RetryLater, WeirError
from common.settings import loopback
from common.wire import WireError, read, utc
from services.puller.content import is_page
from services.puller.download import TooLarge, Unobtainable, download
from services.puller.limits import METERED_FOR
from services.puller.window import PAGE, Page, Row, Unreadable, Window, literal, statement

log = structlog.get_logger()
T = TypeVar("T")

MINOR_VERSION = "75"
TIMEOUT = httpx.Timeout(125.0, connect=10.0)
"""QuickBooks itself gives up after 120 s."""
THROTTLE_WAIT = 60.0
"""Seconds to stay away when throttled and not told for how long (the provider's advice)."""

_MISSING = "610"
_UNSUPPORTED = "500"
_THROTTLED = {"3001", "3002"}
NOT_NOW = {"130", "140", "150"}
"""The company is locked, upgraded or moved: it opens again by itself."""
_DAMAGED, _BROKEN = "4002", "10000"
"""An object in the answer cannot be given. 10000 may also mean that QuickBooks itself is unwell."""
_LOST = {
    "100": (
        "QuickBooks does not let this connection into the company",
        "reconnect QuickBooks in the console and choose the same company",
    ),
    "120": (
        "the person who connected QuickBooks no longer has access to the company",
        "have an administrator of the company reconnect QuickBooks in the console",
    ),
}
"""What only a new consent mends, with the next step."""
PAUSED = {
    "3100": (
        "QuickBooks does not let this app into the company",
        "see that WEIR_QUICKBOOKS_API_URL and the app's keys are both for production, or both for the sandbox",
    ),
    "6190": (
        "the company's QuickBooks subscription has ended",
        "renew it in QuickBooks",
    ),
}
"""What is mended elsewhere and leaves the grant good, with the next step."""
_REJECTED = "it is tried again until it works; if it lasts, disconnect QuickBooks in the console and connect it again"
"""The next step when QuickBooks renews an access token and then refuses it."""
BROKEN_WAITS = (0.5, 2.0)
"""Seconds before an answer that QuickBooks itself broke on is asked for again."""
_LONGEST_QUERY = 1500
"""Characters of a statement that still goes into an address."""

UNNAMED = "without-a-name"
"""Stands in for an id that cannot be read."""
NEVER = datetime.fromtimestamp(0, UTC)
"""Stands in for a second that cannot be read."""


class Missing(WeirError):  # noqa: N818
    """There is no such object, or no longer."""


class Unsupported(Refused):
    """QuickBooks cannot answer this call at all (change data capture too far back)."""


class Damaged(Refused):
    """The answer holds an object that QuickBooks cannot give."""


class _Id(msgspec.Struct, rename="pascal"):
    id: str


class _Meta(msgspec.Struct, rename="pascal"):
    last_updated_time: datetime


class _Time(msgspec.Struct, rename="pascal"):
    meta_data: _Meta


class _Head(msgspec.Struct, rename="pascal"):
    id: str
    meta_data: _Meta


class _State(msgspec.Struct):
    status: str | None = None


class Capture(NamedTuple):
    """An answer of change data capture: live objects and ids of deleted ones, by entity, and how many in all.

    `asked` are the entities it tells of, those without a change included.
    """

    asked: frozenset[str]
    time: datetime
    total: int
    live: dict[str, list[Row]]
    deleted: dict[str, list[str]]


class Company:
    """One connected company, asked for `size` objects at a time.

    All calls raise NotConnected, Paused, RetryLater or Refused as the answer demands.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        connections: Connections,
        api_url: str,
        workspace: str,
        realm: str,
        *,
        size: int = PAGE,
    ) -> None:
        self._http = http
        self._connections = connections
        self._base = f"{api_url}/v3/company/{realm}"
        self._damaged = False
        """Whether a query failed over a damaged object: those that close in on it are not each worth a wait."""
        self.answered_at: datetime | None = None
        """QuickBooks' own time of its newest answer to a query or to change data capture."""
        self.size = size
        self.workspace = workspace
        self.realm = realm

    async def page(self, entity: str, window: Window, *, inactive: bool = False) -> Page:
        """The next page of a window; Unreadable if an object in it is damaged.

        A refusal names the entity and where the window stood.
        """
        try:
            answer = await self.query(entity, statement(entity, window, inactive=inactive, size=self.size))
        except Damaged as error:
            log.debug("quickbooks.page_damaged", entity=entity, since=window.since.isoformat(), error=error)
            raise Unreadable(str(error), window.until or await self.clock()) from error
        except Refused as error:
            raise Refused(f"{entity} changed since {window.since:%Y-%m-%d %H:%M:%S} UTC: {error}") from error
        rows = [self._row(entity, item) for item in answer.objects]
        if len(rows) == self.size and all(row.at == NEVER for row in rows):
            raise RetryLater(f"a page of {entity} cannot be read: {rows[0].wrong}")
        return Page(list(_in_order(rows, window.since)), answer.time)

    async def rows(self, entity: str, text: str) -> list[Row]:
        """The objects of one statement that asks for whole objects of `entity`; Damaged if one is."""
        return [self._row(entity, item) for item in (await self.query(entity, text)).objects]

    async def clock(self) -> datetime:
        """QuickBooks' own time, by an answer that holds no object."""
        return (await self.query("Bill", "SELECT COUNT(*) FROM Bill")).time

    async def count(self, entity: str, condition: str = "") -> int:
        """How many objects of `entity` fulfil the condition (" WHERE …"); Damaged if QuickBooks is unwell."""
        answer = await self.query(entity, f"SELECT COUNT(*) FROM {entity}{condition}")  # noqa: S608 (our own words)
        return answer.total or 0

    async def query(self, entity: str, text: str) -> wire.Page:
        """The objects of one statement about `entity`; Damaged if one is."""
        try:
            parse = partial(wire.query_page, entity=entity)
            page = await self._ask("query", parse, statement=text, patient=not self._damaged)
        except Damaged:
            self._damaged = True
            raise
        self.answered_at = page.time
        return page

    async def ids(self, entity: str, text: str) -> list[str]:
        """The ids of one statement that asks for nothing else, UNNAMED for what is none; Damaged if one is."""
        return [self._id(item) for item in (await self.query(entity, text)).objects]

    async def changes(self, entities: Sequence[str], since: datetime) -> Capture:
        """Everything of these entities that changed or was deleted since; Unsupported if that is too long ago.

        An answer of 1000 objects was cut off, and what it lacks is the deletions.
        """
        parse = partial(self._capture, frozenset(entities))
        changes = await self._ask("cdc", parse, entities=",".join(entities), changedSince=literal(since))
        self.answered_at = changes.time
        return changes

    async def read(self, entity: str, ident: str) -> Row:
        """One object; Missing if it is gone."""
        return await self._ask(f"{entity.lower()}/{ident}", lambda body: self._row(entity, wire.single(body, entity)))

    async def file(self, attachable: wire.Attachable) -> bytes:
        """The bytes of an attachment. Unobtainable, TooLarge or Missing.

        A link that has expired, or gives something else than the file, is asked for anew, once.
        """
        link = attachable.url or await self._link(attachable)
        try:
            return await self._download(link, attachable)
        except TooLarge:
            raise
        except Unobtainable as error:
            log.info("quickbooks.link_useless", attachable=attachable.id, error=error)
        return await self._download(await self._link(attachable), attachable)

    async def _link(self, attachable: wire.Attachable) -> str:
        # The documentation shows the link both bare and in quotes.
        return await self._ask(f"download/{attachable.id}", lambda body: body.decode().strip().strip('"'))

    async def _download(self, link: str, attachable: wire.Attachable) -> bytes:
        data = await download(self._http, link, local=loopback(self._base))
        if not data:
            raise Unobtainable("the file is empty")
        if is_page(data, attachable.file_name or "", attachable.content_type or ""):
            raise Unobtainable("the file host sent a page in place of the file")
        return data

    async def _ask(
        self,
        path: str,
        parse: Callable[[bytes], T],
        *,
        statement: str | None = None,
        patient: bool = True,
        **params: str,
    ) -> T:
        grant = await self._grant()
        response = await self._send(path, params, statement, grant)
        if response.status_code == 401:
            grant = await self._grant(rejected=grant.access)
            response = await self._send(path, params, statement, grant)
        for wait in BROKEN_WAITS if patient else ():
            if response.status_code != 500 or wire.fault(500, response.content).code != _BROKEN:
                break
            await anyio.sleep(wait * random.uniform(0.5, 1.5))
            response = await self._send(path, params, statement, grant)
        if response.status_code != 200:
            await self._refused(path, response, wire.fault(response.status_code, response.content), grant)
        try:
            return parse(response.content)
        except wire.FaultError as error:
            await self._refused(path, response, error.fault, grant)
        except (WireError, UnicodeDecodeError) as error:
            log.warning("quickbooks.unreadable", path=path, tid=_tid(response), error=error)
            raise RetryLater(f"QuickBooks' answer to {path} cannot be read: {error}") from None

    async def _grant(self, *, rejected: str | None = None) -> Grant:
        grant = await self._connections.grant(self.workspace, rejected=rejected)
        if grant.account != self.realm:
            raise RetryLater(f"{self.workspace} was connected to another company meanwhile", delay=1.0)
        return grant

    async def _send(self, path: str, params: dict[str, str], statement: str | None, grant: Grant) -> httpx.Response:
        headers = {"Authorization": f"Bearer {grant.access}", "Accept": "application/json"}
        content = None
        if statement is not None and len(statement) > _LONGEST_QUERY:
            headers["Content-Type"] = "application/text"
            content = statement.encode()
        elif statement is not None:
            params = {**params, "query": statement}
        try:
            return await requests.repeated(
                self._http,
                "GET" if content is None else "POST",
                f"{self._base}/{path}",
                params={**params, "minorversion": MINOR_VERSION},
                headers=headers,
                content=content,
                timeout=TIMEOUT,
                extensions={METERED_FOR: self.workspace},
            )
        except requests.NotRepeated as error:
            log.warning("quickbooks.not_now", path=path, status=error.response.status_code, tid=_tid(error.response))
            raise RetryLater(f"QuickBooks: {error}", delay=error.wait or THROTTLE_WAIT) from None
        except httpx.TransportError as error:
            raise RetryLater(f"QuickBooks cannot be reached: {type(error).__name__}") from None

    def _row(self, entity: str, item: msgspec.Raw) -> Row:
        try:
            head = read(item, _Head, entity)
            subjects.token(f"{self.realm}-{head.id}", "Id")
            return Row(head.id, utc(head.meta_data.last_updated_time), item)
        except (WireError, subjects.BadTokenError) as error:
            return Row(self._id(item), _changed_at(item), item, str(error))

    def _id(self, item: msgspec.Raw) -> str:
        named = _part(item, _Id)
        try:
            subjects.token(f"{self.realm}-{'' if named is None else named.id}")
        except subjects.BadTokenError:
            return UNNAMED
        return UNNAMED if named is None else named.id

    def _capture(self, asked: frozenset[str], body: bytes) -> Capture:
        changes = wire.changes(body)
        live: dict[str, list[Row]] = {}
        deleted: dict[str, list[str]] = {}
        for entity, objects in changes.objects.items():
            for item in objects:
                row, state = self._row(entity, item), _part(item, _State)
                if state is not None and state.status == "Deleted":
                    deleted.setdefault(entity, []).append(row.id)
                else:
                    live.setdefault(entity, []).append(row)
        return Capture(asked, changes.time, changes.total, live, deleted)

    async def _refused(self, path: str, response: httpx.Response, fault: wire.Fault, grant: Grant) -> NoReturn:
        # A missing object is hoped for when a deletion is confirmed, a damaged one is closed in on, and what change
        # data capture does not support is read by window.
        answers = {_MISSING, _UNSUPPORTED, _DAMAGED, _BROKEN}
        report = log.info if fault.code in answers else log.warning
        report("quickbooks.refused", path=path, status=response.status_code, code=fault.code, tid=_tid(response))
        said = f"QuickBooks refused {path}: {fault}"
        if fault.code in _LOST:
            why, fix = _LOST[fault.code]
            raise await self._connections.lost(self.workspace, why, fix=fix, grant=grant)
        if fault.code in PAUSED:
            why, fix = PAUSED[fault.code]
            raise await self._connections.paused(self.workspace, why, f"{fix}; Weir goes on by itself then")
        if fault.code in _THROTTLED:
            raise RetryLater(said, delay=requests.retry_after(response) or THROTTLE_WAIT)
        if fault.code == _MISSING:
            raise Missing(said)
        if fault.code in {_DAMAGED, _BROKEN}:
            raise Damaged(said)
        if fault.code == _UNSUPPORTED:
            raise Unsupported(said)
        if response.status_code == 401:  # with an access token that was renewed for this call
            raise RetryLater(said, fix=_REJECTED)
        if fault.code in NOT_NOW or not fault.code:
            raise RetryLater(said)
        raise Refused(said)


def _in_order(rows: Iterable[Row], since: datetime) -> Iterable[Row]:
    """The rows of a page in order, those without a time with that of the one before."""
    for row in rows:
        since = since if row.at == NEVER else row.at
        yield row._replace(at=since)


def _changed_at(item: msgspec.Raw) -> datetime:
    """The last change of a malformed object, NEVER if that cannot be read."""
    dated = _part(item, _Time)
    try:
        return NEVER if dated is None else utc(dated.meta_data.last_updated_time)
    except WireError:
        return NEVER


def _part(item: msgspec.Raw, shape: type[T]) -> T | None:
    """What of a malformed object can be read after all."""
    try:
        return read(item, shape, "object")
    except WireError:
        return None


def _tid(response: httpx.Response) -> str:
    return str(response.headers.get("intuit_tid", ""))
