"""How good decisions are, measured against what is really so.

The decision on a bill is what counts, not the pair: a bill is linked, created, asked about or refused, and
each of these can be wrong in its own way. Shares are in [0, 1] and None where there is nothing to divide by.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from statistics import fmean
from typing import NamedTuple

import msgspec

from services.scorer.matching.bounds import lower_bound
from services.scorer.offline.calibration import Calibration, calibration
from services.scorer.offline.truth import Truth

CONFIDENCE = 0.95
"""One-sided, of the lower bound of the precision."""


class Ranked(NamedTuple):
    """One candidate: the ids of the entries that are one in it (an invoice and its payments), and its score."""

    entries: frozenset[str]
    score: float


class Outcome(NamedTuple):
    """What was decided on one bill. `linked` are the entries a link takes; `worth` is the bill's amount."""

    bill: str
    action: str
    ranked: tuple[Ranked, ...] = ()
    linked: frozenset[str] = frozenset()
    worth: Decimal = Decimal(0)


class Links(msgspec.Struct, frozen=True):
    """The auto band. `bound` is the one-sided 95 % lower bound of `precision` (Clopper-Pearson).

    `coverage` is the share of all bills that is linked, `recall` the share of the matchable ones that is linked
    rightly; `wrong_by_amount` is the share of the amount linked. `used_twice` counts entries, of all bills.
    """

    count: int
    right: int
    precision: float | None
    bound: float
    coverage: float | None
    matchable: int
    recall: float | None
    wrong_per_thousand: float | None
    wrong_by_amount: float | None
    ambiguous: int
    used_twice: int


class Creates(msgspec.Struct, frozen=True):
    """New invoices. Wrong `beside` a counterpart that was there, or as a second entry of a bill posted too."""

    count: int
    beside: int
    second: int


class Absent(msgspec.Struct, frozen=True):
    """Bills without counterpart, and those of them that were linked to something; duplicates also by themselves."""

    count: int
    linked: int
    share: float | None
    duplicates: int
    duplicates_linked: int


class Asked(msgspec.Struct, frozen=True):
    """Bills a person decides on; `listed`, `position` and `avoidable` are of those with a counterpart.

    `listed` is the share whose counterpart is in the list, `position` its mean place there (1 = first),
    `avoidable` the share whose first candidate was right and ahead of the second by the policy's margin.
    """

    count: int
    share: float | None
    with_counterpart: int
    listed: float | None
    position: float | None
    avoidable: float | None


class Refused(msgspec.Struct, frozen=True):
    """Bills refused. `false` had a counterpart; `share_false` is their share of all bills that have one."""

    count: int
    share: float | None
    false: int
    share_false: float | None
    listed: float | None


class Evaluation(msgspec.Struct, frozen=True):
    """Everything measured. `bills` have a truth and a decision; the others are only counted.

    `without_entry` are bills none of whose counterparts was among the entries read: nobody could find those.
    """

    bills: int
    without_truth: int
    without_bill: int
    without_entry: int
    links: Links
    creates: Creates
    absent: Absent
    review: Asked
    refused: Refused
    calibration: Calibration


class Case(NamedTuple):
    """A decision beside the truth."""

    outcome: Outcome
    truth: Truth

    @property
    def right(self) -> bool:
        """Whether the entry it was linked to is the same document."""
        return not self.outcome.linked.isdisjoint(self.truth.entries)

    @property
    def position(self) -> int | None:
        """Where in the list the counterpart is, 1 for first; None if it is not there."""
        places = enumerate(self.outcome.ranked, start=1)
        return next((place for place, one in places if not one.entries.isdisjoint(self.truth.entries)), None)


