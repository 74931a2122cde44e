"""Learning on a real broker: from a closed review to the memory of every scorer, and of no other workspace."""

import signal
from contextlib import AsyncExitStack
from datetime import timedelta
from decimal import Decimal
from typing import Any

import anyio
import msgspec

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.messages import Candidate, Entry, Lesson, Lessons, Notice, Record, Ref, ReviewClosed, ReviewRequested
from common.pace import Pace
from common.settings import Settings
from services.scorer.matching.lessons import KEPT
from services.scorer.matching.memory import ONCE, Memory
from services.scorer.matching.names import name
from services.scorer.view import View
from tests.scorer.cases import NOON, WS, bill, invoice, key, vendor
from tests.scorer.test_memory import ALIAS, IBAN, VENDOR, asked, shown
from tests.scorer.test_memory import closed as answer
from tests.scorer.test_service import decision, give, process, scoring

OTHER = "other-lock"


def alias(ident: str, **fields: Any) -> Entry:
    """An invoice of the supplier under the name that Qonto knows."""
    return invoice(ident, **{"counterparty": "Backwater Holdings", "iban": IBAN, **fields})


async def ask(bus: Bus, question: ReviewRequested, step: str = "requested") -> None:
    """Put a question where the scorer does."""
    name_ = subjects.review(bus.region, step, question.workspace, f"{question.realm}-{question.bill}")
    await bus.publish(name_, question, stream=bus.topology.reviews)


async def close(bus: Bus, closed: ReviewClosed, *, on: str | None = None) -> None:
    """Say what became of it where the poster does, or on the subject of another workspace."""
    name_ = subjects.review(bus.region, "closed", on or closed.workspace, f"{closed.realm}-{closed.bill}")
    await bus.publish(name_, closed, stream=bus.topology.reviews)


async def resolve(bus: Bus, number: int, *, workspace: str = WS, outcome: str = "linked", **more: Any) -> None:
    """A person links bill `number` to its entry of the same number, or does what `outcome` says."""
    ident = str(number)
    entry = alias(f"e{ident}", workspace=workspace)
    question = msgspec.structs.replace(
        asked(shown(entry), ident=ident, review=f"r{ident}", **more), workspace=workspace
    )
    await give(bus, entry)
    await ask(bus, question)
    linked = entry.id if outcome == "linked" else None
    when = NOON + timedelta(minutes=number)
    await close(bus, answer(outcome, linked, review=f"r{ident}", bill=ident, workspace=workspace, closed_at=when))


async def taught(bus: Bus) -> None:
    """Wait until every closed review was taken and settled."""
    names = bus.topology
    with anyio.fail_after(40):
        while True:
            info = await bus.js.consumer_info(names.reviews, names.lessons.name)
            if not info.num_pending and not info.num_ack_pending:
                return
            await anyio.sleep(0.05)


async def lessons(bus: Bus, workspace: str = WS, of: str = VENDOR) -> tuple[Lesson, ...]:
    """What was learned about a vendor."""
    kept = await Bucket(bus, "aliases", Lessons).get(f"{workspace}.{of}")
    return kept.value.lessons if kept is not None else ()


async def memory(bus: Bus, workspace: str = WS) -> Memory:
    """The memory of a scorer that opens the workspace now."""
    view = View(bus, workspace, Pace())
    try:
        assert await view.read(within=10)
        return view.books.memory
    finally:
        await view.close()


async def test_what_a_person_answered_is_in_the_memory_of_whoever_opens_the_workspace(
    bus: Bus, settings: Settings
) -> None:
    async with scoring(settings):
        await resolve(bus, 1)
        await taught(bus)
        assert (await memory(bus)).name_score(VENDOR, [ALIAS], 0.3) == ONCE
        await resolve(bus, 2)
        await taught(bus)
    found = await memory(bus)
    assert found.name_score(VENDOR, [ALIAS], 0.3) == 1.0
    assert found.identity(VENDOR) == {IBAN}
    assert [(one.review, one.by, one.entry) for one in await lessons(bus)] == [
        ("r1", "A. Tester", "invoice-e1"),
        ("r2", "A. Tester", "invoice-e2"),
    ]


async def test_an_open_view_learns_on(bus: Bus, settings: Settings) -> None:
    view = View(bus, WS, Pace())
    assert await view.read(within=10)
    async with scoring(settings):
        await resolve(bus, 1)
        await taught(bus)
    assert await view.read(within=10)
    before = view.books.memory.version
    await Bucket(bus, "aliases", Lessons).delete(f"{WS}.{VENDOR}", 1)
    assert await view.read(within=10)
    await view.close()
    assert before != view.books.memory.version == Memory().version


async def test_a_workspace_never_learns_from_another(bus: Bus, settings: Settings) -> None:
    """Both have a bill 1 of a vendor 7 in a company 9, and only one has answers."""
    async with scoring(settings):
        await resolve(bus, 1)
        await resolve(bus, 2)
        # An answer of one that comes on the subject of the other teaches neither of them.
        forged = answer("linked", "e3", review="r3", bill="3")
        await ask(bus, asked(shown(alias("e3")), ident="3", review="r3"))
        await close(bus, forged, on=OTHER)
        await taught(bus)
        assert [one.review for one in await lessons(bus)] == ["r1", "r2"]
        assert await lessons(bus, OTHER) == ()
        theirs = await memory(bus, OTHER)
        assert theirs.version == Memory().version
        assert theirs.name_score(VENDOR, [ALIAS], 0.3) == 0.3
        told = await bus.newest(bus.topology.notices, subjects.notice(bus.region, OTHER), Notice)
        assert told is not None
        assert "another bill" in told.message.why
        await resolve(bus, 1, workspace=OTHER, outcome="refused")
        await taught(bus)
    assert [one.entry for one in await lessons(bus, OTHER)] == [None]
    assert [one.review for one in await lessons(bus)] == ["r1", "r2"]


