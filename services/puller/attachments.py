"""Files of bills: which hang where, and their bytes in the object store.

QuickBooks keeps an attachment apart from its bill, and attaching does not touch the bill. So attachments
have a window of their own, read before the bills of the same pull; the join of the two is kept nowhere.
Instead the attachments' marker moves last of all, when every bill they name is in RECORDS with them: whoever
crashes in between reads them again. A bill that is neither in RECORDS nor among the bills of this pull is
fetched by its id; and a bill that comes to light later than its attachments has them looked up.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import anyio
import structlog

from common import quickbooks as wire
from common.buckets import Documents
from common.bus import Bus
from common.messages import Document, Record
from common.wire import WireError
from services.puller.omissions import left_out
from services.puller.quickbooks import Company, Expired, Missing, TooLarge
from services.puller.window import PAGE, Page, Row, Window, pages

log = structlog.get_logger()

ENTITY = "Attachable"
ALL = datetime(2000, 1, 1, tzinfo=UTC)
"""Before the first attachment there is."""
AT_ONCE = 8
"""Files fetched at the same time for one company."""


class Attachments:
    """What one pull knows of its company's attachments."""

    def __init__(self, bus: Bus, company: Company) -> None:
        self._bus = bus
        self._company = company
        self._documents = Documents(bus)
        self._room = anyio.CapacityLimiter(AT_ONCE)
        self._since = ALL
        self._of: dict[str, dict[str, wire.Attachable]] = {}

    async def read(self, window: Window) -> datetime:
        """Index what changed in `window`, whole; up to when that is."""
        self._since = reached = window.since
        async for rows, _, reached in pages(self._page, window):  # noqa: B007 (its last value counts)
            for row in rows:
                await self._index(row)
        return reached

    async def look_up(self, bill: str) -> None:
        """Index all attachments of one bill."""
        condition = f"AttachableRef.EntityRef.Type = 'bill' AND AttachableRef.EntityRef.value = '{bill}'"
        text = f"SELECT * FROM {ENTITY} WHERE {condition} MAXRESULTS {PAGE}"  # noqa: S608 (an id QuickBooks gave)
        for row in await self._company.rows(ENTITY, text):
            await self._index(row)

    async def _index(self, row: Row) -> None:
        try:
            attachable = wire.attachable(row.body)
        except WireError as error:
            fix = "attach the file again in QuickBooks"
            await left_out(self._bus, self._company, f"attachment {row.id}", error, fix=fix, key=row.id)
            return
        for bill in attachable.bills if attachable.file_name else ():
            self._of.setdefault(bill, {})[attachable.id] = attachable

    async def _page(self, window: Window) -> Page:
        return await self._company.page(ENTITY, window)

    def bills(self, since: datetime) -> set[str]:
        """Ids of the bills that attachments name which were added or changed since."""
        return {
            bill
            for bill, files in self._of.items()
            if any(file.updated_at is None or file.updated_at >= since for file in files.values())
        }

    def may_miss(self, bill: Record) -> bool:
        """Whether a bill seen for the first time is older than the window: its files may lie before it."""
        return bill.created_at is None or bill.created_at < self._since

    async def of(self, bill: str, known: Sequence[Document]) -> tuple[Document, ...]:
        """The documents of a bill: those `known`, and those read since, fetched now into the store."""
        have = {document.attachable for document in known}
        wanted = [item for ident, item in self._of.get(bill, {}).items() if ident not in have]
        fetched = [await self._fetch(bill, item) for item in wanted]
        return (*known, *(document for document in fetched if document is not None))

    async def _fetch(self, bill: str, attachable: wire.Attachable) -> Document | None:
        async with self._room:
            try:
                data = await self._company.file(attachable)
            except (Expired, Missing, TooLarge) as error:
                what = f"attachment {attachable.file_name!r} of bill {bill}"
                fix = "attach the file again in QuickBooks, not larger than 10 MB"
                await left_out(self._bus, self._company, what, error, fix=fix, key=f"{bill}-{attachable.id}")
                return None
            return Document(
                sha256=await self._documents.put(data),
                name=attachable.file_name or attachable.id,
                content_type=attachable.content_type or "application/octet-stream",
                size=len(data),
                attachable=attachable.id,
            )
