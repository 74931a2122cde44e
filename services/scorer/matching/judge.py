"""Gathers what a decision on each bill rests on: its candidates, who else wants them, and the bill's own state.

Nothing here depends on the order in which bills arrive or on how far the posting of others has got: whether
an entry is free is computed from all bills the workspace has, not from the ones in this batch.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from common.messages import Action, Candidate, Entry, EntryKind, Field, FieldScore, Grounds, Policy, Readiness
from services.scorer.matching import compare, model
from services.scorer.matching.books import Books
from services.scorer.matching.decide import Case, Standing, choose, odds
from services.scorer.matching.habits import habits
from services.scorer.matching.model import Weights
from services.scorer.matching.ranking import Ranking, Scored
from services.scorer.matching.readiness import Assessment, assess
from services.scorer.matching.remittances import Remittances
from services.scorer.matching.rivals import EVEN, Rivals
from services.scorer.matching.selfcheck import hold

_EQUAL, _SAME, _NOT_ANOTHER = 0.95, 0.9, 0.4
"""Scores from which an amount is equal, a name is the same, and a name is not plainly another."""


class Verdict(msgspec.Struct, frozen=True):
    """What should become of a bill, and why; see `Decision`."""

    action: Action
    score: float
    why: str
    entry: Entry | None = None
    gate: str | None = None
    counterfactual: str | None = None
    readiness: Readiness | None = None
    candidates: tuple[Candidate, ...] = ()
    grounds: Grounds = msgspec.field(default_factory=Grounds)


class Judge:
    """Decides on bills of one workspace as its books stand now; the books must not change meanwhile.

    `weights` are today's unless others are given.
    """

    def __init__(self, books: Books, weights: Weights | None = None) -> None:
        self._books = books
        general = weights or model.weights()
        self._weights = general.suited(habits(books, general))
        self._ranking = Ranking(books, weights=self._weights)
        self._rivals = Rivals(books, self._ranking)
        self._assessed: dict[tuple[str, Policy], Assessment] = {}
        self._copies: dict[str, list[str]] = {}
        self._worths: dict[tuple[Field, float | None], float] = {}
        self._remittances = Remittances(books, self._ranking, self._rivals.wanting)

    def prepare(self, keys: Iterable[str]) -> None:
        """Compare all these bills with their candidates at once, and find who else wants those."""
        live = [key for key in keys if key in self._books.bill_index]
        self._ranking.rank(live)
        self._find_copies(live)
        self._rivals.prepare(live)
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
                presence=self._weights.habits.presence,
                coincidence=self._weights.habits.coincidence,
                strangers=self._weights.habits.strangers,
                damage=self._weights.habits.damage,
                recurs=case.recurs,
            ),
        )

    def _case(self, key: str) -> Case:
        """What the decision on a live bill rests on."""
        books = self._books
        assessment, recurs = self._assess(key), books.recurs(key)
        sound = assessment.readiness, assessment.holds, assessment.blocked
        if books.has_own_entry(key):
            return Case((), *sound, before="made")
        served = books.serves(key)
        if served is not None:
            entry = books.entries.get(served)
            if entry is None or not entry.live:
                return Case((), *sound, before="gone")
            return Case(
                [Standing(*_compared(scored)) for scored in self._candidates(key)],
                *sound,
                before="linked",
                recurs=recurs,
            )
        ranked = self._candidates(key)
        standings = [self._rivalled(key, scored) for scored in ranked]
        copy, held_back = self._earlier_copy(key), hold(books.selfcheck, books.vendor_key(key))
        remittance = None if self._remittances.needless(key) else self._remittances.of(key)
        correction = self._ranking.correction(key)
        running = (one for one in standings if not one.turned_down)
        if sum(correction.odds(one.stake, contradicts=one.contradicts) for one in running) < odds(books.policy.review):
            standings = [
                msgspec.structs.replace(one, alike=self._looks_alike(key, one, scored))
                for one, scored in zip(standings, ranked, strict=True)
            ]
        return Case(standings, *sound, copy_of=copy, remittance=remittance, held_back=held_back, recurs=recurs)

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

    def _rivalled(self, key: str, scored: Scored) -> Standing:
        """A candidate with what other bills have to do with it."""
        books, members = self._books, (scored.key, *scored.parts)
        free, rival = self._rivals.free(key, scored)
        serves = (books.claims.get(one) for one in members)
        claimed_by = next((bill for bill in serves if bill is not None and bill != key), None)
        return Standing(
            *_compared(scored),
            free=free,
            taken_by=claimed_by or rival,
            claimed=claimed_by is not None,
            turned_down=any(books.memory.rejected(key, one) for one in members),
        )

    def _looks_alike(self, key: str, one: Standing, scored: Scored) -> bool:
        """Whether creating beside this entry could enter a document twice, unlikely as the match is.

        The same number; or the same amount on the same days under a name that is not plainly another; or the
        same supplier and amount on the bill's due date, which OCR takes for its date now and then.
        """
        if one.claimed or one.turned_down or one.conflict:
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
        return alike and self._rivals.wanted(key, scored)[0] >= EVEN

    def _is_due(self, key: str, entry: str) -> bool:
        """Whether an entry bears the day on which the bill is due."""
        index, bills = self._books.index, self._books.bill_index
        return bool(index.rows["since"][index.row(entry)] == bills.rows["until"][bills.row(key)])

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

    def _worth(self, name: Field, value: float | None) -> float:
        """What a score is worth, as it is shown; most scores come again and again."""
        if (name, value) not in self._worths:
            self._worths[name, value] = round(self._weights.worth(name, value), 4)
        return self._worths[name, value]

    def _shown(self, key: str, scored: Scored, one: Standing, score: float) -> Candidate:
        """A candidate as people see it."""
        ours, theirs = self._books.facts_of(key), self._ranking.facts(scored.key)
        told_by = dict(scored.told_by)
        shown: dict[Field, FieldScore] = {}
        for name, value in one.scores.items():
            teller = self._ranking.facts(told_by[name]) if name in told_by else theirs
            shown[name] = FieldScore(
                score=value,
                worth=self._worth(name, value),
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
            free=one.free,
            taken_by=one.taken_by,
            claimed=one.claimed,
            alike=one.alike,
            turned_down=one.turned_down,
        )


def _compared(
    scored: Scored,
) -> tuple[str, EntryKind, dict[Field, float | None], float, bool, tuple[str, ...]]:
    """What a standing has of its candidate, in order."""
    ident = scored.key.partition("-")[2]
    return ident, scored.kind, scored.named, scored.alone, scored.same_identity, scored.parts


def _why(name: Field, scored: Scored) -> str | None:
    if name == "name" and scored.same_identity:
        return "the same VAT number or IBAN"
    if name == "amount":
        return compare.AMOUNTS[scored.amounts]
    return f"{scored.days} days apart" if name == "date" and scored.days else None
