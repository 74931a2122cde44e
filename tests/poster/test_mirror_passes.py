"""What a pass of the mirror costs, and that nothing escapes it: moving lists, late readings, kills, damage."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from common import subjects
from common.buckets import Bucket
from common.failures import Failures
from common.messages import Failure, Notice, Retried, Retry, now
from services.poster import lists, mirror, qonto, unread
from services.poster.entries import Entries
from services.poster.ledger import Page
from services.poster.lists import Marker
from services.poster.mirror import Accounts
from services.poster.unread import Watched
from tests.poster.desk import WS, Desk, bill, poster
from tests.poster.test_limits import instance

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


async def _damage(desk: Desk, ident: str, **values: Any) -> None:
    path = f"/sandbox/companies/{desk.realm}/qonto/supplier_invoices/{ident}?strange=true"
    (await desk.control.patch(path, json=values)).raise_for_status()


async def _retried(desk: Desk, failure: Failure) -> Failure:
    request = Retry(workspace=WS, id=failure.id, by="A. Tester")
    answer = await desk.bus.call(subjects.retry(desk.bus.region, "mirror"), request)
    assert isinstance(answer, Retried), answer
    return answer.failure


async def test_a_damaged_entry_stands_among_the_failures_until_it_is_read(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()

    async def told() -> list[Notice]:
        return [one for one in await desk.notices() if "cannot be read" in one.why]

    await _damage(desk, foreign.id, total_amount="twelve", tomorrow={"new": "field"}, status="from_tomorrow")
    for _ in range(3):
        await desk.mirror()
    [notice] = await told()
    assert "total_amount" in notice.why
    [failure] = await Failures(desk.bus).standing(WS)
    assert (failure.id, failure.attempts, failure.retryable) == (f"mirror.invoice-{foreign.id}", 1, True)
    assert failure.why == notice.why
    assert failure.fix
    still = await _retried(desk, failure)
    assert (still.resolved_at, still.attempts) == (None, 2)
    await _damage(desk, foreign.id, total_amount={"value": "12.00", "currency": "EUR"})
    await desk.mirror()
    entry = await desk.entry("invoice", foreign.id)
    assert (str(entry.amount), entry.status) == ("12.00", "from_tomorrow")
    assert len(await told()) == 1
    assert await Failures(desk.bus).standing(WS) == []
    over = await _retried(desk, failure)
    assert over.resolution == "it can be read again"


async def test_a_damaged_entry_is_read_anew_on_request(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    await _damage(desk, foreign.id, issue_date="someday", description="old")
    await desk.mirror()
    [failure] = await Failures(desk.bus).standing(WS)
    await _damage(desk, foreign.id, issue_date="2026-03-01", description="mended")
    over = await _retried(desk, failure)
    assert over.resolution == "tried again by A. Tester"
    assert (await desk.entry("invoice", foreign.id)).label == "mended"
    assert await Failures(desk.bus).standing(WS) == []


async def test_a_damaged_entry_that_vanishes_is_no_failure_any_more(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    await _damage(desk, foreign.id, total_amount="twelve")
    await desk.mirror()
    [failure] = await Failures(desk.bus).standing(WS)
    await desk.control.delete(f"/sandbox/companies/{desk.realm}/qonto/supplier_invoices/{foreign.id}")
    await desk.mirror()
    assert await Failures(desk.bus).standing(WS) == []
    assert (await desk.entry("invoice", foreign.id)).deleted
    assert (await _retried(desk, failure)).resolution == "it is gone from Qonto"


async def test_an_upload_that_cannot_be_read_is_there_all_the_same(idle: Desk) -> None:
    """A second upload because of a field that nobody understands would be a second entry."""
    async with poster(idle.settings):
        await idle.connect()
        await idle.mirror()
        posting = await idle.posting(await idle.create("1"))
    await _damage(idle, str(posting.entry), total_amount="twelve")
    ledger = Bucket(idle.bus, "idempotency", Page)
    kept = await idle.page("1")
    assert kept is not None
    await ledger.delete(kept.key, kept.revision)
    orders = [await idle.create("1", bill("F-1")), await idle.create("2", bill("F-2"))]
    async with poster(idle.settings):
        assert (await idle.posting(orders[1])).outcome == "created"
        await idle.mirror()
        async with instance(idle.settings) as calls:
            seen = [one async for one in calls.created_since(WS, datetime(2020, 1, 1, tzinfo=UTC)) if one.origin]
            assert posting.entry in {one.id for one in seen}
        assert [one["id"] for one in await idle.invoices("1")] == [posting.entry]
