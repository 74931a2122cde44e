"""Carries orders out: plans each, does what the plan says, proves it, tells it.

A batch shares its calls: documents go up to twenty at a time per workspace and are read back in one list.
Each order succeeds or fails on its own. Whatever line a worker dies at, the ledger says where the next one
goes on.
"""

from collections.abc import Sequence

from common import subjects, tracing
from common.bus import Bus
from common.delivery import Delivery
from common.errors import AskPerson, NotConnected, Refused, RetryLater, backoff
from common.messages import Decision
from services.poster.claims import Claims
from services.poster.effects import Effects
from services.poster.entries import Entries
from services.poster.job import Job, each
from services.poster.lastlook import LastLook
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
        self._bus = bus
        self._qonto = qonto
        self._ledger = Ledger(bus, f"{bus.instance}.{part}")
        self._entries = Entries(bus)
        self._records = Records(bus)
        self._reviews = Reviews(bus)
        self._read_back = ReadBack(bus)
        self._effects = Effects(qonto, self._ledger, claims, self._records, self._entries)
        self._telling = Telling(bus, self._ledger, self._entries)
        self._uploading = Uploading(
            qonto, self._ledger, claims, self._records, self._effects, self._telling, LastLook(bus, qonto)
        )

    async def handle(self, deliveries: Sequence[Delivery[Decision]]) -> None:
        """Carry a batch of decisions out; each delivery is settled by what became of its own."""
        for wave in _waves([delivery for delivery in deliveries if await self._belongs(delivery)]):
            orders = [Order.of(delivery.message) for delivery in wave]
            jobs = await self.carry_out(orders, [delivery.trace for delivery in wave])
            try:
                await self._follow_up(jobs)
            except Exception:  # noqa: BLE001 (whose fault it is shows when each goes alone)
                await each(jobs, lambda job: self._follow_up([job]))
            for delivery, job in zip(wave, jobs, strict=True):
                try:
                    with job.step.current():
                        await self._settle(delivery, job)
                except Exception as error:  # noqa: BLE001 (the table decides; the others are not held up)
                    await delivery.failed(error)

    async def _follow_up(self, jobs: Sequence[Job]) -> None:
        """Bring what people were asked in line with what was done."""
        acted = [job.order for job in jobs if job.posting is not None and job.posting.outcome != "stale"]
        await self._reviews.supersede(acted)
        await self._read_back.after(jobs)

    async def _settle(self, delivery: Delivery[Decision], job: Job) -> None:
        match job.error:
            case None:
                await delivery.done()
            case NotConnected() as error:
                error.delay = pause(delivery.attempt)
                await delivery.failed(error)
            case AskPerson() as error:
                await self._reviews.ask(job.order, error, job.record)
                await delivery.done()
            case error:
                await delivery.failed(error)

    async def _belongs(self, delivery: Delivery[Decision]) -> bool:
        """Whether a decision is about the bill that its subject names; else it is given up, whatever it says."""
        decision = delivery.message
        try:
            name = subjects.decision(self._bus.region, decision.workspace, decision.key)
        except subjects.BadTokenError as error:
            name = str(error)
        if name == delivery.subject:
            return True
        await delivery.failed(Refused(f"a decision on another subject than that of its bill: {name}", field="bill"))
        return False

    async def carry_out(
        self, orders: Sequence[Order], traces: Sequence[str | None] | None = None, *, about: str | None = None
    ) -> list[Job]:
        """Carry orders of different bills out; one job each, in the same order, each of them over.

        `traces` are those that the orders continue, `about` one more that they are about.
        """
        continued = zip(orders, traces or [None] * len(orders), strict=True)
        jobs = [Job(order=order, step=_traced(order, trace, about)) for order, trace in continued]
        try:
            await self._carry_out(jobs)
        finally:
            for job in jobs:
                job.step.note({"outcome": job.posting.outcome if job.posting is not None else None})
                if job.error is not None:
                    job.step.failed(job.error)
                job.step.end()
        return jobs

    async def _carry_out(self, jobs: list[Job]) -> None:
        await self._records.fill(jobs)
        for _ in range(ROUNDS):
            open_jobs = [job for job in jobs if not job.over]
            await each(open_jobs, self._plan)
            await each([job for job in open_jobs if not job.over], self._act)
            await self._uploading.carry_out([job for job in open_jobs if not job.over and job.uploads])
        for job in jobs:
            if not job.over:
                job.error = RetryLater(f"bill {job.order.key} keeps changing", delay=5.0)
        await each([job for job in jobs if isinstance(job.error, AskPerson)], self._effects.abandon)
        for job in jobs:
            if job.error is not None:
                await self._telling.failed(job, job.error)

    async def _plan(self, job: Job) -> None:
        if job.record is None:
            raise RetryLater(f"bill {job.order.key} is not in the records yet")
        job.kept = await self._ledger.read(job.ledger_key)
        page = await self._ledger.respect(job.ledger_key, job.kept)
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
        forbidden: AskPerson | None = None
        try:
            if job.entry is not None and await self._effects.pay(job, job.entry) is not None:
                await self._effects.see(job)
                remark = "; ".join(part for part in (remark, "marked as paid") if part)
        except AskPerson as error:
            forbidden = error  # it stands for the bill all the same
        await self._telling.settle(job, "linked", remark)
        job.error = forbidden


def _traced(order: Order, trace: str | None, about: str | None) -> tracing.Step:
    """The step that carries an order out."""
    said = {"workspace": order.workspace, "record": order.key, "action": order.action}
    return tracing.begin("poster.carry_out", said, parent=trace, links=[about], root=True)


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
