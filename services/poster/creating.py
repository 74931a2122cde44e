"""Uploads that happen once: look first, send under a key, look again whenever an answer is missing.

What each look-up and each answer allow is told in `ledger`; `tests/poster/test_model.py` explores every
interleaving of crash, takeover, late arrival and forgotten key.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import anyio
import structlog

from common.buckets import Kept
from common.errors import AskPerson, Refused, RetryLater, WeirError
from common.messages import Entry
from services.poster.document import File
from services.poster.lastlook import LastLook, Wanted
from services.poster.ledger import Doubt, Ledger, Page, State, doubt
from services.poster.qonto import BULK_BYTES, BULK_FILES, Denied, Part, Qonto, Unknown, Uploaded
from services.poster.reviews import AlreadyThere

log = structlog.get_logger()

SETTLE = (0.4, 1.2, 3.0)
"""Seconds between look-ups after a missing answer: most requests that arrived show by then."""
LANDING = timedelta(minutes=2)
"""After so long a request that was given up on cannot arrive any more."""
_SKEW = timedelta(minutes=2)
PROMPT = 20.0
"""Seconds after it was marked as sent within which an upload leaves, or it does not: who slept on the way, or waited
for a place within the limits, does not send what others may have settled since and Qonto forgotten."""
COMPANY = (BULK_FILES, 5, 1)
"""Files of one upload: at first, and after each time it was not answered."""
_SILENCE = 3
"""Uploads in a row without an answer after which Qonto is left alone for a while."""
_SERVER = "internal_server_error"
"""The one problem of a document that is Qonto's own, so that sending it again may help."""


class NeverArrived(WeirError):  # noqa: N818
    """What may have been sent does not show, and can no longer come; only looking says so, no answer of Qonto's."""


@dataclass(slots=True, eq=False)
class Draft:
    """One document to upload: its ledger page, its size in bytes, and how to get it.

    Without `load` nothing is sent: the draft is only looked for. With `wanted`, what somebody else uploaded meanwhile
    is looked for too. Ends with `entry` or `error`.
    """

    origin: str
    kept: Kept[Page]
    size: int = 0
    load: Callable[[], Awaitable[File]] | None = None
    wanted: Wanted | None = None
    entry: Entry | None = None
    error: Exception | None = None
    note: str | None = None
    adopted: bool = False
    in_doubt: bool = False
    sendings: int = 0

    def __post_init__(self) -> None:
        """What an earlier attempt left unanswered begins in smaller company."""
        self.sendings = int(self.page.sent_at is not None)

    @property
    def company(self) -> int:
        """How many documents may go up together with it, itself counted."""
        return COMPANY[min(self.sendings, len(COMPANY) - 1)]

    @property
    def over(self) -> bool:
        """Whether its outcome is known."""
        return self.entry is not None or self.error is not None

    @property
    def page(self) -> Page:
        """What the ledger says now."""
        return self.kept.value

    def is_me(self, entry: Entry) -> bool:
        """Whether `entry` is this document, or another live one of the same bill that nobody knew of."""
        if entry.origin != self.origin or entry.id in {self.page.entry, self.page.replaced}:
            return False
        return entry.revision == self.page.revision or entry.live


