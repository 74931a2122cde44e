"""What weights decide in worlds whose truth is known: the matcher's own decisions, behind all of its gates."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.scorer.fitting.features import NONE, Compared
from services.scorer.matching.judge import Judge, Verdict
from services.scorer.matching.model import Weights
from services.scorer.offline.evaluation import Evaluation, Outcome, Ranked, evaluate
from services.scorer.offline.truth import Truth

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of the bills of several worlds.

    `kept` of the `matchable` counterparts are among the candidates; `used` bills were linked to an entry that serves
    another bill.
    """

    evaluation: Evaluation
    kept: int
    matchable: int
    used: int


def figures(worlds: Sequence[Compared], weights: Weights) -> Figures:
    """Decide on every open bill of these worlds, and measure."""
    outcomes: list[Outcome] = []
    truths: dict[str, Truth] = {}
    kept = matchable = used = 0
    for number, world in enumerate(worlds):
        claimed = set(world.books.claims)
        for bill, key, truth in zip(range(len(world.bills)), world.bills, world.truths, strict=True):
            there = bool(truth.counterparts) and not truth.ambiguous and truth.duplicate_of is None
            matchable += there
            kept += there and int(world.right[bill]) != NONE
            name = f"{number}/{key}"
            original = f"{number}/{truth.duplicate_of}" if truth.duplicate_of else None
            entries = tuple(f"{number}/{one}" for one in sorted(truth.counterparts))
            # A second entry of a bill is the same document, but nobody wants it linked as well.
            truths[name] = Truth(name, entries, truth.ambiguous or original is not None, original)
        for key, verdict in decided(world, weights):
            outcome = _outcome(number, key, verdict)
            outcomes.append(outcome)
            used += bool(claimed & {one.partition("/")[2] for one in outcome.linked})
    return Figures(evaluate(outcomes, truths), kept, matchable, used)


def decided(world: Compared, weights: Weights) -> list[tuple[str, Verdict]]:
    """The verdict on every open bill of a world."""
    found: list[tuple[str, Verdict]] = []
    for start in range(0, len(world.bills), _BATCH):
        judge, batch = Judge(world.books, weights), world.bills[start : start + _BATCH]
        judge.prepare(batch)
        found += [(key, judge.decide(key)) for key in batch]
    return found


def _outcome(number: int, key: str, verdict: Verdict) -> Outcome:
    ranked = [
        Ranked(frozenset(f"{number}/{one}" for one in (f"{found.kind}-{found.entry}", *found.also)), found.score)
        for found in verdict.candidates
    ]
    entry = verdict.entry if verdict.action == "link" else None
    linked = {f"{entry.kind}-{entry.id}", *(f"transaction-{one}" for one in entry.matched)} if entry else set()
    return Outcome(f"{number}/{key}", verdict.action, tuple(ranked), frozenset(f"{number}/{one}" for one in linked))
