"""Claims: which bill an entry serves. One entry serves one bill, whoever comes first.

A claim stands as long as its bill's ledger page holds the entry. So a page names an entry before it is claimed, and
lets go of it before the claim is given up. Whoever takes a claim writes it, even if it was theirs already, and
whoever removes one has read it before the page: so no claim goes while a page that holds its entry is on its way.
What a crash leaves behind is a claim that no page holds, which the next one takes over.
"""

from common.buckets import Bucket, Kept
from common.bus import Bus
from common.errors import AskPerson, Conflict
from common.messages import Claim, EntryKind, now
from common.subjects import RecordKey
from services.poster.ledger import Ledger, Page


class Claims:
    """The claims of all workspaces, taken and given up by compare-and-set."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = Bucket(bus, "claims", Claim)
        self._pages = Bucket(bus, "idempotency", Page)

    @staticmethod
    def key(workspace: str, kind: EntryKind, entry: str) -> str:
        """Where the claim on an entry is kept."""
        return f"{workspace}.{kind}-{entry}"

    async def holder(self, workspace: str, kind: EntryKind, entry: str) -> str | None:
        """The record key of the bill that holds the entry."""
        kept = await self._bucket.get(self.key(workspace, kind, entry))
        return kept.value.bill if kept is not None and await self._stands(workspace, entry, kept) else None

    async def take(self, workspace: str, kind: EntryKind, entry: str, bill: str) -> None:
        """Claim an entry; AskPerson if another bill holds it. Claiming again is no harm."""
        key, claim = self.key(workspace, kind, entry), Claim(bill=bill, at=now())
        while True:
            kept = await self._bucket.get(key)
            if kept is not None and kept.value.bill != bill and await self._stands(workspace, entry, kept):
                raise self._contested(kind, entry, kept.value.bill)
            try:
                if kept is None:
                    await self._bucket.create(key, claim)
                else:
                    await self._bucket.replace(key, claim, kept.revision)
            except Conflict:
                continue
            return

    async def check(self, workspace: str, kind: EntryKind, entry: str, bill: str) -> None:
        """AskPerson if another bill holds the entry."""
        holder = await self.holder(workspace, kind, entry)
        if holder not in {None, bill}:
            raise self._contested(kind, entry, str(holder))

    async def release(self, workspace: str, kind: EntryKind, entry: str, bill: str) -> bool:
        """Give a claim up, if it is this bill's and its page has let go of the entry; whether that was so."""
        while True:
            kept = await self._bucket.get(self.key(workspace, kind, entry))
            if kept is None or kept.value.bill != bill or await self._stands(workspace, entry, kept):
                return False
            try:
                await self._bucket.delete(kept.key, kept.revision)
            except Conflict:
                continue
            return True

    async def _stands(self, workspace: str, entry: str, kept: Kept[Claim]) -> bool:
        """Whether the page of the claim's bill holds the entry; without a page, nothing speaks against the claim."""
        realm, bill = RecordKey.parse(kept.value.bill)
        page = await self._pages.get(Ledger.key(workspace, realm, bill))
        return page is None or page.value.holds(entry)

    @staticmethod
    def _contested(kind: EntryKind, entry: str, bill: str) -> AskPerson:
        return AskPerson("contested", f"{kind} {entry} already serves bill {bill}")
