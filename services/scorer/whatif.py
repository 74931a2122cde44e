"""Another policy tried over everything that was decided: what would change, and how often it would be wrong."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime

from common.bus import Bus
from common.errors import UserError
from common.messages import (
    Action,
    Band,
    Bill,
    Changes,
    Company,
    Decision,
    Example,
    Move,
    Policy,
    Record,
    ReviewClosed,
    SelfCheck,
    now,
)
from common.pace import Pace
from services.scorer.history import Course, History
from services.scorer.matching.selfcheck import AUTOMATIC, case
from services.scorer.matching.whatif import ANSWERS, Grounds, Outcome, Truth, decided, moves, proves

EXAMPLES = 20
"""Bills that are named of each move."""


class _Tally:
    """What one policy decides by itself, and how much of it is known to be right or wrong."""

    def __init__(self) -> None:
        self.links: dict[str, frozenset[str]] = {}
        self._actions: Counter[Action] = Counter()
        self._proved: Counter[bool] = Counter()

    def take(self, bill: str, outcome: Outcome, truth: Truth | None) -> None:
        self._actions[outcome.action] += 1
        if outcome.action == "link":
            self.links[bill] = outcome.entries
        right = proves(truth, outcome) if truth is not None else None
        if right is not None:
            self._proved[right] += 1

    def band(self) -> Band:
        proved, wrong = self._proved.total(), self._proved[False]
        automatic = sum(self._actions[action] for action in AUTOMATIC)
        return Band(
            links=self._actions["link"],
            creates=self._actions["create"],
            proved=proved,
            wrong=wrong,
            estimated=round(automatic * wrong / proved, 1) if proved else None,
        )


class Trial:
    """One trial of a policy against the `present` one.

    `bills`, `company` and `check` are the books' as they stood when it began. Either policy decides anew on the same
    grounds, so what differs comes of the policy and of nothing else.
    """

    def __init__(
        self,
        bus: Bus,
        workspace: str,
        bills: Mapping[str, Record],
        company: Company | None,
        check: SelfCheck | None,
        present: Policy,
        other: Policy,
    ) -> None:
        self._history = History(bus, workspace)
        self._bills = bills
        self._company = company
        self._check = check
        self._present, self._other = present, other
        self._now, self._then = _Tally(), _Tally()
        self._moves: Counter[tuple[Action, Action]] = Counter()
        self._examples: defaultdict[tuple[Action, Action], list[Example]] = defaultdict(list)

    async def run(self, pace: Pace) -> Changes:
        """Try it, some decisions at a time. RetryLater if the broker does not answer."""
        at = now()
        answered, courses = await self._history.answered(), await self._history.courses(at)
        decisions = left_out = 0
        async for page in self._history.newest():
            async with pace:
                for decision in page:
                    decisions += 1
                    truth = _truth(decision, answered, courses.get(decision.key), at)
                    left_out += not self._try(decision, truth)
                    await pace.rest()
        moved = moves(self._now.links, self._then.links)
        return Changes(
            decisions=decisions,
            left_out=left_out,
            gained=moved.gained,
            lost=moved.lost,
            changed=moved.changed,
            moves=tuple(
                Move(before=way[0], after=way[1], count=count, examples=tuple(self._examples[way]))
                for way, count in self._moves.most_common()
            ),
            now=self._now.band(),
            then=self._then.band(),
        )

    def _try(self, decision: Decision, truth: Truth | None) -> bool:
        """Decide again under either policy; False if that cannot be done."""
        if decision.action == "withdraw":
            return False
        record = self._bills.get(decision.key)
        bill = record.body if record is not None and isinstance(record.body, Bill) else None
        grounds = Grounds(decision, bill, self._company, self._check)
        try:
            before, after = decided(grounds, self._present), decided(grounds, self._other)
        except UserError:  # weights that this release does not have
            return False
        self._now.take(decision.key, before, truth)
        self._then.take(decision.key, after, truth)
        if (before.action, before.entries) != (after.action, after.entries):
            way = before.action, after.action
            self._moves[way] += 1
            if len(self._examples[way]) < EXAMPLES:
                self._examples[way].append(_example(decision.key, bill, before, after))
        return True


def _truth(
    decision: Decision, answered: Mapping[str, ReviewClosed], course: Course | None, at: datetime
) -> Truth | None:
    """What people's answer to this decision says, else what became of what was decided on the bill by itself."""
    closed = answered.get(decision.id)
    if closed is not None:
        return Truth(ANSWERS[closed.outcome], closed.entry)
    if course is None:
        return None
    automatic = next((one for one in reversed(course.decisions) if one.action in AUTOMATIC), None)
    if automatic is None or automatic.record_hash != decision.record_hash:
        return None
    right = case(course.decisions, course.answers, at, turned_down=course.turned_down)
    if right is None:
        return None
    return Truth("link" if automatic.action == "link" else "create", automatic.entry, wrong=not right)


def _example(key: str, bill: Bill | None, before: Outcome, after: Outcome) -> Example:
    return Example(
        bill=key,
        vendor=bill.vendor.name if bill else None,
        total=bill.total if bill else None,
        currency=bill.currency if bill else None,
        before=before.why,
        after=after.why,
    )
