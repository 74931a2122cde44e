"""What the scorer knows of one workspace: its bills and vendors, what Qonto holds, who serves whom."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from common.messages import (
    Bill,
    Company,
    Customer,
    Entry,
    EntryKind,
    Lessons,
    Part,
    Policy,
    Record,
    SelfCheck,
    TaxCode,
    Vendor,
)
from services.scorer.matching import facts
from services.scorer.matching.columns import Tables
from services.scorer.matching.dealings import Dealings, Entered
from services.scorer.matching.facts import Facts, Supplier
from services.scorer.matching.index import Index
from services.scorer.matching.memory import Memory
from services.scorer.matching.model import Habits
from services.scorer.matching.names import Name
from services.scorer.matching.packed import PackedEntries
from services.scorer.matching.rarity import Rarity
from services.scorer.matching.readiness import History, Lists
from services.scorer.matching.references import agreement
from services.scorer.matching.series import Series

_OLDEST = datetime.min.replace(tzinfo=UTC)
_SAME_NUMBER = 0.9
_LONGEST_NUMBER = 21
"""Digits of the longest ids that QuickBooks gives."""
_SUPPLIERS = 8192
"""Suppliers whose words are kept."""


class Surveyed(Part, frozen=True, kw_only=True):
    """The habits of a workspace as weights of this model found them, when it had so many bills and entries."""

    model: str
    bills: int
    entries: int
    habits: Habits


@dataclass
class Books:
    """Pure state, fed by streams in any order; the newest version of each thing wins.

    `entries` are keyed `{kind}-{id}`. Entries that Weir made are kept apart in `made`, by bill and id: they are
    never candidates, because a bill's duplicates are found from the bills themselves. `vendors_known` says
    whether a vendor that is not here does not exist, or there is merely no list. `surveyed` is kept for `habits`.
    """

    policy: Policy = field(default_factory=Policy)
    memory: Memory = field(default_factory=Memory)
    selfcheck: SelfCheck | None = None
    bills: dict[str, Record] = field(default_factory=dict)
    vendors: dict[str, Vendor] = field(default_factory=dict)
    entries: PackedEntries = field(default_factory=PackedEntries)
    made: dict[str, dict[str, Entry]] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    vendors_known: bool = True
    home_currency: str | None = None
    company: Company | None = None
    index: Index = field(init=False)
    bill_index: Index = field(init=False)
    rarity: Rarity = field(default_factory=Rarity)
    surveyed: Surveyed | None = None
    _bill_facts: dict[str, Facts] = field(default_factory=dict)
    _served: dict[str, set[str]] = field(default_factory=dict)
    _settles: dict[str, Entry] = field(default_factory=dict)
    _customers: defaultdict[str, dict[str, Customer]] = field(default_factory=lambda: defaultdict(dict))
    _tax_codes: defaultdict[str, dict[str, TaxCode]] = field(default_factory=lambda: defaultdict(dict))
    _dealings: Dealings = field(default_factory=Dealings)
    _series: Series = field(default_factory=Series)

    def __post_init__(self) -> None:
        tables = Tables()
        self.index, self.bill_index = Index(tables), Index(tables)

    def take_record(self, record: Record) -> None:
        """See `take_records`."""
        self.take_records((record,))

    def take_records(self, records: Iterable[Record]) -> None:
        """Bills, vendors, customers, tax codes and companies as QuickBooks had them, one after the other.

        Other kinds are not needed here. Many at once take less than each by itself. ValueError names what is no amount
        of money; no bill is taken then.
        """
        bills: dict[str, Record] = {}
        for record in records:
            if record.kind == "bill":
                bills[record.key] = record
            else:
                self._take_beside(record)
        self._take_bills(bills)

    def _take_beside(self, record: Record) -> None:
        """What bills refer to."""
        key = record.key
        match record.kind, record.body:
            case "vendor", Vendor() as vendor if not record.deleted:
                self.vendors[key] = vendor
                self._refresh_bills_of(key)
            case "vendor", _ if self.vendors.pop(key, None) is not None:
                self._refresh_bills_of(key)
            case "customer", Customer() as customer if not record.deleted:
                self._customers[record.realm][record.id] = customer
            case "customer", _:
                self._customers[record.realm].pop(record.id, None)
            case "taxcode", TaxCode() as code if not record.deleted:
                self._tax_codes[record.realm][record.id] = code
            case "taxcode", _:
                self._tax_codes[record.realm].pop(record.id, None)
            case "company", Company() as company:
                self.company = company
                self._take_home_currency(company.home_currency)

    def _take_home_currency(self, currency: str | None) -> None:
        if currency != self.home_currency:
            self.home_currency = currency
            self._take_bills(self.bills)

    def take_entry(self, entry: Entry) -> None:
        """See `take_entries`."""
        self.take_entries((entry,))

    def take_entries(self, entries: Sequence[Entry]) -> None:
        """Entries as Qonto had them, one after the other; many at once take less than each by itself.

        ValueError names what is no amount of money; no entry is taken then.
        """
        newest = {f"{entry.kind}-{entry.id}": entry for entry in entries if entry.origin is None}
        self.index.add([facts.of_entry(entry) for entry in newest.values() if _may_be_found(entry)])
        for key, entry in newest.items():
            self.entries[key] = entry
            if not _may_be_found(entry):
                self.index.remove(key)
        for entry in entries:
            for transaction in entry.matched:
                self._settles[f"transaction-{transaction}"] = entry
            if entry.origin is not None:
                self.made.setdefault(entry.origin, {})[entry.id] = entry

    def take_claim(self, entry: str, bill: str | None) -> None:
        """Which bill an entry serves now, None if none."""
        before = self.claims.pop(entry, None)
        if before is not None:
            self._served[before].discard(entry)
        if bill is not None:
            self.claims[entry] = bill
            self._served.setdefault(bill, set()).add(entry)

    def take_lessons(self, vendor: str, lessons: Lessons | None) -> None:
        """What people's answers taught of a vendor (`{realm}-{id}`), None if nothing does any more."""
        for one in sorted(self.memory.take(vendor, lessons)):
            self._refresh_bills_of(one)

    def _take_bills(self, bills: Mapping[str, Record]) -> None:
        """Bills by key as they are now; nothing is taken of them if one raises."""
        told = {
            key: facts.of_bill(key, bill, self._supplier(_vendor(record, bill), bill.vendor.name), self.home_currency)
            for key, record in bills.items()
            if not record.deleted and isinstance(bill := record.body, Bill)
        }
        known = self._bill_facts
        self.bill_index.add([found for key, found in told.items() if known.get(key) != found])
        for key, record in bills.items():
            self.bills[key] = record
            self._take_bill(key, record, told.get(key))

    def _take_bill(self, key: str, record: Record, found: Facts | None) -> None:
        """What is kept of a bill beside the index; it is gone without facts."""
        before = self._bill_facts.get(key)
        if found is not None and isinstance(record.body, Bill):
            self._bill_facts[key] = found
            vendor = _vendor(record, record.body)
            self._dealings.take(key, vendor, _entered(record), paid=record.body.paid)
            self._series.take(key, vendor, record.body)
        elif before is not None:
            del self._bill_facts[key]
            self.bill_index.remove(key)
            self._dealings.drop(key)
            self._series.drop(key)
        names, others = found and found.names, before and before.names
        if names != others:
            if others is not None:
                self.rarity.remove(_words(others))
            if names is not None:
                self.rarity.add(_words(names))

    def _supplier(self, vendor: str, called: str | None) -> Supplier:
        """A supplier as some bills call it."""
        aliases, identities = self.memory.aliases(vendor), self.memory.identity(vendor)
        return facts.supplier(called, self.vendors.get(vendor), aliases, identities)

    def _refresh_bills_of(self, vendor: str) -> None:
        self._take_bills({key: self.bills[key] for key in self._dealings.of(vendor)})

    def bill(self, key: str) -> Bill:
        """The bill itself; KeyError if unknown or deleted without a body."""
        body = self.bills[key].body
        if not isinstance(body, Bill):
            raise KeyError(key)
        return body

    def bill_keys(self) -> Collection[str]:
        """The keys of all live bills."""
        return self._bill_facts.keys()

    def vendor_key(self, key: str) -> str:
        """The vendor of a live bill, as `{realm}-{id}`."""
        return _vendor(self.bills[key], self.bill(key))

    def vendor_of(self, key: str) -> Vendor | None:
        """The vendor record of a bill."""
        return self.vendors.get(self.vendor_key(key))

    def history_of(self, key: str) -> History:
        """What is known of a live bill's vendor from before it."""
        return self._dealings.before(key)

    def bills_beside(self, key: str) -> list[str]:
        """The other live bills of a live bill's vendor."""
        return self._dealings.beside(key)

    def recurs(self, key: str) -> bool:
        """Whether a live bill is one of a series of equal ones."""
        return self._series.recurs(key)

    def lists(self, realm: str) -> Lists:
        """What QuickBooks lists of a company beside bills and vendors; a list that is empty was not read."""
        return Lists(self._customers[realm] or None, self._tax_codes[realm] or None, self.company)

    def facts_of(self, key: str) -> Facts:
        """The facts of a live bill."""
        return self._bill_facts[key]

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

    def may_want(self, key: str, kind: EntryKind) -> bool:
        """Whether a live bill could still belong to an entry of this kind.

        Not if another entry of the kind is linked to it; a bill whose invoice was found may still be the one a
        payment is for. One that Weir made an entry for counts as before that: what is posted must not change
        what is decided.
        """
        return not any(one.startswith(kind) for one in self._served.get(key, ()))

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

    def entered(self, key: str) -> Entered:
        """When a bill was entered, for telling the first of two."""
        return _entered(self.bills[key])


def _vendor(record: Record, bill: Bill) -> str:
    return f"{record.realm}-{bill.vendor.id}"


def _entered(record: Record) -> Entered:
    number = int(record.id) if record.id.isdecimal() and len(record.id) <= _LONGEST_NUMBER else 0
    return record.created_at or _OLDEST, number, record.id


def _may_be_found(entry: Entry) -> bool:
    """Whether an entry can be a candidate at all."""
    return entry.live and not entry.credit_note and entry.side != "credit"


@lru_cache(maxsize=_SUPPLIERS)
def _words(names: tuple[Name, ...]) -> frozenset[str]:
    """All words of a supplier's names."""
    return frozenset(word for name in names for word in name.tokens)
