"""What the scorer knows of one workspace: its bills and vendors, what Qonto holds, who serves whom."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from common.messages import (
    Bill,
    Company,
    Customer,
    Entry,
    EntryKind,
    Lessons,
    Policy,
    Record,
    SelfCheck,
    TaxCode,
    Vendor,
)
from services.scorer.matching import facts
from services.scorer.matching.columns import Tables
from services.scorer.matching.dealings import Dealings, Entered
from services.scorer.matching.facts import Facts
from services.scorer.matching.index import Index
from services.scorer.matching.memory import Memory
from services.scorer.matching.model import Habits
from services.scorer.matching.names import Name
from services.scorer.matching.packed import PackedEntries
from services.scorer.matching.rarity import Rarity
from services.scorer.matching.readiness import History, Lists
from services.scorer.matching.references import agreement

_OLDEST = datetime.min.replace(tzinfo=UTC)
_SAME_NUMBER = 0.9
_LONGEST_NUMBER = 21
"""Digits of the longest ids that QuickBooks gives."""
_SUPPLIERS = 8192
"""Suppliers whose words are kept."""


class Surveyed(NamedTuple):
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

    def __post_init__(self) -> None:
        tables = Tables()
        self.index, self.bill_index = Index(tables), Index(tables)

    def take_record(self, record: Record) -> None:
        """A bill, vendor, customer, tax code or company as QuickBooks has it now; other kinds are not needed here."""
        key = record.key
        match record.kind, record.body:
            case "bill", _:
                self.bills[key] = record
                self._index_bill(key)
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
            for key in self.bills:
                self._index_bill(key)

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

    def take_lessons(self, vendor: str, lessons: Lessons | None) -> None:
        """What people's answers taught of a vendor (`{realm}-{id}`), None if nothing does any more."""
        self.memory.take(vendor, lessons)
        self._refresh_bills_of(vendor)

    def _index_bill(self, key: str) -> None:
        record = self.bills[key]
        before = self._bill_facts.get(key)
        if record.deleted or not isinstance(record.body, Bill):
            if before is not None:
                del self._bill_facts[key]
                self.rarity.remove(_words(before.names))
            self.bill_index.remove(key)
            self._dealings.drop(key)
            return
        vendor = f"{record.realm}-{record.body.vendor.id}"
        self._dealings.take(key, vendor, self.entered(key), paid=record.body.paid)
        taught = sorted(self.memory.aliases(vendor)), sorted(self.memory.identity(vendor))
        found = facts.of_bill(key, record.body, self.vendors.get(vendor), self.home_currency, *taught)
        self._bill_facts[key] = found
        if found == before:
            return
        if before is None or before.names != found.names:
            if before is not None:
                self.rarity.remove(_words(before.names))
            self.rarity.add(_words(found.names))
        self.bill_index.add(found)

    def _refresh_bills_of(self, vendor: str) -> None:
        for key in self._dealings.of(vendor):
            self._index_bill(key)

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
        return f"{self.bills[key].realm}-{self.bill(key).vendor.id}"

    def vendor_of(self, key: str) -> Vendor | None:
        """The vendor record of a bill."""
        return self.vendors.get(self.vendor_key(key))

    def history_of(self, key: str) -> History:
        """What is known of a live bill's vendor from before it."""
        return self._dealings.before(key)

    def bills_beside(self, key: str) -> list[str]:
        """The other live bills of a live bill's vendor."""
        return self._dealings.beside(key)

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
        record = self.bills[key]
        number = int(record.id) if record.id.isdecimal() and len(record.id) <= _LONGEST_NUMBER else 0
        return record.created_at or _OLDEST, number, record.id


@lru_cache(maxsize=_SUPPLIERS)
def _words(names: tuple[Name, ...]) -> frozenset[str]:
    """All words of a supplier's names."""
    return frozenset(word for name in names for word in name.tokens)
