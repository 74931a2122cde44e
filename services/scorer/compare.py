"""A bill against one entry, field by field."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from common.messages import Field, FieldScore
from services.scorer import model
from services.scorer.facts import Facts, Money, window
from services.scorer.references import agreement, mentioned

_NET = 0.9
_CONVERTED = 0.86
_SLIP, _RATE_SLIP = 0.004, 0.03
"""The share by which amounts differ when they are half as close as equal ones, also after conversion."""
_CENT_SLIP = Decimal("0.02")
_CENT_SHARE = Decimal("0.001")
"""Rounding: amounts this near, absolutely and in proportion, count as equal but for a cent."""
_CONFLICT = 0.849
"""Ceiling of the probability of a document with another invoice number: a person may still see it."""
_OTHER_COMPANY = 0.5
"""Ceiling where the numbers in the two names contradict (Depot 12, Depot 14), whatever else agrees."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one entry compares with one bill; `score` is the probability that they are the same document."""

    fields: dict[Field, FieldScore]
    same_identity: bool = False

    @property
    def score(self) -> float:
        """The probability, held down by what contradicts."""
        scores = {field: compared.score for field, compared in self.fields.items()}
        probability = model.probability(scores, same_identity=self.same_identity)
        if scores["name"] == 0.0:
            return min(probability, _OTHER_COMPANY)
        return min(probability, _CONFLICT) if self.conflict else probability

    @property
    def conflict(self) -> bool:
        """Whether the two have different invoice numbers."""
        return self.fields["reference"].score == 0.0

    @property
    def agreeing(self) -> tuple[Field, ...]:
        """The fields besides currency that speak for it."""
        return tuple(
            field
            for field, compared in self.fields.items()
            if field != "currency" and compared.score is not None and compared.score >= model.AGREES
        )

    def completed_by(self, payment: "Comparison") -> "Comparison":
        """With what only the invoice's matched payment says; the invoice's own word counts first."""
        fields = {
            field: compared if compared.score is not None else payment.fields[field]
            for field, compared in self.fields.items()
        }
        return Comparison(fields, self.same_identity or payment.same_identity)


def compare(bill: Facts, entry: Facts, name_score: float | None) -> Comparison:
    """Compare all fields; `name_score` comes from a batch (`names.similarities`), None where a name is missing."""
    fields: dict[Field, FieldScore] = {
        "name": _name(bill, entry, name_score),
        "amount": _amount(bill, entry),
        "date": _date(bill, entry),
        "currency": _currency(bill, entry),
        "reference": _reference(bill, entry),
    }
    same = bool((bill.vat and bill.vat == entry.vat) or (bill.iban and bill.iban == entry.iban))
    return Comparison(fields, same)


def _name(bill: Facts, entry: Facts, score: float | None) -> FieldScore:
    shown = [facts.names[0].text if facts.names else None for facts in (bill, entry)]
    return FieldScore(score=_rounded(score), bill=shown[0], entry=shown[1])


def _amount(bill: Facts, entry: Facts) -> FieldScore:
    """Total against total; else net against total (people mix them up); else converted by the bill's rate."""
    tries = (
        (_closest(bill.exact, entry.exact, _SLIP), 1.0, None),
        (_closest(bill.net, entry.exact, _SLIP), _NET, "equals the net amount"),
        (_closest(bill.exact, entry.net, _SLIP), _NET, "equals the net amount in Qonto"),
        (_closest(bill.about, entry.exact, _RATE_SLIP), _CONVERTED, "by the bill's exchange rate"),
    )
    known = [(closeness * ceiling, why) for closeness, ceiling, why in tries if closeness is not None]
    shown = _shown(bill.exact), _shown(entry.exact or entry.net)
    if not known:
        one_sided = not bill.exact or not (entry.exact or entry.net)
        return FieldScore(score=None if one_sided else 0.0, bill=shown[0], entry=shown[1])
    score, why = max(known, key=lambda found: found[0])
    return FieldScore(score=_rounded(score), bill=shown[0], entry=shown[1], why=why if score >= 0.5 else None)


def _closest(left: Iterable[Money], right: Iterable[Money], scale: float) -> float | None:
    """Closeness of the closest amounts in one currency; None if no currency is shared."""
    found = [_closeness(a, b, scale) for currency, a in left for other, b in right if currency == other]
    return max(found, default=None)


def _closeness(a: Decimal, b: Decimal, scale: float) -> float:
    """1 for equal amounts, a half where they differ by `scale` of the larger, falling towards 0."""
    difference = abs(a - b)
    if not difference:
        return 1.0
    if difference <= min(_CENT_SLIP, _CENT_SHARE * max(abs(a), abs(b))):
        return 0.98
    relative = float(difference / max(abs(a), abs(b)))
    return min(0.97, 1 / (1 + (relative / scale) ** 2))


def _date(bill: Facts, entry: Facts) -> FieldScore:
    days = _days_apart(bill, entry)
    return FieldScore(
        score=None if days is None else _rounded(1 / (1 + (days / 9) ** 2)),
        bill=bill.since.isoformat() if bill.since else None,
        entry=entry.since.isoformat() if entry.since else None,
        why=f"{days} days apart" if days else None,
    )


def _days_apart(bill: Facts, entry: Facts) -> int | None:
    """Days between two documents' dates, or between a payment and the days it was expected on."""
    if entry.payment:
        expected = window(bill)
        return None if expected is None or entry.since is None else _outside(entry.since, *expected)
    if bill.since is None or entry.since is None:
        return None
    return abs((bill.since - entry.since).days)


def _outside(day: date, first: date, last: date) -> int:
    if day < first:
        return (first - day) // timedelta(days=1)
    return max(0, (day - last) // timedelta(days=1))


def _currency(bill: Facts, entry: Facts) -> FieldScore:
    shown = [", ".join(sorted(facts.currencies)) or None for facts in (bill, entry)]
    score: float | None = 0.0
    if not bill.currencies or not entry.currencies:
        score = None
    elif bill.currencies & entry.currencies:
        score = 1.0
    elif any(currency in entry.currencies for currency, _ in bill.about):
        score = 0.6
    return FieldScore(score=score, bill=shown[0], entry=shown[1])


def _reference(bill: Facts, entry: Facts) -> FieldScore:
    """Two invoice numbers agree or contradict; in a payment's free text a number is found or says nothing."""
    score: float | None = None
    if bill.number is not None and entry.payment:
        score = 0.95 if mentioned(bill.number, entry.text) else None
    elif bill.number is not None and entry.number is not None:
        score = agreement(bill.number, entry.number)
    return FieldScore(score=score, bill=bill.text or None, entry=entry.text or None)


def _shown(amounts: Iterable[Money]) -> str | None:
    return " / ".join(f"{amount} {currency}" for currency, amount in amounts) or None


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)
