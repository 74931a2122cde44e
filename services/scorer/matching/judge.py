"""Gathers what a decision on each bill rests on: its candidates, who else wants them, and the bill's own state.

Nothing here depends on the order in which bills arrive or on how far the posting of others has got: whether
an entry is free is computed from all bills the workspace has, not from the ones in this batch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from common.messages import Action, Candidate, Entry, Field, FieldScore, Grounds, Policy, Readiness
from services.scorer.matching import compare, model
from services.scorer.matching.books import Books
from services.scorer.matching.decide import Case, Choice, Standing, choose
from services.scorer.matching.index import query
from services.scorer.matching.model import Weights
from services.scorer.matching.ranking import Ranking, Scored, kind_of
from services.scorer.matching.readiness import Assessment, assess
from services.scorer.matching.remittances import Remittances
from services.scorer.matching.selfcheck import hold

_EQUAL, _SAME, _NOT_ANOTHER = 0.95, 0.9, 0.4
"""Scores from which an amount is equal, a name is the same, and a name is not plainly another."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What should become of a bill, and why; see `Decision`."""

    action: Action
    score: float
    why: str
    entry: Entry | None = None
    gate: str | None = None
    counterfactual: str | None = None
    readiness: Readiness | None = None
    candidates: tuple[Candidate, ...] = ()
    grounds: Grounds = field(default_factory=Grounds)


