"""From what is known of a bill to a decision: thresholds, gates, and the reasons in plain words.

Pure, and a function of what a decision stores, so that every decision can be taken again and compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from common.messages import Action, Candidate, Decision, EntryKind, Field, Policy, Readiness
from services.scorer.matching import model
from services.scorer.matching.model import Weights
from services.scorer.matching.selfcheck import GATE as HELD_BACK
from services.scorer.matching.temper import Correction

KEPT = 5
"""Candidates shown to a person."""
EVIDENCE = 2
"""Independent fields besides currency that must agree before anything is linked without a person."""
MOST_ODDS = 1e12
"""Odds beyond which nothing gets surer."""
FAR = 0.2
"""Score of a date up to which only a number says that two documents of one amount are the same: suppliers that bill
every month send others like it."""
SURE_OF_PERIOD = 0.95
"""Probability from which on a bill of a series has an entry of another day than its own where no number says so."""
_ORDER: tuple[Field, ...] = ("reference", "name", "amount", "date")
"""Fields in the order in which people look for a difference."""


class Standing(msgspec.Struct, frozen=True):
    """One candidate as a decision sees it; see `Candidate` for what the fields mean."""

    entry: str
    kind: EntryKind
    scores: Mapping[Field, float | None]
    alone: float
    same_identity: bool = False
    also: tuple[str, ...] = ()
    free: float = 1.0
    taken_by: str | None = None
    claimed: bool = False
    alike: bool = False
    turned_down: bool = False

    @property
    def key(self) -> str:
        """`{kind}-{id}`."""
        return f"{self.kind}-{self.entry}"

    @property
    def odds(self) -> float:
        """How much likelier than that no entry is the bill's document, did no other bill want it."""
        return odds(self.alone)

    @property
    def stake(self) -> float:
        """The same with all who want it."""
        return self.odds * self.free

    @property
    def conflict(self) -> bool:
        """Whether the two have different invoice numbers."""
        return self.scores["reference"] == 0.0

    @property
    def contradicts(self) -> bool:
        """Whether numbers in the names, or the invoice numbers, say that it is not."""
        return model.contradicts(self.scores["name"], self.scores["reference"])

    @property
    def agreeing(self) -> tuple[Field, ...]:
        """The fields besides currency that speak for it."""
        return tuple(
            name
            for name, score in self.scores.items()
            if name != "currency" and score is not None and score >= model.AGREES
        )


class Case(msgspec.Struct, frozen=True):
    """A bill's candidates, the likeliest alone first, and what else counts as `Grounds` has it."""

    candidates: Sequence[Standing]
    readiness: Readiness
    holds: tuple[str, ...] = ()
    blocked: bool = False
    copy_of: str | None = None
    remittance: str | None = None
    held_back: str | None = None
    before: Literal["nothing", "made", "linked", "gone"] = "nothing"
    rest: float = 0.0
    recurs: bool = False


class Choice(msgspec.Struct, frozen=True):
    """What should become of a bill, and why.

    `score` is the probability that Qonto holds its document; `shown` are the candidates with theirs, those that count
    first, and `rest` are the odds of all others.
    """

    action: Action
    score: float
    why: str
    chosen: Standing | None = None
    gate: str | None = None
    counterfactual: str | None = None
    shown: tuple[tuple[Standing, float], ...] = ()
    rest: float = 0.0


def case_of(decision: Decision) -> Case:
    """What a decision was taken on, as it is stored with it."""
    grounds = decision.grounds
    return Case(
        candidates=sorted(map(_standing, decision.candidates), key=lambda one: (-one.alone, one.key)),
        readiness=decision.readiness or Readiness(score=0.0, completeness=0.0, counterparty=0.0, policy=0.0),
        holds=grounds.holds,
        blocked=grounds.blocked,
        copy_of=grounds.copy_of,
        remittance=grounds.remittance,
        held_back=grounds.held_back,
        before=grounds.before,
        rest=grounds.rest,
        recurs=grounds.recurs,
    )


