"""The law of the puller: whatever is edited, deleted, attached, delayed and crashed, RECORDS ends as QuickBooks is.

Books are edited at random while pulls are begun and crashed at some await. Then pulls run to their end, and what
is stored must equal what QuickBooks shows, each version published once, no marker ever ahead of what is stored.
"""

import asyncio
import hashlib
import random
import types
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nats.aio.msg import Msg

from common import codec, http
from common import quickbooks as wire
from common.bus import Bus
from common.connections import Connections
from common.errors import RetryLater
from common.messages import Record, RecordKind, now
from services.puller import app
from services.puller.entities import ENTITIES, Entity
from services.puller.index import Indexes
from services.puller.marker import Markers
from services.puller.progress import Progress
from services.puller.pull import Pull, Unfinished
from services.puller.quickbooks import Company
from tests.puller.stand import World, approved, differences

pytestmark = pytest.mark.usefixtures("swift")

LAG = 2.0
"""Seconds for which the sandbox hides what was written from queries, where an example says so."""
OVERLAP = 600
PAGE = 4
"""Objects of an answer: few, so that windows have pages."""


class Crash(asyncio.CancelledError):
    """The pull ends here; what it shares with later ones in this process is given back as in a cancellation."""


@types.coroutine
def crashing(work: Coroutine[Any, Any, None], awaits: int) -> Generator[Any, Any, bool]:
    """Run `work` and end it at its so-manieth await; whether it came to its own end before."""
    steps, crashed = iter(range(awaits)), False
    answer: Callable[[], Any] = lambda: work.send(None)  # noqa: E731
    while True:
        try:
            waits_for = answer()
            if not crashed and next(steps, None) is None:
                crashed = True
                waits_for = work.throw(Crash())
        except StopIteration:
            return True
        except Crash:
            return False
        try:
            given_back = yield waits_for
        except BaseException as error:  # noqa: BLE001 (whatever it is, the work must see it)
            answer = _thrower(work, error)
        else:
            answer = _sender(work, given_back)


def _sender(work: Coroutine[Any, Any, None], value: Any) -> Callable[[], Any]:
    return lambda: work.send(value)


def _thrower(work: Coroutine[Any, Any, None], error: BaseException) -> Callable[[], Any]:
    return lambda: work.throw(error)


