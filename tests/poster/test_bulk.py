"""Uploads in company: packed, refused and unanswered ones told apart, and one bad file holds nobody else."""

import asyncio
import itertools
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import subjects
from common.buckets import Kept
from common.messages import Decision
from services.poster.creating import Draft, _chunks
from services.poster.ledger import Page
from services.poster.qonto import BULK_BYTES, BULK_FILES
from tests.conftest import environment
from tests.poster.desk import WS, Desk, bill, poster

PAGE = Page(
    state="claimed",
    revision=1,
    epoch=1,
    owner="o",
    deadline=datetime(2026, 3, 1, tzinfo=UTC),
    record_seq=1,
    record_hash="h",
    decision="d",
)


@given(st.lists(st.integers(1, 10_000_000), max_size=120), st.sampled_from((1, 5, BULK_FILES)))
def test_uploads_are_packed_within_what_qonto_takes(sizes: list[int], most: int) -> None:
    drafts = [Draft(origin=str(n), kept=Kept("k", PAGE, 1), size=size) for n, size in enumerate(sizes)]
    chunks = _chunks(drafts, most)
    assert sorted(draft.origin for chunk in chunks for draft in chunk) == sorted(draft.origin for draft in drafts)
    for chunk in chunks:
        assert 0 < len(chunk) <= most
        assert sum(draft.size for draft in chunk) <= BULK_BYTES
    # First fit: no two uploads could have been one.
    for first, second in itertools.pairwise(chunks):
        apart = len(first) + len(second) > most or sum(draft.size for draft in first + second) > BULK_BYTES
        assert apart


async def backlog(idle: Desk, count: int) -> list[Decision]:
    """Decisions that wait for a poster, so that they come as one batch."""
    async with poster(idle.settings):
        await idle.connect()
        await idle.mirror()
    return [await idle.create(str(number), bill(f"F-{number}")) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    "status, body",
    [
        (200, {"supplier_invoices": [], "errors": [{"code": "limit_reached", "detail": "too many", "source": {}}]}),
        (200, {"supplier_invoices": [], "errors": [{"code": "required", "detail": "idempotency_key is missing"}]}),
        (413, {"errors": [{"code": "invalid", "detail": "The request is larger than 15 MB"}]}),
        (500, {}),
        (429, {}),
    ],
)
async def test_an_upload_refused_as_a_whole_goes_again_in_parts(
    idle: Desk, monkeypatch: pytest.MonkeyPatch, status: int, body: dict[str, object]
) -> None:
    monkeypatch.setattr("services.poster.creating.SETTLE", (0.05, 0.1))
    decisions = await backlog(idle, 6)
    await idle.fault("status", "/bulk$", status=status, body=msgspec.json.encode(body).decode())
    async with poster(idle.settings):
        outcomes = [(await idle.posting(decision)).outcome for decision in decisions]
    assert outcomes == ["created"] * 6
    assert len(await idle.invoices()) == 6


async def test_a_document_that_has_the_whole_upload_refused_fails_alone(idle: Desk) -> None:
    """Refused are the four, then the half it is in, then it alone."""
    decisions = await backlog(idle, 4)
    await idle.fault("status", "/bulk$", status=400, times=3, body='{"errors":[{"code":"invalid","detail":"bad"}]}')
    async with poster(idle.settings):
        outcomes = [(await idle.posting(decision)).outcome for decision in decisions]
    assert sorted(outcomes) == ["created", "created", "created", "failed"]
    assert len(await idle.invoices()) == 3


async def test_a_document_qonto_stumbles_over_does_not_hold_the_others(
    idle: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every upload it is part of is answered by HTTP 500: the whole, the five, and it alone."""
    monkeypatch.setattr("services.poster.creating.SETTLE", (0.05, 0.1))
    decisions = await backlog(idle, 8)
    await idle.fault("status", "/bulk$", status=500, times=2)
    await idle.fault("status", "/bulk$", status=500, skip=1, times=1)
    async with poster(idle.settings):
        outcomes = [(await idle.posting(decision)).outcome for decision in decisions]
    assert outcomes == ["created"] * 8
    assert len(await idle.invoices()) == 8


async def test_the_same_bill_a_thousand_times_is_one_entry_in_each_company(idle: Desk) -> None:
    """Re-imported, rewound, redelivered; and a second company of the workspace has a bill with the same id."""
    async with poster(idle.settings):
        await idle.connect()
        await idle.mirror()
    home, other = idle.realm, f"{idle.realm}9"
    for realm in (home, other):
        idle.realm = realm
        record, sequence = await idle.record("1", bill())
        first = await idle.decide(record, sequence)
        page = []
        for n in range(499):
            if n % 10 == 0:  # the puller published the very same version again
                record, sequence = await idle.record("1", bill())
            again = msgspec.structs.replace(
                first, id=f"{realm}-{n}", record_seq=sequence, record_hash=record.content_hash
            )
            page.append((subjects.decision(idle.bus.region, WS, again.key), again))
        await idle.bus.publish_page(idle.bus.topology.decisions, page)
    async with poster(idle.settings), poster(idle.settings):
        for realm in (home, other):
            idle.realm = realm
            await idle.posting(f"{realm}-498", bill="1", within=120)

        async def worked_off() -> bool:
            info = await idle.bus.js.consumer_info(idle.bus.topology.decisions, idle.bus.topology.poster.name)
            return not info.num_pending and not info.num_ack_pending

        await idle.until(worked_off, within=120)
    idle.realm = home
    names = sorted(one["file_name"].split("__")[0] for one in await idle.all_invoices())
    assert names == sorted([f"QBO-{home}-1-r1", f"QBO-{other}-1-r1"])


async def test_two_processes_on_the_same_records_have_one_effect(idle: Desk, tmp_path: Path) -> None:
    decisions = await backlog(idle, 12)
    settings = idle.settings
    variables = environment(
        settings,
        WEIR_QONTO_API_URL=settings.qonto_api_url,
        WEIR_QONTO_OAUTH_URL=settings.qonto_oauth_url,
        WEIR_QONTO_CLIENT_ID=settings.required("qonto_client_id"),
        WEIR_QONTO_CLIENT_SECRET=settings.required("qonto_client_secret"),
        WEIR_MASTER_KEY=settings.required("master_key"),
    )
    with (tmp_path / "posters.log").open("wb") as output:
        processes = [
            await asyncio.create_subprocess_exec(sys.executable, "-m", "services.poster", env=variables, stderr=output)
            for _ in range(2)
        ]
        try:
            for _ in range(4):
                for decision in decisions:
                    await idle.redeliver(decision)
            for decision in decisions:
                assert (await idle.posting(decision, within=60)).outcome == "created"
        finally:
            for process in processes:
                process.kill()
                await process.wait()
    assert sorted(one["file_name"].split("-r")[0] for one in await idle.invoices()) == sorted(
        f"QBO-{idle.realm}-{number}" for number in range(1, 13)
    )
