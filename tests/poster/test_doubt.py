"""Lost answers, dead workers, two workers: one live entry, or a person is asked; never two."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from common.buckets import Bucket
from common.messages import Action, ReviewResolved, now
from services.poster.document import File, shown
from services.poster.job import Job
from services.poster.ledger import KEY_HELD, Ledger, Page, State, document_key
from services.poster.limits import Pace
from services.poster.records import Records
from tests.conftest import environment
from tests.poster.desk import WS, Desk, bill, poster

MODES = ("a", "b", "c", "d")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.poster.creating.SETTLE", (0.1, 0.2, 0.4))


async def late_arrival(desk: Desk, file_name: str, revision: int = 1) -> httpx.Response:
    """The same upload again, as a request that was long on its way."""
    key = document_key(WS, desk.realm, "1", revision)
    files: list[tuple[str, Any]] = [
        ("supplier_invoices[][file]", (file_name, b"%PDF-late", "application/pdf")),
        ("supplier_invoices[][idempotency_key]", (None, key)),
    ]
    secret = f"{desk.company['slug']}:{desk.company['secret_key']}"
    async with httpx.AsyncClient(base_url=desk.settings.qonto_api_url) as client:
        return await client.post("/v2/supplier_invoices/bulk", files=files, headers={"Authorization": secret})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", ["drop_after", "html502", "truncate"])
async def test_an_answer_lost_after_the_effect_is_found_again(desk: Desk, mode: str, fault: str) -> None:
    await desk.switch(replay=mode)
    await desk.fault(fault, "/bulk$", after=True)
    posting = await desk.posting(await desk.create("1"))
    assert posting.outcome == "created"
    assert [one["id"] for one in await desk.invoices("1")] == [posting.entry]
    assert (await desk.calls())["POST /v2/supplier_invoices/bulk"] == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_request_that_never_arrived_is_sent_again_under_its_key(desk: Desk, mode: str) -> None:
    await desk.switch(replay=mode)
    await desk.fault("drop_before", "/bulk$")
    posting = await desk.posting(await desk.create("1"))
    assert posting.outcome == "created"
    [invoice] = await desk.invoices("1")
    await late_arrival(desk, invoice["file_name"])
    assert [one["id"] for one in await desk.invoices("1")] == [posting.entry]


@pytest.mark.parametrize("mode", MODES)
async def test_many_lost_answers_leave_one_entry_per_bill(desk: Desk, mode: str) -> None:
    await desk.switch(replay=mode)
    await desk.fault("drop_after", "/bulk$", times=2)
    await desk.fault("html502", "/supplier_invoices$", method="GET", times=2)
    decisions = [await desk.create(str(number), bill(f"F-{number}")) for number in range(1, 26)]
    for decision in decisions:
        assert (await desk.posting(decision)).outcome == "created"
    assert len(await desk.invoices()) == 25


async def left_in_doubt(desk: Desk, age: timedelta) -> None:
    """The page of a worker that died with an upload under way."""
    record, sequence = await desk.record("1", bill())
    page = Page(
        state="sent",
        revision=1,
        epoch=1,
        owner="dead",
        deadline=now() - timedelta(seconds=1),
        record_seq=sequence,
        record_hash=record.content_hash,
        decision="earlier",
        drafted=shown(record),
        key=document_key(WS, desk.realm, "1", 1),
        file_name=f"QBO-{desk.realm}-1-r1__Imaginary-Quarry-Ltd-F-100.pdf",
        sent_at=now() - age,
    )
    await Bucket(desk.bus, "idempotency", Page).create(Ledger.key(WS, desk.realm, "1"), page)
    await desk.decide(record, sequence)


async def test_past_the_life_of_the_key_a_person_is_asked_and_nothing_is_sent(desk: Desk) -> None:
    await left_in_doubt(desk, timedelta(minutes=26))
    review = await desk.asked("1", "uncertain")
    kept = await desk.page("1")
    assert kept is not None
    assert kept.value.state == "uncertain"
    assert await desk.invoices("1") == []
    assert "POST /v2/supplier_invoices/bulk" not in await desk.calls()
    assert {posting.outcome for posting in await desk.postings("1")} == {"uncertain"}
    await desk.answer("1", ReviewResolved(review=review.review, action="create", by="A. Tester"))
    assert (await desk.closed("1", review.review)).outcome == "created"
    assert [one["file_name"].split("__")[0] for one in await desk.live("1")] == [f"QBO-{desk.realm}-1-r2"]


async def test_a_key_whose_life_ends_between_the_look_and_the_upload_is_not_sent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document takes longer to fetch than the key is surely held."""
    held = KEY_HELD.total_seconds()
    plain, slow = Records.file, []

    async def file(self: Records, job: Job) -> File:
        slow.append(job)
        while job.page.sent_at is not None and now() < job.page.sent_at + timedelta(seconds=held):
            await anyio.sleep(0.1)
        return await plain(self, job)

    monkeypatch.setattr(Records, "file", file)
    await left_in_doubt(desk, timedelta(seconds=held - 8))
    await desk.asked("1", "uncertain")
    assert slow, "the upload was never begun"
    assert "POST /v2/supplier_invoices/bulk" not in await desk.calls()


