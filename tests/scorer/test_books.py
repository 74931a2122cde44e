"""Reading: many at a time come to the same books as one by one, and what cannot be read takes nothing with it."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import codec
from common.messages import BillLine, Company, Entry, Lesson, Lessons, Record, Ref
from services.scorer.matching.books import Books
from tests.scorer.cases import MAY, NAME, NOON, REALM, WS, bill, invoice, key, outcome, payment, vendor, verdicts

NAMES = (NAME, "Floodgate Works", "Imaginary Services")


def company(currency: str | None) -> Record:
    body = Company(name="Fictional Lock", home_currency=currency)
    return Record(workspace=WS, realm=REALM, id="1", kind="company", content_hash="c", pulled_at=NOON, body=body)


def gone(ident: str) -> Record:
    return Record(workspace=WS, realm=REALM, id=ident, kind="vendor", content_hash="g", pulled_at=NOON, deleted=True)


@st.composite
def bills(draw: st.DrawFn) -> Record:
    """A version of one of few bills, of few suppliers, amounts and numbers, now and then deleted."""
    total = draw(st.sampled_from([Decimal("120.00"), Decimal("121.00"), Decimal(9), Decimal(0), Decimal("1e400")]))
    fields: dict[str, Any] = {
        "vendor": Ref(id=draw(st.sampled_from("78")), name=draw(st.sampled_from([*NAMES, NAME.upper(), None]))),
        "total": total,
        "balance": draw(st.sampled_from([total, Decimal(0)])),
        "number": draw(st.sampled_from([None, "F-2026-1001", "1001", "X-77"])),
        "issued_on": draw(st.none() | st.just(MAY)),
        "tax": draw(st.sampled_from([None, Decimal(20)])),
        "currency": draw(st.sampled_from(["EUR", "USD", "XXX"])),
        "exchange_rate": draw(st.sampled_from([None, Decimal("0.9")])),
        "lines": (BillLine(amount=total),),
    }
    ident, day = draw(st.integers(1, 8).map(str)), draw(st.integers(1, 3))
    return bill(ident, day=day, deleted=draw(st.sampled_from([False, False, False, True])), **fields)


records = st.lists(
    st.one_of(
        bills(),
        bills(),
        st.builds(vendor, st.sampled_from("78"), name=st.sampled_from(NAMES)),
        st.sampled_from("78").map(gone),
        st.sampled_from(["EUR", "GBP", None]).map(company),
    ),
    max_size=40,
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """A version of one of few entries, some of which nothing may be linked to, or which Weir made itself."""
    make = draw(st.sampled_from([invoice, payment]))
    entry: Entry = make(
        f"e{draw(st.integers(1, 6))}",
        counterparty=draw(st.sampled_from([*NAMES, None])),
        amount=draw(st.sampled_from([None, Decimal("120.00"), Decimal("121.00")])),
        number=draw(st.sampled_from([None, "F-2026-1001", "X-77"])),
        status=draw(st.sampled_from(["to_review", "to_review", "rejected"])),
        matched=() if make is payment else draw(st.sampled_from([(), ("e1",), ("e2",)])),
        origin=draw(st.sampled_from([None, None, None, f"{REALM}-1"])),
    )
    return entry


def pages(draw: st.DataObject, things: Sequence[Any]) -> list[Sequence[Any]]:
    """The same things in order, cut into pages of any size."""
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(things)), max_size=5)))
    return [things[start:end] for start, end in zip([0, *cuts], [*cuts, len(things)], strict=True)]


def standing(books: Books) -> dict[str, Any]:
    """All that can be seen of books, and what is decided by them."""
    live = sorted(books.bill_keys())
    indices = {"bills": books.bill_index, "entries": books.index}
    found = {
        name: sorted((which, index.key(row)) for which, row in zip(*map(np.ndarray.tolist, pairs), strict=True))
        for name, index in indices.items()
        for pairs in [index.candidates([books.bill_index.query(key) for key in live])]
    }
    words = sorted({word for name in NAMES for word in name.lower().split()})
    return {
        "facts": {key: books.facts_of(key) for key in live},
        "vendors": {key: books.vendor_of(key) for key in live},
        "history": {key: books.history_of(key) for key in live},
        "beside": {key: books.bills_beside(key) for key in live},
        "entries": {key: books.entries[key] for key in sorted(books.entries)},
        "indexed": {name: sorted(index._row_of) for name, index in indices.items()},
        "said": {name: {key: index.text(index.row(key)) for key in index._row_of} for name, index in indices.items()},
        "words": {name: +index._words for name, index in indices.items()},
        "converted": {name: index._converted for name, index in indices.items()},
        "rarity": (len(books.rarity), [books.rarity.suppliers(word) for word in words]),
        "made": books.made,
        "invoices": [books.invoice_of(f"transaction-e{n}") for n in range(1, 7)],
        "found": found,
        "outcomes": {key: outcome(verdict) for key, verdict in verdicts(books).items()} if books.bills else {},
    }


@settings(max_examples=60, deadline=None)
@given(data=st.data(), taken=records, seen=st.lists(entries(), max_size=25))
def test_many_at_a_time_come_to_the_same_books_as_one_by_one(
    data: st.DataObject, taken: list[Record], seen: list[Entry]
) -> None:
    singly, together = Books(), Books()
    for record in taken:
        singly.take_record(record)
    for entry in seen:
        singly.take_entry(entry)
    for page in pages(data, taken):
        together.take_records(page)
    for page in pages(data, seen):
        together.take_entries(page)
    assert standing(together) == standing(singly)


@settings(max_examples=40, deadline=None)
@given(taken=records)
def test_the_books_say_what_the_newest_versions_say(taken: list[Record]) -> None:
    newest = {(one.kind, one.key): one for one in taken}
    grown, fresh = Books(), Books()
    grown.take_records(taken)
    fresh.take_records(sorted(newest.values(), key=lambda one: (one.kind, one.key), reverse=True))
    assert standing(grown) == standing(fresh)


def test_what_was_taught_is_part_of_every_bill_read_later() -> None:
    lessons = [
        Lesson(review=f"r{n}", bill=f"{REALM}-{n}", at=NOON, by="a person", entry=f"e{n}", name="quay trading")
        for n in range(2)
    ]
    books = Books()
    books.take_lessons(f"{REALM}-7", Lessons(lessons=tuple(lessons)))
    books.take_records([vendor(), bill("5"), bill("6")])
    assert [[name.text for name in books.facts_of(f"{REALM}-{n}").names] for n in "56"] == [
        ["sluice sons", "quay trading"]
    ] * 2


NO_AMOUNT = [
    ({"total": Decimal("NaN")}, "total"),
    ({"total": Decimal("Infinity")}, "total"),
    ({"tax": Decimal("NaN")}, "tax"),
    ({"currency": "USD", "exchange_rate": Decimal("NaN")}, "exchange_rate"),
]


@pytest.mark.parametrize("fields, named", NO_AMOUNT)
def test_what_is_no_amount_of_money_is_named_and_nothing_is_taken(fields: dict[str, Any], named: str) -> None:
    books = Books()
    books.take_records([vendor(), bill("1", number="F-1")])
    before = standing(books)
    bad = codec.decode(codec.encode(bill("2", **{"balance": Decimal(0), **fields})), Record)
    with pytest.raises(ValueError, match=f"{named}: (NaN|Infinity) is no amount of money"):
        books.take_records([bill("3"), bad, bill("1", number="F-2")])
    assert standing(books) == before
    with pytest.raises(ValueError, match="amount: NaN is no amount of money"):
        books.take_entries([invoice("e1"), invoice("e2", amount=Decimal("NaN"))])
    assert standing(books) == before


def test_a_rate_that_leads_beyond_all_measure_converts_nothing() -> None:
    books = Books()
    huge = bill("2", currency="USD", total=Decimal("1e30"), exchange_rate=Decimal("1e-10"))
    books.take_records([vendor(), huge, bill("1", currency="USD", exchange_rate=Decimal("0.9"))])
    books.take_records([company("EUR")])
    assert books.facts_of(f"{REALM}-1").about == (("EUR", Decimal("108.00")),)
    assert not books.facts_of(f"{REALM}-2").about


@pytest.mark.parametrize("order", ["78", "87"])
def test_lessons_about_one_vendor_count_at_once_for_the_bills_of_others(order: str) -> None:
    """A name that two suppliers share is nobody's; one that a later answer takes back is the vendor's no more."""
    found = Books()
    for record in (vendor("7"), vendor("8"), *(bill(ident, vendor=Ref(id=ident)) for ident in "78")):
        found.take_record(record)
    taught = {ident: Lessons(lessons=tuple(_lesson(f"{ident}{n}", f"{ident}{n}") for n in range(2))) for ident in order}
    for ident, lessons in taught.items():
        found.take_lessons(f"{REALM}-{ident}", lessons)
    assert [_called(found, ident) for ident in "78"] == [False, False]
    found.take_lessons(f"{REALM}-8", None)
    assert [_called(found, ident) for ident in "78"] == [True, False]
    found.take_lessons(f"{REALM}-8", Lessons(lessons=(_lesson("70", "later", name="another", hours=1),)))
    assert [_called(found, ident) for ident in "78"] == [False, False]


def _lesson(on: str, review: str, *, name: str = "quay trading", hours: int = 0) -> Lesson:
    return Lesson(
        review=review, bill=f"{REALM}-{on}", at=NOON + timedelta(hours=hours), by="a person", entry="e", name=name
    )


def _called(found: Books, ident: str) -> bool:
    return "quay trading" in {one.text for one in found.facts_of(key(ident)).names}
