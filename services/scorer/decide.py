"""From candidates to a decision: thresholds, gates, and the reasons in plain words.

Nothing here depends on the order in which bills arrive or on how far the posting of others has got: whether
an entry is free is computed from all bills the workspace has, not from the ones in this batch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from common.messages import Action, Candidate, Entry, Field, Readiness
from services.scorer import model, names
from services.scorer.books import Books
from services.scorer.compare import Comparison, compare
from services.scorer.facts import Facts
from services.scorer.names import Name
from services.scorer.readiness import Assessment, assess

KEPT = 5
"""Candidates shown to a person."""
WORTH_SHOWING = 0.01
_EQUAL, _SAME, _NOT_ANOTHER = 0.95, 0.9, 0.4
"""Scores from which an amount is equal, a name is the same, and a name is not plainly another."""
EVIDENCE = 2
"""Independent fields besides currency that must agree before anything is linked without a person."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One candidate: the entry, how it compares, the entries that are one with it, and who has it already."""

    key: str
    entry: Entry
    comparison: Comparison
    also: tuple[str, ...] = ()
    taken_by: str | None = None
    claimed: bool = False

    @property
    def score(self) -> float:
        """The probability that the entry is the same document as the bill."""
        return self.comparison.score


@dataclass(frozen=True, slots=True)
class Verdict:
    """What should become of a bill, and why."""

    action: Action
    score: float
    why: str
    entry: Entry | None = None
    gate: str | None = None
    counterfactual: str | None = None
    readiness: Readiness | None = None
    candidates: tuple[Candidate, ...] = ()