async def test_a_poster_whose_clock_is_wrong_does_not_believe_in_a_key_for_longer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ten minutes ahead: by its own clock the next poster would take the key for known when it is forgotten."""
    for module in ("creating", "ledger"):
        monkeypatch.setattr(f"services.poster.{module}.now", lambda: now() + timedelta(minutes=10), raising=False)
    begun = now()
    await desk.fault("drop_before", "/bulk$", times=3)
    await desk.create("1")

    async def sent() -> Page | None:
        kept = await desk.page("1")
        return kept.value if kept is not None and kept.value.sent_at is not None else None

    page = await desk.until(sent)
    assert page.sent_at is not None
    assert begun - timedelta(seconds=5) < page.sent_at < now() + timedelta(seconds=5)
    assert page.deadline < now() + timedelta(minutes=1)


async def test_what_waits_for_its_turn_for_too_long_is_not_sent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """By then another may have settled it, and Qonto have forgotten the key."""
    wait, slow = Pace.wait, [True]

    async def slowly(self: Pace) -> None:
        kept = await desk.page("1")
        if slow and kept is not None and kept.value.state == "sent":
            slow.clear()
            await anyio.sleep(0.5)
        await wait(self)

    monkeypatch.setattr(Pace, "wait", slowly)
    monkeypatch.setattr("services.poster.creating.PROMPT", 0.3, raising=False)
    decision = await desk.create("1")

    async def taken_back() -> bool:
        kept = await desk.page("1")
        return not slow and kept is not None and kept.value.state == "claimed"

    await desk.until(taken_back)
    assert await desk.invoices("1") == []
    assert (await desk.posting(decision)).outcome == "created"


async def test_what_arrived_late_is_adopted_even_when_a_person_says_create(desk: Desk) -> None:
    await left_in_doubt(desk, timedelta(minutes=26))
    review = await desk.asked("1", "uncertain")
    await late_arrival(desk, f"QBO-{desk.realm}-1-r1__Imaginary-Quarry-Ltd-F-100.pdf")
    await desk.answer("1", ReviewResolved(review=review.review, action="create", by="A. Tester"))
    assert (await desk.closed("1", review.review)).outcome == "created"
    assert len(await desk.live("1")) == 1


async def test_a_look_up_that_finds_no_page_is_not_proof_that_nothing_arrived(desk: Desk) -> None:
    """An upload without an answer, one HTTP 404 for the look-up after it, and the upload arrives after all."""
    await desk.fault("drop_before", "/bulk$")
    await desk.fault("status", "/v2/supplier_invoices$", method="GET", status=404, skip=1, body="{}")
    posting = await desk.posting(await desk.create("1"))
    kept = await desk.page("1")
    assert kept is not None
    await late_arrival(desk, str(kept.value.file_name).replace("-r2__", "-r1__"))
    assert [one["id"] for one in await desk.live("1")] == [posting.entry]


@pytest.mark.parametrize("action", ["review", "refuse"])
async def test_a_bill_that_waits_for_a_person_is_not_uploaded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    """The doubt a create left behind is cleared up by looking; the new version is nobody's to upload yet."""
    monkeypatch.setattr("services.poster.creating.SETTLE", (0.1,))
    monkeypatch.setattr("services.poster.creating.LANDING", timedelta(seconds=1))
    await desk.fault("drop_before", "/bulk$", times=3)
    await desk.create("1")

    async def state() -> State | None:
        kept = await desk.page("1")
        return kept.value.state if kept is not None else None

    async def sent_in_vain() -> bool:
        return (await desk.calls()).get("POST /v2/supplier_invoices/bulk", 0) == 3 and await state() == "sent"

    await desk.until(sent_in_vain)
    record, sequence = await desk.record("1", bill(total="9999.00"))
    await desk.decide(record, sequence, action)

    async def over() -> bool:
        return await state() not in {"claimed", "sent"}

    await desk.until(over)
    assert await state() == "withdrawn"
    assert await desk.invoices("1") == []


