"""Carries orders out: plans each, does what the plan says, proves it, tells it.

A batch shares its calls: documents go up to twenty at a time per workspace and are read back in one list.
Each order succeeds or fails on its own. Whatever line a worker dies at, the ledger says where the next one
goes on.
"""

from collections.abc import Sequence

from common.bus import Bus
from common.consume import Delivery
from common.errors import AskPerson, NotConnected, RetryLater, backoff
from common.messages import Decision
from services.poster.claims import Claims
from services.poster.effects import Effects
from services.poster.entries import Entries
from services.poster.job import Job, each
from services.poster.ledger import Ledger
from services.poster.plan import Ask, LinkTo, Nothing, Order, Stale, Withdraw, plan
from services.poster.qonto import Qonto
from services.poster.readback import ReadBack
from services.poster.records import Records
from services.poster.reviews import Reviews
from services.poster.telling import Telling
from services.poster.uploading import Uploading

ROUNDS = 4
"""How often an order may be planned again after something left over was finished."""
PAUSE = 30.0
"""Seconds until the orders of a disconnected workspace are first looked at again."""


class Poster:
    """Carries orders out as one worker, whose steps in the ledger nobody else can take."""

    def __init__(self, bus: Bus, qonto: Qonto, part: str) -> None:
        claims = Claims(bus)
        self._qonto = qonto
        self._ledger = Ledger(bus, f"{bus.instance}.{part}")
        self._entries = Entries(bus)
        self._records = Records(bus)
        self._reviews = Reviews(bus)
        self._read_back = ReadBack(bus)
        self._effects = Effects(qonto, self._ledger, claims, self._records, self._entries)
        self._telling = Telling(bus, self._ledger, self._entries)
        self._uploading = Uploading(qonto, self._ledger, claims, self._records, self._effects, self._telling)

    async def handle(self, deliveries: Sequence[Delivery[Decision]]) -> None:
        """Carry a batch of decisions out; each delivery is settled by what became of its own."""
        for wave in _waves(deliveries):
            jobs = await self.carry_out([Order.of(delivery.message) for delivery in wave])
            acted = [job.order for job in jobs if job.posting is not None and job.posting.outcome != "stale"]
            await self._reviews.supersede(acted)
            await self._read_back.after(jobs)
            for delivery, job in zip(wave, jobs, strict=True):
                if job.error is None:
                    await delivery.done()
                elif isinstance(job.error, NotConnected):
                    await delivery.failed(RetryLater(str(job.error), pause(delivery.attempt)))
                elif isinstance(job.error, AskPerson):
                    await self._reviews.ask(job.order, job.error, job.record)
                    await delivery.done()
                else:
                    await delivery.failed(job.error)

    async def carry_out(self, orders: Sequence[Order]) -> list[Job]:
        """Carry orders of different bills out; one job each, in the same order, each of them over."""
        jobs = [Job(order=order) for order in orders]
        await self._records.fill(jobs)
        for _ in range(ROUNDS):
            open_jobs = [job for job in jobs if not job.over]
            await each(open_jobs, self._plan)
            await each([job for job in open_jobs if not job.over], self._act)
            await self._uploading.carry_out([job for job in open_jobs if not job.over and job.uploads])
        for job in jobs:
            if not job.over:
                job.error = RetryLater(f"bill {job.order.key} keeps changing", delay=5.0)
            if job.error is not None:
                await self._telling.failed(job, job.error)
        return jobs

    async def _plan(self, job: Job) -> None:
        if job.record is None:
            raise RetryLater(f"bill {job.order.key} is not in the records yet")
        job.kept = await self._ledger.read(job.ledger_key)
        page = self._ledger.respect(job.ledger_key, job.kept)
        job.entry = None
        if page is not None and job.standing is not None and job.standing.id == page.entry:
            job.entry = job.standing
        elif page is not None and page.entry is not None and page.entry_kind is not None:
            job.entry = await self._entries.get(job.order.workspace, page.entry, page.entry_kind)
        job.effect = plan(page, job.order, job.record, job.document, job.entry)

    async def _act(self, job: Job) -> None:
        match job.effect:
            case Stale(why=why):
                await self._telling.report(job, "stale", why)
            case Nothing(silent=True):
                await self._effects.abandon(job)
                job.silent = True
            case Nothing(why=why):
                await self._keep(job, why)
            case Ask(gate=gate, why=why):
                raise AskPerson(gate, why)
            case Withdraw():
                await self._telling.settle(job, "withdrawn", await self._effects.withdraw(job, job.order.withdrawal))
            case LinkTo() as target:
                await self._link(job, target)
            case _:
                return  # uploads go together

    async def _keep(self, job: Job, why: str | None) -> None:
        """Nothing but perhaps the payment mark, once Qonto shows what the plan took for granted."""
        page = job.kept.value if job.kept is not None else None
        if page is None or page.entry is None or page.state == "withdrawn":
            await self._telling.report(job, "unchanged", why)
            return
        shown = await self._effects.standing(job)
        if shown is not None and shown.live != (job.entry is None or job.entry.live):
            job.standing = shown
            await self._entries.publish([shown])
            return  # planned again
        if page.open:  # an intent that came to nothing: what stood still stands
            job.kept = await self._ledger.take(job.ledger_key, job.kept, "verified", sent_at=None, drafted=None)
        done = await self._effects.pay(job, shown) if shown is not None else None
        if done is not None:
            await self._effects.see(job)
            await self._telling.settle(job, done, None)
        elif page.decision == job.order.id and page.outcome is not None:
            await self._telling.report(job, page.outcome, page.why, replaced=page.retired, again=True)
        elif shown is not None:
            await self._telling.settle(job, "unchanged", why)
        else:
            gone = f"{page.entry} is gone from Qonto"
            await self._telling.settle(job, "unchanged", gone, verified_at=page.verified_at)

    async def _link(self, job: Job, target: LinkTo) -> None:
        remark = await self._effects.link(job, target)
        if job.entry is not None and await self._effects.pay(job, job.entry) is not None:
            await self._effects.see(job)
            remark = "; ".join(part for part in (remark, "marked as paid") if part)
        await self._telling.settle(job, "linked", remark)


def pause(attempt: int) -> float:
    """Seconds until an order of a disconnected workspace is looked at again; longer each time, so that a workspace
    nobody reconnects keeps nobody else waiting.
    """
    return max(PAUSE, backoff(attempt))


def _waves(deliveries: Sequence[Delivery[Decision]]) -> list[list[Delivery[Decision]]]:
    """The batch in waves of one decision per bill: the newest of each first, so that older ones meet it as stale."""
    waves: list[dict[str, Delivery[Decision]]] = []
    for delivery in sorted(deliveries, key=lambda item: (-item.message.record_seq, -item.sequence)):
        name = f"{delivery.message.workspace}/{delivery.message.key}"
        wave = next((wave for wave in waves if name not in wave), None)
        if wave is None:
            wave = {}
            waves.append(wave)
        wave[name] = delivery
    return [list(wave.values()) for wave in waves]