def _standing(candidate: Candidate) -> Standing:
    return Standing(
        entry=candidate.entry,
        kind=candidate.kind,
        scores={name: compared.score for name, compared in candidate.fields.items()},
        alone=candidate.alone,
        same_identity=candidate.same_identity,
        also=candidate.also,
        free=candidate.free,
        taken_by=candidate.taken_by,
        claimed=candidate.claimed,
        alike=candidate.alike,
        turned_down=candidate.turned_down,
    )


def choose(case: Case, policy: Policy, weights: Weights) -> Choice:
    """What should become of the bill under this policy."""
    return _Choosing(case, policy, weights).choice()


@dataclass
class _Choosing:
    """One decision under way: the candidates that compete, and how likely each is."""

    case: Case
    policy: Policy
    weights: Weights
    correction: Correction = field(init=False)
    stakes: dict[str, float] = field(init=False)
    ranked: list[Standing] = field(init=False)
    all_odds: float = field(init=False)

    def __post_init__(self) -> None:
        self.correction = self.weights.correction(recurs=self.case.recurs)
        self.stakes = {one.key: self.tempered(one, one.stake) for one in self.case.candidates}
        running = (self.stakes[one.key] for one in self.case.candidates if not one.turned_down)
        self.all_odds = 1 + self.case.rest + sum(running)
        self.ranked = sorted(self.case.candidates, key=lambda one: (-self.likelihood(one), -one.stake))

    def choice(self) -> Choice:
        case = self.case
        match case.before:
            case "made":
                return self._by_readiness("Weir already made an entry for this bill")
            case "gone":
                return self._review(None, "changed", "the entry this bill was linked to is gone from Qonto")
            case "linked":
                return self._keep_link(case.candidates[0] if case.candidates else None)
            case "nothing":
                return self._choose()

    @property
    def score(self) -> float:
        """The probability that Qonto holds the document."""
        return 1 - 1 / self.all_odds

    def tempered(self, one: Standing, odds: float) -> float:
        """Odds of a candidate as they should be here."""
        return self.correction.odds(odds, contradicts=one.contradicts)

    def likelihood(self, one: Standing) -> float:
        """The probability that it is this one; of one that was turned down, had it not been."""
        stake = self.stakes[one.key]
        return stake / (self.all_odds + stake if one.turned_down else self.all_odds)

    def fits(self, one: Standing) -> float:
        """The probability that it is this one, were there no other entries and bills."""
        found = self.tempered(one, one.odds)
        return found / (1 + found)

    def unrivalled(self, one: Standing) -> float:
        """The probability that it is this one, did no other bill want it."""
        found = self.tempered(one, one.odds)
        return found / (self.others(one) + found)

    def others(self, one: Standing) -> float:
        """The odds of everything but this one."""
        return self.all_odds if one.turned_down else self.all_odds - self.stakes[one.key]

    def _choose(self) -> Choice:
        contested = next((one for one in self.ranked if self._contested(one)), None)
        if contested is not None and contested.taken_by is not None:
            fits = per_cent(self.unrivalled(contested))
            why = f"the best match ({fits}) serves or fits bill {bill_id(contested.taken_by)} as well"
            return self._review(contested, "contested", why)
        best = next((one for one in self.ranked if not one.turned_down), None)
        if best is None or self.score < self.policy.review:
            return self._without_match()
        held = self._held(best)
        if held is not None:
            return self._review(best, *held)
        why = f"the same document as {best.kind} {best.entry}: {because(best)}"
        return self._made("link", why, best)

    def _contested(self, one: Standing) -> bool:
        """Whether another bill keeps an entry from this one that would have it otherwise, and may be wrong in that."""
        if one.turned_down or one.taken_by is None or self.likelihood(one) < self.policy.margin:
            return False
        auto, review = self.policy.auto, self.policy.review
        likelihood, unrivalled = self.likelihood(one), self.unrivalled(one)
        if one.claimed:
            return unrivalled >= review
        if one.stake / (1 + one.stake) < auto <= likelihood:
            return True  # an entry that others want needs more than the correction
        return likelihood < auto <= unrivalled or likelihood < review <= unrivalled

    def _held(self, best: Standing) -> tuple[str, str] | None:
        """The gate that keeps the best candidate from being linked, with its reason."""
        policy, case = self.policy, self.case
        if case.copy_of is not None:
            return "duplicate", f"bill {bill_id(case.copy_of)} has the same supplier, number and total"
        if best.conflict:
            return "other number", because(best)
        amount = best.scores["amount"]
        if amount is not None and amount < model.AGREES:
            if case.remittance is not None:
                return "remittance", case.remittance
            if self.fits(best) >= policy.auto:
                return "other amount", because(best)
        if self.fits(best) >= policy.auto and self._of_another_day(best):
            return "other date", because(best)
        second = next((one for one in self.ranked if one.key != best.key and not one.turned_down), None)
        likelihood, next_best = self.likelihood(best), self.likelihood(second) if second else 0.0
        near = next_best >= policy.review and likelihood - next_best < policy.margin
        if second is not None and (near or likelihood < policy.auto <= self.fits(best)):
            fits = f"{second.kind} {second.entry} fits nearly as well"
            return "near tie", f"{fits} ({per_cent(likelihood)} and {per_cent(next_best)})"
        if likelihood < policy.auto:
            return "not sure enough", because(best)
        return self._lacking(best) or self._policy()

    def _of_another_day(self, best: Standing) -> bool:
        """Whether it may be a document of another period, and no number says that it is not."""
        day = best.scores["date"]
        if day is None or "reference" in best.agreeing:
            return False
        return day < FAR or (self.case.recurs and day < model.AGREES and self.likelihood(best) < SURE_OF_PERIOD)

    def _lacking(self, best: Standing) -> tuple[str, str] | None:
        """Why what agrees is no proof, if it is none: it must say who it is from and which document it is."""
        agreeing = set(best.agreeing)
        identified = best.same_identity or {"name", "reference"} & agreeing
        if len(agreeing) < EVIDENCE or not identified:
            only = ", ".join(best.agreeing) or "nothing"
            return "single evidence", f"only {only} agrees; equal amounts alone prove nothing"
        if not {"amount", "reference"} & agreeing:
            only = " and ".join(best.agreeing)
            return "single evidence", f"only {only} agree; a supplier may send several bills on one day"
        return None

    def _policy(self) -> tuple[str, str] | None:
        """Why this vendor's bills are not linked unasked, if so."""
        case = self.case
        if case.blocked:
            return "policy", "the vendor is blocked"
        if case.holds:
            return "policy", "; ".join(case.holds)
        if case.held_back is not None:
            return HELD_BACK, case.held_back
        return None

    def _keep_link(self, linked: Standing | None) -> Choice:
        """A bill that was linked before keeps its entry as long as both still fit.

        What it takes is less than for a new link: what is usual in a workspace changes, and what was linked stays.
        """
        fits = self.fits(linked) if linked is not None else 0.0
        if linked is None or fits < self.policy.review:
            return self._review(
                linked, "changed", f"the bill no longer fits the entry it was linked to ({per_cent(fits)})"
            )
        return self._made("link", f"linked to {linked.kind} {linked.entry} before, and it still fits", linked)

    def _without_match(self) -> Choice:
        case, ready = self.case, self.case.readiness
        top = case.candidates[0] if case.candidates else None
        if case.copy_of is not None:
            why = f"bill {bill_id(case.copy_of)} has the same supplier, number and total"
            return self._review(top, "duplicate", why)
        if case.remittance is not None and not case.blocked:
            return self._made("review", case.remittance, gate="remittance")
        alike = next((one for one in case.candidates if one.alike), None)
        if alike is not None and (ready.score >= self.policy.auto or case.holds):
            why = f"{alike.kind} {alike.entry} may be the same document: {because(alike)}"
            return self._review(alike, "possible counterpart", why)
        return self._by_readiness("Qonto holds nothing like it")

    def _by_readiness(self, reason: str) -> Choice:
        policy, case, ready = self.policy, self.case, self.case.readiness
        lacking = f"it lacks {'; '.join(ready.lacks)}" if ready.lacks else "it is complete"
        missing = f"would have been created had it had {ready.lacks[0]}" if ready.lacks else None
        if case.blocked:
            return self._made("refuse", f"{reason}, but the vendor is blocked", gate="policy")
        if ready.score < policy.review:
            return self._made("refuse", f"{reason}, and {lacking}", gate="incomplete", counterfactual=missing)
        if case.holds:
            return self._made("review", f"{reason}, but {'; '.join(case.holds)}", gate="policy")
        if ready.score < policy.auto:
            return self._made("review", f"{reason}, but {lacking}", gate="incomplete", counterfactual=missing)
        if case.held_back is not None:
            return self._made("review", f"{reason}, but {case.held_back}", gate=HELD_BACK)
        return self._made("create", f"{reason}, and {lacking}")

    def _review(self, best: Standing | None, gate: str, why: str) -> Choice:
        return self._made("review", why, best, gate=gate, counterfactual=self._counterfactual(best, gate))

    def _counterfactual(self, best: Standing | None, gate: str) -> str | None:
        """The one field whose agreement would have been enough, if there is one."""
        if best is None:
            return None
        if gate in {"near tie", "contested", "duplicate", "policy", HELD_BACK}:
            return f"would have linked had it not been for: {gate}"
        others = self.others(best)
        for name in _ORDER:
            if (best.scores[name] or 0.0) >= 1.0:
                continue
            scores: dict[Field, float | None] = {**best.scores, name: 1.0}
            alone = self.weights.probability(scores, same_identity=best.same_identity, recurs=self.case.recurs)
            stake = self.tempered(msgspec.structs.replace(best, scores=scores), odds(alone) * best.free)
            if stake / (others + stake) >= self.policy.auto:
                return f"would have linked had the {name} matched"
        return None

    def _made(
        self,
        action: Action,
        why: str,
        chosen: Standing | None = None,
        *,
        gate: str | None = None,
        counterfactual: str | None = None,
    ) -> Choice:
        shown = self.ranked[:KEPT] + [one for one in self.ranked[KEPT:] if one is chosen]
        left = (one for one in self.ranked[KEPT:] if one is not chosen and not one.turned_down)
        return Choice(
            action,
            self.likelihood(chosen) if chosen is not None and chosen.turned_down else self.score,
            why,
            chosen,
            gate,
            counterfactual,
            tuple((one, self.likelihood(one)) for one in shown),
            self.case.rest + sum(self.stakes[one.key] for one in left),
        )


def odds(probability: float) -> float:
    """How much likelier than not; beyond MOST_ODDS nothing gets surer."""
    return min(probability / (1 - probability), MOST_ODDS) if probability < 1 else MOST_ODDS


def because(one: Standing) -> str:
    """What speaks for and against a candidate, in words."""
    differ = [name for name, score in one.scores.items() if score is not None and score < 0.5]
    silent = [name for name, score in one.scores.items() if score is None]
    parts = [_verb(one.agreeing, "agree") or "nothing agrees", _verb(differ, "differ")]
    parts.append(f"no {' or '.join(silent)} to compare" if silent else "")
    return "; ".join(part for part in parts if part)


def _verb(fields: Sequence[str], verb: str) -> str:
    if not fields:
        return ""
    return f"only {fields[0]} {verb}s" if len(fields) == 1 else f"{', '.join(fields)} {verb}"


def per_cent(score: float) -> str:
    """A probability as people read it."""
    return f"{score:.0%}"


def bill_id(key: str) -> str:
    """The QuickBooks id in a record key."""
    return key.partition("-")[2]
