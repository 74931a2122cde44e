"""A poster that dies wherever it reaches outside, answers that get lost, people who meddle: one live entry.

Each life of a poster ends just before the n-th thing it sends: a request to Qonto or a message to the broker, reads
and acknowledgements included, and once more when an answer of Qonto has come. All it knew is gone then, and the next
life carries the same order on. To die at any other await leaves the world as one of these does: nothing but memory
changes between two things that are sent. That nothing is sent uncounted is checked for every life that is not ended.
What must be at the end is told by what was ordered alone, however Qonto settles what its pages leave open (`OPEN`).
`WEIR_TEST_CRASHES` sets how many lives are ended (all of them: a number that large), `WEIR_TEST_SEED` which ones.
"""

import os
import random
import time
from decimal import Decimal
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from common import subjects
from common.buckets import Bucket, Documents
from common.bus import Bus
from common.delivery import Redelivery
from common.errors import Fate, NotConnected
from common.messages import Bill, Decision, Disconnect, Document, ReviewRequested
from services.poster.app import connected
from services.poster.ledger import KEY_HELD, Ledger, Page
from services.poster.plan import Order
from tests.poster.desk import WS, Desk, bill, pdf_saying, poster
from tests.poster.lives import SEED, carried_out, handled, hurry, life

CRASHES = int(os.environ.get("WEIR_TEST_CRASHES", "16"))
EFFECTS = {
    "create": 52, "supersede": 80, "pay": 44, "unpay": 44, "withdraw": 44, "link": 34, "link transaction": 64
}  # fmt: skip
"""Each effect with a little more than the touches it has when all goes well."""
FAULTS = ("none", "none", "drop_after", "drop_before", "html502", "truncate", "storm429", "status")
MEDDLING = ("none", "none", "none", "pay", "archive", "delete")
OPEN: dict[str, tuple[str, ...]] = {
    "replay": ("a", "b", "c", "d"),
    "pointer": ("key", "key_file"),
    "over_twenty": ("200", "400"),
    "time_filters": ("inclusive", "exclusive"),
}
"""What Qonto's pages leave open, as the sandbox's switches: every law holds in all positions."""
LIVES = 8


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


