"""Claims: which bill an entry serves. One entry serves one bill, whoever comes first."""

from common.buckets import Bucket
from common.bus import Bus
from common.errors import AskPerson, Conflict
from common.messages import Claim, EntryKind, now


class Claims:
    """The claims of all workspaces, taken by compare-and-set."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = Bucket(bus, "claims", Claim)

    @staticmethod
    def key(workspace: str, kind: EntryKind, entry: str) -> str:
        """Where the claim on an entry is kept."""
        return f"{workspace}.{kind}-{entry}"

    async def holder(self, workspace: str, kind: EntryKind, entry: str) -> str | None:
        """The record key of the bill that holds the entry."""
        kept = await self._bucket.get(self.key(workspace, kind, entry))
        return kept.value.bill if kept is not None else None

    async def take(self, workspace: str, kind: EntryKind, entry: str, bill: str) -> None:
        """Claim an entry; AskPerson if another bill holds it. Claiming again is no harm."""
        try:
            await self._bucket.create(self.key(workspace, kind, entry), Claim(bill=bill, at=now()))
        except Conflict:
            if await self.check(workspace, kind, entry, bill) is None:
                await self.take(workspace, kind, entry, bill)  # given up in between

    async def check(self, workspace: str, kind: EntryKind, entry: str, bill: str) -> str | None:
        """Who holds the entry: `bill` or nobody; AskPerson if another bill does."""
        holder = await self.holder(workspace, kind, entry)
        if holder not in {None, bill}:
            raise AskPerson("contested", f"{kind} {entry} already serves bill {holder}")
        return holder

    async def release(self, workspace: str, kind: EntryKind, entry: str, bill: str) -> None:
        """Give a claim up, if it is this bill's."""
        kept = await self._bucket.get(self.key(workspace, kind, entry))
        if kept is not None and kept.value.bill == bill:
            await self._bucket.delete(kept.key, kept.revision)
