"""How right automatic decisions proved to be, and which vendors are held back for it.

Nobody labels decisions. What happens to them afterwards does: a person who decides otherwise on the same
version of a bill says that it was wrong, one who decides alike that it was right, and so does time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor
from typing import NamedTuple

from common.messages import Action, Decision, Precision, ReviewClosed, SelfCheck
from services.scorer.matching.bounds import lower_bound

STANDS = timedelta(days=30)
"""A decision nobody objected to for so long is right: a month's books were closed over it."""
WINDOW = timedelta(days=365)
"""Decisions looked at; older ones were made by another model on other names."""
GATE = "held back"
"""The gate of a decision held for nothing but this check. Its answers count as cases, or no vendor came back."""
AUTOMATIC: frozenset[Action] = frozenset({"link", "create"})
"""What is carried out without asking anybody."""
_NOT_THE_MATCH = frozenset({"entry gone", "status forbids", "uncertain"})
"""Gates of questions about what Qonto does, whose answers do not judge the decision."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A person's accepted answer, and the gate of the question where it was not the scorer that asked."""

    closed: ReviewClosed
    gate: str | None = None


class Changes(NamedTuple):
    """Vendors that two checks tell apart."""

    demoted: tuple[str, ...]
    restored: tuple[str, ...]


def case(
    decisions: Sequence[Decision], answers: Sequence[Answered], at: datetime, *, turned_down: bool = False
) -> bool | None:
    """Whether what was decided automatically on one bill proved right; None where nothing tells yet.

    `decisions` are all on the bill, oldest first; `turned_down` says that somebody rejected in Qonto what was
    created for it. What is decided after a person's answer only carries that on and is no case of its own; an
    edited bill says nothing about the decision on what it was before.
    """
    answer = min(answers, key=lambda one: (one.closed.closed_at, one.closed.review), default=None)
    before = [one for one in decisions if answer is None or one.decided_at <= answer.closed.closed_at]
    automatic = next((one for one in reversed(before) if one.action in AUTOMATIC), None)
    if answer is not None and before and answer.gate not in _NOT_THE_MATCH:
        asked = next((one for one in before if one.id == answer.closed.review), before[-1])
        judged = asked if asked.gate == GATE else automatic
        said = _agrees(judged, answer.closed) if judged and judged.record_hash == asked.record_hash else None
        if said is not None:
            return said
    if automatic is None:
        return None
    if turned_down and answer is None and automatic.action == "create":
        return False
    later = before[before.index(automatic) + 1 :]  # what put it in question, or took it back
    until = later[0].decided_at if later else answer.closed.closed_at if answer else at
    return True if until - _since(before, automatic) >= STANDS else None


def _agrees(decision: Decision, closed: ReviewClosed) -> bool | None:
    """Whether a person decided alike; a refusal of what was posted may be about the bill itself and says nothing."""
    if closed.outcome == "refused":
        return False if decision.gate == GATE else None
    if decision.entry is None:
        return closed.outcome == "created"
    also = {
        one.partition("-")[2]
        for candidate in decision.candidates
        if (candidate.kind, candidate.entry) == (decision.entry_kind, decision.entry)
        for one in candidate.also
    }
    return closed.outcome == "linked" and closed.entry in {decision.entry, *also}


def _since(decisions: Iterable[Decision], automatic: Decision) -> datetime:
    """When a decision was first made that was repeated ever since."""
    alike = (one.decided_at for one in decisions if (one.action, one.entry) == (automatic.action, automatic.entry))
    return min(alike)


def measured(right: int, cases: int, name: str | None = None) -> Precision:
    """The share of right cases with its bound, which is rounded down."""
    bound = floor(lower_bound(right, cases) * 10_000) / 10_000
    return Precision(right=right, cases=cases, at_least=bound, name=name)


def checked(vendors: Mapping[str, Precision], target: float, at: datetime) -> SelfCheck:
    """The check of a workspace, from what was measured for each vendor.

    A vendor is held back when a decision was wrong and its bound is below `target`. Without a wrong one the
    bound says only that there were few; every new vendor would be held back by it.
    """
    wrong = {vendor: found for vendor, found in sorted(vendors.items()) if found.right < found.cases}
    return SelfCheck(
        at=at,
        target=target,
        overall=measured(
            sum(found.right for found in vendors.values()), sum(found.cases for found in vendors.values())
        ),
        vendors=wrong,
        held=tuple(vendor for vendor, found in wrong.items() if found.at_least < target),
    )


def changes(before: SelfCheck | None, after: SelfCheck) -> Changes:
    """Who is held back since the last check, and who is not any more."""
    held, holds = set(before.held if before else ()), set(after.held)
    return Changes(tuple(sorted(holds - held)), tuple(sorted(held - holds)))


def hold(check: SelfCheck | None, vendor: str) -> str | None:
    """Why the bills of a vendor (`{realm}-{id}`) wait for people; None if they do not."""
    if check is None or vendor not in check.held:
        return None
    found = check.vendors[vendor]
    return (
        f"automatic decisions for this vendor were right in {found.right} of {found.cases} cases "
        f"(at least {floor(found.at_least * 100)}%, target {check.target:.0%})"
    )
