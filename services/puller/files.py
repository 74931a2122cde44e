"""The bytes of attachments, fetched into the object store.

A file that cannot be had stops nobody: its bill goes on without it, and the owner is told once. What was told
is kept for each bill, with the version of the attachable, until the file can be had. A file whose host fails puts
its bill off, for a day at most; then it counts as one that cannot be had, and is tried again every day.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Final
from weakref import WeakValueDictionary

import anyio
import anyio.lowlevel
import msgspec
import structlog

from common import quickbooks as wire
from common.buckets import Bucket, Documents, Kept
from common.bus import Bus
from common.messages import Document, Part, now
from services.puller.content import true_type
from services.puller.download import NotNow, Unobtainable
from services.puller.marker import due
from services.puller.omissions import left_out
from services.puller.quickbooks import Company, Missing

log = structlog.get_logger()

AT_ONCE = 6
"""Files a process holds at the same time, for all companies together: each may take 40 MB, and as much again on
its way to the store. Hardly any is larger than 10."""
FOR_ONE_COMPANY = 4
"""Of these, the files of one company: others are to get their turn."""
_ANEW = "attach the file again in QuickBooks, not larger than 40 MB"
_LATER = "nothing: it is tried again every day; or attach the file again in QuickBooks"

_ROOM: Final = anyio.lowlevel.RunVar[anyio.CapacityLimiter]("services.puller.files")


class Lacking(Part, frozen=True, kw_only=True):
    """What one bill lacks: the version of each attachable whose file could not be had, by its id, and its name.

    `failing` has those whose host fails, by QuickBooks' time: for one that is among `files` when it was tried last,
    for another one since when it puts the bill off.
    """

    files: dict[str, str]
    names: dict[str, str] = msgspec.field(default_factory=dict)
    failing: dict[str, datetime] = msgspec.field(default_factory=dict)


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
        self._had: dict[str, Document | Unobtainable | Missing | NotNow] = {}

    async def left_out(self) -> dict[str, list[str]]:
        """The files that could not be had, in words, by the id of their bill."""
        return {
            bill: [_named(bill, kept.value.names.get(ident) or ident) for ident in sorted(kept.value.files)]
            for bill, kept in sorted((await self._all_lacking()).items())
            if kept.value.files
        }

    async def due(self) -> set[str]:
        """The bills that lack a file whose host failed and was not asked for a day."""
        at = self._at()
        return {
            bill
            for bill, kept in (await self._all_lacking()).items()
            if any(due(tried_at, at) for ident, tried_at in kept.value.failing.items() if ident in kept.value.files)
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
        attachables are no longer the bill's. NotNow if the host fails to give a file, and has not for a day.
        """
        kept = (await self._all_lacking()).get(bill)
        before = Lacking(files={}) if kept is None else kept.value
        left = {ident: version for ident, version in before.files.items() if not forget(ident)}
        failing = {ident: since for ident, since in before.failing.items() if not forget(ident)}
        names = {**before.names, **{one.id: one.file_name for one in wanted if one.file_name}}
        found: list[Document] = []
        put_off: NotNow | None = None
        for attachable in wanted:
            ident, version = attachable.id, _version(attachable)
            told = left.get(ident) == version
            if told and not again:
                continue
            if ident in left and not told:
                failing.pop(ident, None)  # another file by now
            got, what = await self._get(attachable), _named(bill, attachable.file_name or ident)
            if isinstance(got, NotNow):
                since = failing.setdefault(ident, self._at())
                if not told and not due(since, self._at()):
                    put_off = NotNow(f"{what}: {got}", got.delay)
                    continue
                failing[ident] = self._at()
            else:
                failing.pop(ident, None)
            if isinstance(got, Document):
                found.append(got)
                left.pop(ident, None)
                continue
            if not told:
                fix = _LATER if isinstance(got, NotNow) else _ANEW
                await left_out(self._bus, self._company, what, got, fix=fix, key=f"{bill}-{ident}-{version}")
            left[ident] = version
        names = {ident: name for ident, name in names.items() if ident in left}
        await self._keep(bill, kept, Lacking(files=left, names=names, failing=failing))
        if put_off is not None:
            raise put_off
        return found

    async def _get(self, attachable: wire.Attachable) -> Document | Unobtainable | Missing | NotNow:
        """The document, or why it cannot be had; several bills may share it."""
        turn = self._turns.setdefault(attachable.id, anyio.Lock())
        async with turn:
            if attachable.id not in self._had:
                self._had[attachable.id] = await self._fetch(attachable)
            return self._had[attachable.id]

    async def _fetch(self, attachable: wire.Attachable) -> Document | Unobtainable | Missing | NotNow:
        async with self._room, _room():
            try:
                data = await self._company.file(attachable)
            except (Unobtainable, Missing, NotNow) as error:
                return error
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

    async def _keep(self, bill: str, kept: Kept[Lacking] | None, value: Lacking) -> None:
        everything, key = await self._all_lacking(), self._prefix + bill
        if value == (Lacking(files={}) if kept is None else kept.value):
            return
        if kept is None:
            everything[bill] = Kept(key, value, await self._lacking.create(key, value))
        elif value.files or value.failing:
            everything[bill] = Kept(key, value, await self._lacking.replace(key, value, kept.revision))
        else:
            await self._lacking.delete(key, kept.revision)
            del everything[bill]

    def _at(self) -> datetime:
        """QuickBooks' time of its newest answer: our own clock may be wrong."""
        return self._company.answered_at or now()


def _named(bill: str, name: str) -> str:
    return f"attachment {name!r} of bill {bill}"


def _version(attachable: wire.Attachable) -> str:
    """What tells it from how it was: its times are whole seconds, its token counts."""
    at = attachable.updated_at
    return f"{'' if at is None else at.isoformat()}.{attachable.sync_token or ''}"


def _room() -> anyio.CapacityLimiter:
    """The process's own limiter: its loop has one."""
    try:
        return _ROOM.get()
    except LookupError:
        room = anyio.CapacityLimiter(AT_ONCE)
        _ROOM.set(room)
        return room
