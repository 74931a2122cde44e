"""What Qonto has read in a document, field by field beside the bill it stands for. Pure: a function of both.

A field that was not read contradicts nothing, but for the amount: without one nobody can pay. Numbers and names
are compared as people write them, not letter by letter, since a supplier's own document says what it likes.
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from difflib import SequenceMatcher
from typing import NamedTuple

from common.messages import Bill, Entry, Field, FieldScore, Vendor

NO_INVOICE = {
    "EXPENSE_RECEIPT": "a receipt",
    "CARD_RECEIPT": "a card receipt",
    "CREDIT_CARD_RECEIPT": "a card receipt",
    "OTHER_FINANCIAL_DOCUMENT": "another financial document",
    "OTHER_NON_FINANCIAL_DOCUMENT": "no financial document",
}
"""Categories of documents that Qonto keeps apart from invoices to pay."""

_CUT = 21
"""Letters of a bill's number that QuickBooks keeps (DocNumber)."""
_ALIKE = 0.8
"""Likeness of two names from which they differ by misread letters only."""
_TELLING = 4
"""Letters a name needs to be looked for inside of another."""
_UMLAUT = re.compile(r"([aou])e")
_FORMS = frozenset(
    "gmbh mbh ag kg ohg ug se ev eg co cie sa sas sasu sarl eurl sci snc srl srls spa sl slu bv nv vof ltd limited llc "
    "llp plc inc corp corporation company sp zoo oo kft as ab oy aps the la le les de der die das und et and of".split()
)
"""Words that many names share: legal forms and articles."""


class Reading(NamedTuple):
    """The comparison: what differs in words, and every field that both sides have."""

    differs: tuple[str, ...]
    fields: dict[Field, FieldScore]


def compared(bill: Bill, vendor: Vendor | None, entry: Entry, twins: Sequence[Entry] = ()) -> Reading:
    """The reading `entry` holds against `bill`; `twins` are what Qonto may take it for a duplicate of."""
    found, fields = _fields(bill, vendor, entry)
    if entry.amount is None and not entry.number and not entry.counterparty:
        found = ["Qonto could not read the document"]
    if entry.category in NO_INVOICE:
        found.append(f"kind: Qonto takes it for {NO_INVOICE[entry.category]}")
    elif entry.credit_note and bill.total >= 0:
        found.append("kind: Qonto takes it for a credit note")
    if twins:
        found.append(f"duplicate: Qonto takes it for the same as {', '.join(map(_named, twins))}")
    elif entry.has_duplicates and entry.revision in {1, None}:  # a later revision is a double of the one it replaced
        found.append("duplicate: Qonto takes it for one, and does not say of what")
    return Reading(tuple(found), fields)


def _fields(bill: Bill, vendor: Vendor | None, entry: Entry) -> tuple[list[str], dict[Field, FieldScore]]:
    """What differs, and each field that was read."""
    found: list[str] = []
    fields: dict[Field, FieldScore] = {}

    def field(name: Field, label: str, ours: str, theirs: str, same: bool) -> None:
        why = None if same else f"{label}: Qonto has {theirs}, the bill {ours}"
        fields[name] = FieldScore(score=1.0 if same else 0.0, bill=ours, entry=theirs, why=why)
        if why is not None:
            found.append(why)

    if entry.amount is None:
        found.append(f"amount: Qonto has none, the bill {bill.total} {bill.currency}")
    else:
        field("amount", "amount", str(bill.total), str(entry.amount), entry.amount == abs(bill.total))
    if entry.currency:
        field("currency", "currency", bill.currency, entry.currency, entry.currency == bill.currency)
    if entry.number and bill.number:
        field("reference", "number", bill.number, entry.number, same_number(bill.number, entry.number))
    ours = bill.vendor.name or (vendor.name if vendor else None)
    if entry.counterparty and ours:
        field("name", "supplier", ours, entry.counterparty, _same_supplier(ours, vendor, entry))
    if entry.issued_on and bill.issued_on:
        field("date", "date", _day(bill.issued_on), _day(entry.issued_on), entry.issued_on == bill.issued_on)
    if entry.due_on and bill.due_on and entry.due_on != bill.due_on:
        found.append(f"due date: Qonto has {_day(entry.due_on)}, the bill {_day(bill.due_on)}")
    return found, fields


def same_number(ours: str, theirs: str) -> bool:
    """Whether two invoice numbers are one: punctuation, a word in front, leading zeros and QuickBooks' cut aside."""
    one, two = _plain(ours), _plain(theirs)
    if one == two or (len(ours) >= _CUT and two.startswith(one)):
        return True
    bare = [re.sub(r"^[^\W\d]*0*", "", number) for number in (one, two)]
    worded = [number[:1].isalpha() for number in (one, two)]
    return bare[0] == bare[1] and any(mark.isdigit() for mark in bare[0]) and worded != [True, True]


def _same_supplier(ours: str, vendor: Vendor | None, entry: Entry) -> bool:
    """Whether the name that was read may be the supplier's; the same VAT number says so whatever the name."""
    number = _plain(vendor.tax_identifier or "") if vendor else ""
    if number and entry.vat_number and _plain(entry.vat_number) == number:
        return True
    names = [ours, *((vendor.name, vendor.company_name, vendor.print_name) if vendor else ())]
    return any(same_name(name, entry.counterparty or "") for name in names if name)


def same_name(ours: str, theirs: str) -> bool:
    """Whether two names share a word that means something, or differ by misread letters, or cannot be compared."""
    one, two = _words(ours), _words(theirs)
    if not one or not two or _script(ours) != _script(theirs):
        return True
    if one & two:
        return True
    left, right = ("".join(_folded(name).split()) for name in (ours, theirs))
    inside = min(len(left), len(right)) >= _TELLING and (left in right or right in left)
    # Readers take letters that are drawn as one apart in the wrong order, so the order alone says little.
    reordered = sorted(left) == sorted(right)
    return inside or reordered or max(_ratio(left, right), _ratio(right, left)) >= _ALIKE


def _ratio(one: str, other: str) -> float:
    """How much of two texts is the same; which one is named first decides between equally long pieces."""
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def alike(one: Entry, other: Entry) -> bool:
    """Whether Qonto may take two invoices for duplicates: the same number of the same supplier."""
    if not one.number or not other.number or _plain(one.number) != _plain(other.number):
        return False
    return not one.counterparty or not other.counterparty or same_name(one.counterparty, other.counterparty)


def _named(entry: Entry) -> str:
    """An entry as a person finds it."""
    what = " of ".join(part for part in (entry.number, entry.counterparty) if part) or entry.file_name or "an invoice"
    return f"{what} ({f'bill {entry.origin}, ' if entry.origin else ''}entry {entry.id})"


def _day(value: date) -> str:
    return value.isoformat()


def _folded(text: str) -> str:
    marks = unicodedata.normalize("NFKD", text).casefold()
    return "".join(mark for mark in marks if not unicodedata.combining(mark))


def _plain(number: str) -> str:
    return re.sub(r"[\W_]+", "", _folded(number))


def _words(name: str) -> set[str]:
    words = (_UMLAUT.sub(r"\1", word) for word in re.findall(r"[^\W_]+", _folded(name)) if word not in _FORMS)
    return {word for word in words if len(word) > 1}


def _script(name: str) -> str:
    """The script of most of the name's letters: names in two scripts cannot be compared."""
    scripts = [unicodedata.name(mark, "?").split()[0] for mark in name if mark.isalpha()]
    return max(set(scripts), key=lambda script: (scripts.count(script), script), default="?")
