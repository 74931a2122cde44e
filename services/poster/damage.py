"""Entries that Qonto shows and nobody can read: each stands among the failures until it is read, or is gone.

They are left out of the mirror, so that one of them stops nothing else. Every pass that meets one again looks anew,
and so does a person who tries the failure again.
"""

import hashlib
from collections.abc import Collection, Iterable

import structlog

from common import subjects
from common.bus import Bus
from common.errors import Fate, Refused, Verdict
from common.failures import Failures
from common.messages import Answer, Entry, EntryKind, Failure, Notice, Retried, Retry, now
from common.wire import WireError
from services.poster.entries import Entries
from services.poster.qonto import Missing, Qonto, Unreadable
from services.poster.readback import ReadBack

log = structlog.get_logger()

_FIX = "open it in Qonto and save it again, or upgrade Weir; then retry"
_GONE = "it is gone from Qonto"


class Damage:
    """What cannot be read in one workspace, as one pass over it meets it."""

    def __init__(self, bus: Bus, workspace: str) -> None:
        self._bus = bus
        self._workspace = workspace
        self._failures = Failures(bus)
        self._standing: dict[str, Failure] = {}

    async def load(self) -> None:
        """Read which failures stand."""
        standing = await self._failures.standing(self._workspace, "mirror")
        self._standing = {failure.record: failure for failure in standing}

    def stands(self, kind: EntryKind, ident: str) -> bool:
        """Whether this could not be read when it was last met."""
        return f"{kind}-{ident}" in self._standing

    async def unmet(self, kind: EntryKind, met: Collection[str], *, whole: bool) -> list[str]:
        """The ids that stand and were not met; of a `whole` look at what is there, those without an id are over."""
        found = []
        for record, failure in list(self._standing.items()):
            ident = record.removeprefix(f"{kind}-")
            if record == ident or ident in met:
                continue
            if failure.retryable:
                found.append(ident)
            elif whole:
                await self._over(record, _GONE)
        return found

    async def met(self, unreadable: Iterable[Unreadable]) -> None:
        """Let those stand that do not stand yet, and tell the owner of each."""
        for one in unreadable:
            record, why = f"{one.kind}-{named(one)}", _why(one.why)
            before = self._standing.get(record)
            if before is not None and before.why == why:
                continue
            result = Verdict(Fate.PARK, why, fix=_FIX)
            kept = await self._failures.get(self._workspace, f"mirror.{record}")
            if before is not None and kept is not None:
                self._standing[record] = await self._failures.again(kept, result)
            else:
                subject = f"{self._bus.region}.entry.{self._workspace}.{record.replace('-', '.', 1)}"
                await self._failures.unreadable(self._workspace, record, subject, result, retryable=_readable(one))
                await self.load()
            log.error("poster.entry_unreadable", workspace=self._workspace, entry=record, why=one.why)
            told = Notice(workspace=self._workspace, kind="failed", at=now(), why=why, fix=_FIX, provider="qonto")
            await self._bus.notify(told, key=f"unreadable-{self._workspace}-{record}-{one.why}")

    async def read(self, entries: Iterable[Entry]) -> None:
        """These can be read (again)."""
        for entry in entries:
            await self._over(f"{entry.kind}-{entry.id}", "it can be read again")

    async def gone(self, kind: EntryKind, ident: str) -> None:
        """This is no longer there."""
        await self._over(f"{kind}-{ident}", _GONE)

    async def _over(self, record: str, how: str) -> None:
        if self._standing.pop(record, None) is not None:
            kept = await self._failures.get(self._workspace, f"mirror.{record}")
            if kept is not None and kept.message.resolved_at is None:
                await self._failures.resolve(kept, how)


class Rereading:
    """Answers `retry.mirror`: reads one entry anew, outside of any pass."""

    def __init__(self, bus: Bus, qonto: Qonto) -> None:
        self._qonto = qonto
        self._failures = Failures(bus)
        self._entries = Entries(bus)
        self._read_back = ReadBack(bus)

    async def retry(self, asked: Retry) -> Answer:
        """What came of reading it again; Refused where there is no such failure or no id to ask for."""
        kept = await self._failures.get(asked.workspace, asked.id)
        if kept is None or kept.message.stage != "mirror":
            raise Refused(f"{asked.workspace} has no failure {asked.id}", fix="`weir failures` lists those there are")
        if kept.message.resolved_at is not None:
            return Retried(failure=kept.message)
        if not kept.message.retryable:
            raise Refused("Qonto does not say which entry it is; the next pull looks again", fix=kept.message.fix)
        kind, _, ident = kept.message.record.partition("-")
        read = self._qonto.invoice if kind == "invoice" else self._qonto.transaction
        try:
            entry = await read(asked.workspace, ident)
        except Missing:
            return Retried(failure=await self._failures.resolve(kept, _GONE))
        except WireError as error:
            still = Verdict(Fate.PARK, _why(str(error)), fix=_FIX)
            return Retried(failure=await self._failures.again(kept, still))
        await self._entries.publish([entry])
        await self._read_back.check([entry])
        log.info("failure.retried", failure=asked.id, workspace=asked.workspace, by=asked.by)
        return Retried(failure=await self._failures.resolve(kept, f"tried again by {asked.by}"))


def _why(complaint: str) -> str:
    return f"an entry of Qonto cannot be read and is left out: {complaint}"


def _readable(one: Unreadable) -> bool:
    try:
        return one.id is not None and bool(subjects.token(one.id))
    except subjects.BadTokenError:
        return False


def named(one: Unreadable) -> str:
    """Its id, or a hash of the complaint where that cannot be read."""
    return str(one.id) if _readable(one) else hashlib.sha256(one.why.encode()).hexdigest()[:16]
