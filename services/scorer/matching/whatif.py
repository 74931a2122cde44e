"""What another policy would have decided on the grounds that a decision was taken on.

Candidates, their scores, copies and payments stay as they are stored with it. What depends on the policy is looked at
anew: which bills it holds or blocks, which vendors its target holds back, and by what thresholds it goes. Pure.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from common.messages import Action, Bill, Company, Decision, Policy, ReviewOutcome, SelfCheck
from services.scorer.matching.decide import Case, Choice, case_of, choose
from services.scorer.matching.readiness import assess_under
from services.scorer.matching.reproduce import weights_of
from services.scorer.matching.selfcheck import AUTOMATIC, hold

ANSWERS: Mapping[ReviewOutcome, Literal["link", "create", "refuse"]] = {
    "linked": "link",
    "created": "create",
    "refused": "refuse",
}
"""What people answered, by what their reviews were closed as."""


class Moves(NamedTuple):
    """Bills whose link is new, is gone, or goes to another entry."""

    gained: int
    lost: int
    changed: int


class Grounds(NamedTuple):
    """What a decision is taken again on: its bill as it is now, None if it is gone, and what else a policy looks at."""

    decision: Decision
    bill: Bill | None
    company: Company | None
    check: SelfCheck | None


class Outcome(NamedTuple):
    """What comes out: `entries` are the ids of those that are one in what is linked."""

    action: Action
    why: str
    entries: frozenset[str] = frozenset()


class Truth(NamedTuple):
    """What is known to be right of a bill, or with `wrong` what is known not to be."""

    action: Literal["link", "create", "refuse"]
    entry: str | None = None
    wrong: bool = False


def moves(before: Mapping[str, frozenset[str]], after: Mapping[str, frozenset[str]]) -> Moves:
    """What became of the links: the entries that bills are linked to, by bill."""
    changed = sum(before[bill] != after[bill] for bill in before.keys() & after.keys())
    return Moves(len(after.keys() - before.keys()), len(before.keys() - after.keys()), changed)


def decided(grounds: Grounds, policy: Policy) -> Outcome:
    """What this policy decides. UserError if this release does not have the weights of the decision."""
    choice = choose(_case(grounds, policy), policy, weights_of(grounds.decision))
    return Outcome(choice.action, choice.why, _entries(choice))


def _case(grounds: Grounds, policy: Policy) -> Case:
    case = case_of(grounds.decision)
    if grounds.bill is None:
        return case
    found = assess_under(case.readiness, grounds.bill, policy, grounds.company)
    held_back = hold(_aiming_at(grounds.check, policy.target), f"{grounds.decision.realm}-{grounds.bill.vendor.id}")
    return msgspec.structs.replace(
        case, readiness=found.readiness, holds=found.holds, blocked=found.blocked, held_back=held_back
    )


def _aiming_at(check: SelfCheck | None, target: float) -> SelfCheck | None:
    """The self-check as it would stand with another target."""
    if check is None or check.target == target:
        return check
    held = tuple(vendor for vendor, found in check.vendors.items() if found.at_least < target)
    return msgspec.structs.replace(check, target=target, held=held)


def _entries(choice: Choice) -> frozenset[str]:
    if choice.action != "link" or choice.chosen is None:
        return frozenset()
    return frozenset((choice.chosen.entry, *(part.partition("-")[2] for part in choice.chosen.also)))


def proves(truth: Truth, outcome: Outcome) -> bool | None:
    """Whether what a policy does by itself is right; None if it asks, or the truth does not tell."""
    if outcome.action not in AUTOMATIC:
        return None
    same = outcome.action == truth.action and (truth.action != "link" or truth.entry in outcome.entries)
    if truth.wrong:
        return False if same else None
    return same
