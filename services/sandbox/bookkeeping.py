"""The QuickBooks part of an invented company: vendors, bills, payments, credits, documents."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from services.sandbox.drafts import Dice, Draft
from services.sandbox.quickbooks.attachments import FIRST_ID
from services.sandbox.quickbooks.checks import CURRENCY_NAMES
from services.sandbox.quickbooks.wire import money, normalized, pacific
from services.sandbox.store import File, Row, Store
from services.sandbox.vendors import CUSTOMERS, HOME_ADDRESS, Supplier, spelled

RATES = (
    ("1", "TVA déductible 20 %", "20", "NONE"),
    ("2", "TVA déductible 10 %", "10", "NONE"),
    ("3", "TVA déductible 5,5 %", "5.5", "NONE"),
    ("4", "TVA 0 %", "0", "ZERO_RATE"),
    ("5", "Autoliquidation 20 % (due)", "20", "REVERSE_CHARGE"),
    ("6", "Autoliquidation 20 % (déductible)", "-20", "REVERSE_CHARGE"),
    ("7", "TVA déductible 2,1 %", "2.1", "NONE"),
)
CODES = (
    ("2", "20,0 % TVA", ("1",)),
    ("3", "10,0 % TVA", ("2",)),
    ("4", "5,5 % TVA", ("3",)),
    ("5", "0,0 % Exonéré", ("4",)),
    ("6", "20,0 % Autoliquidation UE", ("5", "6")),
    ("7", "2,1 % TVA presse", ("7",)),
)
CODE_OF_RATE = {"20": "2", "10": "3", "5.5": "4", "0": "5", "2.1": "7"}
REVERSE_CHARGE = "6"
TERMS = (("1", "À réception", 0), ("2", "14 jours", 14), ("3", "30 jours", 30), ("4", "45 jours", 45))
FILE_NAMES = (
    "scan_{d:%Y%m%d}_{n:03}.pdf",
    "facture.pdf",
    "IMG_{n:04}.pdf",
    "{number}.pdf",
    "Document {n}.pdf",
    "invoice-{d:%Y-%m}.pdf",
)
NOTES = ("À vérifier avec la commande", "Reçu par courrier", "Bon de livraison au dossier")
MEMOS = ("Chantier parapluies", "Refacturer ?", "Commande urgente", "Vu avec la direction")


def stamped(ident: str, body: dict[str, Any], created: float, updated: float | None = None, version: int = 0) -> Row:
    updated = created if updated is None else updated
    front = {"domain": "QBO", "sparse": False, "Id": ident, "SyncToken": str(version)}
    times = {"CreateTime": pacific(created), "LastUpdatedTime": pacific(updated)}
    return Row(ident, normalized({**body, **front, "MetaData": times}), float(int(created)), float(int(updated)))


def reference_data(store: Store, realm: str, name: str, now: float) -> None:
    """Company, preferences, taxes and terms."""
    begun = now - 700 * 86_400
    address = {"Id": "1", "Line1": HOME_ADDRESS[0], "City": "Fableville", "PostalCode": "75000", "Country": "FRA"}
    company = {
        "CompanyName": name,
        "LegalName": name,
        "CompanyAddr": address,
        "LegalAddr": address,
        "CustomerCommunicationAddr": address,
        "Country": "FR",
        "Email": {"Address": "compta@company.example"},
        "WebAddr": {},
        "FiscalYearStartMonth": "January",
        "CompanyStartDate": pacific(begun)[:10],
        "SupportedLanguages": "fr",
        "NameValue": [{"Name": "NeoEnabled", "Value": "true"}, {"Name": "SubscriptionStatus", "Value": "PAID"}],
    }
    preferences = {
        "AccountingInfoPrefs": {"FirstMonthOfFiscalYear": "January", "UseAccountNumbers": True},
        "CurrencyPrefs": {"MultiCurrencyEnabled": True, "HomeCurrency": {"value": "EUR"}},
        "TaxPrefs": {"UsingSalesTax": True, "PartnerTaxEnabled": True},
        "VendorAndPurchasesPrefs": {"TrackingByCustomer": False, "BillableExpenseTracking": True},
    }
    store.put(realm, "CompanyInfo", stamped("1", company, begun))
    store.put(realm, "Preferences", stamped("1", preferences, begun))
    for ident, label, value, special in RATES:
        rate = {"Name": label, "Description": label, "Active": True, "RateValue": Decimal(value),
                "AgencyRef": {"value": "1"}, "SpecialTaxType": special, "DisplayType": "ReadOnly"}  # fmt: skip
        store.put(realm, "TaxRate", stamped(ident, rate, begun))
    names = {ident: label for ident, label, *_ in RATES}
    for ident, label, rates in CODES:
        details = [
            {"TaxRateRef": {"value": rate, "name": names[rate]}, "TaxTypeApplicable": "TaxOnAmount", "TaxOrder": 0}
            for rate in rates
        ]
        code = {"Name": label, "Description": label, "Active": True, "Hidden": False, "Taxable": ident != "5",
                "TaxGroup": True, "SalesTaxRateList": {"TaxRateDetail": []},
                "PurchaseTaxRateList": {"TaxRateDetail": details}}  # fmt: skip
        store.put(realm, "TaxCode", stamped(ident, code, begun))
    for ident, label, days in TERMS:
        store.put(
            realm, "Term", stamped(ident, {"Name": label, "Active": True, "Type": "STANDARD", "DueDays": days}, begun)
        )


@dataclass(slots=True)
class Payment:
    draft: Draft
    day: date
    created: float
    id: str = ""


@dataclass(slots=True)
class Credit:
    """A vendor credit of the very amount of a bill."""

    draft: Draft
    number: str | None
    day: date
    created: float
    id: str = ""


class Books:
    """Writes drafts as QuickBooks objects, ids in the order in which things were typed in."""

    def __init__(self, store: Store, dice: Dice, realm: str, known: list[Supplier], now: float) -> None:
        self._store = store
        self._dice = dice
        self._realm = realm
        self._now = now
        self._owed: dict[str, Decimal] = {}
        self._vendors: dict[tuple[str, str], Row] = {}
        self._vendor_rows: list[Row] = []
        self._credits: list[Credit] = []
        self._names = 0
        self._customers()
        for supplier in known:
            for currency in supplier.currencies:
                self._vendors[supplier.legal, currency] = self._vendor(supplier, currency)

    def _next_name(self) -> str:
        self._names += 1
        return str(self._names)

    def _customers(self) -> None:
        rows = []
        for name in CUSTOMERS:
            created = self._now - self._dice.randrange(400, 690) * 86_400
            body = {
                "Taxable": True, "Job": False, "BillWithParent": False, "Balance": 0, "BalanceWithJobs": 0,
                "CurrencyRef": {"value": "EUR", "name": "Euro"}, "PreferredDeliveryMethod": "Email",
                "IsProject": False, "FullyQualifiedName": name, "CompanyName": name, "DisplayName": name,
                "PrintOnCheckName": name, "Active": True,
            }  # fmt: skip
            rows.append(stamped(self._next_name(), body, created))
        self._store.put(self._realm, "Customer", *rows)

    def _vendor(self, supplier: Supplier, currency: str, *, active: bool = True) -> Row:
        dice = self._dice
        name = spelled(dice, supplier, noise=0.45)
        if len(supplier.currencies) > 1:
            name += dice.choice((f" - {currency}", f" ({currency})", f" {currency}"))
        if not active:
            name += " (deleted)"
        taken = {row.body["DisplayName"].lower() for row in self._vendor_rows}
        while name.lower() in taken:
            name += " 2"
        body: dict[str, Any] = {
            "Balance": 0, "Vendor1099": False, "CurrencyRef": {"value": currency, "name": CURRENCY_NAMES[currency]},
            "DisplayName": name, "PrintOnCheckName": name, "Active": active,
            "V4IDPseudonym": f"00209{dice.getrandbits(130):033x}"[:38],
            "BillAddr": {"Id": str(200 + self._names), "Line1": supplier.address[0], "City": supplier.address[1],
                         "Country": supplier.country},
        }  # fmt: skip
        if dice.happens(0.5):
            body["CompanyName"] = supplier.legal if dice.happens(0.5) else spelled(dice, supplier)
        if supplier.vat and dice.happens(0.3):
            body["TaxIdentifier"] = "X" * (len(supplier.vat) - 4) + supplier.vat[-4:]
        if dice.happens(0.4):
            body["TermRef"] = {"value": "3"}
        row = stamped(self._next_name(), body, self._now - dice.randrange(320, 690) * 86_400)
        self._vendor_rows.append(row)
        return row

    def write(self, drafts: list[Draft]) -> None:
        payments = [Payment(draft, draft.paid, self._paid_at(draft, draft.paid)) for draft in drafts if draft.paid]
        self._credits = list(self._chosen_credits(drafts))
        typed: list[Draft | Payment | Credit] = [*drafts, *payments, *self._credits]
        typed.sort(key=lambda one: (one.created, one.day))
        number = 0
        for one in typed:
            number += self._dice.choice((1, 1, 1, 2))
            one.id = str(number)
        self._store.set_number(self._realm, "transactions", number)
        paid_by = {id(payment.draft): payment for payment in payments}
        self._store.put(self._realm, "Bill", *(self._bill(draft, paid_by.get(id(draft))) for draft in drafts))
        self._store.put(self._realm, "BillPayment", *map(self._payment, payments))
        self._store.put(self._realm, "VendorCredit", *map(self._credit, self._credits))
        for vendor in self._vendor_rows:
            owed = self._owed.get(vendor.id, Decimal(0))
            vendor.body["Balance"] = money(owed)
        self._store.put(self._realm, "Vendor", *self._vendor_rows)
        self._store.set_number(self._realm, "names", self._names)
        self._attachables(drafts)

    @property
    def credits(self) -> list[Credit]:
        return self._credits

    def _paid_at(self, draft: Draft, day: date) -> float:
        moment = self._dice.moment(day + timedelta(days=self._dice.randrange(0, 3)))
        return min(max(moment, draft.created + 60), self._now - 30)

    def _chosen_credits(self, drafts: list[Draft]) -> Iterable[Credit]:
        """Some bills were credited in full by the supplier."""
        able = [draft for draft in drafts if draft.case in ("absent", "invoice") and draft.number and not draft.paid]
        for draft in self._dice.sample(able, min(len(able), max(len(drafts) // 40, 1))):
            day = min(
                draft.issued + timedelta(days=self._dice.randrange(2, 20)), date.fromisoformat(pacific(self._now)[:10])
            )
            created = min(max(self._dice.moment(day), draft.created), self._now - 60)
            number = f"AV{draft.number}"[:21] if draft.number else None
            yield Credit(draft, number, day, created)

    def _of(self, draft: Draft) -> Row:
        if draft.defect == "inactive_vendor":
            key = (draft.supplier.legal, f"{draft.currency} inactive")
            if key not in self._vendors:
                self._vendors[key] = self._vendor(draft.supplier, draft.currency, active=False)
            return self._vendors[key]
        return self._vendors[draft.supplier.legal, draft.currency]

    def _document(self, draft: Draft, vendor: Row) -> dict[str, Any]:
        """What a bill and a vendor credit have in common."""
        code = CODE_OF_RATE[str(draft.rate)] if draft.supplier.country == "FR" else REVERSE_CHARGE
        rates = next(rates for ident, _, rates in CODES if ident == code)
        per_cent = {ident: Decimal(value) for ident, _, value, _ in RATES}
        taxes = [
            {
                "Amount": money(draft.net * per_cent[rate] / 100),
                "DetailType": "TaxLineDetail",
                "TaxLineDetail": {"TaxRateRef": {"value": rate}, "PercentBased": True, "TaxPercent": per_cent[rate],
                                  "NetAmountTaxable": money(draft.net)},
            }
            for rate in rates
        ]  # fmt: skip
        account, name = draft.supplier.sector.account
        lines = [
            {
                "Id": str(position), "LineNum": position, "Description": line["text"], "Amount": line["net"],
                "LinkedTxn": [], "DetailType": "AccountBasedExpenseLineDetail",
                "AccountBasedExpenseLineDetail": {
                    "AccountRef": {"value": account, "name": name}, "BillableStatus": "NotBillable",
                    "TaxCodeRef": {"value": code}},
                "CustomExtensions": [],
            }
            for position, line in enumerate(draft.lines, 1)
        ]  # fmt: skip
        body: dict[str, Any] = {
            "VendorRef": {"value": vendor.id, "name": vendor.body["DisplayName"]},
            "VendorAddr": vendor.body["BillAddr"],
            "APAccountRef": {"value": "33", "name": "Fournisseurs"},
            "CurrencyRef": {"value": draft.currency, "name": CURRENCY_NAMES[draft.currency]},
            "GlobalTaxCalculation": "TaxExcluded",
            "Line": lines,
            "TxnTaxDetail": {"TotalTax": draft.tax, "TaxLine": taxes},
            "TotalAmt": draft.total,
        }
        if draft.currency != "EUR":
            body["ExchangeRate"] = draft.exchange
        return body

    def _bill(self, draft: Draft, payment: Payment | None) -> Row:
        vendor = self._of(draft)
        balance = Decimal(0) if payment else draft.total
        body = self._document(draft, vendor) | {
            "TxnDate": draft.issued.isoformat(),
            "DueDate": draft.due.isoformat(),
            "Balance": balance,
        }
        if draft.currency != "EUR":
            body["HomeBalance"] = (balance * draft.exchange).quantize(Decimal("0.01"))
        if draft.number:
            body["DocNumber"] = draft.number[:21]
        if self._dice.happens(0.12):
            body["PrivateNote"] = self._dice.choice(MEMOS)
        if draft.defect == "nothing_but_amount":
            body["Line"] = [{**line, "Description": None} for line in body["Line"]]
        updated = draft.updated
        if payment:
            body["LinkedTxn"] = [{"TxnId": payment.id, "TxnType": "BillPaymentCheck"}]
            updated = max(updated, payment.created)
        self._owed[vendor.id] = self._owed.get(vendor.id, Decimal(0)) + balance
        vendor.updated = max(vendor.updated, float(int(updated)))
        vendor.body["MetaData"]["LastUpdatedTime"] = pacific(vendor.updated)
        edits = (1 if draft.updated > draft.created else 0) + (1 if payment else 0)
        return stamped(draft.id, body, draft.created, updated, edits)

    def _payment(self, payment: Payment) -> Row:
        draft, vendor = payment.draft, self._of(payment.draft)
        link = {"Amount": draft.total, "LinkedTxn": [{"TxnId": draft.id, "TxnType": "Bill"}]}
        body: dict[str, Any] = {
            "VendorRef": {"value": vendor.id, "name": vendor.body["DisplayName"]},
            "PayType": "Check",
            "CheckPayment": {"BankAccountRef": {"value": "35", "name": "Qonto"}, "PrintStatus": "NotSet"},
            "TotalAmt": draft.total,
            "TxnDate": payment.day.isoformat(),
            "CurrencyRef": {"value": draft.currency, "name": CURRENCY_NAMES[draft.currency]},
            "Line": [link],
        }
        if draft.currency != "EUR":
            body["ExchangeRate"] = draft.exchange
        return stamped(payment.id, body, payment.created)

    def _credit(self, credit: Credit) -> Row:
        vendor = self._of(credit.draft)
        body = self._document(credit.draft, vendor) | {
            "TxnDate": credit.day.isoformat(),
            "Balance": credit.draft.total,
            "LinkedTxn": [],
        }
        if credit.number:
            body["DocNumber"] = credit.number
        self._owed[vendor.id] = self._owed.get(vendor.id, Decimal(0)) - credit.draft.total
        return stamped(credit.id, body, credit.created)

    def _attachables(self, drafts: list[Draft]) -> None:
        """Supplier documents, drawn when first fetched, and a few notes without a file."""
        dice = self._dice
        rows: list[Row] = []
        for draft in drafts:
            reference = {"EntityRef": {"type": "Bill", "value": draft.id}, "IncludeOnSend": False}
            attached = min(draft.created + dice.randrange(5, 4000), self._now - 1)
            if draft.file:
                self._store.put_file(File(draft.file, "", "application/pdf", None, draft.recipe()))
                ident = str(FIRST_ID + len(rows))
                name = dice.choice(FILE_NAMES).format(
                    d=draft.issued, n=dice.randrange(1, 900), number=draft.number or "document"
                )
                body = {
                    "FileName": name.replace("/", "-"),
                    "FileAccessUri": f"/v3/company/{self._realm}/download/{ident}",
                    "ContentType": "application/pdf",
                    "AttachableRef": [reference],
                }
                rows.append(stamped(ident, body, attached))
                rows[-1].inner = {"file": draft.file}
            elif dice.happens(0.04):
                body = {"Note": dice.choice(NOTES), "AttachableRef": [reference]}
                rows.append(stamped(str(FIRST_ID + len(rows)), body, attached))
        self._store.put(self._realm, "Attachable", *rows)
        self._store.set_number(self._realm, "attachable-high", len(rows))