@pytest.mark.parametrize("action", ["review", "refuse"])
async def test_what_a_person_was_asked_about_stays_theirs(desk: Desk, action: Action) -> None:
    await left_in_doubt(desk, timedelta(minutes=26))
    first = await desk.asked("1", "uncertain")
    record, sequence = await desk.record("1", bill(total="9999.00"))
    decision = await desk.decide(record, sequence, action)
    assert (await desk.posting(decision)).outcome == "uncertain"

    async def asked_again() -> bool:
        return (await desk.asked("1", "uncertain")).review != first.review

    await desk.until(asked_again)
    kept = await desk.page("1")
    assert kept is not None
    assert kept.value.state == "uncertain"
    assert await desk.invoices("1") == []


async def test_an_adopted_entry_of_another_revision_is_not_taken_for_the_bill_of_today(desk: Desk) -> None:
    """The ledger is lost while Qonto shows the second revision; a third version of the bill comes."""
    await desk.posting(await desk.create("1"))
    second = await desk.posting(await desk.create("1", bill(total="144.00")))
    kept = await desk.page("1")
    assert kept is not None
    await Bucket(desk.bus, "idempotency", Page).delete(kept.key, kept.revision)
    third = await desk.posting(await desk.create("1", bill(total="168.00")))
    assert (third.outcome, third.revision, third.replaced) == ("superseded", 3, second.entry)
    assert [one["id"] for one in await desk.live("1")] == [third.entry]


async def test_a_lost_ledger_makes_no_second_entry(desk: Desk) -> None:
    first = await desk.posting(await desk.create("1"))
    kept = await desk.page("1")
    assert kept is not None
    await Bucket(desk.bus, "idempotency", Page).delete(kept.key, kept.revision)
    second = await desk.posting(await desk.create("1"))
    assert (second.outcome, second.entry) == ("created", first.entry)
    assert len(await desk.invoices("1")) == 1


async def test_two_posters_have_one_effect(desk: Desk) -> None:
    async with poster(desk.settings):
        decisions = [await desk.create(str(number), bill(f"F-{number}")) for number in range(1, 11)]
        for _ in range(3):
            for decision in decisions:
                await desk.redeliver(decision)
        for decision in decisions:
            assert (await desk.posting(decision, within=60)).outcome == "created"
        await desk.posting(await desk.create("99", bill("F-99")), within=60)
    assert len(await desk.invoices()) == 11


async def test_a_killed_poster_is_resumed_by_the_next(idle: Desk, tmp_path: Path) -> None:
    """By the broker's and the ledger's own times; `test_killed.py` has no patience and kills everywhere."""
    log = tmp_path / "poster.log"
    settings = idle.settings
    variables = environment(
        settings,
        WEIR_QONTO_API_URL=settings.qonto_api_url,
        WEIR_QONTO_OAUTH_URL=settings.qonto_oauth_url,
        WEIR_QONTO_CLIENT_ID=settings.required("qonto_client_id"),
        WEIR_QONTO_CLIENT_SECRET=settings.required("qonto_client_secret"),
        WEIR_MASTER_KEY=settings.required("master_key"),
    )
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.poster", env=variables, stderr=output
        )
    try:
        await idle.until(lambda: _logged(log, "service.ready"))
        await idle.connect()
        await idle.fault("drop_after", "/bulk$", times=9)
        decision = await idle.create("1")

        async def under_way() -> bool:
            kept = await idle.page("1")
            return kept is not None and kept.value.state == "sent" and bool(await idle.invoices("1"))

        await idle.until(under_way)
    finally:
        process.kill()
        await process.wait()
    await idle.control.delete("/sandbox/faults")
    begun = anyio.current_time()
    async with poster(settings):
        posting = await idle.posting(decision, within=60)
    assert anyio.current_time() - begun < 40
    assert posting.outcome == "created"
    assert [one["id"] for one in await idle.invoices("1")] == [posting.entry]


async def _logged(log: Path, event: str) -> bool:
    return event in await asyncio.to_thread(log.read_text)
