"""Writes documents down as QuickBooks and Qonto have them, each with damage of its own."""

import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from common.messages import Bill, BillLine, Body, Company, Entry, EntryKind, Record, RecordKind, Ref, Vendor
from services.scorer.fitting.drafts import Draft
from services.scorer.fitting.noise import CENT, Noise, label, rewritten, slipped, spelled
from services.scorer.fitting.suppliers import Supplier

WORKSPACE, REALM, HOME = "invented", "1", "EUR"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_BOTH, _NO_PAYMENT = 0.25, 0.75
"""Running shares of counterparts: an invoice with its payment, an invoice alone; the rest is a payment alone."""
_REJECTED, _CREDITED, _RETURNED, _OWN = 0.03, 0.06, 0.11, 0.16
"""Running shares of documents beside which something stands that looks the same and is none."""


class Scribe:
    """The hand that writes, with the noise of one workspace."""

    def __init__(self, dice: random.Random, noise: Noise) -> None:
        self._dice = dice
        self._noise = noise

    def _happens(self, chance: float) -> bool:
        return self._dice.random() < chance

    def company(self) -> Record:
        """The buyer, with the currency of its books."""
        return _record("c", "company", Company(name="Invented Books", home_currency=HOME, multicurrency=True))

    def vendor(self, supplier: Supplier) -> Record:
        """The supplier as QuickBooks knows it: by its legal name or its brand, perhaps by both."""
        shown = supplier.legal if self._happens(0.6) else supplier.core
        company = supplier.legal if self._happens(self._noise.company_name_known) else None
        if supplier.brand and self._happens(0.3):
            shown = supplier.brand
        vat = supplier.vat if self._happens(self._noise.vat_in_bill) else None
        return _record(
            supplier.ident,
            "vendor",
            Vendor(name=shown, company_name=company, tax_identifier=vat, email="accounts@supplier.invalid"),
        )

    def bill(self, ident: str, draft: Draft) -> Record:
        """The document as a person typed it in; a copy comes weeks later."""
        dice, noise = self._dice, self._noise
        number: str | None = draft.number
        if self._happens(noise.number_missing_in_bill):
            number = None
        elif self._happens(noise.separators_lost):
            number = draft.number.replace("-", "").replace("/", "")
        draft.entered_number = number
        issued = draft.issued
        if self._happens(noise.entry_day_in_bill):
            issued += timedelta(days=dice.randrange(1, 7))
        total = draft.total
        body = Bill(
            vendor=Ref(
                id=draft.supplier.ident, name=draft.supplier.legal if self._happens(0.5) else draft.supplier.core
            ),
            total=total,
            balance=total,
            currency=draft.currency,
            exchange_rate=draft.rate if draft.currency != HOME else None,
            number=number,
            issued_on=issued,
            due_on=None if self._happens(noise.due_missing_in_bill) else max(draft.due, issued),
            tax=total - draft.net,
            lines=(BillLine(amount=draft.net),),
        )
        entered = draft.issued + timedelta(days=40 if draft.original else dice.randrange(1, 6))
        created = datetime(entered.year, entered.month, entered.day, dice.randrange(8, 18), tzinfo=UTC)
        return _record(ident, "bill", body, created)

    def document(self, draft: Draft) -> list[Entry]:
        """What Qonto holds of a document: its invoice, its payment, or both as one."""
        chance = self._dice.random()
        if chance >= _NO_PAYMENT:
            return [self._payment(draft)]
        invoice = self._invoice(draft)
        if chance >= _BOTH:
            return [invoice]
        payment = self._payment(draft)
        return [msgspec.structs.replace(invoice, matched=(payment.id,), status="paid"), payment]

    def lookalikes(self, made: Iterable[Draft]) -> list[Entry]:
        """What looks like a counterpart and is none: rejected ones, credit notes, returns, and Weir's own."""
        found = []
        for draft in made:
            chance = self._dice.random()
            if chance < _REJECTED:
                found.append(msgspec.structs.replace(self._invoice(draft), status="rejected"))
            elif chance < _CREDITED:
                found.append(msgspec.structs.replace(self._invoice(draft), credit_note=True))
            elif chance < _RETURNED:
                found.append(msgspec.structs.replace(self._payment(draft), side="credit"))
            elif chance < _OWN and not draft.billed:
                found.append(msgspec.structs.replace(self._invoice(draft), origin=f"{REALM}-0", revision=1))
        return found

    def _ident(self) -> str:
        return f"{self._dice.getrandbits(48):012x}"

    def _invoice(self, draft: Draft) -> Entry:
        dice, noise, supplier = self._dice, self._noise, draft.supplier
        ident = self._ident()
        if self._happens(noise.unread):
            return _entry("invoice", "to_review", ident, counterparty=spelled(dice, noise, supplier))
        amount = self._read_amount(draft)
        known = amount is not None
        return _entry(
            "invoice",
            dice.choice(("to_review", "to_pay", "paid")),
            ident,
            counterparty=None if self._happens(noise.name_missing) else spelled(dice, noise, supplier),
            amount=amount,
            currency=draft.currency if known else None,
            net_amount=draft.net if known and self._happens(0.5) else None,
            number=None if self._happens(noise.number_missing) else rewritten(dice, noise, draft.number),
            issued_on=self._read_date(draft),
            due_on=draft.due if self._happens(0.5) else None,
            vat_number=supplier.vat if self._happens(noise.vat_read) else None,
        )

    def _read_amount(self, draft: Draft) -> Decimal | None:
        dice, noise = self._dice, self._noise
        if self._happens(noise.amount_missing):
            return None
        if self._happens(noise.net_for_gross):
            return draft.net
        if self._happens(noise.cents_off):
            return draft.total + CENT * dice.choice((-2, -1, 1, 2))
        return slipped(dice, draft.total) if self._happens(noise.digit_slip) else draft.total

    def _read_date(self, draft: Draft) -> date | None:
        dice, noise, day = self._dice, self._noise, draft.issued
        if self._happens(noise.date_missing):
            return None
        if self._happens(noise.due_for_date):
            return draft.due
        if self._happens(noise.date_slip):
            return day + timedelta(days=dice.choice((-3, -2, -1, 1, 1, 2, 3, 5)))
        if day.day <= 12 and self._happens(noise.days_swapped):
            return date(day.year, day.day, day.month)
        return day

    def _payment(self, draft: Draft) -> Entry:
        dice, noise = self._dice, self._noise
        if draft.supplier.debits:
            day = draft.issued + timedelta(days=dice.randrange(0, 6))
        else:
            day = draft.due + timedelta(days=dice.randrange(-3, 6))
        if self._happens(noise.late):
            day += timedelta(days=dice.randrange(5, 45))
        amount, abroad = draft.total, draft.currency != HOME
        if abroad:
            slip = noise.rate_slip * dice.uniform(-1, 1)
            amount = (draft.total * draft.rate * Decimal(str(round(1 + slip, 5)))).quantize(CENT)
        if self._happens(noise.fee):
            amount += dice.choice((Decimal("0.35"), Decimal("1.50"), (amount / 50).quantize(CENT)))
        asked = abroad and self._happens(noise.local_amount_known)
        number = rewritten(dice, noise, draft.number) if self._happens(noise.number_in_label) else None
        return _entry(
            "transaction",
            "completed",
            self._ident(),
            counterparty=None if self._happens(noise.label_only) else spelled(dice, noise, draft.supplier),
            label=label(dice, noise, draft.supplier, number),
            amount=amount,
            currency=HOME,
            local_amount=draft.total if asked else None,
            local_currency=draft.currency if asked else None,
            side="debit",
            issued_on=day,
            paid_on=day,
        )


def entry_key(entry: Entry) -> str:
    """The key of an entry in the books."""
    return f"{entry.kind}-{entry.id}"


def _entry(kind: EntryKind, status: str, ident: str, **fields: Any) -> Entry:
    return Entry(
        workspace=WORKSPACE, organization=WORKSPACE, id=ident, kind=kind, status=status, updated_at=NOON, **fields
    )


def _record(ident: str, kind: RecordKind, body: Body, created: datetime | None = None) -> Record:
    return Record(
        workspace=WORKSPACE,
        realm=REALM,
        id=ident,
        kind=kind,
        content_hash=ident,
        pulled_at=NOON,
        created_at=created,
        body=body,
    )
