"""The bytes of attachments, fetched into the object store.

A file that cannot be had stops nobody: its bill goes on without it, and the owner is told once. What was told
is kept for each bill, with the version of the attachable, until the file can be had.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final
from weakref import WeakValueDictionary

import anyio
import anyio.lowlevel
import msgspec
import structlog

from common import quickbooks as wire
from common.buckets import Bucket, Documents, Kept
from common.bus import Bus
from common.messages import Document, Part
from services.puller.content import true_type
from services.puller.download import Unobtainable
from services.puller.omissions import left_out
from services.puller.quickbooks import Company, Missing

log = structlog.get_logger()

AT_ONCE = 6
"""Files a process holds at the same time, for all companies together: each may take 10 MB, and as much again on
its way to the store."""
FOR_ONE_COMPANY = 4
"""Of these, the files of one company: others are to get their turn."""

_ROOM: Final = anyio.lowlevel.RunVar[anyio.CapacityLimiter]("services.puller.files")


class Lacking(Part, frozen=True, kw_only=True):
    """What one bill lacks: the version of each attachable whose file could not be had, by its id, and its name."""

    files: dict[str, str]
    names: dict[str, str] = msgspec.field(default_factory=dict)


class Files:
    """The files of one company's attachments during one pull."""

    def __init__(self, bus: Bus, company: Company) -> None:
        self._bus = bus
        self._company = company
        self._documents = Documents(bus)
        self._lacking = Bucket(bus, "omissions", Lacking)
        self._prefix = f"{company.workspace}.{company.realm}."
        self._kept: dict[str, Kept[Lacking]] | None = None
        self._loading = anyio.Lock()
        self._room = anyio.CapacityLimiter(FOR_ONE_COMPANY)
        self._turns: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        self._had: dict[str, Document | str] = {}

    async def left_out(self) -> dict[str, list[str]]:
        """The files that could not be had, in words, by the id of their bill."""
        return {
            bill: [_named(bill, kept.value.names.get(ident) or ident) for ident in sorted(kept.value.files)]
            for bill, kept in sorted((await self._all_lacking()).items())
        }

    async def lacking(self, bill: str) -> Mapping[str, str]:
        """The attachables of a bill whose file could not be had, with the version that was tried."""
        kept = (await self._all_lacking()).get(bill)
        return {} if kept is None else kept.value.files

    async def fetch(
        self, bill: str, wanted: Collection[wire.Attachable], *, again: bool, forget: Callable[[str], bool]
    ) -> list[Document]:
        """The documents of these attachables of a bill, without those that cannot be had.

        What could not be had before is tried again if it changed, or with `again`. `forget` says which
        attachables are no longer the bill's. RetryLater if a file cannot be had now.
        """
        before = await self.lacking(bill)
        left = {ident: version for ident, version in before.items() if not forget(ident)}
        found: list[Document] = []
        for attachable in wanted:
            version = _version(attachable)
            if left.get(attachable.id) == version and not again:
                continue
            got = await self._get(attachable)
            if isinstance(got, Document):
                found.append(got)
                left.pop(attachable.id, None)
                continue
            if left.get(attachable.id) != version:
                what = _named(bill, attachable.file_name or attachable.id)
                fix = "attach the file again in QuickBooks, not larger than 10 MB"
                key = f"{bill}-{attachable.id}-{version}"
                await left_out(self._bus, self._company, what, Unobtainable(got), fix=fix, key=key)
            left[attachable.id] = version
        if left != before:
            await self._keep(bill, left, {one.id: one.file_name for one in wanted if one.file_name})
        return found

    async def _get(self, attachable: wire.Attachable) -> Document | str:
        """The document, or why it cannot be had; several bills may share it."""
        turn = self._turns.setdefault(attachable.id, anyio.Lock())
        async with turn:
            if attachable.id not in self._had:
                self._had[attachable.id] = await self._fetch(attachable)
            return self._had[attachable.id]

    async def _fetch(self, attachable: wire.Attachable) -> Document | str:
        async with self._room, _room():
            try:
                data = await self._company.file(attachable)
            except (Unobtainable, Missing) as error:
                return str(error)
            return Document(
                sha256=await self._documents.put(data),
                name=attachable.file_name or attachable.id,
                content_type=true_type(data),
                size=len(data),
                attachable=attachable.id,
            )

    async def _all_lacking(self) -> dict[str, Kept[Lacking]]:
        async with self._loading:
            if self._kept is None:
                self._kept = {
                    kept.key.removeprefix(self._prefix): kept async for kept in self._lacking.items(self._prefix)
                }
            return self._kept

    async def _keep(self, bill: str, left: dict[str, str], names: Mapping[str, str]) -> None:
        everything, key = await self._all_lacking(), self._prefix + bill
        kept = everything.pop(bill, None)
        known = {**({} if kept is None else kept.value.names), **names}
        value = Lacking(files=left, names={ident: name for ident, name in known.items() if ident in left})
        if kept is None:
            everything[bill] = Kept(key, value, await self._lacking.create(key, value))
        elif left:
            everything[bill] = Kept(key, value, await self._lacking.replace(key, value, kept.revision))
        else:
            await self._lacking.delete(key, kept.revision)


def _named(bill: str, name: str) -> str:
    return f"attachment {name!r} of bill {bill}"


def _version(attachable: wire.Attachable) -> str:
    return "" if attachable.updated_at is None else attachable.updated_at.isoformat()


def _room() -> anyio.CapacityLimiter:
    """The process's own limiter: its loop has one."""
    try:
        return _ROOM.get()
    except LookupError:
        room = anyio.CapacityLimiter(AT_ONCE)
        _ROOM.set(room)
        return room