class Uploads:
    """Carries drafts of one workspace out, up to BULK_FILES at a time."""

    def __init__(self, qonto: Qonto, ledger: Ledger, last_look: LastLook) -> None:
        self._qonto = qonto
        self._ledger = ledger
        self._last_look = last_look

    async def carry_out(self, workspace: str, drafts: Sequence[Draft]) -> None:
        """Give every draft its entry, or the error that ends its attempt.

        What an upload left unanswered goes again in smaller company, in the end alone, so that a document Qonto
        stumbles over does not hold those beside it for long.
        """
        await self._look(workspace, drafts)
        for _ in COMPANY:
            at = await self._ledger.clock.now()
            for draft in _pending(drafts):
                await self._allow(draft, at)
            if not await self._send_all(workspace, list(_pending(drafts))):
                break
            if not list(_pending(drafts)):
                return
            await self._settle(workspace, list(_pending(drafts)))
        for draft in _pending(drafts):
            draft.error = RetryLater(f"Qonto does not say what became of {draft.page.file_name}")

    async def _look(self, workspace: str, drafts: Sequence[Draft]) -> None:
        """Adopt what is already there: straight from the list for what may just have been sent, then from anywhere."""
        try:
            await self._look_since(workspace, [draft for draft in drafts if draft.page.sent_at is not None])
            rest = list(_pending(drafts))
            if rest:
                wanted = {draft.origin: {draft.page.entry or "", draft.page.replaced or ""} for draft in rest}
                found = await self._last_look.uploads(workspace, wanted)
                for draft in rest:
                    _adopt(draft, found.get(draft.origin, []))
                await self._look_alike(workspace, list(_pending(rest)))
        except Exception as error:  # noqa: BLE001 (who could not look does not send; the table decides)
            for draft in _pending(drafts):
                draft.error = error

    async def _look_alike(self, workspace: str, drafts: Sequence[Draft]) -> None:
        """Leave to a person what somebody else seems to have uploaded meanwhile."""
        wanted = {draft.origin: draft.wanted for draft in drafts if draft.wanted is not None and not draft.page.sent_at}
        found = await self._last_look.alike(workspace, wanted) if wanted else {}
        for draft in drafts:
            if draft.origin in found and await self._step(draft, "withdrawn"):
                draft.error = AlreadyThere(found[draft.origin])

    async def _look_since(self, workspace: str, drafts: Sequence[Draft]) -> None:
        moments = [draft.page.sent_at for draft in drafts if draft.page.sent_at is not None]
        if not moments:
            return
        wanted = {draft.origin: draft for draft in drafts}
        async for entry in self._qonto.created_since(workspace, min(moments) - _SKEW):
            draft = wanted.get(entry.origin or "")
            if draft is not None:
                _adopt(draft, [entry])

    async def _settle(self, workspace: str, drafts: Sequence[Draft]) -> None:
        """Wait for what may be arriving."""
        for pause in SETTLE:
            await anyio.sleep(pause)
            try:
                await self._look_since(workspace, list(_pending(drafts)))
            except WeirError as error:  # not found is not looked for: what cannot be looked for is not sent again
                for draft in _pending(drafts):
                    draft.error = error
            if not list(_pending(drafts)):
                return

    async def _allow(self, draft: Draft, at: datetime) -> None:
        """End the attempt of a draft that was not found and may not be sent (again)."""
        page = draft.page
        if draft.load is None:
            if page.sent_at is None or at >= page.sent_at + LANDING:
                draft.error = NeverArrived(f"{page.file_name} never arrived")
            else:
                rest = (page.sent_at + LANDING - at).total_seconds()
                draft.error = RetryLater(f"{page.file_name} may still be on its way", delay=min(rest + 1, 15.0))
        elif page.state == "uncertain" or doubt(page, at) is Doubt.UNKNOWABLE:
            why = (
                f"an upload of {page.file_name} was never answered and Qonto does not show it; "
                "look for it in Qonto, then link it or create it anew"
            )
            draft.error = AskPerson("uncertain", why)
            if page.state != "uncertain":
                await self._step(draft, "uncertain", why=why)
                log.warning("poster.uncertain", key=draft.kept.key, revision=page.revision)

    async def _step(self, draft: Draft, state: State, **changes: Any) -> bool:
        """Take a ledger step for the draft; whether it was ours to take."""
        try:
            draft.kept = await self._ledger.move(draft.kept, state, **changes)
        except WeirError as error:
            draft.error = error
            return False
        return True

    async def _send_all(self, workspace: str, drafts: Sequence[Draft]) -> bool:
        """Upload all, each in as much company as it may have; False once Qonto takes nothing at all."""
        grouped = {company: [draft for draft in drafts if draft.company == company] for company in COMPANY}
        silent = 0
        for chunk in [chunk for company, group in grouped.items() for chunk in _chunks(group, company)]:
            for draft in chunk:
                draft.sendings += 1
            silent = 0 if await self._send(workspace, chunk) else silent + 1
            if silent == _SILENCE:
                return False
        return True

    async def _send(self, workspace: str, drafts: Sequence[Draft]) -> bool:
        """One upload; whether Qonto was heard. Its ledger steps come last before it, so who was overtaken does not
        send.
        """
        loaded = [(draft, part) for draft in drafts if (part := await self._part(draft)) is not None]
        if len(loaded) > 1 and sum(len(part.data) for _, part in loaded) > BULK_BYTES:  # larger than they said
            return all([await self._send(workspace, half) for half in _halves([draft for draft, _ in loaded])])
        at, latest = await self._ledger.clock.now(), time.monotonic() + PROMPT
        ready = [(draft, part) for draft, part in loaded if await self._mark(draft, at)]
        if not ready:
            return True
        sending, parts = [draft for draft, _ in ready], [part for _, part in ready]
        try:
            answer = await self._qonto.upload(workspace, parts, latest=latest)
        except Unknown as error:
            log.warning("poster.upload_unanswered", workspace=workspace, files=len(sending), error=error)
            return False
        except Denied as error:
            await self._denied(workspace, sending, error.code, str(error))
        except RetryLater as error:
            for draft in sending:
                if await self._unsend(draft):
                    draft.error = error
            return False
        except WeirError as error:  # who knows what it had for an effect: the next attempt looks first
            for draft in sending:
                draft.error = error
            return False
        else:
            await self._answered(workspace, sending, answer)
        return True

    async def _answered(self, workspace: str, drafts: Sequence[Draft], answer: Uploaded) -> None:
        """Read the answer item by item; what it says nothing of stays open."""
        log.info("poster.uploaded", workspace=workspace, files=len(drafts), entries=len(answer.entries))
        general = next((problem for problem in answer.general if problem.code != _SERVER), None)
        if general is not None and not answer.entries and not answer.problems:
            await self._denied(workspace, drafts, general.code, f"Qonto refused it: {general}")
            return
        for draft in drafts:
            draft.entry = answer.entries.get(draft.page.file_name or "")
            problem = answer.problems.get(draft.page.key or "")
            if draft.entry is None and problem is not None and problem.code != _SERVER:
                await self._refused(draft, problem.code, f"Qonto refused it: {problem.detail or problem.code}")

    async def _denied(self, workspace: str, drafts: Sequence[Draft], code: str, why: str) -> None:
        """Qonto refused a whole upload: it is the fault of one document, or of all together; find out by halves."""
        if len(drafts) == 1:
            await self._refused(drafts[0], code, why)
            return
        for half in _halves(drafts):
            again = [draft for draft in half if await self._unsend(draft)]
            if again:
                await self._send(workspace, again)

    async def _part(self, draft: Draft) -> Part | None:
        """The draft as it is sent; None (and its error) if it cannot be."""
        page = draft.page
        if draft.load is None or page.key is None or page.file_name is None:
            draft.error = RetryLater(f"{draft.kept.key} has nothing to send")
            return None
        try:
            file = await draft.load()
        except Exception as error:  # noqa: BLE001 (one bill that cannot be drawn must not stop the others)
            draft.error = error
            return None
        draft.note = file.note
        return Part(key=page.key, file_name=page.file_name, data=file.data, content_type=file.content_type)

    async def _mark(self, draft: Draft, at: datetime) -> bool:
        """Mark the draft as sent; False for a worker that was overtaken, or comes too late to send again."""
        page = draft.page
        if doubt(page, at) is Doubt.UNKNOWABLE:  # it was allowed a while ago
            draft.error = RetryLater(f"the key of {page.file_name} may be forgotten by now", delay=1.0)
            return False
        draft.in_doubt = page.sent_at is not None
        state: State = "superseding" if page.state == "superseding" else "sent"
        return await self._step(draft, state, sent_at=page.sent_at or at)

    async def _unsend(self, draft: Draft) -> bool:
        """Nothing left: take the mark back, unless an earlier sending is still in doubt."""
        if draft.in_doubt:
            return True
        return await self._step(draft, "superseding" if draft.page.state == "superseding" else "claimed", sent_at=None)

    async def _refused(self, draft: Draft, code: str, why: str) -> None:
        """A refusal is final, but for one that may only say that the first sending had arrived."""
        if draft.in_doubt:
            log.info("poster.repeat_refused", key=draft.kept.key, code=code)
            return
        fix = "replace the bill's attachment by a PDF, JPEG or PNG of at most 10 MB, or remove it; then retry"
        draft.error = Refused(why, field="document", fix=fix)
        if draft.page.state == "superseding":  # the entry that stood still stands
            await self._step(draft, "verified", sent_at=None, drafted=None, why=why)
        else:
            await self._step(draft, "failed", sent_at=None, why=why)


