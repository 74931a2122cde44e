"""Several scorers, killed and frozen ones, views that come and go: each record version is decided once, in order."""

import random
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import anyio
import msgspec
import pytest

from common import subjects, topology
from common.bus import Bus
from common.delivery import Delivery
from common.errors import Conflict
from common.messages import Decision, Entry, Record, ReviewClosed, ReviewRequested
from common.settings import Settings
from services.scorer.placing import place
from services.scorer.scoring import Head, Scoring
from services.scorer.view import View
from tests.scorer.cases import WS, bill, invoice, key, vendor
from tests.scorer.test_service import decision, everything, give, process, scoring, settled

OTHER = "fictional-mill"


def company(count: int, content: str = "h") -> tuple[list[Record], list[Entry]]:
    """Bills to link, to create, to ask about and to refuse, in turn."""
    entries, records = [], []
    for n in range(count):
        number, total = f"F-{n:05}", Decimal(100 + n)
        match n % 4:
            case 0:
                entries.append(invoice(f"e{n}", number=number, amount=total))
                records.append(bill(str(n), number=number, total=total, content=content))
            case 1:
                records.append(bill(str(n), number=number, total=total, content=content))
            case 2:
                records.append(bill(str(n), number=number, total=total, content=content, lines=()))
            case _:
                fields: dict[str, Any] = {"number": None, "issued_on": None, "due_on": None, "lines": ()}
                records.append(bill(str(n), total=Decimal(0), content=content, **fields))
    return records, entries


async def publish(bus: Bus, records: Sequence[Record], entries: Sequence[Entry] = ()) -> None:
    """Entries first, as pages."""
    names = bus.topology
    if entries:
        page = [(subjects.entry(bus.region, one.workspace, one.kind, one.id), one) for one in entries]
        await bus.publish_page(names.entries, page)
    listed = [(subjects.record(bus.region, one.workspace, one.kind, one.key), one) for one in records]
    for start in range(0, len(listed), topology.BATCH_LIMIT):
        await bus.publish_page(names.records, listed[start : start + topology.BATCH_LIMIT])


async def delivered(bus: Bus, count: int) -> list[Delivery[Head]]:
    """Take bills from the durable as a scorer does."""
    names = bus.topology
    reader = await bus.js.pull_subscribe_bind(names.scorer.name, names.records)
    try:
        messages = await reader.fetch(count, timeout=10)
    finally:
        await reader.unsubscribe()
    return [
        Delivery(
            message=msgspec.json.decode(raw.data, type=Head),
            subject=raw.subject,
            sequence=raw.metadata.sequence.stream,
            attempt=raw.metadata.num_delivered or 1,
            consumer=names.scorer,
            bus=bus,
            raw=raw,
        )
        for raw in messages
    ]


async def waiting(bus: Bus, count: int) -> None:
    """Wait until so many scorers stand in line for a bill."""
    with anyio.fail_after(40):
        while (await bus.js.consumer_info(bus.topology.records, "scorer")).num_waiting != count:
            await anyio.sleep(0.05)


