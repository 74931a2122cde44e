"""What the scorer knows of one workspace: its bills and vendors, what Qonto holds, who serves whom."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from common.messages import Bill, Company, Entry, Policy, Record, Vendor
from services.scorer import facts
from services.scorer.facts import Facts
from services.scorer.index import Index
from services.scorer.references import agreement

_OLDEST = datetime.min.replace(tzinfo=UTC)
_SAME_NUMBER = 0.9


@dataclass
class Books:
    """Pure state, fed by streams in any order; the newest version of each thing wins.

    `entries` are keyed `{kind}-{id}`. Entries that Weir made are kept apart in `made`, by bill and id: they are
    never candidates, because a bill's duplicates are found from the bills themselves. `vendors_known` says
    whether a vendor that is not here does not exist, or there is merely no list.
    """

    policy: Policy = field(default_factory=Policy)
    bills: dict[str, Record] = field(default_factory=dict)
    vendors: dict[str, Vendor] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    made: dict[str, dict[str, Entry]] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    vendors_known: bool = True
    home_currency: str | None = None
    index: Index = field(default_factory=Index)
    bill_index: Index = field(default_factory=Index)
    _served: dict[str, set[str]] = field(default_factory=dict)
    _settles: dict[str, Entry] = field(default_factory=dict)

    def take_record(self, record: Record) -> None:
        """A bill, vendor or company as QuickBooks has it now; other kinds are not needed here."""
        match record.body:
            case Vendor() as vendor:
                self.vendors[f"{record.realm}-{record.id}"] = vendor
                self._refresh_bills_of(record.realm, record.id)
            case Company() as company if company.home_currency != self.home_currency:
                self.home_currency = company.home_currency
                for key in self.bills:
                    self._index_bill(key)
            case _ if record.kind == "bill":
                self.bills[record.key] = record
                self._index_bill(record.key)

    def take_entry(self, entry: Entry) -> None:
        """An entry as Qonto has it now."""
        key = f"{entry.kind}-{entry.id}"
        for transaction in entry.matched:
            self._settles[f"transaction-{transaction}"] = entry
        if entry.origin is not None:
            self.made.setdefault(entry.origin, {})[entry.id] = entry
            return
        self.entries[key] = entry
        if entry.live and not entry.credit_note and entry.side != "credit":
            self.index.add(facts.of_entry(entry))
        else:
            self.index.remove(key)

    def take_claim(self, entry: str, bill: str | None) -> None:
        """Which bill an entry serves now, None if none."""
        before = self.claims.pop(entry, None)
        if before is not None:
            self._served[before].discard(entry)
        if bill is not None:
            self.claims[entry] = bill
            self._served.setdefault(bill, set()).add(entry)

    def _index_bill(self, key: str) -> None:
        record = self.bills[key]
        if record.deleted or not isinstance(record.body, Bill):
            self.bill_index.remove(key)
            return
        vendor = self.vendors.get(f"{record.realm}-{record.body.vendor.id}")
        self.bill_index.add(facts.of_bill(key, record.body, vendor, self.home_currency))

    def _refresh_bills_of(self, realm: str, vendor: str) -> None:
        for key, record in self.bills.items():
            if record.realm == realm and isinstance(record.body, Bill) and record.body.vendor.id == vendor:
                self._index_bill(key)

    def bill(self, key: str) -> Bill:
        """The bill itself; KeyError if unknown or deleted without a body."""
        body = self.bills[key].body
        if not isinstance(body, Bill):
            raise KeyError(key)
        return body

    def vendor_of(self, key: str) -> Vendor | None:
        """The vendor record of a bill."""
        return self.vendors.get(f"{self.bills[key].realm}-{self.bill(key).vendor.id}")

    def facts_of(self, key: str) -> Facts:
        """The facts of a live bill."""
        return self.bill_index.facts(key)

    def serves(self, key: str) -> str | None:
        """The entry linked to this bill, as `{kind}-{id}`; the invoice where its payment is linked as well."""
        return min(self._served.get(key, ()), default=None)

    def has_own_entry(self, key: str) -> bool:
        """Whether an entry that Weir made for this bill stands in Qonto."""
        return any(entry.live for entry in self.made.get(key, {}).values())

    def invoice_of(self, transaction: str) -> Entry | None:
        """The live invoice a transaction settles; such a payment never stands for a document by itself."""
        invoice = self._settles.get(transaction)
        if invoice is None:
            return None
        present = self.made.get(invoice.origin or "", {}).get(invoice.id) or self.entries.get(f"invoice-{invoice.id}")
        settled = present is not None and present.live and transaction.partition("-")[2] in present.matched
        return present if settled else None

    def rivals(self, key: str, entry: Facts) -> Iterable[str]:
        """Other live bills that `entry` could belong to.

        Not those that another entry of its kind is linked to; a bill whose invoice was found may still be the
        one a payment is for. One that Weir made an entry for counts as before that: what is posted must not
        change what is decided.
        """
        kind = "transaction" if entry.payment else "invoice"
        for other in self.bill_index.candidates(entry):
            served = self._served.get(other, ())
            if other != key and not any(one.startswith(kind) for one in served):
                yield other

    def is_copy(self, one: str, other: str) -> bool:
        """Whether two bills are one document entered twice: supplier, total, and number (or date) agree."""
        a, b = self.bill(one), self.bill(other)
        if (a.total, a.currency) != (b.total, b.currency):
            return False
        mine, theirs = self.facts_of(one), self.facts_of(other)
        if a.vendor.id != b.vendor.id and not {name.text for name in mine.names} & {name.text for name in theirs.names}:
            return False
        if mine.number is not None and theirs.number is not None:
            return agreement(mine.number, theirs.number) >= _SAME_NUMBER
        return mine.number is theirs.number and a.issued_on == b.issued_on

    def earlier_copy(self, key: str) -> str | None:
        """The bill of which this one is a second entry, if any: the first that was entered."""
        copies = [other for other in self.bill_index.candidates(self.facts_of(key)) if self.is_copy(key, other)]
        first = min((*copies, key), key=self.entered)
        return first if first != key else None

    def entered(self, key: str) -> tuple[datetime, int, str]:
        """When a bill was entered, for telling the first of two."""
        record = self.bills[key]
        return record.created_at or _OLDEST, int(record.id) if record.id.isdigit() else 0, record.id