def evaluate(
    outcomes: Sequence[Outcome],
    truth: Mapping[str, Truth],
    *,
    margin: float = 0.05,
    present: Collection[str] | None = None,
) -> Evaluation:
    """Measure decisions; bills deleted in QuickBooks (`withdraw`) are left out, as nothing was matched.

    `margin` is the policy's, `present` are the ids of the entries that were read, if that is known.
    """
    decided = {outcome.bill: outcome for outcome in outcomes if outcome.action != "withdraw"}
    cases = [Case(outcome, truth[bill]) for bill, outcome in decided.items() if bill in truth]
    judged = [case for case in cases if case.outcome.ranked and not case.truth.ambiguous]
    scores, right = [case.outcome.ranked[0].score for case in judged], [case.position == 1 for case in judged]
    return Evaluation(
        bills=len(cases),
        without_truth=len(decided) - len(cases),
        without_bill=len(truth.keys() - {outcome.bill for outcome in outcomes}),
        without_entry=sum(
            bool(case.truth.entries) and present is not None and not any(one in present for one in case.truth.entries)
            for case in cases
        ),
        links=links(cases, used_twice=used_twice(outcomes)),
        creates=_creates(cases, decided),
        absent=_absent(cases),
        review=_asked(cases, margin),
        refused=_refused(cases),
        calibration=calibration(scores, right),
    )


def links(cases: Sequence[Case], *, used_twice: int = 0) -> Links:
    """The figures of the auto band. An ambiguous bill is not matchable, as nobody could match it."""
    linked = [case for case in cases if case.outcome.action == "link"]
    right = sum(case.right for case in linked)
    matchable = [case for case in cases if case.truth.entries and not case.truth.ambiguous]
    found = sum(case.outcome.action == "link" and case.right for case in matchable)
    wrong_amount = sum((abs(case.outcome.worth) for case in linked if not case.right), Decimal(0))
    amount = sum((abs(case.outcome.worth) for case in linked), Decimal(0))
    return Links(
        count=len(linked),
        right=right,
        precision=_share(right, len(linked)),
        bound=lower_bound(right, len(linked), CONFIDENCE),
        coverage=_share(len(linked), len(cases)),
        matchable=len(matchable),
        recall=_share(found, len(matchable)),
        wrong_per_thousand=1000 * (len(linked) - right) / len(cases) if cases else None,
        wrong_by_amount=float(wrong_amount / amount) if amount else None,
        ambiguous=sum(case.truth.ambiguous for case in linked),
        used_twice=used_twice,
    )


def used_twice(outcomes: Iterable[Outcome]) -> int:
    """Entries that more than one bill is linked to."""
    taken = Counter(entry for outcome in outcomes if outcome.action == "link" for entry in outcome.linked)
    return sum(count > 1 for count in taken.values())


def _creates(cases: Sequence[Case], decided: Mapping[str, Outcome]) -> Creates:
    created = [case for case in cases if case.outcome.action == "create"]
    beside = sum(bool(case.truth.entries) for case in created)
    twins = [decided.get(case.truth.duplicate_of or "") for case in created if not case.truth.entries]
    return Creates(len(created), beside, sum(twin is not None and twin.action in {"link", "create"} for twin in twins))


def _absent(cases: Sequence[Case]) -> Absent:
    absent = [case for case in cases if not case.truth.entries]
    linked = [case for case in absent if case.outcome.action == "link"]
    copies = sum(case.truth.duplicate_of is not None for case in absent)
    return Absent(
        count=len(absent),
        linked=len(linked),
        share=_share(len(linked), len(absent)),
        duplicates=copies,
        duplicates_linked=sum(case.truth.duplicate_of is not None for case in linked),
    )


def _asked(cases: Sequence[Case], margin: float) -> Asked:
    asked = [case for case in cases if case.outcome.action == "review"]
    known = [case for case in asked if case.truth.entries]
    places = [case.position for case in known]
    listed = [place for place in places if place is not None]
    return Asked(
        count=len(asked),
        share=_share(len(asked), len(cases)),
        with_counterpart=len(known),
        listed=_share(len(listed), len(known)),
        position=fmean(listed) if listed else None,
        avoidable=_share(sum(case.position == 1 and _ahead(case.outcome, margin) for case in known), len(known)),
    )


def _ahead(outcome: Outcome, margin: float) -> bool:
    second = outcome.ranked[1].score if len(outcome.ranked) > 1 else 0.0
    return outcome.ranked[0].score - second >= margin


def _refused(cases: Sequence[Case]) -> Refused:
    refused = [case for case in cases if case.outcome.action == "refuse"]
    false = [case for case in refused if case.truth.entries]
    return Refused(
        count=len(refused),
        share=_share(len(refused), len(cases)),
        false=len(false),
        share_false=_share(len(false), sum(bool(case.truth.entries) for case in cases)),
        listed=_share(sum(case.position is not None for case in false), len(false)),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