class Judge:
    """Decides on bills of one workspace as its books stand now; keeps what it has compared."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._names: dict[tuple[Name, Name], float] = {}
        self._ranked: dict[str, list[Scored]] = {}

    def prepare(self, keys: Iterable[str]) -> None:
        """Compare the names of all these bills with all their candidates' in one batch."""
        books = self._books
        live = [key for key in keys if key in books.bill_index]
        pairs = {
            pair
            for bill in (books.facts_of(key) for key in live)
            for entry in map(books.index.facts, books.index.candidates(bill))
            for pair in names.pairings(bill.names, entry.names)
        }
        self._score_names(pairs)

    def decide(self, key: str) -> Verdict:
        """The verdict on one bill of the books."""
        books = self._books
        if books.bills[key].deleted:
            return Verdict("withdraw", 0.0, "the bill was deleted in QuickBooks")
        assessment = self._assess(key)
        if books.has_own_entry(key):
            return self._by_readiness(assessment, [], "Weir already made an entry for this bill")
        served = books.serves(key)
        if served is not None:
            return self._keep_link(key, served, assessment)
        ranked = [self._with_taker(key, scored) for scored in self._rank(key)]
        return self._choose(key, ranked, assessment)

    def _assess(self, key: str) -> Assessment:
        books = self._books
        return assess(books.bill(key), books.vendor_of(key), books.policy, vendors_known=books.vendors_known)

    def _rank(self, key: str) -> list[Scored]:
        """Candidates of a bill, best first; an invoice and the payments Qonto matched it with count once."""
        if key not in self._ranked:
            bill = self._books.facts_of(key)
            found = [self._unit(bill, unit) for unit in self._units(bill)]
            shown = (scored for scored in found if scored.score >= WORTH_SHOWING)
            self._ranked[key] = sorted(shown, key=lambda scored: (-scored.score, scored.key))
        return self._ranked[key]

    def _units(self, bill: Facts) -> set[str]:
        """Candidates; a payment that Qonto matched with an invoice is part of that and never stands alone."""
        books = self._books
        units: set[str] = set()
        for key in books.index.candidates(bill):
            invoice = books.invoice_of(key)
            if invoice is None:
                units.add(key)
            elif invoice.origin is None and f"invoice-{invoice.id}" in books.index:
                units.add(f"invoice-{invoice.id}")
        return units

    def _unit(self, bill: Facts, key: str) -> Scored:
        """An entry with the payments that are part of it: they say what it does not."""
        scored = self._compare(bill, key)
        comparison = scored.comparison
        also = tuple(f"transaction-{ident}" for ident in scored.entry.matched)
        for payment in also:
            if payment in self._books.index:
                comparison = comparison.completed_by(self._compare(bill, payment).comparison)
        return replace(scored, comparison=comparison, also=also)

    def _compare(self, bill: Facts, key: str) -> Scored:
        entry = self._books.index.facts(key)
        pairs = names.pairings(bill.names, entry.names)
        self._score_names(pair for pair in pairs if pair not in self._names)
        name_score = max((self._names[pair] for pair in pairs), default=None)
        return Scored(key, self._books.entries[key], compare(bill, entry, name_score))

    def _score_names(self, pairs: Iterable[tuple[Name, Name]]) -> None:
        fresh = [pair for pair in pairs if pair not in self._names]
        self._names |= dict(zip(fresh, names.similarities(fresh), strict=True))

    def _with_taker(self, key: str, scored: Scored) -> Scored:
        claimed = self._claimed_by(key, scored)
        return replace(scored, claimed=claimed is not None, taken_by=claimed or self._rival(key, scored))

    def _claimed_by(self, key: str, scored: Scored) -> str | None:
        """Another bill that the entry, or the payment that is part of it, already serves."""
        claims = (self._books.claims.get(one) for one in (scored.key, *scored.also))
        return next((bill for bill in claims if bill is not None and bill != key), None)

    def _rival(self, key: str, scored: Scored) -> str | None:
        """Another open bill with a better or equal right to the entry.

        A candidate too weak to be linked is lost only to a bill that is linked to it: where nobody is sure, a
        person is asked about every bill concerned.
        """
        books = self._books
        if scored.score < books.policy.auto:
            return self._linked(key, scored) if scored.score >= books.policy.review else None
        for rival in self._rivals(key, scored):
            theirs = self._candidate(rival, scored.key)
            if theirs is None or theirs.score < books.policy.review or self._prefers_another(rival, theirs):
                continue
            if books.is_copy(key, rival):
                if books.entered(rival) < books.entered(key):
                    return rival
            elif theirs.score > scored.score - books.policy.margin and not _settled_by_number(scored, theirs):
                return rival
        return None

    def _rivals(self, key: str, scored: Scored) -> list[str]:
        """Other open bills that the entry, or a payment that is part of it, could belong to."""
        books = self._books
        members = [one for one in (scored.key, *scored.also) if one in books.index]
        return sorted({rival for one in members for rival in books.rivals(key, books.index.facts(one))})

    def _candidate(self, key: str, entry: str) -> Scored | None:
        return next((scored for scored in self._rank(key) if scored.key == entry), None)

    def _prefers_another(self, key: str, scored: Scored) -> bool:
        """Whether a bill clearly belongs to another entry of the same kind."""
        top = self._rank(key)[0]
        return top.score - scored.score >= self._books.policy.margin and top.entry.kind == scored.entry.kind

    def _choose(self, key: str, ranked: list[Scored], assessment: Assessment) -> Verdict:
        policy = self._books.policy
        top = ranked[0] if ranked else None
        if top is not None and top.taken_by is not None and top.score >= policy.auto:
            why = f"the best match ({_per_cent(top.score)}) serves or fits bill {_id(top.taken_by)} as well"
            return self._review(top, ranked, assessment, "contested", why)
        free = [scored for scored in ranked if scored.taken_by is None]
        best = free[0] if free else None
        if best is None or best.score < policy.review:
            return self._without_match(key, ranked, assessment)
        if best.score < policy.auto:
            gate = "other number" if best.comparison.conflict else "not sure enough"
            return self._review(best, ranked, assessment, gate, _because(best))
        held = self._held(key, best, ranked, assessment)
        if held is not None:
            return self._review(best, ranked, assessment, *held)
        return Verdict(
            "link",
            best.score,
            f"the same document as {best.entry.kind} {best.entry.id}: {_because(best)}",
            entry=best.entry,
            readiness=assessment.readiness,
            candidates=_shown(ranked),
        )

    def _held(self, key: str, best: Scored, ranked: Sequence[Scored], assessment: Assessment) -> tuple[str, str] | None:
        """The gate that holds back a sufficient score, with its reason."""
        policy = self._books.policy
        copy = self._books.earlier_copy(key)
        if copy is not None:
            return "duplicate", f"bill {_id(copy)} has the same supplier, number and total"
        if best.comparison.conflict:
            return "other number", _because(best)
        identified = best.comparison.same_identity or {"name", "reference"} & set(best.comparison.agreeing)
        if len(best.comparison.agreeing) < EVIDENCE or not identified:
            only = ", ".join(best.comparison.agreeing) or "nothing"
            return "single evidence", f"only {only} agrees; equal amounts alone prove nothing"
        second = next((scored for scored in ranked if scored.key != best.key and self._in_the_running(scored)), None)
        if second is not None and second.score >= policy.review and best.score - second.score < policy.margin:
            return "near tie", f"{second.entry.kind} {second.entry.id} fits nearly as well ({_per_cent(second.score)})"
        if assessment.blocked:
            return "policy", "the vendor is blocked"
        if assessment.holds:
            return "policy", "; ".join(assessment.holds)
        return None

    def _in_the_running(self, scored: Scored) -> bool:
        """Whether an entry could still be this bill's: unclaimed, and no rival has its number in hand."""
        if scored.claimed:
            return False
        theirs = self._candidate(scored.taken_by, scored.key) if scored.taken_by else None
        return theirs is None or "reference" not in theirs.comparison.agreeing

    def _keep_link(self, key: str, served: str, assessment: Assessment) -> Verdict:
        """A bill that was linked before keeps its entry as long as both still fit."""
        books = self._books
        entry = books.entries.get(served)
        if entry is None or not entry.live:
            why = "the entry this bill was linked to is gone from Qonto"
            return Verdict("review", 0.0, why, gate="changed", readiness=assessment.readiness)
        scored = self._unit(books.facts_of(key), served) if served in books.index else None
        if scored is None or scored.score < books.policy.auto:
            score = scored.score if scored else 0.0
            why = f"the bill no longer fits the entry it was linked to ({_per_cent(score)})"
            shown = _shown([scored]) if scored else ()
            return Verdict(
                "review", score, why, entry=entry, gate="changed", readiness=assessment.readiness, candidates=shown
            )
        return Verdict(
            "link",
            scored.score,
            f"linked to {entry.kind} {entry.id} before, and it still fits",
            entry=entry,
            readiness=assessment.readiness,
            candidates=_shown([scored]),
        )

    def _without_match(self, key: str, ranked: list[Scored], assessment: Assessment) -> Verdict:
        copy = self._books.earlier_copy(key)
        if copy is not None:
            why = f"bill {_id(copy)} has the same supplier, number and total"
            return self._review(ranked[0] if ranked else None, ranked, assessment, "duplicate", why)
        alike = next((scored for scored in ranked if self._looks_alike(key, scored)), None)
        if alike is not None and assessment.readiness.score >= self._books.policy.auto:
            why = f"{alike.entry.kind} {alike.entry.id} may be the same document: {_because(alike)}"
            return self._review(alike, ranked, assessment, "possible counterpart", why)
        return self._by_readiness(assessment, ranked, "Qonto holds nothing like it")

    def _looks_alike(self, key: str, scored: Scored) -> bool:
        """Whether creating beside this entry could enter a document twice, unlikely as the match is.

        The same number; or the same amount on the same days under a name that is not plainly another; or the
        same supplier and amount on the bill's due date, which OCR takes for its date now and then.
        """
        if scored.taken_by is not None or scored.comparison.conflict or self._linked(key, scored):
            return False
        fields = scored.comparison.fields
        name, amount, day = (fields[field].score or 0.0 for field in ("name", "amount", "date"))
        if "reference" in scored.comparison.agreeing:
            return True
        due = self._books.index.facts(scored.key).since == self._books.facts_of(key).until
        return amount >= _EQUAL and ((day >= model.AGREES and name >= _NOT_ANOTHER) or (name >= _SAME and due))

    def _linked(self, key: str, scored: Scored) -> str | None:
        """Another bill that is linked to the entry, posted already or not."""
        books = self._books
        auto = books.policy.auto
        for rival in self._rivals(key, scored):
            theirs = self._candidate(rival, scored.key)
            if theirs is not None and theirs.score >= auto:
                # Only what is strong enough to be linked needs its rivals known, so this never comes back here.
                ranked = [self._with_taker(rival, one) if one.score >= auto else one for one in self._rank(rival)]
                verdict = self._choose(rival, ranked, self._assess(rival))
                if verdict.action == "link" and verdict.entry == scored.entry:
                    return rival
        return None

    def _by_readiness(self, assessment: Assessment, ranked: list[Scored], reason: str) -> Verdict:
        policy, ready = self._books.policy, assessment.readiness
        score = ranked[0].score if ranked else 0.0
        shown = _shown(ranked)
        lacking = f"it lacks {', '.join(ready.lacks)}" if ready.lacks else "it is complete"
        missing = f"would have been created had it had {ready.lacks[0]}" if ready.lacks else None
        if assessment.blocked:
            why = f"{reason}, but the vendor is blocked"
            return Verdict("refuse", score, why, gate="policy", readiness=ready, candidates=shown)
        if ready.score < policy.review:
            why = f"{reason}, and {lacking}"
            return Verdict(
                "refuse", score, why, gate="incomplete", counterfactual=missing, readiness=ready, candidates=shown
            )
        if assessment.holds:
            why = f"{reason}, but {'; '.join(assessment.holds)}"
            return Verdict("review", score, why, gate="policy", readiness=ready, candidates=shown)
        if ready.score < policy.auto:
            why = f"{reason}, but {lacking}"
            return Verdict(
                "review", score, why, gate="incomplete", counterfactual=missing, readiness=ready, candidates=shown
            )
        return Verdict("create", score, f"{reason}, and {lacking}", readiness=ready, candidates=shown)

    def _review(
        self, best: Scored | None, ranked: list[Scored], assessment: Assessment, gate: str, why: str
    ) -> Verdict:
        return Verdict(
            "review",
            best.score if best else 0.0,
            why,
            entry=best.entry if best else None,
            gate=gate,
            counterfactual=self._counterfactual(best, gate),
            readiness=assessment.readiness,
            candidates=_shown(ranked),
        )

    def _counterfactual(self, best: Scored | None, gate: str) -> str | None:
        """The one field whose agreement would have been enough, if there is one."""
        if best is None:
            return None
        if gate in {"near tie", "contested", "duplicate", "policy"}:
            return f"would have linked had it not been for: {gate}"
        scores = {field: compared.score for field, compared in best.comparison.fields.items()}
        order: tuple[Field, ...] = ("reference", "name", "amount", "date")
        for field in order:
            if (scores[field] or 0.0) < 1.0 and model.probability({**scores, field: 1.0}) >= self._books.policy.auto:
                return f"would have linked had the {field} matched"
        return None


