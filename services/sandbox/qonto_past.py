"""The Qonto part of an invented company: what arrived there earlier by other ways, read by OCR or paid."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from services.sandbox.bookkeeping import Credit
from services.sandbox.drafts import CENT, Dice, Draft
from services.sandbox.qonto import invoices
from services.sandbox.qonto.ocr import pay
from services.sandbox.qonto.wire import amount, stamp
from services.sandbox.store import File, Row, Store
from services.sandbox.truth import Counterpart
from services.sandbox.vendors import HOME_ADDRESS, Supplier, plain, spelled

SOURCES = (("email", "email_forward"), ("direct_upload", "supplier_invoices"), ("direct_upload", "generic_upload"))
FILE_NAMES = ("facture.pdf", "scan{n:04}.pdf", "Invoice_{n}.pdf", "piece-jointe-{n}.pdf", "RE_{n}.pdf", "doc{n:05}.pdf")
PREFIXES = {
    "card": ("CB ", "CARTE ", ""),
    "transfer": ("VIR ", "VIR SEPA ", ""),
    "direct_debit": ("PRLV SEPA ", "PRLV ", ""),
}
STRANGERS = (
    ("URSSAF IMAGINAIRE", "direct_debit"), ("DGFIP FABLEVILLE", "direct_debit"), ("SALAIRE PERSONNEL", "transfer"),
    ("PARKING DES SONGES", "card"), ("CANTINE DU COIN", "card"), ("PEAGE A99", "card"), ("RETRAIT DAB", "card"),
    ("FRAIS QONTO", "qonto_fee"),
)  # fmt: skip


class QontoPast:
    """Collects entries and writes them at once."""

    def __init__(self, store: Store, dice: Dice, company: dict[str, Any], today: date, now: float) -> None:
        self._store = store
        self._dice = dice
        self._company = company
        self._organization = company["organization"]
        self._today = today
        self._now = now
        self._invoices: list[Row] = []
        self._transactions: list[Row] = []
        self._attachments: list[Row] = []
        self._balance = 20_000_000  # cents

    def invoice(self, draft: Draft) -> Counterpart:
        """The bill's document, in Qonto already, as OCR read it."""
        row = self._invoice(draft, draft.recipe(), draft.file)
        return Counterpart("invoice", row.id)

    def matched(self, draft: Draft) -> list[Counterpart]:
        """An invoice that Qonto matched with its payment."""
        row = self._invoice(draft, draft.recipe(), draft.file)
        transaction = self._transaction(draft)
        pay(row, transaction)
        row.updated = max(row.updated, transaction.updated)
        row.body["updated_at"] = stamp(row.updated)
        return [Counterpart("invoice", row.id), Counterpart("transaction", transaction.id)]

    def transaction(self, draft: Draft) -> Counterpart:
        return Counterpart("transaction", self._transaction(draft).id)

    def twins(self, draft: Draft) -> Counterpart:
        """Two entries that fit a bill without number equally well: of its very day, or a day off on either side."""
        true = self._invoice(draft, draft.recipe(), draft.file, exact=True)
        slip = timedelta(days=self._dice.choice((-1, 0, 1)))
        false = self._invoice(draft, draft.recipe() | {"issued": (draft.issued - slip).isoformat()}, None, exact=True)
        true.body["issue_date"] = (draft.issued + slip).isoformat()
        for row in (true, false):
            row.body |= {"invoice_number": None, "supplier_name": draft.supplier.legal}
        return Counterpart("invoice", true.id)

    def credit_notes(self, credited: list[Credit]) -> None:
        """Credit notes of the very amounts of invoices, most of them known to Qonto."""
        for credit in credited:
            if self._dice.happens(0.8):
                recipe = credit.draft.recipe(credit=True)
                recipe |= {"number": credit.number, "issued": credit.day.isoformat()}
                row = self._invoice(credit.draft, recipe, None)
                row.body |= {"is_credit_note": True, "attachment_category": "CREDIT_NOTE"}

    def strangers(self, known: list[Supplier], drafts: list[Draft]) -> None:
        """Entries that belong to no bill."""
        dice = self._dice
        for _ in range(len(drafts) // 12):
            model = dice.choice(drafts)
            day = self._today - timedelta(days=dice.randrange(2, 290))
            net = dice.money(20, 4000)
            stranger = Draft(
                supplier=dice.choice(known), buyer=self._company["name"], currency="EUR",
                issued=day, due=day + timedelta(days=30),
                number=str(dice.randrange(10_000, 999_999)),
                lines=[{**model.lines[0], "unit": net, "net": net}], net=net, rate=Decimal(0), tax=Decimal(0),
                exchange=Decimal(1), created=dice.moment(day),
            )  # fmt: skip
            self._invoice(stranger, stranger.recipe(), None)
        for _ in range(len(drafts) // 7):
            self._plain_transaction(dice.choice(STRANGERS), "debit")
        for _ in range(len(drafts) // 25):
            self._plain_transaction(("VIR CLIENT CIRQUE CACAHUETE", "income"), "credit")

    def write(self) -> None:
        store, company = self._store, self._company
        account = {
            "id": company["bank_account"], "slug": f"{company['slug']}-bank-account-1",
            "iban": "FR7699999000019999999999942",
            "bic": "FABLFRPPXXX", "currency": "EUR", "balance": Decimal(self._balance) / 100,
            "balance_cents": self._balance, "authorized_balance": Decimal(self._balance) / 100,
            "authorized_balance_cents": self._balance, "name": "Compte principal", "updated_at": stamp(self._now),
            "status": "active", "main": True, "is_external_account": False, "account_number": "00019999999",
        }  # fmt: skip
        organization = {
            "id": self._organization, "name": company["name"], "slug": company["slug"], "legal_name": company["name"],
            "locale": "fr", "legal_share_capital": 10_000, "legal_country": "FR",
            "legal_registration_date": "2019-04-01", "legal_form": "SAS", "legal_address": ", ".join(HOME_ADDRESS),
            "legal_sector": "32.99Z", "contract_signed_at": "2024-01-15T09:00:00.000Z", "legal_number": "999999999",
            "bank_accounts": [account],
        }  # fmt: skip
        store.put(self._organization, "organization", Row(self._organization, organization, self._now, self._now))
        store.put(self._organization, invoices.KIND, *self._invoices)
        store.put(self._organization, "transaction", *self._transactions)
        store.put(self._organization, "attachment", *self._attachments)

    def _attachment(self, file_id: str | None, recipe: dict[str, Any], name: str, created: float) -> Row:
        dice, ident = self._dice, self._dice.uuid()
        file_id = file_id or dice.uuid()
        if self._store.file(file_id) is None:
            self._store.put_file(File(file_id, name, "application/pdf", None, recipe))
        body = {
            "id": ident,
            "created_at": stamp(created),
            "file_name": name,
            "file_content_type": "application/pdf",
            "probative_attachment": {"status": "available"},
        }
        row = Row(ident, body, created, created, inner={"file": file_id, "visible_at": 0.0})
        self._attachments.append(row)
        return row

    def _invoice(self, draft: Draft, recipe: dict[str, Any], file_id: str | None, *, exact: bool = False) -> Row:
        dice = self._dice
        issued = date.fromisoformat(recipe["issued"])
        created = min(dice.moment(issued + timedelta(days=dice.randrange(0, 4))), self._now - 7200)
        name = dice.choice(FILE_NAMES).format(n=dice.randrange(1, 9999))
        attachment = self._attachment(file_id, recipe, name, created)
        source_type, source = dice.choice(SOURCES)
        body = invoices.blank(self._organization, dice.uuid(), attachment.id, name, source, created)
        analyzed = created + dice.randrange(4, 90)
        body |= {
            "source_type": source_type,
            "status": dice.choices(
                ("to_review", "to_approve", "to_pay", "awaiting_payment", "paid"), (30, 10, 20, 10, 30)
            )[0],
            "analyzed_at": stamp(analyzed),
            "is_attachment_invoice": True,
            "is_attachment_non_financial": False,
            "attachment_category": "INVOICE",
            "issue_date": recipe["issued"],
            "due_date": recipe["due"] if dice.happens(0.8) else None,
        }
        if body["status"] == "paid":
            body["payment_date"] = min(draft.due, self._today).isoformat()
        self._read(draft, recipe, body, exact)
        updated = analyzed if dice.happens(0.6) else min(analyzed + dice.randrange(60, 900_000), self._now - 60)
        body["updated_at"] = stamp(updated)
        row = Row(body["id"], body, created, updated)
        self._invoices.append(row)
        return row

    def _read(self, draft: Draft, recipe: dict[str, Any], body: dict[str, Any], exact: bool) -> None:
        """What OCR and people made of the document: mostly right."""
        dice, supplier, currency = self._dice, draft.supplier, draft.currency
        total, net = draft.total, draft.net
        chance = 1.0 if exact else dice.random()
        if chance < 0.04 and net != total:
            total = net
        body |= {
            "supplier_name": supplier.legal if exact or dice.happens(0.4) else spelled(dice, supplier, noise=0.5),
            "invoice_number": _mangled(dice, recipe["number"]),
            "total_amount": amount(total, currency),
            "payable_amount": amount(total, currency),
            "total_amount_excluding_taxes": amount(net, currency) if dice.happens(0.8) else None,
            "total_tax_amount": amount(draft.tax, currency) if dice.happens(0.8) else None,
            "vat_number": supplier.vat if supplier.vat and dice.happens(0.6) else None,
            "iban": supplier.iban if dice.happens(0.55) else None,
        }
        if 0.04 <= chance < 0.06:
            body |= {"total_amount": None, "payable_amount": None, "total_amount_excluding_taxes": None}
        issued = date.fromisoformat(recipe["issued"])
        slip = 1.0 if exact else dice.random()
        if slip < 0.08:
            body["issue_date"] = (issued + timedelta(days=dice.choice((-3, -2, -1, 1, 2, 3)))).isoformat()
        elif slip < 0.11:
            body["issue_date"] = recipe["due"]
        elif slip < 0.13:
            body["issue_date"] = None
        if dice.happens(0.3):
            body["description"] = recipe["lines"][0]["text"]

    def _transaction(self, draft: Draft) -> Row:
        """The bank's view of a payment: capitals, cut short, in euro, some days after."""
        dice = self._dice
        kind = dice.choices(("transfer", "card", "direct_debit"), (45, 35, 20))[0]
        home = (draft.total * draft.exchange).quantize(CENT)
        if draft.currency != "EUR":
            home = (home * Decimal(str(round(dice.uniform(0.992, 1.012), 4)))).quantize(CENT)
        # A card pays at the counter, the others when the bill is due.
        late = dice.randrange(0, 4) if kind == "card" else dice.randrange(0, 40)
        paid = draft.issued + timedelta(days=late) if kind == "card" or draft.paid is None else draft.paid
        draft.paid = paid = min(paid, self._today - timedelta(days=1))
        label = _label(dice, spelled(dice, draft.supplier, noise=0.35), kind, paid)
        reference = None
        if kind != "card" and draft.number and dice.happens(0.45):
            reference = dice.choice(
                (draft.number, f"FACT {draft.number}", f"Facture {draft.number}", draft.number.replace("-", ""))
            )
        elif kind != "card" and dice.happens(0.3):
            reference = dice.choice(("REGLEMENT", "VOTRE FACTURE", f"REF{dice.randrange(10**7, 10**8)}"))
        iban = draft.supplier.iban if kind == "transfer" and dice.happens(0.7) else None
        return self._entry(
            label,
            kind,
            "debit",
            paid,
            home,
            local=draft.total,
            currency=draft.currency,
            counterparty=draft.supplier.core,
            reference=reference,
            iban=iban,
        )

    def _plain_transaction(self, what: tuple[str, str], side: str) -> None:
        dice, (label, kind) = self._dice, what
        day = self._today - timedelta(days=dice.randrange(2, 290))
        value = dice.money(8, 5200)
        self._entry(label, kind, side, day, value, local=value, currency="EUR", counterparty=label.title())

    def _entry(
        self, label: str, kind: str, side: str, day: date, home: Decimal, *, local: Decimal, currency: str,
        counterparty: str, reference: str | None = None, iban: str | None = None,
    ) -> Row:  # fmt: skip
        dice, ident = self._dice, self._dice.uuid()
        emitted = dice.moment(day, 5, 22)
        settled = min(emitted + dice.choice((600, 40_000, 90_000, 180_000)), self._now - 60)
        pending = side == "debit" and day >= self._today - timedelta(days=2) and dice.happens(0.4)
        cents, local_cents = int(home * 100), int(local * 100)
        self._balance += cents if side == "credit" else -cents
        touched = emitted if pending else settled
        body: dict[str, Any] = {
            "id": ident,
            "transaction_id": f"{self._company['slug']}-1-transaction-{len(self._transactions) + 1}",
            "amount": home, "amount_cents": cents,
            "settled_balance": None if pending else Decimal(self._balance) / 100,
            "settled_balance_cents": None if pending else self._balance,
            "attachment_ids": [], "logo": {"small": "", "medium": ""},
            "local_amount": local, "local_amount_cents": local_cents, "side": side, "operation_type": kind,
            "currency": "EUR", "local_currency": currency, "label": label,
            "clean_counterparty_name": counterparty if dice.happens(0.7) else None,
            "settled_at": None if pending else stamp(settled), "emitted_at": stamp(emitted),
            "created_at": stamp(emitted), "updated_at": stamp(touched),
            "status": "pending" if pending else "completed", "note": None, "reference": reference,
            "vat_amount": None, "vat_amount_cents": None, "vat_rate": None,
            "initiator_id": None, "label_ids": [], "attachment_lost": False, "attachment_required": side == "debit",
            "card_last_digits": f"{dice.randrange(10_000):04}" if kind == "card" else None, "category": "other_expense",
            "cashflow_category": None, "cashflow_subcategory": None,
            "subject_type": {"card": "Card", "transfer": "Transfer", "income": "Income"}.get(kind, "DirectDebit"),
            "bank_account_id": self._company["bank_account"], "is_external_transaction": False,
        }  # fmt: skip
        if kind in ("transfer", "income", "direct_debit"):
            body[kind] = {
                "counterparty_account_number": iban,
                "counterparty_account_number_format": "IBAN",
                "counterparty_bank_identifier": None,
                "counterparty_bank_identifier_format": "BIC",
            }
        row = Row(ident, body, emitted, touched, inner={"transfer": dice.uuid()})
        self._transactions.append(row)
        return row


def _mangled(dice: Dice, number: str | None) -> str | None:
    """An invoice number as read: mostly right, sometimes missing, prefixed, without zeros, with blanks."""
    if number is None:
        return None
    chance = dice.random()
    if chance < 0.09:
        return None
    if chance < 0.14:
        return f"{dice.choice(('N° ', 'FA-', 'Facture ', 'No. '))}{number}"
    if chance < 0.17:
        return number.lstrip("0") if number.startswith("0") else number.replace("-", " ")
    if chance < 0.20:
        return number.replace("-", "").replace("/", "")
    if chance < 0.22:
        return number.replace("0", "O", 1)
    return number


def _label(dice: Dice, name: str, kind: str, day: date) -> str:
    words = plain(name).upper().replace(",", " ")
    prefix = dice.choice(PREFIXES.get(kind, ("",)))
    if kind == "card" and dice.happens(0.3):
        prefix = f"CARTE {day:%d/%m} "
    text = f"{prefix}{words}"
    return (text[: dice.choice((18, 22, 26))] if dice.happens(0.35) else text).strip()
