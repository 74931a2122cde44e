"""Decisions become entries: created, linked, paid, replaced, withdrawn, and never twice."""

import time
from datetime import date
from decimal import Decimal

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.buckets import Documents
from common.errors import RetryLater
from common.messages import Action, BillPayment, Document, EntryKind, Link, Notice, Posting, Ref, now
from services.poster.claims import Claims
from services.poster.entries import Entries
from services.poster.ledger import document_key
from services.poster.posting import PAUSE, pause
from tests.poster.desk import WS, Desk, bill, pdf_saying, poster


async def test_a_created_bill_is_uploaded_read_back_and_told(desk: Desk) -> None:
    decision = await desk.create("1")
    posting = await desk.posting(decision)
    assert (posting.outcome, posting.revision) == ("created", 1)
    assert posting.verified_at is not None
    [invoice] = await desk.invoices("1")
    assert invoice["id"] == posting.entry
    assert invoice["file_name"] == f"QBO-{desk.realm}-1-r1__Imaginary-Quarry-Ltd-F-100.pdf"
    assert [entry.id for entry in await desk.entries("invoice")] == [posting.entry]
    assert await desk.claim("invoice", invoice["id"]) == f"{desk.realm}-1"


async def test_the_same_decision_again_makes_nothing_new(desk: Desk) -> None:
    decision = await desk.create("1")
    first = await desk.posting(decision)
    for _ in range(3):
        await desk.redeliver(decision)
    other = await desk.create("2", bill("F-200"))
    await desk.posting(other)
    assert len(await desk.invoices("1")) == 1
    assert {one.id for one in await desk.postings("1")} == {first.id}


async def test_a_batch_shares_its_calls(idle: Desk) -> None:
    async with poster(idle.settings):
        await idle.connect()
        await idle.mirror()
    decisions = [await idle.create(str(number), bill(f"F-{number}")) for number in range(1, 41)]
    begun = time.time()
    async with poster(idle.settings):
        postings = [await idle.posting(decision, within=60) for decision in decisions]
    assert {posting.outcome for posting in postings} == {"created"}
    assert len(await idle.invoices()) == 40
    calls = await idle.calls(begun)
    assert calls["POST /v2/supplier_invoices/bulk"] == 2
    assert sum(calls.values()) <= 5, calls


async def test_a_supplier_document_goes_up_as_it_is(desk: Desk) -> None:
    data = pdf_saying("Invoice number F-100")
    document = Document(
        sha256=await Documents(desk.bus).put(data),
        name="scan.pdf",
        content_type="application/pdf",
        size=len(data),
        attachable="500",
    )
    decision = await desk.create("1", bill(), documents=(document,))
    posting = await desk.posting(decision)
    assert posting.why is None
    assert await desk.uploaded(posting.entry) == data


async def test_a_document_qonto_does_not_take_is_drawn_instead(desk: Desk) -> None:
    document = Document(sha256="0" * 64, name="bill.docx", content_type="application/msword", size=9, attachable="1")
    posting = await desk.posting(await desk.create("1", bill(), documents=(document,)))
    assert posting.outcome == "created"
    assert "bill.docx" in (posting.why or "")
    assert (await desk.uploaded(posting.entry)).startswith(b"%PDF-")