def _settled_by_number(mine: Scored, theirs: Scored) -> bool:
    """Whether the entry names one bill's number and not the other's: that decides between two bills."""
    return "reference" in mine.comparison.agreeing and "reference" not in theirs.comparison.agreeing


def _shown(ranked: Iterable[Scored]) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            entry=scored.entry.id,
            kind=scored.entry.kind,
            score=round(scored.score, 4),
            fields=scored.comparison.fields,
            also=scored.also,
            taken_by=scored.taken_by,
        )
        for scored in islice(ranked, KEPT)
    )


def _because(scored: Scored) -> str:
    fields = scored.comparison.fields
    differ = [field for field, compared in fields.items() if compared.score is not None and compared.score < 0.5]
    silent = [field for field, compared in fields.items() if compared.score is None]
    parts = [_verb(scored.comparison.agreeing, "agree") or "nothing agrees", _verb(differ, "differ")]
    parts.append(f"no {' or '.join(silent)} to compare" if silent else "")
    return "; ".join(part for part in parts if part)


def _verb(fields: Sequence[str], verb: str) -> str:
    if not fields:
        return ""
    return f"only {fields[0]} {verb}s" if len(fields) == 1 else f"{', '.join(fields)} {verb}"


def _per_cent(score: float) -> str:
    return f"{score:.0%}"


def _id(key: str) -> str:
    return key.partition("-")[2]