async def test_only_carried_out_answers_of_people_teach(bus: Bus, settings: Settings) -> None:
    await ask(bus, asked(shown(alias("e1"))))
    for outcome in ("superseded", "rejected"):
        await close(bus, answer(outcome, "e1"))
    await close(bus, answer("linked", "e1", by=None))
    async with scoring(settings):
        await taught(bus)
    assert await lessons(bus) == ()
    assert await bus.newest(bus.topology.notices, subjects.notice(bus.region, WS), Notice) is None


async def test_an_answer_to_an_older_or_a_refused_question_is_found(bus: Bus, settings: Settings) -> None:
    await ask(bus, asked(shown(alias("e1")), review="older"))
    await ask(bus, asked(shown(alias("e1")), review="newer"))
    await ask(bus, asked(shown(alias("e2")), ident="2", review="refused"), "refused")
    await close(bus, answer("created", "made", review="older"))
    await close(bus, answer("created", "made", review="refused", bill="2"))
    async with scoring(settings):
        await taught(bus)
    assert {one.review for one in await lessons(bus)} == {"older", "refused"}


async def test_an_answer_to_nothing_is_no_silent_loss(bus: Bus, settings: Settings) -> None:
    await close(bus, answer("linked", "e1", review="unheard-of"))
    await resolve(bus, 2)
    async with scoring(settings):
        await taught(bus)
    told = await bus.newest(bus.topology.notices, subjects.notice(bus.region, WS), Notice)
    assert told is not None
    assert (told.message.kind, "never requested" in told.message.why) == ("failed", True)
    assert [one.review for one in await lessons(bus)] == ["r2"]


async def test_a_closed_review_that_comes_again_teaches_once(bus: Bus, settings: Settings) -> None:
    await resolve(bus, 1)
    closed = answer("linked", "e1", closed_at=NOON + timedelta(minutes=1))
    async with scoring(settings):
        await taught(bus)
        first = await Bucket(bus, "aliases", Lessons).get(f"{WS}.{VENDOR}")
        await give(bus, alias("e1", counterparty="Renamed Since"))
        for _ in range(3):
            await close(bus, closed)
        await taught(bus)
    assert await Bucket(bus, "aliases", Lessons).get(f"{WS}.{VENDOR}") == first


async def test_killed_learners_lose_and_double_nothing(bus: Bus, settings: Settings) -> None:
    """Three vendors, and more learners than are good for one another."""
    count = 150
    for number in range(count):
        await resolve(bus, number, vendor=Ref(id=str(number % 3), name="Sluice & Sons SARL"))
    with process(settings) as first:
        with anyio.fail_after(30):
            while not await bus.newest_sequence(f"KV_{bus.topology.bucket('aliases')}", "$KV.>"):
                assert first.poll() is None
                await anyio.sleep(0.01)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(scoring(settings))
        await taught(bus)
    for number in range(3):
        found = [one.review for one in await lessons(bus, of=f"9-{number}")]
        assert found == [f"r{one}" for one in range(number, count, 3)][-KEPT:]


async def test_an_alias_of_two_confirmations_links_what_went_to_review_before(bus: Bus, settings: Settings) -> None:
    """The supplier bills as one company and is known to Qonto, without invoice numbers, as quite another."""

    async def arrives(number: int) -> Candidate | None:
        total = Decimal(700 + 100 * number)
        reached = await give(bus, alias(f"e{number}", amount=total, number=None))
        record: Record = bill(str(number), number=f"F-{number}", total=total)
        await give(bus, msgspec.structs.replace(record, entries_seq=reached))
        found = await decision(bus, str(number))
        actions.append(found.action)
        if found.action in {"review", "refuse"}:
            question = await bus.newest(
                bus.topology.reviews, f"{bus.region}.review.requested.{WS}.{key(str(number))}", ReviewRequested
            )
            assert question is not None
            closed = answer("linked", f"e{number}", review=question.message.review, bill=str(number))
            await close(bus, msgspec.structs.replace(closed, closed_at=NOON + timedelta(minutes=number)))
            await taught(bus)
        return found.candidates[0] if found.candidates else None

    actions: list[str] = []
    await give(bus, vendor())
    await Bucket(bus, "aliases", Lessons).create(f"{OTHER}.{VENDOR}", Lessons())
    async with scoring(settings):
        # The first two answers are a person's pick by hand, as for a bill whose candidates nobody was sure of.
        await resolve(bus, 91)
        await taught(bus)
        await arrives(1)
        best = await arrives(2)
    assert actions == ["review", "link"]
    assert best is not None
    assert best.fields["name"].score == 1.0
    assert name("Backwater Holdings").text == ALIAS.text
