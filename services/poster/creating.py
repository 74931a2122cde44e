"""Uploads that happen once: look first, send under a key, look again whenever an answer is missing.

What each look-up and each answer allow is told in `ledger`; `tests/poster/test_model.py` explores every
interleaving of crash, takeover, late arrival and forgotten key.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import structlog

from common.buckets import Kept
from common.errors import AskPerson, Refused, RetryLater, WeirError
from common.messages import Entry, now
from services.poster.document import File
from services.poster.ledger import Doubt, Ledger, Page, State, doubt
from services.poster.qonto import BULK_BYTES, BULK_FILES, Denied, Part, Qonto, Unknown

log = structlog.get_logger()

SETTLE = (0.4, 1.2, 3.0)
"""Seconds between look-ups after a missing answer: most requests that arrived show by then."""
LANDING = timedelta(minutes=2)
"""After so long a request that was given up on cannot arrive any more."""
_SKEW = timedelta(minutes=2)
_LOOKS = 8
"""Look-ups at a time."""


class NeverArrived(WeirError):  # noqa: N818
    """What may have been sent does not show, and can no longer come; only looking says so, no answer of Qonto's."""


@dataclass(slots=True, eq=False)
class Draft:
    """One document to upload: its ledger page, its size in bytes, and how to get it.

    Without `load` nothing is sent: the draft is only looked for. Ends with `entry` or `error`.
    """

    origin: str
    kept: Kept[Page]
    size: int = 0
    load: Callable[[], Awaitable[File]] | None = None
    entry: Entry | None = None
    error: Exception | None = None
    note: str | None = None
    adopted: bool = False
    in_doubt: bool = False

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

    def __init__(self, qonto: Qonto, ledger: Ledger) -> None:
        self._qonto = qonto
        self._ledger = ledger

    async def carry_out(self, workspace: str, drafts: Sequence[Draft]) -> None:
        """Give every draft its entry, or the error that ends its attempt."""
        await self._look(workspace, drafts)
        for _ in range(2):
            for draft in _pending(drafts):
                await self._allow(draft)
            for chunk in _chunks(list(_pending(drafts))):
                await self._send(workspace, chunk)
            if not list(_pending(drafts)):
                return
            await self._settle(workspace, list(_pending(drafts)))
        for draft in _pending(drafts):
            draft.error = RetryLater(f"Qonto does not say what became of {draft.page.file_name}")

    async def _look(self, workspace: str, drafts: Sequence[Draft]) -> None:
        """Adopt what is already there: straight from the list for what may just have been sent, else by name."""
        try:
            sent = [draft for draft in drafts if draft.page.sent_at is not None]
            if sent:
                await self._look_since(workspace, sent)
            async with anyio.create_task_group() as group:
                limit = anyio.CapacityLimiter(_LOOKS)
                for draft in _pending(drafts):
                    group.start_soon(self._look_by_name, workspace, draft, limit)
        except WeirError as error:
            for draft in _pending(drafts):
                draft.error = error

    async def _look_since(self, workspace: str, drafts: Sequence[Draft]) -> None:
        moment = min(draft.page.sent_at for draft in drafts if draft.page.sent_at is not None)
        wanted = {draft.origin: draft for draft in drafts}
        async for entry in self._qonto.created_since(workspace, moment - _SKEW):
            draft = wanted.get(entry.origin or "")
            if draft is not None:
                _adopt(draft, [entry])

    async def _look_by_name(self, workspace: str, draft: Draft, limit: anyio.CapacityLimiter) -> None:
        async with limit:
            try:
                _adopt(draft, await self._qonto.named(workspace, f"QBO-{draft.origin}-r"))
            except WeirError as error:
                draft.error = error

    async def _settle(self, workspace: str, drafts: Sequence[Draft]) -> None:
        """Wait for what may be arriving."""
        for pause in SETTLE:
            await anyio.sleep(pause)
            await self._look(workspace, list(_pending(drafts)))
            if not list(_pending(drafts)):
                return

    async def _allow(self, draft: Draft) -> None:
        """End the attempt of a draft that was not found and may not be sent (again)."""
        page, at = draft.page, now()
        if draft.load is None:
            if page.sent_at is None or at >= page.sent_at + LANDING:
                draft.error = NeverArrived(f"{page.file_name} never arrived")
            else:
                draft.error = RetryLater(f"{page.file_name} may still be on its way", delay=15.0)
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

    async def _send(self, workspace: str, drafts: Sequence[Draft]) -> None:
        """One upload. Its ledger steps come last before it, so who was overtaken does not send."""
        loaded = [(draft, part) for draft in drafts if (part := await self._part(draft)) is not None]
        ready = [(draft, part) for draft, part in loaded if await self._mark(draft)]
        if not ready:
            return
        sending, parts = [draft for draft, _ in ready], [part for _, part in ready]
        try:
            answer = await self._qonto.upload(workspace, parts)
        except Unknown as error:
            log.warning("poster.upload_unanswered", workspace=workspace, files=len(sending), error=error)
        except Denied as error:
            if len(sending) == 1:
                await self._refused(sending[0], error.code, str(error))
                return
            for draft in sending:  # one bad file must not fail the others
                if await self._unsend(draft):
                    await self._send(workspace, [draft])
        except RetryLater as error:
            for draft in sending:
                if await self._unsend(draft):
                    draft.error = error
        else:
            log.info("poster.uploaded", workspace=workspace, files=len(sending), entries=len(answer.entries))
            for draft in sending:
                draft.entry = answer.entries.get(draft.page.file_name or "")
                problem = answer.problems.get(draft.page.key or "")
                if draft.entry is None and problem is not None and problem.code != "internal_server_error":
                    await self._refused(draft, problem.code, f"Qonto refused it: {problem.detail or problem.code}")

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

    async def _mark(self, draft: Draft) -> bool:
        """Mark the draft as sent; False for a worker that was overtaken."""
        page = draft.page
        draft.in_doubt = page.sent_at is not None
        state: State = "superseding" if page.state == "superseding" else "sent"
        return await self._step(draft, state, sent_at=page.sent_at or now())

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


def _chunks(drafts: Sequence[Draft]) -> Iterator[list[Draft]]:
    """As many at a time as Qonto takes in one upload."""
    chunk: list[Draft] = []
    for draft in drafts:
        if chunk and (len(chunk) == BULK_FILES or sum(item.size for item in chunk) + draft.size > BULK_BYTES):
            yield chunk
            chunk = []
        chunk.append(draft)
    if chunk:
        yield chunk
