"""What a person's answer to a review teaches."""

from collections.abc import Iterable, Mapping

from common import subjects
from common.messages import Candidate, Entry, Lesson, ReviewClosed, ReviewOutcome, ReviewRequested, TurnedDown
from services.scorer.matching import facts, model
from services.scorer.matching.facts import Facts

TAUGHT: frozenset[ReviewOutcome] = frozenset({"linked", "created", "refused"})
"""Outcomes that say what a person wanted and got; a superseded question or a rejected answer says nothing."""

KEPT = 64
"""Lessons remembered of a vendor: the newest. Two say all there is to say about a name, and the others are for bills
that may still change; with five candidates each they are about 40 kB."""

_NOT_APART = 0.5
"""Score of a date from which on it is no reason to turn a candidate down."""
_LIKELY_FREE = 0.5
"""Probability from which on an entry is likelier no other bill's."""


def teaches(closed: ReviewClosed) -> bool:
    """Whether anything is to be learned: a person answered, and the answer was carried out."""
    return closed.outcome in TAUGHT and bool(closed.by and closed.by.strip())


def vendor_key(question: ReviewRequested) -> str:
    """The vendor a question is about, as `{realm}-{id}`; BadTokenError if that cannot be a key."""
    return subjects.token(f"{question.realm}-{question.summary.vendor.id}", "vendor")


def concerned(question: ReviewRequested, closed: ReviewClosed) -> frozenset[str]:
    """The entries a lesson is about, as `{kind}-{id}`: those shown, and the one linked, whichever kind it is."""
    linked = [f"invoice-{closed.entry}", f"transaction-{closed.entry}"] if closed.entry else []
    return frozenset([*linked, *map(_key, question.candidates)])


def learned(question: ReviewRequested, closed: ReviewClosed, entries: Mapping[str, Entry]) -> Lesson:
    """The lesson of an answer that teaches; `entries` are those concerned, as far as they are known.

    A link confirms the name and the identities of the linked entry's counterparty and turns down the other
    candidates; so does a create with all of them. The name of one is turned down with it only where amount,
    date and number left nothing else to object to: mostly it is another document of the right company. A
    refusal turns the candidates down and says nothing about names, since it may be the bill that is wrong.
    """
    chosen = _chosen(question, closed)
    of_chosen = _facts(entries, chosen)
    turned_down = []
    for candidate in question.candidates:
        key = _key(candidate)
        if (entry := entries.get(key)) is not None and entry.origin is not None:
            continue  # Weir made it, and was asked about what Qonto read of it: it is no other document
        if chosen is None or chosen not in _unit(question, key):
            name = _name(_facts(entries, key)) if closed.outcome != "refused" and _only_the_name(candidate) else None
            turned_down.append(TurnedDown(entry=key, name=name if name != _name(of_chosen) else None))
    identities = [one for one in (of_chosen.vat, of_chosen.iban) if one] if of_chosen else []
    return Lesson(
        review=closed.review,
        bill=f"{closed.realm}-{closed.bill}",
        at=closed.closed_at,
        by=closed.by or "",
        entry=chosen,
        name=_name(of_chosen),
        identities=tuple(identities),
        turned_down=tuple(turned_down),
    )


def kept(lessons: Iterable[Lesson]) -> tuple[Lesson, ...]:
    """The newest KEPT of these lessons, oldest first; of one that came twice the last is taken.

    Any order and any repetition of the same lessons, kept one after the other or together, comes to the same.
    """
    distinct = {(lesson.at, lesson.review): lesson for lesson in lessons}
    return tuple(lesson for _, lesson in sorted(distinct.items())[-KEPT:])


def _key(candidate: Candidate) -> str:
    return f"{candidate.kind}-{candidate.entry}"


def _chosen(question: ReviewRequested, closed: ReviewClosed) -> str | None:
    """The entry that was linked, as `{kind}-{id}`; the answer names no kind, but what was shown has one."""
    if closed.outcome != "linked" or closed.entry is None:
        return None
    shown = {key for candidate in question.candidates for key in (_key(candidate), *candidate.also)}
    payment = f"transaction-{closed.entry}"
    return payment if payment in shown else f"invoice-{closed.entry}"


def _unit(question: ReviewRequested, key: str) -> frozenset[str]:
    """A candidate and the payments that are part of it: whoever takes one of them takes the document."""
    also = (one for candidate in question.candidates if _key(candidate) == key for one in candidate.also)
    return frozenset([key, *also])


def _only_the_name(candidate: Candidate) -> bool:
    """Whether nothing but the name can have spoken against a candidate."""
    scores = {field: compared.score for field, compared in candidate.fields.items()}
    amount, date, reference = scores.get("amount"), scores.get("date"), scores.get("reference")
    return (
        not candidate.claimed
        and candidate.free >= _LIKELY_FREE
        and amount is not None
        and amount >= model.AGREES
        and (date is None or date >= _NOT_APART)
        and (reference is None or reference >= model.AGREES)
    )


def _facts(entries: Mapping[str, Entry], key: str | None) -> Facts | None:
    entry = entries.get(key) if key is not None else None
    return facts.of_entry(entry) if entry is not None else None


def _name(known: Facts | None) -> str | None:
    """The counterparty as it is compared; a payment's text where the bank names nobody."""
    return known.names[0].text if known is not None and known.names else None