def halves(records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
    """What is published at once, and what follows when that is decided: decisions know of the bills before them."""
    middle = len(records) // 2
    return records[:middle], records[middle:]


async def undisturbed(settings: Settings, records: Sequence[Record], entries: Sequence[Entry]) -> dict[str, str]:
    """What a single scorer decides that nothing happens to: decision ids by bill."""
    alone = settings.model_copy(update={"region": f"z{settings.region[1:]}"})
    bus = Bus(alone, "test")
    await bus.connect()
    await topology.ensure(bus.js, bus.topology)
    await give(bus, vendor())
    await publish(bus, [], entries)
    async with scoring(alone):
        for some in halves(records):
            await publish(bus, some)
            await settled(bus)
    found = await everything(bus, bus.topology.decisions, Decision)
    await bus.close()
    assert len(found) == len(records)
    return {one.bill: one.id for one in found}


async def in_order(bus: Bus) -> list[Decision]:
    """All decisions, after checking that those on one bill are about ever newer versions of it."""
    found: list[Decision] = await everything(bus, bus.topology.decisions, Decision)
    newest: dict[str, int] = {}
    for one in found:
        assert one.record_seq > newest.get(one.key, 0), f"{one.key}: {one.record_seq} after {newest[one.key]}"
        newest[one.key] = one.record_seq
    return found


async def decided(bus: Bus, goal: int, dice: random.Random) -> None:
    """Wait until so many decisions stand, and a moment more or less."""
    with anyio.fail_after(40):
        while (await bus.js.stream_info(bus.topology.decisions)).state.messages < goal:
            await anyio.sleep(dice.random() / 50)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
async def test_scorers_that_join_leave_and_die_lose_and_double_nothing(bus: Bus, settings: Settings, seed: int) -> None:
    dice = random.Random(seed)
    records, entries = company(320)
    before, after = halves(records)
    expected = await undisturbed(settings, records, entries)
    names = bus.topology
    await give(bus, vendor())
    with ExitStack() as stack:
        first, second = (stack.enter_context(process(settings)) for _ in range(2))
        await waiting(bus, 2)
        # What a killed scorer had in hand comes again soon, and what a slow one has as well.
        await bus.js.add_consumer(names.records, names.scorer.config().evolve(ack_wait=1.5))
        third, _fourth = (stack.enter_context(process(settings)) for _ in range(2))
        await publish(bus, before, entries)
        await decided(bus, dice.randrange(1, 80), dice)
        first.send_signal(dice.choice((signal.SIGTERM, signal.SIGKILL)))
        await settled(bus)
        await waiting(bus, 3)
        # Those that joined declared the consumer as it should be.
        await bus.js.add_consumer(names.records, names.scorer.config().evolve(ack_wait=1.5))
        await publish(bus, after)
        await decided(bus, len(before) + dice.randrange(1, 60), dice)
        third.send_signal(signal.SIGKILL)
        await decided(bus, len(before) + dice.randrange(60, 120), dice)
        second.send_signal(signal.SIGTERM)
        await settled(bus)
    found = await in_order(bus)
    assert {one.bill: one.id for one in found} == expected
    assert len(found) == len(records)
    # Two scorers that read unlike much may ask two questions; the one whose decision was too late takes its own back.
    said = await everything(bus, names.reviews, ReviewRequested | ReviewClosed)
    taken_back = {one.review for one in said if isinstance(one, ReviewClosed)}
    asked = Counter(one.review for one in said if isinstance(one, ReviewRequested) and one.review not in taken_back)
    assert asked == Counter({one.id: 1 for one in found if one.action in {"review", "refuse"}})


async def test_a_frozen_scorer_does_not_put_an_older_decision_behind_a_newer(bus: Bus, settings: Settings) -> None:
    names = bus.topology
    old, entries = company(200, content="old")
    new, _ = company(200, content="new")
    await give(bus, vendor())
    with process(settings) as frozen:
        await waiting(bus, 1)
        await publish(bus, old, entries)
        with anyio.fail_after(30):
            while not (await bus.js.stream_info(names.decisions)).state.messages:
                await anyio.sleep(0.005)
        frozen.send_signal(signal.SIGSTOP)
        await publish(bus, new)
        with process(settings):
            with anyio.fail_after(60):
                while (await bus.js.consumer_info(names.records, "scorer")).num_pending:
                    await anyio.sleep(0.05)
                await decision(bus, new[-1].id, content="new")
            frozen.send_signal(signal.SIGCONT)
            await settled(bus)
    newest = {one.bill: one.record_hash for one in await in_order(bus)}
    assert set(newest.values()) == {"new"}


async def test_what_another_scorer_took_over_is_not_published_again(bus: Bus) -> None:
    slow, fast = Scoring(bus), Scoring(bus)
    await give(bus, vendor(), bill(content="old", lines=()))
    (first,) = await delivered(bus, 1)
    async with anyio.create_task_group() as group:
        group.start_soon(fast.views.run)
        group.start_soon(slow.views.run)
        async with slow._publishing:
            group.start_soon(slow.handle, [first])
            with anyio.fail_after(10):
                while not slow._publishing.statistics().tasks_waiting:
                    await anyio.sleep(0.01)
            await give(bus, bill(content="new"))
            await fast.handle(await delivered(bus, 1))
        with anyio.fail_after(10):
            while not first.settled:
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert [one.record_hash for one in await in_order(bus)] == ["new"]
    # What the slow one asked about the old version does not wait for a person.
    region = bus.region
    asked = await bus.newest(bus.topology.reviews, f"{region}.review.requested.{WS}.{key('1')}", ReviewRequested)
    closed = await bus.newest(bus.topology.reviews, f"{region}.review.closed.{WS}.{key('1')}", ReviewClosed)
    assert asked is None or (closed is not None and closed.message.review == asked.message.review)


async def test_a_scorer_killed_between_asking_and_deciding_asks_once(bus: Bus) -> None:
    await give(bus, vendor(), bill(lines=()))
    (first,) = await delivered(bus, 1)
    scorer = Scoring(bus)
    view = View(bus, WS, scorer._pace)
    assert await view.read(within=10)
    (case,) = [case for _, case in await scorer._judge(view, [first], {}, Counter())]
    assert case.review is not None
    await bus.publish_page(
        bus.topology.reviews,
        [(case.review.subject, case.review.message)],
        headers={case.review.subject: case.review.headers},
    )
    await view.close()
    await scorer.handle([first])
    await scorer.handle([first])
    assert len(await everything(bus, bus.topology.reviews, ReviewRequested)) == 1
    assert len(await in_order(bus)) == 1


async def test_a_question_stands_whose_decision_another_scorer_was_faster_with(bus: Bus) -> None:
    await give(bus, vendor(), bill(lines=()))
    (first,) = await delivered(bus, 1)
    slow = Scoring(bus)
    view = View(bus, WS, slow._pace)
    assert await view.read(within=10)
    (case,) = [case for _, case in await slow._judge(view, [first], {}, Counter())]
    assert case.review is not None
    await bus.publish_page(
        bus.topology.reviews,
        [(case.review.subject, case.review.message)],
        headers={case.review.subject: case.review.headers},
    )
    case.sent = True
    await view.close()
    await Scoring(bus).handle([first])
    assert await place(bus, [case], {}) == []
    said = await everything(bus, bus.topology.reviews, ReviewRequested | ReviewClosed)
    assert [one.review for one in said if isinstance(one, ReviewClosed)] == []
    assert [one.review for one in said] == [one.id for one in await in_order(bus)]


async def test_a_page_with_a_known_message_id_is_refused_whole(bus: Bus) -> None:
    names = [f"{bus.region}.decision.{WS}.{key(str(n))}" for n in range(2)]
    ids = {name: {"Nats-Msg-Id": name} for name in names}
    await bus.publish_page(bus.topology.decisions, [(names[0], {})], headers=ids)
    with pytest.raises(Conflict):
        await bus.publish_page(bus.topology.decisions, [(name, {}) for name in names], headers=ids)
    assert (await bus.js.stream_info(bus.topology.decisions)).state.messages == 1


async def test_entries_that_never_come_hold_up_nobody_else(bus: Bus, settings: Settings) -> None:
    stuck = [msgspec.structs.replace(bill(str(n)), entries_seq=10**6) for n in range(20)]
    other = msgspec.structs.replace(bill("77", number="Q-1"), workspace=OTHER)
    async with scoring(settings):
        await publish(bus, stuck)
        began = anyio.current_time()
        await give(bus, other)
        assert (await decision(bus, "77", OTHER)).action == "review"  # its vendor is unknown
        with anyio.fail_after(20):
            while (await bus.js.consumer_info(bus.topology.records, "scorer")).delivered.consumer_seq < 4 * 20:
                await anyio.sleep(0.05)
        # Fourth deliveries come after pauses that doubled: no hot loop.
        assert anyio.current_time() - began > 0.9 * (0.25 + 0.5 + 1.0) - 0.1
    assert {one.workspace for one in await in_order(bus)} == {OTHER}


async def test_a_view_that_was_forgotten_and_comes_back_decides_alike(bus: Bus, settings: Settings) -> None:
    small = settings.model_copy(update={"scorer_entries": 1})
    scorer = Bus(small, "scorer")
    await scorer.connect()
    subject = Scoring(scorer)
    seen: list[tuple[str, ...]] = []
    await give(bus, invoice(), vendor())
    for turn, workspace in enumerate((WS, OTHER, WS, OTHER, WS)):
        await give(bus, msgspec.structs.replace(bill("1", content=f"h{turn}"), workspace=workspace))
        await subject.handle(await delivered(scorer, 1))
        seen.append(tuple(subject.views._views))
    found = await in_order(bus)
    await scorer.close()
    assert seen == [(WS,), (OTHER,), (WS,), (OTHER,), (WS,)]
    assert [one.action for one in found] == ["link", "review", "link", "review", "link"]
    assert len({one.score for one in found if one.action == "link"}) == 1


async def test_a_view_goes_on_when_the_broker_forgot_how_far_it_had_read(bus: Bus) -> None:
    scorer = Scoring(bus)
    view = View(bus, WS, scorer._pace)
    await give(bus, invoice(), vendor())
    assert await view.read(within=10)
    for stream in (bus.topology.entries, bus.topology.records):
        for consumer in await bus.js.consumers_info(stream):
            if consumer.name != bus.topology.scorer.name:
                await bus.js.delete_consumer(stream, consumer.name)
    await give(bus, invoice("e2"), bill())
    assert await view.read(within=10)
    assert (set(view.books.entries), set(view.books.bills)) == ({"invoice-e1", "invoice-e2"}, {key("1")})
    await view.close()


async def test_a_large_view_is_loaded_in_the_background_and_its_bills_come_again(
    bus: Bus, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.scorer.scoring.PATIENCE", 0.0)
    monkeypatch.setattr("common.feed._PAGE", 10)
    entries = [invoice(f"e{n}", number=f"F-{n:05}", amount=Decimal(100 + n)) for n in range(60)]
    await give(bus, vendor())
    await publish(bus, [bill("1", number="F-00007", total=Decimal(107))], entries)
    async with scoring(settings):
        assert (await decision(bus, "1")).entry == "e7"
        await settled(bus)
    assert len(await in_order(bus)) == 1
