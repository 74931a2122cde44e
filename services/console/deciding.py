"""Deciding on a review, and undoing what came of it, as pages and programs ask for it."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import anyio
import msgspec
import nats.errors

from common import answering, subjects
from common.answering import NotOpen, Sent
from common.bus import Bus
from common.errors import RetryLater
from common.messages import Refusal, ReviewOutcome, ReviewResolved, Undo, Undone
from common.waiting import Waiting
from services.console.calls import ask
from services.console.filters import number
from services.console.problem import Problem

LONGEST_NOTE = 500
"""Characters of a note."""
LAST = 10**18
"""No answer's number in the stream is beyond it."""
_AT_ONCE = 8
"""Answers of a bulk confirmation under way at a time."""
UNDOABLE: frozenset[ReviewOutcome] = frozenset({"linked", "created"})
"""Outcomes after which something stands in Qonto that can be taken back."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a person decides on the review of this id."""

    review: str
    action: Literal["link", "create", "refuse"]
    entry: str | None = None
    note: str | None = None


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of several: it is on its way as `sent`, or `why` says why it was not given."""

    bill: Waiting
    sent: Sent | None = None
    why: str | None = None


class Done(NamedTuple):
    """The answer a person gave last, as addresses carry it: whose bill's review, and its number in the stream."""

    key: str
    review: str
    answer: int

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Done | None":
        """What an address says of it."""
        key, answer = given.get("done", ""), number(given.get("answer", ""), LAST)
        return None if not key or answer is None else cls(bill_key(key), given.get("review", ""), answer)

    def words(self) -> dict[str, str]:
        """The same for an address."""
        return {"done": self.key, "review": self.review, "answer": str(self.answer)}


def bill_key(text: str) -> str:
    """A record key; Problem if it cannot be one."""
    try:
        return str(subjects.RecordKey.parse(text))
    except subjects.BadTokenError:
        raise Problem(404, "No such bill", "Bills are named {company}-{id of QuickBooks}.") from None


def resolved(order: Order, by: str) -> ReviewResolved:
    """The answer that a person's decision is; Problem if something is missing."""
    note = (order.note or "").strip()
    if len(note) > LONGEST_NOTE:
        raise Problem(400, "Too long", f"note: at most {LONGEST_NOTE} characters are kept.", "Say it shorter.")
    if order.action == "refuse" and not note:
        raise Problem(400, "A reason is missing", "note: a bill is refused for a reason.", "Say why in the note.")
    if order.action == "link" and not order.entry:
        raise Problem(400, "An entry is missing", "entry: name the Qonto entry to link to.", "Pick one, or search.")
    entry = order.entry if order.action == "link" else None
    return ReviewResolved(review=order.review, action=order.action, by=by, entry=entry, note=note or None)


async def confirm_all(bus: Bus, workspace: str, bills: list[Waiting], by: str, note: str | None) -> list[Given]:
    """Link each of these bills to its first candidate, and say of each whether that answer could be given."""
    given: dict[str, Given] = {}
    room = anyio.Semaphore(_AT_ONCE)

    async def confirm(bill: Waiting) -> None:
        async with room:
            order = Order(review=bill.review, action="link", entry=bill.entry, note=note)
            try:
                sent = await answering.answer(bus, workspace, bill.key, resolved(order, by))
                given[bill.key] = Given(bill=bill, sent=sent)
            except (NotOpen, RetryLater, nats.errors.Error) as error:  # the others go on, and the report with them
                given[bill.key] = Given(bill=bill, why=str(error))

    async with anyio.create_task_group() as group:
        for bill in bills:
            group.start_soon(confirm, bill)
    return [given[bill.key] for bill in bills]


async def undo(bus: Bus, workspace: str, key: str, by: str, note: str | None, entry: str | None) -> Undone:
    """Have the poster take back the `entry` that stands in Qonto for a bill, whichever does if none is named.

    Problem with its reason if it does not.
    """
    kept = (note or "").strip()[:LONGEST_NOTE] or None
    message = Undo(workspace=workspace, bill=key, by=by, note=kept, entry=entry or None)
    match await ask(bus, "qonto", "undo", message):
        case Undone() as done:
            return done
        case Refusal(why=why, fix=fix, retry=retry):
            raise Problem(409, "Not just now" if retry else "Not undone", f"{why[:1].upper()}{why[1:]}.", fix)
        case other:
            raise Problem(502, "Unexpected answer", f"The poster answered with {type(other).__name__}.")