class Judge:
    """Decides on bills of one workspace as its books stand now; the books must not change meanwhile.

    `weights` are today's unless others are given.
    """

    def __init__(self, books: Books, weights: Weights | None = None) -> None:
        self._books = books
        self._weights = weights or model.weights()
        self._ranking = Ranking(books, weights=self._weights)
        self._assessed: dict[tuple[str, Policy], Assessment] = {}
        self._wanted_by: dict[str, list[str]] = {}
        self._copies: dict[str, list[str]] = {}
        self._remittances = Remittances(books, self._ranking, self._wanting)

    def prepare(self, keys: Iterable[str]) -> None:
        """Compare all these bills with their candidates at once, and find who else wants those."""
        live = [key for key in keys if key in self._books.bill_index]
        self._ranking.rank(live)
        self._find_copies(live)
        review = self._books.policy.review
        ranked = (scored for key in live for scored in self._ranking.of(key))
        sought = {scored.key: (scored.key, *scored.parts) for scored in ranked if scored.alone >= review}
        self._find_rivals(sorted({one for members in sought.values() for one in members}))
        wanted = {
            (rival, entry)
            for entry, members in sought.items()
            for one in members
            for rival in self._wanted_by.get(one, ())
        }
        self._ranking.rank(self._ranking.reaching(sorted(wanted), review))
        self._remittances.prepare(live)

    def decide(self, key: str) -> Verdict:
        """The verdict on one bill of the books; of one that was not prepared, just as well."""
        if self._books.bills[key].deleted:
            return Verdict("withdraw", 0.0, "the bill was deleted in QuickBooks")
        if key not in self._ranking:
            self.prepare([key])
        case = self._case(key)
        choice = choose(case, self._books.policy, self._weights)
        by_key = {scored.key: scored for scored in self._candidates(key)}
        return Verdict(
            choice.action,
            choice.score,
            choice.why,
            self._ranking.entry(choice.chosen.key) if choice.chosen else None,
            choice.gate,
            choice.counterfactual,
            case.readiness,
            tuple(self._shown(key, by_key[one.key], one, score) for one, score in choice.shown),
            Grounds(
                before=case.before,
                copy_of=case.copy_of,
                holds=case.holds,
                blocked=case.blocked,
                remittance=case.remittance,
                held_back=case.held_back,
                rest=choice.rest,
            ),
        )

    def _case(self, key: str) -> Case:
        """What the decision on a live bill rests on."""
        books = self._books
        assessment = self._assess(key)
        sound = assessment.readiness, assessment.holds, assessment.blocked
        if books.has_own_entry(key):
            return Case((), *sound, before="made")
        served = books.serves(key)
        if served is not None:
            entry = books.entries.get(served)
            if entry is None or not entry.live:
                return Case((), *sound, before="gone")
            return Case([_standing(scored) for scored in self._candidates(key)], *sound, before="linked")
        standings = [self._with_taker(key, scored) for scored in self._candidates(key)]
        copy, held_back = self._earlier_copy(key), hold(books.selfcheck, books.vendor_key(key))
        remittance = None if self._remittances.needless(key) else self._remittances.of(key)
        if not any(
            one.taken_by is None and not one.turned_down and one.alone >= books.policy.review for one in standings
        ):
            standings = [replace(one, alike=self._looks_alike(key, one)) for one in standings]
        return Case(standings, *sound, copy_of=copy, remittance=remittance, held_back=held_back)

    def _assess(self, key: str) -> Assessment:
        books, record = self._books, self._books.bills[key]
        under = key, books.policy
        if under not in self._assessed:
            self._assessed[under] = assess(
                books.bill(key),
                books.vendor_of(key),
                books.policy,
                vendors_known=books.vendors_known,
                history=books.history_of(key),
                lists=books.lists(record.realm),
                today=record.pulled_at.date(),
            )
        return self._assessed[under]

    def _candidates(self, key: str) -> list[Scored]:
        """The candidates of a bill, best first; of a linked one the entry it is linked to."""
        served = self._books.serves(key)
        if served is None:
            return self._ranking.of(key)
        row = self._books.index.row(served)
        if row < 0:
            return []
        of = np.array([self._books.bill_index.row(key)])
        return [scored for _, scored in self._ranking.score(of, np.array([row]), least=0.0)]

    def _with_taker(self, key: str, scored: Scored) -> Standing:
        members = (scored.key, *scored.parts)
        turned_down = any(self._books.memory.rejected(key, one) for one in members)
        standing = replace(_standing(scored), turned_down=True) if turned_down else _standing(scored)
        claimed = self._claimed_by(key, scored)
        if claimed is not None:
            return replace(standing, claimed=True, taken_by=claimed)
        rival = self._rival(key, scored)
        if rival is None:
            return standing
        theirs = self._ranking.candidate(rival, scored.key)
        return replace(standing, taken_by=rival, numbered=theirs is not None and _names_it(theirs))

    def _claimed_by(self, key: str, scored: Scored) -> str | None:
        """Another bill that the entry, or the payment that is part of it, already serves."""
        claims = (self._books.claims.get(one) for one in (scored.key, *scored.parts))
        return next((bill for bill in claims if bill is not None and bill != key), None)

    def _rival(self, key: str, scored: Scored) -> str | None:
        """Another open bill with a better or equal right to the entry.

        A candidate too weak to be linked is lost only to a bill that is linked to it: where nobody is sure, a
        person is asked about every bill concerned.
        """
        books = self._books
        if scored.alone < books.policy.auto:
            return self._linked(key, scored.key, scored.parts) if scored.alone >= books.policy.review else None
        for rival in self._rivals(key, scored.key, scored.parts):
            theirs = self._ranking.candidate(rival, scored.key, least=books.policy.review)
            if theirs is None or self._prefers_another(rival, theirs):
                continue
            if _sum_agrees(scored) and not _sum_agrees(theirs):
                continue  # an entry of this bill's very amount is not the other's by a wrong one
            if books.is_copy(key, rival):
                if books.entered(rival) < books.entered(key):
                    return rival
            elif theirs.alone > scored.alone - books.policy.margin and not _settled_by_number(scored, theirs):
                return rival
        return None

    def _find_rivals(self, entries: Sequence[str]) -> None:
        books = self._books
        todo = [one for one in entries if one not in self._wanted_by and one in books.index]
        if not todo:
            return
        found = books.bill_index.candidates([query(self._ranking.facts(one)) for one in todo])
        wanted_by: dict[str, list[str]] = {one: [] for one in todo}
        for which, row in zip(found.which.tolist(), found.rows.tolist(), strict=True):
            wanted_by[todo[which]].append(books.bill_index.key(row))
        self._wanted_by |= wanted_by

    def _wanting(self, entry: str) -> Sequence[str]:
        """Live bills that an entry could belong to."""
        self._find_rivals([entry])
        return self._wanted_by.get(entry, ())

    def _rivals(self, key: str, entry: str, parts: Sequence[str]) -> list[str]:
        """Other open bills that the entry, or a payment that is part of it, could belong to."""
        members = (entry, *parts)
        self._find_rivals(members)
        return sorted(
            {
                rival
                for one in members
                for rival in self._wanted_by.get(one, ())
                if rival != key and self._books.may_want(rival, kind_of(one))
            }
        )

    def _prefers_another(self, key: str, scored: Scored) -> bool:
        """Whether a bill clearly belongs to another entry of the same kind."""
        top = self._ranking.of(key)[0]
        return top.alone - scored.alone >= self._books.policy.margin and top.kind == scored.kind

    def _looks_alike(self, key: str, one: Standing) -> bool:
        """Whether creating beside this entry could enter a document twice, unlikely as the match is.

        The same number; or the same amount on the same days under a name that is not plainly another; or the
        same supplier and amount on the bill's due date, which OCR takes for its date now and then.
        """
        if one.taken_by is not None or one.turned_down or one.conflict:
            return False
        amount, day = one.scores["amount"] or 0.0, one.scores["date"] or 0.0
        unknown, name = one.scores["name"] is None, one.scores["name"] or 0.0
        alike = "reference" in one.agreeing or (
            amount >= _EQUAL
            and (
                (day >= model.AGREES and (unknown or name >= _NOT_ANOTHER))
                or (name >= _SAME and self._is_due(key, one.key))
            )
        )
        return alike and self._linked(key, one.key, one.also) is None

    def _is_due(self, key: str, entry: str) -> bool:
        """Whether an entry bears the day on which the bill is due."""
        index, bills = self._books.index, self._books.bill_index
        return bool(index.rows["since"][index.row(entry)] == bills.rows["until"][bills.row(key)])

    def _linked(self, key: str, entry: str, parts: Sequence[str]) -> str | None:
        """Another bill that is linked to the entry, posted already or not."""
        for rival in self._rivals(key, entry, parts):
            if self._ranking.candidate(rival, entry, least=self._books.policy.auto) is not None:
                choice = self._choice(rival)
                if choice.action == "link" and choice.chosen is not None and choice.chosen.key == entry:
                    return rival
        return None

    def _choice(self, key: str) -> Choice:
        """What becomes of a bill, as far as its links go."""
        # Only what is strong enough to be linked needs its rivals known, so this never comes back here.
        auto = self._books.policy.auto
        standings = [
            self._with_taker(key, one) if one.alone >= auto else _standing(one) for one in self._ranking.of(key)
        ]
        assessment = self._assess(key)
        case = Case(standings, assessment.readiness, assessment.holds, assessment.blocked, self._earlier_copy(key))
        return choose(case, self._books.policy, self._weights)

    def _find_copies(self, keys: Sequence[str]) -> None:
        books, index = self._books, self._books.bill_index
        todo = [key for key in keys if key not in self._copies]
        if not todo:
            return
        self._copies |= {key: [] for key in todo}
        found = index.candidates([self._ranking.query(key) for key in todo])
        if not len(found.rows):
            return
        mine = index.rows.take(np.array([index.row(key) for key in todo], np.int64)[found.which])
        theirs = index.rows.take(found.rows)
        equal = ((mine["exact"] == theirs["exact"]) & (mine["exact_currency"] == theirs["exact_currency"])).all(axis=1)
        for which, row in zip(found.which[equal].tolist(), found.rows[equal].tolist(), strict=True):
            if books.is_copy(todo[which], index.key(row)):
                self._copies[todo[which]].append(index.key(row))

    def _earlier_copy(self, key: str) -> str | None:
        """The bill of which this one is a second entry, if any: the first that was entered."""
        self._find_copies([key])
        first = min((*self._copies[key], key), key=self._books.entered)
        return first if first != key else None

    def _shown(self, key: str, scored: Scored, one: Standing, score: float) -> Candidate:
        """A candidate as people see it."""
        ours, theirs = self._books.facts_of(key), self._ranking.facts(scored.key)
        told_by = dict(scored.told_by)
        shown: dict[Field, FieldScore] = {}
        for name, value in one.scores.items():
            teller = self._ranking.facts(told_by[name]) if name in told_by else theirs
            shown[name] = FieldScore(
                score=value,
                worth=round(self._weights.worth(name, value), 4),
                bill=ours.shown(name),
                entry=teller.shown(name),
                why=_why(name, scored),
            )
        return Candidate(
            entry=one.entry,
            kind=one.kind,
            score=round(score, 4),
            fields=shown,
            alone=one.alone,
            same_identity=one.same_identity,
            also=one.also,
            taken_by=one.taken_by,
            claimed=one.claimed,
            numbered=one.numbered,
            alike=one.alike,
            turned_down=one.turned_down,
        )


def _standing(scored: Scored) -> Standing:
    ident = scored.key.partition("-")[2]
    return Standing(ident, scored.kind, scored.named, scored.alone, scored.same_identity, scored.parts)


def _why(name: Field, scored: Scored) -> str | None:
    if name == "name" and scored.same_identity:
        return "the same VAT number or IBAN"
    if name == "amount":
        return compare.AMOUNTS[scored.amounts]
    return f"{scored.days} days apart" if name == "date" and scored.days else None


def _names_it(scored: Scored) -> bool:
    """Whether the entry shows the bill's number."""
    score = scored.scores[compare.REFERENCE]
    return score is not None and score >= model.AGREES


def _sum_agrees(scored: Scored) -> bool:
    """Whether the entry has the bill's amount, as far as it says."""
    score = scored.scores[compare.AMOUNT]
    return score is None or score >= model.AGREES


def _settled_by_number(mine: Scored, theirs: Scored) -> bool:
    """Whether the entry names one bill's number and not the other's: that decides between two bills."""
    return _names_it(mine) and not _names_it(theirs)
