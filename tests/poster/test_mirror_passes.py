"""What a pass of the mirror costs, and that nothing escapes it: moving lists, late readings, kills, damage."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from common.buckets import Bucket
from common.messages import Notice, now
from services.poster import lists, mirror, qonto, unread
from services.poster.entries import Entries
from services.poster.lists import Marker
from services.poster.mirror import Accounts
from services.poster.unread import Watched
from tests.poster.desk import WS, Desk, poster

INVOICES, TRANSACTIONS, ORGANIZATION = "GET /v2/supplier_invoices", "GET /v2/transactions", "GET /v2/organization"


async def _cost(desk: Desk) -> dict[str, int]:
    """What one pass calls."""
    before = await desk.calls()
    await desk.mirror()
    after = await desk.calls()
    return {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}


async def _open_account(desk: Desk) -> str:
    answer = await desk.control.post(f"/sandbox/companies/{desk.realm}/qonto/bank_accounts")
    return str(answer.json()["id"])


async def _pay(desk: Desk, **given: Any) -> str:
    answer = await desk.control.post(f"/sandbox/companies/{desk.realm}/qonto/transactions", json=given)
    return str(answer.json()["id"])


async def test_when_nothing_changed_two_calls_are_enough(desk: Desk) -> None:
    await desk.mirror()
    assert await _cost(desk) == {INVOICES: 1, TRANSACTIONS: 1}
    first = await _pay(desk)
    assert await _cost(desk) == {INVOICES: 1, TRANSACTIONS: 1}
    assert (await desk.entry("transaction", first)).amount is not None


async def test_of_many_accounts_only_those_whose_balance_moved_are_listed(desk: Desk) -> None:
    accounts = [await _open_account(desk) for _ in range(3)]
    await desk.mirror()
    assert await _cost(desk) == {INVOICES: 1, ORGANIZATION: 1}
    payment = await _pay(desk, account=accounts[1])
    assert await _cost(desk) == {INVOICES: 1, ORGANIZATION: 1, TRANSACTIONS: 1}
    assert (await desk.entry("transaction", payment)).kind == "transaction"
    assert await _cost(desk) == {INVOICES: 1, ORGANIZATION: 1}


async def test_an_account_that_is_opened_later_is_read_from_its_beginning(desk: Desk) -> None:
    await desk.mirror()
    account = await _open_account(desk)
    payments = {await _pay(desk, account=account) for _ in range(2)}
    accounts = Bucket(desk.bus, "markers", Accounts)
    kept = await accounts.get(f"{WS}.{desk.company['organization']}.accounts")
    assert kept is not None
    stale = msgspec.structs.replace(kept.value, asked_at=now() - timedelta(days=1))
    await accounts.replace(kept.key, stale, kept.revision)
    await desk.mirror()
    assert payments <= {entry.id for entry in await desk.entries("transaction")}


@pytest.mark.parametrize("filters", ["inclusive", "exclusive"])
async def test_more_changes_than_a_page_are_read_without_a_gap(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, filters: str
) -> None:
    monkeypatch.setattr(qonto, "PER_PAGE", 7)
    await desk.switch(time_filters=filters)
    await desk.mirror()
    everything = {entry.id for entry in await desk.entries()}
    invoices = [entry for entry in await desk.entries("invoice") if entry.status != "archived"]
    assert len(invoices) > 15
    for entry in invoices:
        await desk.patch(entry.id, description="looked at")
    await desk.mirror()
    assert {entry.label for entry in await desk.entries("invoice")} == {"looked at"}
    assert {entry.id for entry in await desk.entries()} == everything


async def test_a_first_pass_that_was_killed_goes_on_where_it_was(idle: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qonto, "PER_PAGE", 4)
    published = Entries.publish
    pages = 0

    async def dying(self: Entries, entries: Any) -> int:
        nonlocal pages
        pages += 1
        if pages == 5:
            raise RuntimeError("killed")
        return await published(self, entries)

    async with poster(idle.settings):
        await idle.connect()
        monkeypatch.setattr(Entries, "publish", dying)
        with pytest.raises(AssertionError):
            await idle.mirror()
    monkeypatch.setattr(Entries, "publish", published)
    kept = await Bucket(idle.bus, "markers", Marker).get(f"{WS}.{idle.company['organization']}.invoices")
    assert kept is not None
    assert kept.value.seen_until > lists.BEGINNING
    assert not kept.value.whole
    async with poster(idle.settings):
        cost = await _cost(idle)
        present = {one["id"] for one in await _all(idle)}
        assert {entry.id for entry in await idle.entries("invoice")} == present
        assert cost[INVOICES] < len(present) / 4 + 1


async def _all(desk: Desk) -> list[dict[str, Any]]:
    answer = await desk.control.get(f"/sandbox/companies/{desk.realm}/qonto/supplier_invoices")
    found: list[dict[str, Any]] = answer.json()["supplier_invoices"]
    return found


async def test_a_reading_that_moves_no_time_of_change_is_followed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.switch(ocr_touches=False, ocr_delay=3600.0)
    posting = await desk.posting(await desk.create("1"))
    await desk.mirror()
    assert (await desk.entry("invoice", str(posting.entry))).analyzed_at is None
    # Others push it off the page that every pass looks at.
    monkeypatch.setattr(qonto, "PER_PAGE", 1)
    monkeypatch.setattr(mirror, "OVERLAP", timedelta())
    await desk.patch((await desk.foreign_invoice()).id, description="newer")
    await desk.mirror()
    await desk.switch(ocr_delay=0.0)

    async def read() -> bool:
        return next(one for one in await _all(desk) if one["id"] == posting.entry)["analyzed_at"] is not None

    bucket = Bucket(desk.bus, "markers", dict[str, Watched])
    key = f"{WS}.{desk.company['organization']}.unread"
    kept = await bucket.get(key)
    assert kept is not None
    assert str(posting.entry) in kept.value
    if not await read():
        await desk.switch(clock_offset=7200)
        await desk.until(read)
        await desk.switch(clock_offset=0)
    await bucket.replace(key, {str(posting.entry): Watched(due=now())}, kept.revision)
    assert (await _cost(desk))["GET /v2/supplier_invoices/{id}"] == 1
    assert (await desk.entry("invoice", str(posting.entry))).analyzed_at is not None
    assert str(posting.entry) not in (await bucket.get(key)).value  # type: ignore[union-attr]


async def test_what_is_never_read_is_looked_at_ever_more_rarely_and_then_no_more(desk: Desk) -> None:
    watched = unread.Unread(desk.bus, f"{WS}.fictional.unread")
    await desk.switch(ocr="fails")
    posting = await desk.posting(await desk.create("1"))
    await desk.mirror()
    entry = await desk.entry("invoice", str(posting.entry))
    watched.note([msgspec.structs.replace(entry, analyzed_at=None)])
    assert watched.due(set()) == []
    looks = 0
    for _ in range(unread.TRIES + 5):
        watched._watched = {ident: Watched(tries=one.tries, due=now()) for ident, one in watched._watched.items()}
        looks += len(watched.due(set()))
    assert looks == unread.TRIES


async def test_a_damaged_entry_is_told_once_and_read_when_it_is_mended(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    path = f"/sandbox/companies/{desk.realm}/qonto/supplier_invoices/{foreign.id}"

    async def write(**values: Any) -> None:
        (await desk.control.patch(f"{path}?strange=true", json=values)).raise_for_status()

    async def told() -> list[Notice]:
        return [one for one in await desk.notices() if "cannot be read" in one.why]

    await write(total_amount="twelve", tomorrow={"new": "field"}, status="from_tomorrow")
    for _ in range(3):
        await desk.mirror()
    [notice] = await told()
    assert foreign.id in notice.why or "total_amount" in notice.why
    await write(total_amount={"value": "12.00", "currency": "EUR"})
    await desk.mirror()
    entry = await desk.entry("invoice", foreign.id)
    assert (str(entry.amount), entry.status) == ("12.00", "from_tomorrow")
    assert len(await told()) == 1