@dataclass
class Books:
    """One company in the sandbox, edited at random, and the puller's view of it."""

    world: World
    workspace: str
    realm: str
    connections: Connections
    client: httpx.AsyncClient
    bus: Bus
    dice: random.Random
    offset: float = 0.0
    published: list[Record] = field(default_factory=list)
    files: int = 0
    indexes: Indexes = field(default_factory=Indexes)

    def act(self, act: str) -> None:
        """One thing that somebody does in QuickBooks; refused if what it is about was deleted a moment ago."""
        try:
            self._act(act)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 400:
                raise

    def _act(self, act: str) -> None:
        at = (now() + timedelta(seconds=self.offset)).isoformat()
        sandbox, realm = self.world.sandbox, self.realm
        bills, vendors = sorted(sandbox.bills(realm)), sorted(sandbox.objects(realm, "Vendor"))
        bill = self.dice.choice(bills) if bills else None
        match act:
            case "new":
                sandbox.crowd(realm, "Bill", 1, at=at)
            case "crowd":
                sandbox.crowd(realm, "Bill", self.dice.randint(2, 3 * PAGE), at=at)
            case "vendor":
                name = f"Fictional Supplier {self.dice.getrandbits(40):x}"
                sandbox.patch(f"{realm}/quickbooks/vendor/{self.dice.choice(vendors)}", {"CompanyName": name})
            case "retire" if len(vendors) > 1:
                sandbox.patch(f"{realm}/quickbooks/vendor/{self.dice.choice(vendors)}", {"Active": False})
            case "edit" if bill:
                sandbox.patch(f"{realm}/quickbooks/bill/{bill}", {"PrivateNote": f"{self.dice.getrandbits(40):x}"})
            case "delete" if bill and not sandbox.bills(realm)[bill].get("LinkedTxn"):
                sandbox.delete(f"{realm}/quickbooks/bill/{bill}")
            case "pay" if bill and float(sandbox.bills(realm)[bill]["Balance"]) > 0:
                sandbox.post(f"{realm}/quickbooks/bill/{bill}/pay", json={})
            case "attach" if bill:
                self.files += 1
                sandbox.attach(realm, bill, b"%PDF-1.4 " + str(self.files).encode(), f"invoice-{self.files}.pdf")
            case "detach" if files := sorted(sandbox.objects(realm, "Attachable")):
                sandbox.delete(f"{realm}/quickbooks/attachable/{self.dice.choice(files)}")

    async def connect(self) -> None:
        """Walk through consent."""
        await self.connections.exchange(await approved(self.connections.authorize, self.realm, self.workspace))

    def time_goes_by(self, seconds: float) -> None:
        """Move the sandbox's clock."""
        self.offset += seconds
        self.world.sandbox.switch(clock_offset=self.offset)

    async def pull(self, *, awaits: int = 1 << 30, seconds: float = 60.0) -> bool:
        """Pull, crashing at an await; whether the pull came to its end."""
        for attempt in range(8):
            url = self.bus.settings.quickbooks_api_url
            company = Company(self.client, self.connections, url, self.workspace, self.realm, size=PAGE)
            progress = Progress(self.bus, self.workspace, self.realm)
            beginning = datetime.combine(self.bus.settings.backfill_from, time.min, UTC)
            pull = Pull(self.bus, company, progress, beginning=beginning, seconds=seconds, indexes=self.indexes)

            async def work(pull: Pull = pull, progress: Progress = progress) -> None:
                await progress.began()
                await pull.run()

            try:
                return await crashing(work(), awaits)
            except Unfinished:
                return False
            except RetryLater:  # as the tick would: again, a little later
                if attempt == 7:
                    raise
                await anyio.sleep(0.05)
        return False

    async def quiet(self) -> None:
        """Pull until all is read."""
        for _ in range(60):
            if await self.pull():
                return
        raise AssertionError("the pull does not come to its end")

    async def stored(self, kind: RecordKind) -> dict[str, Record]:
        """What RECORDS holds of a kind."""
        return {ident: item.message for ident, item in (await self.world.records(kind, self.workspace)).items()}

    def shown(self, entity: Entity) -> dict[str, wire.Normalized]:
        """What QuickBooks shows of an entity, in our words."""
        where = "WHERE Active IN (true, false)" if entity.lists_names else ""
        found = self.world.sandbox.raw(self.realm, entity.name, where)
        return {item.id: item for item in (wire.normalize(entity.name, raw, home_currency="EUR") for raw in found)}

    async def markers_keep_behind(self, lag: float) -> None:
        """No marker has passed an object that is not stored as it is."""
        markers = Markers(self.bus, self.workspace, self.realm)
        await markers.load()
        for entity in ENTITIES:
            marker = markers[entity.name]
            reached = marker.window.since if marker.window else marker.until
            if reached is None:
                continue
            stored = await self.stored(entity.kind)
            for ident, item in self.shown(entity).items():
                assert item.updated_at is not None
                if item.updated_at < reached - timedelta(seconds=lag):
                    assert ident in stored, (entity.name, ident, reached)
                    assert stored[ident].body == item.body, (entity.name, ident, reached)

    async def equal(self) -> None:
        """RECORDS is what QuickBooks is."""
        for entity in ENTITIES:
            stored, shown = await self.stored(entity.kind), self.shown(entity)
            live = {ident: record.body for ident, record in stored.items() if not record.deleted}
            assert live == {ident: item.body for ident, item in shown.items()}, entity.name
        assert await self._stored_files() == self._shown_files()

    async def _stored_files(self) -> dict[str, set[str]]:
        bills = (await self.stored("bill")).items()
        return {
            ident: {document.sha256 for document in bill.documents}
            for ident, bill in bills
            if bill.documents and not bill.deleted
        }

    def _shown_files(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        bills = self.world.sandbox.bills(self.realm)
        for item in self.world.sandbox.objects(self.realm, "Attachable").values():
            number = item["FileName"].removeprefix("invoice-").removesuffix(".pdf")
            digest = hashlib.sha256(b"%PDF-1.4 " + number.encode()).hexdigest()
            for reference in item.get("AttachableRef", []):
                if reference["EntityRef"]["value"] in bills:
                    found.setdefault(reference["EntityRef"]["value"], set()).add(digest)
        return found

    def each_version_once(self) -> None:
        """No record was published twice in a row as it was."""
        last: dict[str, str] = {}
        for record in self.published:
            name = f"{record.kind} {record.id}"
            assert last.get(name) != record.content_hash, f"{name} was published again unchanged"
            last[name] = record.content_hash


@asynccontextmanager
async def opened(world: World, seed: int, *, bills: int) -> AsyncIterator[Books]:
    """Books of a new company in a workspace of their own, connected, and everything published about them."""
    realm, workspace = world.sandbox.company(bills=0), f"law-{uuid.uuid4().hex[:12]}"
    settings = world.settings.model_copy(update={"pull_overlap": OVERLAP})
    bus = Bus(settings, "puller")
    await bus.connect()
    async with http.client() as client:
        books = Books(world, workspace, realm, app.connected(bus, client), client, bus, random.Random(seed))
        if bills:
            world.sandbox.crowd(realm, "Bill", bills, spread=bills // 2)
        await books.connect()

        async def keep(message: Msg) -> None:
            books.published.append(codec.decode(message.data, Record))

        subscription = await bus.client.subscribe(f"{bus.region}.record.{workspace}.>", cb=keep)
        await bus.client.flush()
        yield books
        await subscription.unsubscribe()
    await bus.close()


ACTS = ("new", "crowd", "edit", "edit", "delete", "pay", "vendor", "retire", "attach", "detach")

STEP = st.one_of(
    st.lists(st.sampled_from(ACTS), min_size=1, max_size=4),
    st.integers(0, 250),  # a pull that crashes at this await
    st.just("slice"),
    st.just("pull"),
    st.sampled_from([60.0, 3600.0, 86_400.0, 31 * 86_400.0]),  # time goes by
)
"""One step of an example."""


@pytest.mark.parametrize("lag", [0.0, LAG])
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.generate),
)
@given(seed=st.integers(0, 2**16), bills=st.integers(0, 12), steps=st.lists(STEP, min_size=2, max_size=8))
async def test_whatever_happens_records_end_as_quickbooks_is(
    world: World, lag: float, seed: int, bills: int, steps: list[Any]
) -> None:
    world.sandbox.switch(query_lag=0, clock_offset=0)
    async with opened(world, seed, bills=bills) as books:
        world.sandbox.switch(query_lag=lag)
        for step in steps:
            match step:
                case list():
                    for act in step:
                        books.act(act)
                case "slice":
                    await books.pull(seconds=0.0)
                case "pull":
                    await books.quiet()
                case float():
                    books.time_goes_by(step)
                case int():
                    await books.pull(awaits=step)
            await books.markers_keep_behind(lag + 1)
        # What the sandbox still hides comes to light; the window's end is the second before it.
        world.sandbox.switch(query_lag=0)
        await books.quiet()
        await books.quiet()
        await books.equal()
        books.each_version_once()