def _pending(drafts: Iterable[Draft]) -> Iterator[Draft]:
    return (draft for draft in drafts if not draft.over)


def _adopt(draft: Draft, entries: Sequence[Entry]) -> None:
    """Take what stands for the bill among `entries`: the draft's own revision, else the newest; else its own, dead."""
    mine = [entry for entry in entries if draft.is_me(entry)]
    if mine:
        wanted = draft.page.revision
        draft.entry = max(mine, key=lambda entry: (entry.live, entry.revision == wanted, entry.revision or 0))
        draft.adopted = True
        log.info("poster.adopted", key=draft.kept.key, entry=draft.entry.id)


def _halves(drafts: Sequence[Draft]) -> tuple[Sequence[Draft], Sequence[Draft]]:
    middle = len(drafts) // 2
    return drafts[:middle], drafts[middle:]


def _chunks(drafts: Sequence[Draft], most: int) -> list[list[Draft]]:
    """As many at a time as Qonto takes in one upload: the largest first, each where there still is room."""
    chunks: list[list[Draft]] = []
    rooms: list[int] = []
    for draft in sorted(drafts, key=lambda draft: -draft.size):
        fits = (n for n, room in enumerate(rooms) if room >= draft.size and len(chunks[n]) < most)
        place = next(fits, None)
        if place is None:
            chunks.append([draft])
            rooms.append(BULK_BYTES - draft.size)
        else:
            chunks[place].append(draft)
            rooms[place] -= draft.size
    return chunks