async def test_a_link_to_an_invoice_claims_it_and_marks_it_as_paid(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    record, sequence = await desk.record("1", bill(balance=Decimal(0)))
    decision = await desk.decide(record, sequence, "link", entry=foreign.id, entry_kind="invoice")
    posting = await desk.posting(decision)
    assert (posting.outcome, posting.entry, posting.why) == ("linked", foreign.id, "marked as paid")
    assert await desk.claim("invoice", foreign.id) == f"{desk.realm}-1"
    shown = await desk.entry("invoice", foreign.id)
    assert (shown.status, shown.paid_on) == ("paid", date(2026, 4, 2))
    assert await desk.invoices("1") == []


async def test_a_link_to_a_transaction_attaches_the_document(desk: Desk) -> None:
    await desk.mirror()
    transaction = next(entry for entry in await desk.entries("transaction") if not entry.attachments)
    record, sequence = await desk.record("1", bill())
    decision = await desk.decide(record, sequence, "link", entry=transaction.id, entry_kind="transaction")
    posting = await desk.posting(decision)
    assert (posting.outcome, posting.entry_kind) == ("linked", "transaction")
    assert len((await desk.entry("transaction", transaction.id)).attachments) == 1
    await desk.redeliver(decision)
    await desk.posting(await desk.create("2", bill("F-200")))
    await desk.mirror()
    assert len((await desk.entry("transaction", transaction.id)).attachments) == 1


async def test_an_entry_another_bill_holds_is_contested(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    record, sequence = await desk.record("1", bill("F-1"))
    await desk.posting(await desk.decide(record, sequence, "link", entry=foreign.id, entry_kind="invoice"))
    record, sequence = await desk.record("2", bill("F-2"))
    await desk.decide(record, sequence, "link", entry=foreign.id, entry_kind="invoice")
    review = await desk.asked("2", "contested")
    assert f"{desk.realm}-1" in review.why
    assert review.summary.number == "F-2"
    assert await desk.claim("invoice", foreign.id) == f"{desk.realm}-1"
    own = (await desk.posting(await desk.create("3", bill("F-3")))).entry
    record, sequence = await desk.record("4", bill("F-4"))
    await desk.decide(record, sequence, "link", entry=own, entry_kind="invoice")
    await desk.asked("4", "contested")


@pytest.mark.parametrize("action", ["create", "review", "withdraw"])
async def test_the_claim_of_a_link_nobody_finished_is_given_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    """A worker dies right after the claim; then the bill is decided otherwise."""
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    take = Claims.take
    claimed = anyio.Event()

    async def die(self: Claims, workspace: str, kind: EntryKind, entry: str, key: str) -> None:
        await take(self, workspace, kind, entry, key)
        if entry == foreign.id:
            claimed.set()
            raise RetryLater("the worker died here", delay=1.0)

    monkeypatch.setattr(Claims, "take", die)
    record, sequence = await desk.record("1", bill())
    await desk.decide(record, sequence, "link", entry=foreign.id, entry_kind="invoice")
    with anyio.fail_after(15):
        await claimed.wait()
    changed = None if action == "withdraw" else bill(total="144.00")
    record, sequence = await desk.record("1", changed, deleted=action == "withdraw")
    await desk.decide(record, sequence, action)

    async def free() -> bool:
        return await desk.claim("invoice", foreign.id) is None

    await desk.until(free)
    assert (await desk.entry("invoice", foreign.id)).live


async def test_of_two_bills_that_want_an_entry_at_once_one_gets_it(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    versions = [await desk.record(ident, bill(f"F-{ident}")) for ident in ("1", "2")]
    for record, sequence in versions:
        await desk.decide(record, sequence, "link", entry=foreign.id, entry_kind="invoice")

    async def holder() -> str | None:
        return await desk.claim("invoice", foreign.id)

    winner = (await desk.until(holder)).rpartition("-")[2]
    loser = "2" if winner == "1" else "1"
    assert winner in (await desk.asked(loser, "contested")).why
    kept = await desk.page(loser)
    assert kept is None or (kept.value.state, kept.value.entry) == ("withdrawn", None)
    created = await desk.posting(await desk.create(loser, bill(f"F-{loser}", "144.00")))
    assert created.outcome == "created"
    assert (await holder() or "").endswith(f"-{winner}")


@given(st.integers(1, 10_000))
def test_the_pause_of_a_disconnected_workspace_grows_up_to_an_end(attempt: int) -> None:
    assert PAUSE <= pause(attempt) <= pause(attempt + 1) <= 600
    assert pause(attempt + 10) > PAUSE


async def test_paid_and_unpaid_follow_the_bill(desk: Desk) -> None:
    created = await desk.posting(await desk.create("1"))
    payment = BillPayment(vendor=Ref(id="7"), total=Decimal(120), currency="EUR", paid_on=date(2026, 3, 20))
    await desk.put("90", "billpayment", payment)
    paid = bill(balance=Decimal(0), links=(Link(id="90", kind="BillPaymentCheck"),))
    record, sequence = await desk.record("1", paid)
    posting = await desk.posting(await desk.decide(record, sequence, "link", entry=created.entry, entry_kind="invoice"))
    assert (posting.outcome, posting.entry, posting.revision) == ("paid", created.entry, 1)
    assert (await desk.entry("invoice", str(created.entry))).paid_on == date(2026, 3, 20)
    record, sequence = await desk.record("1", bill())
    posting = await desk.posting(await desk.decide(record, sequence))
    assert posting.outcome == "unpaid"
    assert (await desk.entry("invoice", str(created.entry))).status == "to_review"
    assert len(await desk.invoices("1")) == 1


async def test_a_mark_weir_did_not_make_stays(desk: Desk) -> None:
    created = await desk.posting(await desk.create("1"))
    await desk.patch(str(created.entry), status="paid")
    await desk.mirror()
    record, sequence = await desk.record("1", bill(memo="seen"))
    posting = await desk.posting(await desk.decide(record, sequence))
    assert posting.outcome == "unchanged"
    assert [one["status"] for one in await desk.invoices("1")] == ["paid"]


async def test_unchanged_is_said_of_what_qonto_shows_now(desk: Desk) -> None:
    """A person turned the entry down, and the mirror does not know it yet."""
    created = await desk.posting(await desk.create("1"))
    await desk.patch(str(created.entry), status="rejected")
    posting = await desk.posting(await desk.create("1", bill(memo="only the memo changed")))
    assert posting.outcome == "unchanged"
    assert "turned down" in (posting.why or "")
    assert (await desk.entry("invoice", str(created.entry))).status == "rejected"
    assert created.verified_at is not None
    assert posting.verified_at is not None
    assert posting.verified_at > created.verified_at
    assert (await desk.calls())["GET /v2/supplier_invoices/{id}"] >= 2


async def test_an_entry_the_mirror_took_for_gone_still_stands(desk: Desk) -> None:
    created = await desk.posting(await desk.create("1"))
    buried = msgspec.structs.replace(await desk.entry("invoice", str(created.entry)), deleted=True, updated_at=now())
    assert await Entries(desk.bus).publish([buried]) == 1
    posting = await desk.posting(await desk.create("1", bill(memo="only the memo changed")))
    assert (posting.outcome, posting.why) == ("unchanged", "what the document shows has not changed")
    assert len(await desk.invoices("1")) == 1


async def test_what_cannot_be_read_back_is_not_verified_anew(desk: Desk) -> None:
    created = await desk.posting(await desk.create("1"))
    await desk.control.delete(f"/sandbox/companies/{desk.realm}/qonto/supplier_invoices/{created.entry}")
    posting = await desk.posting(await desk.create("1", bill(memo="only the memo changed")))
    assert (posting.outcome, posting.verified_at) == ("unchanged", created.verified_at)
    assert "gone" in (posting.why or "")


async def test_where_nothing_stands_nothing_is_claimed(desk: Desk) -> None:
    record, sequence = await desk.record("1", None, deleted=True)
    posting = await desk.posting(await desk.decide(record, sequence, "withdraw"))
    assert (posting.outcome, posting.entry, posting.verified_at) == ("unchanged", None, None)


async def test_a_changed_bill_is_superseded_and_the_old_entry_names_its_successor(desk: Desk) -> None:
    first = await desk.posting(await desk.create("1"))
    second = await desk.posting(await desk.create("1", bill(total="144.00")))
    assert (second.outcome, second.revision, second.replaced) == ("superseded", 2, first.entry)
    by_id = {one["id"]: one for one in await desk.invoices("1")}
    assert by_id[first.entry]["status"] == "rejected"
    assert by_id[second.entry]["file_name"] in by_id[first.entry]["declined_note"]
    assert [one["id"] for one in await desk.live("1")] == [second.entry]
    assert await desk.claim("invoice", str(first.entry)) is None
    unchanged = await desk.posting(await desk.create("1", bill(total="144.00", memo="only for us")))
    assert unchanged.outcome == "unchanged"


async def test_a_paid_entry_of_weirs_own_can_be_superseded(desk: Desk) -> None:
    first = await desk.posting(await desk.create("1", bill(balance=Decimal(0))))
    assert first.why == "marked as paid"
    second = await desk.posting(await desk.create("1", bill("F-101", balance=Decimal(0))))
    assert second.outcome == "superseded"
    assert [(one["id"], one["status"]) for one in await desk.live("1")] == [(second.entry, "paid")]


async def test_what_the_status_forbids_goes_to_a_person_before_anything_is_uploaded(desk: Desk) -> None:
    first = await desk.posting(await desk.create("1"))
    await desk.patch(str(first.entry), status="scheduled")
    await desk.create("1", bill(total="144.00"))
    assert "scheduled" in (await desk.asked("1", "status forbids")).why
    assert [one["id"] for one in await desk.invoices("1")] == [first.entry]


async def test_a_deleted_bill_takes_its_entry_with_it(desk: Desk) -> None:
    first = await desk.posting(await desk.create("1"))
    record, sequence = await desk.record("1", None, deleted=True)
    decision = await desk.decide(record, sequence, "withdraw")
    posting = await desk.posting(decision)
    assert (posting.outcome, posting.entry) == ("withdrawn", first.entry)
    assert await desk.live("1") == []
    await desk.redeliver(decision)
    reborn = await desk.posting(await desk.create("1", bill("F-101")))
    assert (reborn.outcome, reborn.revision) == ("created", 2)
    assert len(await _outcomes(desk, "1", "withdrawn")) == 1


async def test_a_deleted_bill_only_lets_go_of_a_foreign_entry(desk: Desk) -> None:
    await desk.mirror()
    foreign = await desk.foreign_invoice()
    record, sequence = await desk.record("1", bill())
    await desk.posting(await desk.decide(record, sequence, "link", entry=foreign.id, entry_kind="invoice"))
    record, sequence = await desk.record("1", None, deleted=True)
    posting = await desk.posting(await desk.decide(record, sequence, "withdraw"))
    assert posting.outcome == "withdrawn"
    assert await desk.claim("invoice", foreign.id) is None
    assert (await desk.entry("invoice", foreign.id)).live


async def test_a_stale_decision_is_refused(desk: Desk) -> None:
    old, old_sequence = await desk.record("1", bill())
    await desk.posting(await desk.create("1", bill(total="144.00")))
    posting = await desk.posting(await desk.decide(old, old_sequence))
    assert posting.outcome == "stale"
    assert len(await desk.invoices("1")) == 1


async def test_one_refused_document_fails_alone_and_can_be_retried(desk: Desk) -> None:
    await desk.fault("status", "/bulk$", status=400, body='{"errors":[{"code":"invalid","detail":"no such file"}]}')
    failed = await desk.create("1")
    posting = await desk.posting(failed)
    assert (posting.outcome, posting.field) == ("failed", "document")
    assert posting.fix
    notice = await desk.until(lambda: _notice(desk, "failed"))
    assert notice.stream == desk.bus.topology.decisions
    await desk.redeliver(failed)
    [created] = await desk.until(lambda: _outcomes(desk, "1", "created"))
    assert created.revision == 1
    assert len(await desk.invoices("1")) == 1


@pytest.mark.parametrize("tail", ["", "/file"])
async def test_an_item_s_error_is_found_by_its_key_and_the_others_go_on(desk: Desk, tail: str) -> None:
    """HTTP 200 with an error for one item and silence about the others."""
    pointer = f"/supplier_invoices/idempotency_key/{document_key(WS, desk.realm, '2', 1)}{tail}"
    error = {"code": "invalid", "detail": "File is too large or wrong content type", "source": {"pointer": pointer}}
    body = msgspec.json.encode({"supplier_invoices": [], "errors": [error]}).decode()
    await desk.fault("status", "/bulk$", status=200, body=body)
    batch = [(await desk.record(str(number), bill(f"F-{number}"))) for number in range(1, 4)]
    decisions = [await desk.decide(record, sequence) for record, sequence in batch]
    outcomes = [(await desk.posting(decision)).outcome for decision in decisions]
    assert outcomes == ["created", "failed", "created"]
    assert len(await desk.invoices()) == 2


async def _notice(desk: Desk, kind: str) -> Notice | None:
    return next((one for one in await desk.notices() if one.kind == kind), None)


async def _outcomes(desk: Desk, ident: str, outcome: str) -> list[Posting]:
    return [one for one in await desk.postings(ident) if one.outcome == outcome]
