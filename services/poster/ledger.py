"""The ledger: one page per bill that says what was begun in Qonto and what stands there.

A page is the intent, written before the effect, and the proof, written after it. Its steps:

    (none) → claimed → sent → verified | linked | failed | uncertain
    verified → superseding → verified          verified | linked → withdrawn
    failed | uncertain | withdrawn → claimed   (a new attempt)

Every step is a compare-and-set on the page that was read, so two workers never both take one. `sent` (and
`superseding` with `sent_at`) is written immediately before the request leaves: a worker that was overtaken
fails there instead of sending. The deadline lets others take over from a dead worker; it is about progress
only. What a request that may have left did is never guessed, see `doubt`. Times on a page are the broker's.
"""

import uuid
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal

import msgspec

from common.buckets import Bucket, Kept
from common.bus import Bus
from common.clock import Clock
from common.errors import Conflict, RetryLater, WeirError
from common.messages import EntryKind, Outcome

State = Literal["claimed", "sent", "verified", "linked", "superseding", "withdrawn", "failed", "uncertain"]

STEPS: dict[State | None, frozenset[State]] = {
    None: frozenset({"claimed", "withdrawn"}),
    "claimed": frozenset({"claimed", "sent", "verified", "linked", "failed", "withdrawn"}),
    "sent": frozenset({"sent", "claimed", "superseding", "verified", "linked", "failed", "uncertain", "withdrawn"}),
    "superseding": frozenset({"superseding", "verified", "uncertain", "withdrawn"}),
    "verified": frozenset({"verified", "superseding", "claimed", "withdrawn"}),
    "linked": frozenset({"linked", "claimed", "withdrawn"}),
    "withdrawn": frozenset({"claimed", "withdrawn"}),
    "failed": frozenset({"claimed", "failed", "withdrawn"}),
    "uncertain": frozenset({"claimed", "superseding", "verified", "linked", "uncertain", "withdrawn"}),
}
"""Which step may follow which; every write is checked against it."""

OPEN: frozenset[State] = frozenset({"claimed", "sent", "superseding"})
"""States that somebody works on, or died working on."""

LEASE = timedelta(seconds=20)
"""How long a step keeps others away: longer than the slowest request, shorter than anyone waits."""

KEY_HELD = timedelta(minutes=25)
"""For so long after the first sending Qonto surely still knows the idempotency key (it keeps 30 minutes)."""

_NAMESPACE = uuid.UUID("6f3e1e0b-6c1f-5d57-9d0e-0d6a54c3a1c7")


class Fenced(RetryLater):
    """Another worker took the page: this one must not act on it any more."""


class ImpossibleStep(WeirError):  # noqa: N818
    """The state machine forbids the step: a defect, not a circumstance."""