async def test_a_crash_at_every_await_loses_nothing(world: World) -> None:
    async with opened(world, 7, bills=6) as books:
        books.act("attach")
        books.act("pay")
        awaits = 0
        while not await books.pull(awaits=awaits):
            await books.markers_keep_behind(1)
            awaits += 5
        assert awaits > 50
        await books.equal()
        for act in ("edit", "delete", "attach", "crowd", "vendor", "detach"):
            books.act(act)
        books.time_goes_by(10)  # so that a marker that moves too early passes what was done
        awaits = 0
        while not await books.pull(awaits=awaits):
            await books.markers_keep_behind(1)
            awaits += 5
        await books.quiet()
        await books.equal()
        books.each_version_once()


async def test_many_attachments_are_read_in_slices(world: World) -> None:
    pages = 8
    async with opened(world, 3, bills=3) as books:
        world.sandbox.crowd(books.realm, "Attachable", pages * PAGE, spread=100)
        slices, ended = [], False
        while not ended:
            world.sandbox.count()
            ended = await books.pull(seconds=0.0)
            slices.append(world.sandbox.calls()["/v3/company/{id}/query 200"])
        assert len(slices) >= pages
        # Windows of the other entities and one page of attachments: none reads those of an earlier slice again.
        assert max(slices) < pages
        assert await differences(world, books.workspace, books.realm) == []
