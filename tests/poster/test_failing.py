"""What cannot be handled stands in one list, is tried again on request, and leaves it when its record succeeds."""

import hashlib
import sys
from pathlib import Path

import anyio
import msgspec
import pytest

from common import subjects
from common.buckets import Documents
from common.bus import Bus
from common.failures import Failures
from common.messages import Document, Failure, Refusal, Retried, Retry
from tests.cli.test_errors import weir
from tests.conftest import environment
from tests.poster.desk import WS, Desk, bill, pdf_saying, poster

REJECTED = '{"errors":[{"code":"invalid","detail":"no such file"}]}'


async def standing(desk: Desk, count: int = 1) -> list[Failure]:
    """The failures of the workspace once there are so many."""

    async def found() -> list[Failure] | None:
        there = await Failures(desk.bus).standing(WS)
        return there if len(there) == count else None

    return await desk.until(found)


async def gone(desk: Desk) -> None:
    """Wait until nothing stands in the list."""

    async def none() -> bool:
        return not await Failures(desk.bus).standing(WS)

    await desk.until(none)


async def retried(desk: Desk, failure: Failure) -> Failure:
    """Try it again over the broker, as a console does."""
    request = Retry(workspace=WS, id=failure.id, by="A. Tester")
    answer = await desk.bus.call(subjects.retry(desk.bus.region, failure.stage), request, timeout=60)
    assert isinstance(answer, Retried), answer
    return answer.failure


async def test_a_rejected_document_is_tried_again_after_the_fix(desk: Desk) -> None:
    await desk.fault("status", "/bulk$", status=400, body=REJECTED)
    await desk.create("1")
    [failure] = await standing(desk)
    assert (failure.id, failure.field, failure.attempts) == (f"poster.{desk.realm}-1", "document", 1)
    assert failure.fix
    assert "no such file" in failure.why
    await desk.fault("status", "/bulk$", status=400, body=REJECTED)
    still = await retried(desk, failure)
    assert (still.resolved_at, still.attempts, still.first_seen) == (None, 2, failure.first_seen)
    over = await retried(desk, failure)
    assert over.resolution == "tried again by A. Tester"
    assert await retried(desk, failure) == over  # once more is no more
    assert len(await desk.invoices("1")) == 1
    assert await Failures(desk.bus).standing(WS) == []
    kept = await Failures(desk.bus).get(WS, failure.id)
    assert kept is not None
    assert kept.message == over


async def test_two_who_try_at_once_have_one_effect(desk: Desk) -> None:
    await desk.fault("status", "/bulk$", status=400, body=REJECTED)
    await desk.create("1")
    [failure] = await standing(desk)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(retried, desk, failure)
    assert len(await desk.invoices("1")) == 1
    await gone(desk)


async def test_a_record_that_succeeds_by_itself_leaves_the_list(desk: Desk) -> None:
    await desk.fault("status", "/bulk$", status=400, body=REJECTED)
    await desk.create("1")
    [failure] = await standing(desk)
    posted = await desk.posting(await desk.create("1", bill(total="144.00")))
    assert posted.outcome == "created"
    await gone(desk)
    over = await retried(desk, failure)
    assert over.resolution == "posted: created"
    assert len(await desk.invoices("1")) == 1


async def test_a_failure_that_a_review_took_over_leaves_the_list(desk: Desk) -> None:
    await desk.fault("status", "/bulk$", status=400, body=REJECTED)
    await desk.create("1")
    await standing(desk)
    record, sequence = await desk.record("1", bill(total="144.00"))
    await desk.decide(record, sequence, "review")
    await gone(desk)


