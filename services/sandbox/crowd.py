"""Many plausible objects of one company at once, for runs where number matters and the story does not."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from services.sandbox.bookkeeping import stamped
from services.sandbox.document import draw
from services.sandbox.drafts import Dice, Draft
from services.sandbox.generator import RATES
from services.sandbox.quickbooks.attachments import FIRST_ID
from services.sandbox.quickbooks.checks import CURRENCY_NAMES, tax_lines
from services.sandbox.quickbooks.entities import Entity
from services.sandbox.quickbooks.finding import missing, unsupported
from services.sandbox.quickbooks.index import keep
from services.sandbox.quickbooks.wire import money, pacific
from services.sandbox.store import File, Row
from services.sandbox.vendors import HOME_NAMES, suppliers
from services.sandbox.world import World

MOST = 50_000
SETTLED = 60  # seconds between the newest of the crowd and now, unless a moment is given
RATE = Decimal(20)
TAXED = "2"  # the tax code of that rate
WORDS = ("Fournitures", "Maintenance", "Prestations du mois", "Transport", "Location", "Abonnement")


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """So many objects, their changes spread evenly over `spread` seconds from `at` on; 0 is one same second."""

    entity: str
    count: Annotated[int, msgspec.Meta(ge=1, le=MOST)]
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    spread: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Crowd:
    """Makes the objects of one call; bodies are in the form the API shows, so nothing is checked again."""

    def __init__(self, world: World, realm: str, wanted: Wanted) -> None:
        self._world = world
        self._realm = realm
        self._count = wanted.count
        now = world.now()
        self._first = wanted.at.timestamp() if wanted.at else float(int(now - wanted.spread - SETTLED))
        self._step = wanted.spread / max(wanted.count - 1, 1)
        self._dice = Dice(f"{realm}/{wanted.entity}/{now}")
        self._suppliers = suppliers(self._dice)
        self._vendors = [row for row in world.store.table(realm, "Vendor").values() if row.body.get("Active", True)]

    def make(self, entity: Entity) -> list[str]:
        """Stores them and answers their ids in ascending order; tells of each as of any other write."""
        match entity.name:
            case "Bill" | "VendorCredit" | "BillPayment":
                if not self._vendors:
                    raise missing("VendorRef")
                rows = self._rows("transactions", self._payment if entity.name == "BillPayment" else self._document)
            case "Vendor" | "Customer":
                rows = self._rows("names", self._vendor if entity.name == "Vendor" else self._customer)
            case "Attachable":
                rows = self._files()
            case _:
                raise unsupported(f"bulk {entity.name}")
        keep(self._world, self._realm, entity.name, *rows)
        if entity.name in ("Bill", "VendorCredit"):
            self._owe(rows, +1 if entity.name == "Bill" else -1)
        for row in rows:
            self._world.tell(self._realm, entity.name, row.id, "Create")
        return [row.id for row in rows]

    def _moments(self) -> Iterator[float]:
        return (self._first + self._step * position for position in range(self._count))

    def _rows(self, sequence: str, body: Callable[[str, float], dict[str, Any]]) -> list[Row]:
        rows = []
        for moment in self._moments():
            ident = str(self._world.store.next_number(self._realm, sequence))
            rows.append(stamped(ident, body(ident, moment), moment))
        return rows

    def _document(self, ident: str, moment: float) -> dict[str, Any]:
        """A bill or a vendor credit of one line, unpaid."""
        dice, vendor = self._dice, self._dice.choice(self._vendors)
        currency = vendor.body["CurrencyRef"]["value"]
        net = dice.money(20, 4000)
        taxes = tax_lines(self._world, self._realm, TAXED, net)
        tax = sum((Decimal(line["Amount"]) for line in taxes), Decimal(0))
        day = datetime.fromtimestamp(moment, UTC).date() - timedelta(days=dice.randrange(0, 6))
        detail = {
            "AccountRef": {"value": "60", "name": "Achats"}, "BillableStatus": "NotBillable",
            "TaxCodeRef": {"value": TAXED},
        }  # fmt: skip
        body: dict[str, Any] = {
            "VendorRef": {"value": vendor.id, "name": vendor.body["DisplayName"]},
            "APAccountRef": {"value": "33", "name": "Fournisseurs"},
            "CurrencyRef": {"value": currency, "name": CURRENCY_NAMES[currency]},
            "GlobalTaxCalculation": "TaxExcluded",
            "DocNumber": f"M{day:%y%m}-{int(ident):06}",
            "TxnDate": day.isoformat(),
            "DueDate": (day + timedelta(days=30)).isoformat(),
            "Line": [
                {"Id": "1", "LineNum": 1, "Description": dice.choice(WORDS), "Amount": net, "LinkedTxn": [],
                 "DetailType": "AccountBasedExpenseLineDetail", "AccountBasedExpenseLineDetail": detail,
                 "CustomExtensions": []}
            ],
            "TxnTaxDetail": {"TotalTax": tax, "TaxLine": taxes},
            "TotalAmt": net + tax,
            "Balance": net + tax,
        }  # fmt: skip
        if currency != "EUR":
            body |= {"ExchangeRate": RATES[currency], "HomeBalance": money((net + tax) * RATES[currency])}
        return body

    def _payment(self, ident: str, moment: float) -> dict[str, Any]:
        """A payment in advance, of no bill yet."""
        vendor = self._dice.choice(self._vendors)
        return {
            "VendorRef": {"value": vendor.id, "name": vendor.body["DisplayName"]},
            "DocNumber": f"P-{ident}",
            "PayType": "Check",
            "CheckPayment": {"BankAccountRef": {"value": "35", "name": "Qonto"}, "PrintStatus": "NotSet"},
            "TotalAmt": self._dice.money(20, 4000),
            "TxnDate": pacific(moment)[:10],
            "CurrencyRef": vendor.body["CurrencyRef"],
            "Line": [],
        }

    def _vendor(self, ident: str, moment: float) -> dict[str, Any]:
        del moment
        name = f"{self._suppliers[int(ident) % len(self._suppliers)].legal} {ident}"
        return {
            "Balance": 0, "Vendor1099": False, "CurrencyRef": {"value": "EUR", "name": "Euro"}, "DisplayName": name,
            "CompanyName": name, "PrintOnCheckName": name, "Active": True,
        }  # fmt: skip

    def _customer(self, ident: str, moment: float) -> dict[str, Any]:
        vendor = self._vendor(ident, moment)
        del vendor["Vendor1099"]
        own = {"Taxable": True, "Job": False, "BalanceWithJobs": 0, "FullyQualifiedName": vendor["DisplayName"]}
        return {**vendor, **own}

    def _files(self) -> list[Row]:
        """One file for each bill in turn: the same page over and over, but no two files of the same bytes."""
        store, realm = self._world.store, self._realm
        bills = [row.id for row in store.table(realm, "Bill").values() if not row.deleted]
        page, rows = self._page(), []
        for position, moment in enumerate(self._moments()):
            number = store.next_number(realm, "attachable-high", 0)
            ident = str(FIRST_ID + number)
            content = page + f"% {ident}\n".encode()
            store.put_file(File(f"qb-{realm}-{ident}", "facture.pdf", "application/pdf", content, {}))
            body: dict[str, Any] = {
                "FileName": f"facture-{number}.pdf",
                "FileAccessUri": f"/v3/company/{realm}/download/{ident}",
                "ContentType": "application/pdf",
                "Size": len(content),
            }
            if bills:
                target = {"type": "Bill", "value": bills[position % len(bills)]}
                body["AttachableRef"] = [{"EntityRef": target, "IncludeOnSend": False}]
            rows.append(stamped(ident, body, moment))
            rows[-1].inner = {"file": f"qb-{realm}-{ident}"}
        return rows

    def _page(self) -> bytes:
        day, net, tax = date.fromisoformat(pacific(self._first)[:10]), Decimal("100.00"), Decimal("20.00")
        draft = Draft(
            supplier=self._dice.choice(self._suppliers), buyer=HOME_NAMES[0], currency="EUR", issued=day, due=day,
            number="M-0001", lines=[{"text": WORDS[0], "quantity": 1, "unit": net, "net": net}], net=net, rate=RATE,
            tax=tax, exchange=Decimal(1), created=self._first,
        )  # fmt: skip
        return draw(draft.recipe())

    def _owe(self, rows: list[Row], sign: int) -> None:
        """Moves each vendor's balance once, at the time of its last document."""
        vendors = {vendor.id: vendor for vendor in self._vendors}
        moved: dict[str, Row] = {}
        for row in rows:
            vendor = moved.setdefault(row.body["VendorRef"]["value"], vendors[row.body["VendorRef"]["value"]])
            vendor.body["Balance"] = money(vendor.body.get("Balance", 0) + sign * row.body["TotalAmt"])
            vendor.updated = max(vendor.updated, row.updated)
        for vendor in moved.values():
            vendor.body["MetaData"] = {**vendor.body["MetaData"], "LastUpdatedTime": pacific(vendor.updated)}
        keep(self._world, self._realm, "Vendor", *moved.values())
