"""What another threshold would have decided over the same input."""

from collections.abc import Mapping, Sequence

import msgspec

from common.errors import UserError
from common.messages import Policy
from services.scorer.matching.whatif import moves
from services.scorer.offline.evaluation import Case, Outcome, links
from services.scorer.offline.truth import Truth


class WhatIf(msgspec.Struct, frozen=True):
    """Decisions under another `auto`: shares of all bills, moves against the policy's own `auto`.

    `auto_share` is what no person is asked about: linked or created. The last three are None without truth.
    """

    auto: float
    linked: int
    auto_share: float
    link_share: float
    review_share: float
    refuse_share: float
    gained: int
    lost: int
    changed: int
    precision: float | None = None
    bound: float | None = None
    recall: float | None = None


def thresholds(text: str) -> list[float]:
    """Thresholds written as `0.80,0.85`, lowest first; UserError if one is none."""
    try:
        found = sorted({float(part) for part in text.split(",") if part.strip()})
    except ValueError:
        found = []
    if not found or not all(0 < one <= 1 for one in found):
        raise UserError(f"--thresholds {text!r}: write numbers above 0 and up to 1, such as 0.80,0.85,0.90")
    return found


def with_auto(policy: Policy, auto: float) -> Policy:
    """The policy with another `auto`; `review` gives way where it would lie above."""
    return msgspec.structs.replace(policy, auto=auto, review=min(policy.review, auto))


def what_if(auto: float, own: Sequence[Outcome], other: Sequence[Outcome], truth: Mapping[str, Truth] | None) -> WhatIf:
    """The figures of decisions under `auto` beside the policy's own, of the same bills."""
    count = max(1, len(other))
    shares = {action: sum(one.action == action for one in other) for action in ("link", "create", "review", "refuse")}
    moved = moves(links_of(own), links_of(other))
    cases = [Case(one, truth[one.bill]) for one in other if one.bill in truth] if truth is not None else []
    band = links(cases) if truth is not None else None
    return WhatIf(
        auto=auto,
        linked=shares["link"],
        auto_share=(shares["link"] + shares["create"]) / count,
        link_share=shares["link"] / count,
        review_share=shares["review"] / count,
        refuse_share=shares["refuse"] / count,
        gained=moved.gained,
        lost=moved.lost,
        changed=moved.changed,
        precision=band.precision if band else None,
        bound=band.bound if band else None,
        recall=band.recall if band else None,
    )


def links_of(outcomes: Sequence[Outcome]) -> dict[str, frozenset[str]]:
    """The entries that bills are linked to, by bill."""
    return {one.bill: one.linked for one in outcomes if one.action == "link"}