@pytest.mark.parametrize(
    "body",
    [
        b'["no","decision"]',
        b'{"type":"decision.9","id":"x"}',
        b'{"type":"decision.1"}',
        b'{"type":"decision.1","id":"\xff"}',
        b'{"type":"decision.1","unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=["another shape", "another type", "too little", "no UTF-8", "too deep"],
)
async def test_what_cannot_be_read_ends_in_the_list_and_holds_up_nothing(desk: Desk, body: bytes) -> None:
    name = subjects.decision(desk.bus.region, WS, f"{desk.realm}-1")
    await desk.bus.js.publish(name, body, stream=desk.bus.topology.decisions)
    assert (await desk.posting(await desk.create("2"))).outcome == "created"
    [failure] = await standing(desk)
    assert "cannot be read" in failure.why
    still = await retried(desk, failure)
    assert (still.resolved_at, still.attempts) == (None, 2)
    assert (await desk.posting(await desk.create("1"))).outcome == "created"
    await gone(desk)


async def test_what_waits_for_long_stands_in_the_list_while_it_is_tried(
    bus: Bus, idle: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the bill is not in the store; it comes after all."""
    monkeypatch.setattr("services.poster.app.TOLD_AT", 2)
    data = pdf_saying("Invoice F-100")
    file = Document(
        sha256=hashlib.sha256(data).hexdigest(),
        name="a.pdf",
        content_type="application/pdf",
        size=len(data),
        attachable="1",
    )
    async with poster(idle.settings):
        await idle.connect()
        decision = await idle.create("1", bill(), documents=(file,))
        [failure] = await standing(idle)
        assert "not in the store" in failure.why
        await Documents(bus).put(data)
        assert (await idle.posting(decision)).outcome == "created"
        await gone(idle)


async def test_a_decision_on_a_record_nobody_can_read_ends_in_the_list(desk: Desk) -> None:
    record, sequence = await desk.record("1", bill())
    name = subjects.record(desk.bus.region, WS, "bill", record.key)
    await desk.bus.publish(name, {"type": "record.9"}, stream=desk.bus.topology.records)
    await desk.decide(record, sequence)
    assert (await desk.posting(await desk.create("2", bill("F-2")))).outcome == "created"
    [failure] = await standing(desk)
    assert (failure.field, "cannot be read" in failure.why) == ("record", True)


async def test_what_names_no_workspace_is_not_dropped(desk: Desk) -> None:
    name = f"{desk.bus.region}.decision.Nobody.9-1"
    await desk.bus.publish(name, ["no", "decision"], stream=desk.bus.topology.decisions)

    async def found() -> list[Failure]:
        return await Failures(desk.bus).standing(subjects.NOBODY)

    [failure] = await desk.until(found)
    assert failure.subject == name


async def test_what_never_failed_is_not_tried_again(desk: Desk) -> None:
    answer = await desk.bus.call(
        subjects.retry(desk.bus.region, "poster"), Retry(workspace=WS, id="poster.9-9", by="A. Tester")
    )
    assert isinstance(answer, Refusal)
    assert "no failure" in answer.why


async def test_the_command_line(desk: Desk) -> None:
    async def run(*words: str) -> tuple[int, str]:
        folder, variables = Path(desk.settings.data_dir), environment(desk.settings, COLUMNS="100")
        ended = await anyio.to_thread.run_sync(lambda: weir("failures", *words, cwd=folder, variables=variables))
        sys.stdout.write(ended.stdout + ended.stderr)
        return ended.returncode, ended.stdout + ended.stderr

    for number in ("1", "2", "3"):
        await desk.fault("status", "/bulk$", status=400, body=REJECTED)
        await desk.create(number, bill(f"F-{number}"))
        await standing(desk, int(number))
    code, text = await run("ls")
    assert code == 0
    assert "3 failures" in text
    assert "no such file" in text
    first = f"poster.{desk.realm}-1"
    code, text = await run("show", WS, first)
    assert f"weir failures retry {WS} {first}" in text
    code, text = await run("retry", WS, first, "--by", "A. Tester")
    assert (code, "over, tried again by A. Tester" in text) == (0, True)
    code, text = await run("retry-all", WS, "--limit", "1")
    assert (code, "1 of 1 succeeded, 1 were not tried" in text) == (0, True)
    code, text = await run("ls", WS, "--json")
    assert (code, [one["id"] for one in msgspec.json.decode(text)["failures"]]) == (0, [f"poster.{desk.realm}-3"])
    assert len(await desk.invoices()) == 2
