"""Old and new side by side: a newer release's messages are read by this one, or stand where people see them."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from common import codec, retrying, subjects
from common.bus import Bus
from common.failures import Failures
from common.messages import Decision, now
from common.settings import Settings
from common.ticks import ask_for_pull
from services.cli.tally import Tally
from tests.contracts.flow import MASTER_KEY, WS, Flow, flow
from tests.contracts.recording import taken
from tests.contracts.types import with_more
from tests.scorer.cases import WS as CASE
from tests.scorer.cases import bill, key, vendor
from tests.scorer.test_service import decision, give

BILLS = 8
newer: ContextVar[bool] = ContextVar("newer", default=False)
"""Whether what runs here is of the next release: all that it says has fields this one does not know."""


@pytest.fixture
def _next_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and values of the next release have more fields, in every part of them."""
    encode = codec.encode

    def also(message: Any) -> bytes:
        return encode(with_more(message) if newer.get() else message)

    monkeypatch.setattr(codec, "encode", also)


class Rolling:
    """Services that are replaced one by one: the next is ready before the one before it goes."""

    def __init__(self, work: Flow) -> None:
        self._work = work
        self._running: dict[str, AsyncExitStack] = {}

    async def put(self, name: str, *, by_newer: bool) -> None:
        """Have a service of the next release, or of this one, in the place of the one that runs."""
        stack = AsyncExitStack()
        token = newer.set(by_newer)
        try:
            await stack.enter_async_context(self._work.serving(name))
        finally:
            newer.reset(token)
        before = self._running.get(name)
        self._running[name] = stack
        if before is not None:
            await before.aclose()

    async def stop(self) -> None:
        """Have all of them finish."""
        for stack in self._running.values():
            await stack.aclose()


async def has(bus: Bus, stream: str, count: int) -> None:
    """Wait until a stream has so many messages."""
    with anyio.fail_after(40):
        while (await bus.js.stream_info(stream)).state.messages < count:
            await anyio.sleep(0.01)


@pytest.mark.usefixtures("_next_release")
@pytest.mark.timeout(300)
async def test_a_rolling_upgrade_and_its_rollback_lose_and_double_nothing(
    bus: Bus, settings: Settings, tmp_path: Path
) -> None:
    async with flow(bus, settings, tmp_path / "sandbox") as work:
        rolling = Rolling(work)
        books = await work.company(BILLS)
        tally = Tally(bus, WS)
        await tally.follow()

        async def replace_all(*, by_newer: bool) -> None:
            for name in ("poster", "scorer", "puller"):
                await rolling.put(name, by_newer=by_newer)

        await replace_all(by_newer=False)
        await work.connect(books)
        at = bus.topology
        await has(bus, at.decisions, 1)
        await replace_all(by_newer=True)
        await work.settled(tally)
        first = {key: tally.fate(key) for key in tally.bills}
        made = [tally.bills[key].id for key in sorted(first) if first[key] == "created"]
        # What changes now is said by new ones.
        await books.edit(made[0], "NEW-2718")
        await ask_for_pull(bus, WS, "asked")
        await work.settled(tally)
        # Then old ones go on from what the new ones left.
        await replace_all(by_newer=False)
        await books.edit(made[1], "NEW-3141")
        await ask_for_pull(bus, WS, "asked")
        await work.settled(tally)
        await rolling.stop()
        assert len(first) == len(await books.truth())
        edited = {f"{books.realm}-{ident}" for ident in made[:2]}
        assert {key: tally.fate(key) for key in tally.bills.keys() - edited} == {
            key: fate for key, fate in first.items() if key not in edited
        }
        assert {tally.fate(key) for key in edited} <= {"created", "review"}  # a correction may be one for a person
        told = {number for record in tally.bills.values() if (number := getattr(record.body, "number", None))}
        assert {"NEW-2718", "NEW-3141"} <= told
        assert tally.unverified == []
        assert tally.trouble == []
        assert await Failures(bus).standing() == []
        assert await books.duplicates() == 0
        for stream in (at.records, at.decisions, at.postings):
            assert await said(bus, stream) == {True, False}, f"old and new should both have spoken: {stream}"


async def said(bus: Bus, stream: str) -> set[bool]:
    """Whether messages of the next release, and of this one, are in a stream."""
    return {b"added_later" in one.data for one in await taken(bus) if one.stream == stream}


@pytest.fixture
def unheard_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Turns this process into one of a release that knows `record.2` and `decision.2`."""

    def learn() -> None:
        decode = codec.decode

        def also(data: bytes, type_: Any) -> Any:
            return decode(data.replace(b'"record.2"', b'"record.1"').replace(b'"decision.2"', b'"decision.1"'), type_)

        monkeypatch.setattr(codec, "decode", also)

    return learn


async def test_a_message_of_a_later_version_waits_among_the_failures_until_it_is_known(
    bus: Bus, settings: Settings, unheard_of: Callable[[], None]
) -> None:
    names = {"qonto_client_id": "sample", "qonto_client_secret": "sample", "master_key": MASTER_KEY}
    async with httpx.AsyncClient() as http:
        work = Flow(bus, Settings.model_validate({**settings.model_dump(), **names}), http)
        await give(bus, vendor())
        failures = Failures(bus)
        async with work.at_work("scorer", "poster"):
            await give(bus, bill("2", lines=()))
            await decision(bus, "2")
            for subject, message, stream in (
                (subjects.record(bus.region, CASE, "bill", key("1")), bill("1", lines=()), bus.topology.records),
                (subjects.decision(bus.region, CASE, key("2")), _held("2"), bus.topology.decisions),
            ):
                later = codec.encode(message).replace(b'.1"', b'.2"', 1)
                await bus.publish(subject, msgspec.Raw(later), stream=stream)
            with anyio.fail_after(30):
                while len(standing := await failures.standing(CASE)) < 2:
                    await anyio.sleep(0.05)
            assert {one.id for one in standing} == {f"scorer.{key('1')}", f"poster.{key('2')}"}
            for one in standing:
                assert ".2" in one.why
                assert (await retrying.again(bus, one, "A. Tester")).resolved_at is None
        unheard_of()
        async with work.at_work("scorer", "poster"):
            for one in await failures.standing(CASE):
                after = await retrying.again(bus, one, "A. Tester")
                assert after.resolved_at is not None, after
        assert await failures.standing(CASE) == []
        assert (await decision(bus, "1")).bill == "1"


def _held(ident: str) -> Decision:
    """A decision that leaves a bill to a person, so that nothing is asked of Qonto."""
    return Decision(
        id="sample", workspace=CASE, realm=key(ident).partition("-")[0], bill=ident, action="review", score=0.7,
        why="a test says so", record_hash="h", record_seq=1, entries_seq=0, policy_version=1, model_version="test",
        decided_at=now(),
    )  # fmt: skip
