"""What became of one bill, from what the streams hold of it and nothing else.

Messages stand by the broker's time, those of one stream as they were stored. RECORDS keeps the newest version
only; that an earlier one was pulled is told by the first decision on it. A message that cannot be read is a step
too: nothing is left out.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import msgspec

from common import codec
from common.messages import Decision, Failure, Posting, Record, ReviewClosed, ReviewRequested, ReviewResolved

What = Literal["version", "decision", "review", "answer", "closed", "posting", "failure", "unreadable"]
Readable = Record | Decision | ReviewRequested | ReviewResolved | ReviewClosed | Posting | Failure

_READ_AS: dict[str, type[Readable]] = {
    "record": Record,
    "decision": Decision,
    "requested": ReviewRequested,
    "refused": ReviewRequested,
    "resolved": ReviewResolved,
    "closed": ReviewClosed,
    "posting": Posting,
    "failure": Failure,
}
_ORDER = {
    "record": 0,
    "decision": 1,
    "requested": 2,
    "refused": 2,
    "resolved": 3,
    "closed": 4,
    "posting": 5,
    "failure": 6,
}
"""What comes first of messages of the same instant; those of one stream keep their order."""
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")
"""What a spreadsheet may take for the beginning of a formula (OWASP, "CSV injection")."""


class Seen(NamedTuple):
    """A message as a stream holds it."""

    subject: str
    sequence: int
    time: datetime
    data: bytes

    @property
    def sort(self) -> str:
        """The second token of its subject, of a review the third."""
        _, first, second, *_ = self.subject.split(".")
        return second if first == "review" else first


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step; the fields, in this order, are the columns of an export.

    `at` is when the broker stored it. `sequence` is that in its stream, None for a version of which only the
    decision is left (`at` is then the decision's). `version` is the record's sequence, `content` its hash.
    """

    at: datetime
    record: str
    what: What
    outcome: str | None = None
    by: str | None = None
    entry: str | None = None
    revision: int | None = None
    verified_at: datetime | None = None
    replaced: str | None = None
    score: float | None = None
    why: str | None = None
    id: str | None = None
    answers: str | None = None
    version: int | None = None
    content: str | None = None
    sync_token: str | None = None
    sequence: int | None = None


COLUMNS = Step.__struct_fields__


def timeline(messages: Iterable[Seen]) -> list[Step]:
    """The steps of one bill, oldest first, from its messages in the order each stream holds them."""
    known: set[int] = set()
    steps: list[Step] = []
    held = sorted(_timed(messages), key=lambda pair: pair[0])
    present = {seen.sequence for _, seen in held if seen.sort == "record"}
    for _, seen in held:
        step = _step(seen)
        decided = step.version if step.what == "decision" else None
        if decided is not None and decided not in present and decided not in known:
            known.add(decided)
            why = "replaced since; only the decision on it is left"
            steps.append(
                Step(at=step.at, record=step.record, what="version", version=decided, content=step.content, why=why)
            )
        steps.append(step)
    return steps


def cells(step: Step) -> list[str]:
    """The step as cells of a spreadsheet, none of which it takes for a formula."""
    return [_cell(getattr(step, name)) for name in COLUMNS]


def _timed(messages: Iterable[Seen]) -> Iterator[tuple[tuple[datetime, int, int], Seen]]:
    """Each message with its place; the clock of a stream never goes back, even if the broker's did."""
    reached: dict[str, datetime] = {}
    for seen in messages:
        stream = seen.subject.split(".")[1]
        reached[stream] = at = max(seen.time, reached.get(stream, seen.time))
        # Within a stream its sequence decides, whatever sort of message it is.
        yield (at, _ORDER["requested"] if stream == "review" else _ORDER.get(seen.sort, 9), seen.sequence), seen


def _step(seen: Seen) -> Step:
    record = seen.subject.rpartition(".")[2]
    try:
        message = codec.decode(seen.data, _READ_AS[seen.sort])
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        why = f"on {seen.subject}: {error}"
        return Step(at=seen.time, record=record, what="unreadable", why=why, sequence=seen.sequence)
    return msgspec.structs.replace(_told(message, seen), at=seen.time, record=record, sequence=seen.sequence)


def _told(message: Readable, seen: Seen) -> Step:
    blank = Step(at=seen.time, record="", what="unreadable")
    changes: dict[str, Any]
    match message:
        case Record():
            new = {"version": seen.sequence, "content": message.content_hash, "sync_token": message.sync_token}
            outcome = "deleted" if message.deleted else "pulled"
            changes = {"what": "version", "outcome": outcome, **new}
        case Decision():
            changes = {
                "what": "decision",
                "outcome": message.action,
                "entry": message.entry,
                "score": message.score,
                "why": message.why,
                "id": message.id,
                "version": message.record_seq,
                "content": message.record_hash,
            }
        case ReviewRequested():
            changes = {"what": "review", "outcome": message.gate or seen.sort, "score": message.score}
            changes |= {"why": message.why, "id": message.review}
        case ReviewResolved():
            changes = {"what": "answer", "outcome": message.action, "by": message.by, "entry": message.entry}
            changes |= {"why": message.note, "answers": message.review}
        case ReviewClosed():
            changes = {"what": "closed", "outcome": message.outcome, "by": message.by, "entry": message.entry}
            changes |= {"why": message.why, "answers": message.review}
        case Failure():
            told = (message.why, message.field and f"field {message.field}", message.fix, message.resolution)
            changes = {
                "what": "failure",
                "outcome": message.stage if message.resolved_at is None else "over",
                "why": "; ".join(part for part in told if part),
                "id": message.id,
            }
        case _:
            parts = (message.why, message.field and f"field {message.field}", message.fix)
            changes = {
                "what": "posting",
                "outcome": message.outcome,
                "by": message.by,
                "entry": message.entry,
                "revision": message.revision,
                "verified_at": message.verified_at,
                "replaced": message.replaced,
                "why": "; ".join(part for part in parts if part) or None,
                "id": message.id,
                "answers": message.decision,
                "content": message.record_hash,
            }
    return msgspec.structs.replace(blank, **changes)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
