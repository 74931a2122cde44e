"""Views: what cannot be read is named and takes nothing with it."""

from decimal import Decimal

import msgspec

from common import codec, subjects
from common.bus import Bus
from common.messages import Record
from common.pace import Pace
from services.scorer.view import View
from tests.scorer.cases import WS, bill, invoice, key, vendor


def subject(bus: Bus, ident: str) -> str:
    return subjects.record(bus.region, WS, "bill", key(ident))


async def test_what_cannot_be_read_takes_nothing_else_with_it(bus: Bus) -> None:
    nothing = codec.encode(bill(total=Decimal("NaN"), balance=Decimal(0)))
    bad = {"0": b"{", "3": b'{"type":"record.1"}', "120": nothing, "199": nothing, "200": b"[]", "449": b""}
    records = [bill(str(n), number=f"F-{n}") for n in range(450)]
    entries = [(subjects.entry(bus.region, WS, "invoice", f"e{n}"), invoice(f"e{n}")) for n in range(3)]
    entries[1] = entries[1][0], invoice("e1", amount=Decimal("NaN"))
    names = bus.topology
    await bus.publish(subjects.record(bus.region, WS, "vendor", vendor().key), vendor(), stream=names.records)
    page = [(subject(bus, one.id), msgspec.Raw(bad[one.id]) if one.id in bad else one) for one in records]
    last = await bus.publish_page(names.records, page)
    await bus.publish_page(names.entries, entries)
    view = View(bus, WS, Pace())
    assert await view.read(within=30)
    assert set(view.books.bills) == {one.key for one in records if one.id not in bad}
    assert set(view.books.bill_keys()) == set(view.books.bills)
    assert set(view.books.entries) == {"invoice-e0", "invoice-e2"}
    assert view.records_seq == last
    unreadable = {subject(bus, ident): last - 449 + int(ident) for ident in bad} | {entries[1][0]: 2}
    assert {name: sequence for name, (sequence, _) in view.unreadable.items()} == unreadable
    assert "total: NaN is no amount" in str(view.unreadable[subject(bus, "120")][1])

    # A newer version can be read; one that cannot leaves the older one as it was.
    await bus.publish(subject(bus, "120"), bill("120", number="F-120"), stream=names.records)
    await bus.publish(subject(bus, "7"), msgspec.Raw(nothing), stream=names.records)
    assert await view.read(within=30)
    assert set(view.books.bills) == {one.key for one in records if one.id not in bad or one.id == "120"}
    assert view.books.bill(key("7")) == records[7].body
    assert set(view.unreadable) == {*unreadable, subject(bus, "7")} - {subject(bus, "120")}
    await view.close()


async def test_a_view_that_is_read_page_by_page_is_the_one_that_is_read_at_once(bus: Bus) -> None:
    names, versions = bus.topology, [bill(str(n % 60), number=f"F-{n}", content=str(n)) for n in range(180)]
    step, slow = View(bus, WS, Pace()), View(bus, WS, Pace())
    held: dict[str, Record] = {}
    for start in range(0, len(versions), 60):
        page = versions[start : start + 60]
        await bus.publish_page(names.records, [(subject(bus, one.id), one) for one in page])
        held |= {one.key: one for one in page}
        assert await step.read(within=30)
        assert step.books.bills == held
    assert await slow.read(within=30)
    assert slow.books.bills == held
    for view in (step, slow):
        await view.close()