class Trial:
    """One bill, one effect, one crash."""

    def __init__(self, desk: Desk, dice: random.Random, ident: str, effect: str, touches: int) -> None:
        self._desk = desk
        self._ident = ident
        self._effect = effect
        self._touches = touches
        self._fault = dice.choice(FAULTS)
        self._method, self._skip = dice.choice(("POST", "POST", "GET")), dice.randrange(3)
        self._documents: dict[Decimal, Document] = {}
        self.died = False
        self._meddling = dice.choice(MEDDLING) if effect in {"supersede", "pay", "withdraw"} else "none"
        self._old_one = dice.random() < 0.5
        self._open = {name: dice.choice(values) for name, values in OPEN.items()}
        where = f"{self._fault} at {self._method} {self._skip}"
        met = f"{self._meddling} {'the old one' if self._old_one else 'what stands'}"
        self.story = f"{effect}, dies at touch {touches}, {where}, {met}, {self._open}"

    async def run(self) -> None:
        """Bring the bill to where the effect begins, let it go wrong, and look at the end."""
        desk = self._desk
        await desk.control.delete("/sandbox/faults")
        await desk.switch(**self._open, transaction_attachment_delay=0.05)
        before = await self._before()
        decision = await self._decision()
        if self._fault != "none":
            await desk.fault(self._fault, "/v2/", method=self._method, after=True, skip=self._skip)
        delivery = await handled(desk.settings, decision, self._touches)
        self.died = delivery is None
        if before is not None:
            await self._meddle(before)
        delivery = await self._carried_on(decision, delivery)
        if delivery.result is not None and delivery.result.fate is Fate.RETRY:
            # Deleted before anybody knew of it, and Qonto does not name what it was sent before: in doubt until it
            # forgets the key.
            assert (self._meddling, self._open["replay"] in {"b", "c"}) == ("delete", True), (self.story, delivery)
            await self._outlive_the_key()
            delivery = await self._carried_on(decision, None)
        assert delivery.result is None or delivery.result.fate is Fate.PARK, (self.story, delivery.result)
        await self._judge(delivery)

    async def _carried_on(self, decision: Decision, delivery: Redelivery[Decision] | None) -> Redelivery[Decision]:
        """What became of it in the first life that had nothing to try again, or in the last one."""
        for _ in range(LIVES):
            if delivery is not None and (delivery.result is None or delivery.result.fate is Fate.PARK):
                break
            delivery = await handled(self._desk.settings, decision)
        assert delivery is not None
        return delivery

    async def _outlive_the_key(self) -> None:
        kept = await self._desk.page(self._ident)
        assert kept is not None
        assert kept.value.sent_at is not None
        aged = replace(kept.value, sent_at=kept.value.sent_at - KEY_HELD)
        name = Ledger.key(WS, self._desk.realm, self._ident)
        await Bucket(self._desk.bus, "idempotency", Page).replace(name, aged, kept.revision)

    async def _record(self, body: Bill | None, **changes: Any) -> tuple[Any, int]:
        """A version of the bill; the supplier's document changes with the total."""
        total = body.total if body is not None else Decimal(0)
        if total not in self._documents:
            data = pdf_saying(f"Invoice {self._ident} {total}")
            self._documents[total] = Document(
                sha256=await Documents(self._desk.bus).put(data),
                name="invoice.pdf",
                content_type="application/pdf",
                size=len(data),
                attachable="1",
            )
        return await self._desk.record(self._ident, body, documents=(self._documents[total],), **changes)

    async def _before(self) -> str | None:
        """The entry that stands before the effect, if one must."""
        if self._effect in {"create", "link", "link transaction"}:
            return None
        balance = Decimal(0) if self._effect == "unpay" else Decimal(120)
        record, sequence = await self._record(bill(f"F-{self._ident}", balance=balance))
        job = await carried_out(self._desk.settings, await self._ordered(record, sequence, "create"))
        assert job is not None
        assert job.error is None, (self.story, job.error)
        return job.page.entry

    async def _decision(self) -> Decision:
        number, more = f"F-{self._ident}", {}
        body: Bill | None = bill(number)
        action, deleted = "create", False
        match self._effect:
            case "supersede":
                body = bill(number, total="144.00")
            case "pay":
                body = bill(number, balance=Decimal(0))
            case "withdraw":
                body, action, deleted = None, "withdraw", True
            case "link" | "link transaction":
                kind = "invoice" if self._effect == "link" else "transaction"
                for entry in await self._desk.entries(kind):  # type: ignore[arg-type]
                    free = await self._desk.claim(entry.kind, entry.id) is None and entry.origin is None
                    if free and entry.live and (kind == "transaction" or entry.status == "to_review"):
                        action, more = "link", {"entry": entry.id, "entry_kind": kind}
                        break
                else:
                    self._effect = "create"  # a long run has linked them all
        record, sequence = await self._record(body, deleted=deleted)
        return await self._ordered(record, sequence, action, **more)

    async def _ordered(self, record: Any, sequence: int, action: Any, **more: Any) -> Decision:
        return await self._desk.decide(record, sequence, action, **more)

    async def _meddle(self, before: str) -> None:
        """A person takes hold of the entry that stood before, or of the one that stands now."""
        live = [one["id"] for one in await self._desk.live(self._ident)]
        if not live or (self._old_one and before not in live):
            return  # it was turned down: nothing to meddle with
        entry = before if self._old_one else live[-1]
        path = f"/sandbox/companies/{self._desk.realm}/qonto/supplier_invoices/{entry}"
        match self._meddling:
            case "delete":
                await self._desk.control.delete(path)
            case "pay" | "archive":
                await self._desk.control.patch(
                    path, json={"status": {"pay": "paid", "archive": "archived"}[self._meddling]}
                )

    async def _judge(self, delivery: Redelivery[Decision]) -> None:
        desk, told = self._desk, await self._desk.postings(self._ident)
        story = (self.story, delivery.result, told)
        name = subjects.review(desk.bus.region, "requested", WS, f"{desk.realm}-{self._ident}")
        asked = await desk.history(name, ReviewRequested)
        live = [one["id"] for one in await desk.live(self._ident)]
        kept = await desk.page(self._ident)
        assert kept is not None, story
        page = kept.value
        assert len(live) <= 1, story
        assert not page.open, story
        assert asked or delivery.result is not None or delivery.message.id in {one.decision for one in told}, story
        if asked or delivery.result is not None:
            return
        match self._effect:
            case "withdraw":
                assert (live, page.state) == ([], "withdrawn"), story
            case "link" | "link transaction":
                assert (live, page.state) == ([], "linked"), story
                assert page.entry_kind is not None
                assert page.entry is not None
                assert await desk.claim(page.entry_kind, page.entry) == f"{desk.realm}-{self._ident}", story
            case _ if self._meddling == "none":
                assert (live, page.state) == ([page.entry], "verified"), story
                [invoice] = await desk.live(self._ident)
                assert (invoice["status"] == "paid") == (self._effect == "pay"), story
            case _:
                assert page.state == "verified", story
                assert live in ([page.entry], []), story
                assert live or self._meddling == "delete", story


@pytest.mark.drawn
async def test_wherever_a_poster_dies_each_bill_ends_with_the_one_entry(idle: Desk) -> None:
    async with poster(idle.settings):
        await idle.connect()
        await idle.mirror()
    dice = random.Random(SEED)
    print(f"WEIR_TEST_SEED={SEED} repeats this")  # noqa: T201
    pairs = [(effect, touches) for effect, most in EFFECTS.items() for touches in range(1, most)]
    dice.shuffle(pairs)
    trials = [Trial(idle, dice, str(number), *pair) for number, pair in enumerate(pairs[:CRASHES], start=1)]
    for trial in trials:
        await trial.run()
    assert sum(trial.died for trial in trials) > len(trials) / 4, "the fuses are longer than the effects"


async def test_after_a_disconnect_nothing_is_called(idle: Desk) -> None:
    """Not by a poster that takes over what another left half done, either."""
    async with poster(idle.settings):
        await idle.connect()
        await idle.mirror()
    decisions = [await idle.create(str(touches), bill(f"F-{touches}")) for touches in (5, 9, 13)]
    for decision in decisions:
        assert await carried_out(idle.settings, decision, int(decision.bill)) is None
    async with life(idle.settings) as (worker, _):
        async with httpx.AsyncClient(base_url=idle.settings.qonto_api_url) as client:
            bus = Bus(idle.settings, "poster")
            await bus.connect()
            await connected(bus, client).disconnect(Disconnect(workspace=WS))
            await bus.close()
        begun = time.time()
        jobs = await worker.carry_out([Order.of(decision) for decision in decisions])
    assert all(isinstance(job.error, NotConnected) for job in jobs), [job.error for job in jobs]
    assert await idle.calls(begun) == {}
