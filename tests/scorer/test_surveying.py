"""The survey of a workspace: made by one scorer, kept for all."""

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from common.buckets import Bucket
from common.bus import Bus
from common.lease import lease
from common.pace import Pace
from common.settings import Settings
from services.scorer import surveying
from services.scorer.matching.books import Books, Surveyed
from services.scorer.matching.habits import habits
from services.scorer.matching.model import Habits, Weights, weights
from services.scorer.surveying import Surveys
from tests.scorer.cases import WS, books, vendor
from tests.scorer.test_scale_out import company, publish
from tests.scorer.test_service import give, scoring, settled


def some(bills: int) -> Books:
    records, entries = company(bills)
    return books([*records, vendor()], entries)


def surveyed(found: Books) -> Surveyed:
    """What a scorer finds that looks for itself."""
    habits(found, weights())
    assert found.surveyed is not None
    return found.surveyed


def surveys(bus: Bus) -> Surveys:
    return Surveys(bus, Pace())


async def test_what_one_scorer_found_is_taken_by_the_others(bus: Bus) -> None:
    one, other = some(20), some(24)
    await surveys(bus).renew(WS, one)
    await surveys(bus).renew(WS, other)
    assert one.surveyed == surveyed(some(20))
    assert other.surveyed == one.surveyed


async def test_books_that_have_outgrown_what_is_kept_are_looked_at_again(bus: Bus) -> None:
    small, large = some(20), some(40)
    await surveys(bus).renew(WS, small)
    await surveys(bus).renew(WS, large)
    assert large.surveyed == surveyed(some(40))
    await surveys(bus).renew(WS, small)  # which has its own
    assert small.surveyed == surveyed(some(20))
    kept = await Bucket(bus, "surveys", Surveyed).get(WS)
    assert kept is not None
    assert kept.value == large.surveyed


async def test_what_other_weights_found_is_not_taken(bus: Bus) -> None:
    found = surveyed(some(20))
    await Bucket(bus, "surveys", Surveyed).create(WS, replace(found, model="older"))
    mine = some(20)
    await surveys(bus).renew(WS, mine)
    assert mine.surveyed == found


async def test_while_one_looks_the_others_wait_for_what_it_finds(bus: Bus) -> None:
    mine, found = some(20), replace(surveyed(some(20)), bills=21)
    looking = anyio.Event()

    async def look() -> None:
        async with lease(bus, f"survey.{WS}"):
            looking.set()
            await Bucket(bus, "surveys", Surveyed).create(WS, found)

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        await looking.wait()
        await surveys(bus).renew(WS, mine)
    assert mine.surveyed == found


async def test_one_that_looks_for_ever_holds_up_nobody(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "PATIENCE", 0.3)
    mine = some(20)
    async with lease(bus, f"survey.{WS}"):
        await surveys(bus).renew(WS, mine)
    assert mine.surveyed is None
    assert await Bucket(bus, "surveys", Surveyed).get(WS) is None


async def test_what_another_release_wrote_is_replaced(bus: Bus) -> None:
    await Bucket(bus, "surveys", str).create(WS, "of another release")
    mine = some(20)
    await surveys(bus).renew(WS, mine)
    assert mine.surveyed == surveyed(some(20))
    kept = await Bucket(bus, "surveys", Surveyed).get(WS)
    assert kept is not None
    assert kept.value == mine.surveyed


async def test_between_looks_at_many_workspaces_others_have_their_turn(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, looks = 0, []

    def look(found: Books, weights: Weights) -> Habits:
        looks.append(turns)
        return habits(found, weights)

    async def others() -> None:
        nonlocal turns
        while len(looks) < 5:
            turns += 1
            await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(surveying, "habits", look)
    together = surveys(bus)
    async with anyio.create_task_group() as group:
        group.start_soon(others)
        for number in range(5):
            group.start_soon(together.renew, f"{WS}-{number}", some(20))
    assert len(set(looks)) == 5


async def test_a_scorer_keeps_what_it_decided_by(bus: Bus, settings: Settings) -> None:
    records, entries = company(8)
    await give(bus, vendor())
    await publish(bus, records, entries)
    async with scoring(settings):
        await settled(bus)
    kept = await Bucket(bus, "surveys", Surveyed).get(WS)
    assert kept is not None
    assert kept.value == surveyed(some(8))