class Page(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the ledger knows of one bill.

    `revision` is the newest document revision begun, `drafted` the hash of what it shows, `key` its
    idempotency key, `sent_at` when its request may first have left. `entry` stands in Qonto for the bill and
    `document` is the hash of what it shows; `made` says that Weir made it, `paid` that Weir marked it as paid.
    `replaced` is the entry a supersede has still to retire, `retired` the one it did. `outcome` is what became
    of `decision`. `checked` names the versions of entry and bill that were compared after Qonto had read the
    document, `differs` says what a person was asked about then, after the id of the entry. `undone` is the hash of the
    document that a person had taken back: as long as the bill shows it, nothing is done by itself.
    """

    state: State
    revision: int
    epoch: int
    owner: str
    deadline: datetime
    record_seq: int
    record_hash: str
    decision: str
    action: Literal["create", "link"] = "create"
    drafted: str | None = None
    file_name: str | None = None
    key: str | None = None
    sent_at: datetime | None = None
    document: str | None = None
    entry: str | None = None
    entry_kind: EntryKind | None = None
    made: bool = False
    replaced: str | None = None
    retired: str | None = None
    paid: bool = False
    review: str | None = None
    checked: str | None = None
    differs: str | None = None
    outcome: Outcome | None = None
    verified_at: datetime | None = None
    why: str | None = None
    undone: str | None = None

    @property
    def open(self) -> bool:
        """Whether a step was begun and not finished."""
        return self.state in OPEN

    @property
    def settled(self) -> bool:
        """Whether an entry stands in Qonto for the bill."""
        return self.state in {"verified", "linked"}

    def holds(self, entry: str) -> bool:
        """Whether the bill holds the entry, be it on its way there or about to be replaced."""
        return self.state != "withdrawn" and entry in {self.entry, self.replaced}

    def held_by_other(self, me: str, at: datetime) -> bool:
        """Whether another worker may still be at it."""
        return self.open and self.owner != me and self.deadline > at


class Doubt(Enum):
    """What may have happened to a request whose answer nobody saw."""

    NONE = "nothing was sent"
    REPEATABLE = "it may have arrived; sent again with its key it cannot arrive twice"
    UNKNOWABLE = "it may have arrived, and the key that would tell may be forgotten"


def doubt(page: Page, at: datetime) -> Doubt:
    """What may be assumed about the open revision once a look-up has not found it."""
    if page.sent_at is None:
        return Doubt.NONE
    return Doubt.REPEATABLE if at < page.sent_at + KEY_HELD else Doubt.UNKNOWABLE


def document_key(workspace: str, realm: str, bill: str, revision: int) -> str:
    """The idempotency key of one document revision: the same for every attempt, forever."""
    return str(uuid.uuid5(_NAMESPACE, f"{workspace}/{realm}/{bill}/{revision}"))


def attachment_key(workspace: str, transaction: str, document: str) -> str:
    """The idempotency key of putting a document on a transaction."""
    return str(uuid.uuid5(_NAMESPACE, f"{workspace}/{transaction}/{document}"))


def step(page: Page | None, state: State, **changes: Any) -> Page:
    """The page after `state`, checked against STEPS; ImpossibleStep if it cannot follow."""
    before = page.state if page is not None else None
    if state not in STEPS[before]:
        raise ImpossibleStep(f"the ledger does not go from {before} to {state}")
    if page is None:
        return Page(state=state, **changes)
    return msgspec.structs.replace(page, state=state, **changes)


class Ledger:
    """The pages, in the bucket `idempotency`, written by one worker (`me`) by compare-and-set only."""

    def __init__(self, bus: Bus, me: str) -> None:
        self._bucket = Bucket(bus, "idempotency", Page)
        self._me = me
        self.clock = Clock(bus)

    @staticmethod
    def key(workspace: str, realm: str, bill: str) -> str:
        """Where the page of a bill is kept."""
        return f"{workspace}.{realm}.bill.{bill}"

    async def read(self, key: str) -> Kept[Page] | None:
        """The page, or None for a bill never acted on."""
        return await self._bucket.get(key)

    async def respect(self, key: str, kept: Kept[Page] | None) -> Page | None:
        """The page, if nobody else may still be at it; else RetryLater with the rest of their deadline."""
        if kept is None:
            return None
        at = await self.clock.about()
        if kept.value.held_by_other(self._me, at):
            rest = (kept.value.deadline - at).total_seconds()
            raise RetryLater(f"another worker holds {key}", delay=min(rest + 0.5, LEASE.total_seconds()))
        return kept.value

    async def take(self, name: str, kept: Kept[Page] | None, state: State, **changes: Any) -> Kept[Page]:
        """Begin (or take over) work: a new epoch, this owner, a new deadline.

        RetryLater with the rest of the deadline while another worker holds the page, Fenced on a lost race.
        """
        page = await self.respect(name, kept)
        return await self._write(
            name,
            kept,
            step(
                page,
                state,
                **{
                    "epoch": page.epoch + 1 if page is not None else 1,
                    "owner": self._me,
                    "deadline": await self.clock.about() + LEASE,
                    "revision": page.revision if page is not None else 0,
                    **changes,
                },
            ),
        )

    async def move(self, kept: Kept[Page], state: State, **changes: Any) -> Kept[Page]:
        """The next step of work this worker holds; Fenced if somebody else took it."""
        deadline = await self.clock.about() + LEASE
        return await self._write(kept.key, kept, step(kept.value, state, deadline=deadline, **changes))

    async def _write(self, key: str, kept: Kept[Page] | None, page: Page) -> Kept[Page]:
        try:
            if kept is None:
                return Kept(key, page, await self._bucket.create(key, page))
            return Kept(key, page, await self._bucket.replace(key, page, kept.revision))
        except Conflict:
            raise Fenced(f"another worker took {key}", delay=1.0) from None
