"""What QuickBooks holds, as far as a posting needs it."""

from datetime import date

from common import subjects
from common.buckets import Documents
from common.bus import Bus
from common.errors import Refused, RetryLater
from common.messages import Bill, Company, Record, RecordKind, Vendor, now
from services.poster.document import File, Papers
from services.poster.job import Job, each
from services.poster.plan import Order, paid_on


class Records:
    """Reads the records of all workspaces."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._papers = Papers(Documents(bus))

    async def fill(self, jobs: list[Job]) -> None:
        """Give every job its record, its files known by their bytes; RetryLater where one is not there (yet)."""
        names = {self._subject(job.order, "bill", job.order.key): job for job in jobs}
        found = await self._bus.latest(self._bus.topology.records, names, Record)
        for name, job in names.items():
            stored = found.get(name)
            if stored is None and (there := await self._bus.placed(self._bus.topology.records, [name])):
                job.error = Refused(
                    f"record {there[name].sequence} of bill {job.order.key} cannot be read",
                    field="record",
                    fix="bring this poster up to date, then retry",
                )
            elif stored is None or stored.sequence < job.order.record_seq:
                job.error = RetryLater(f"bill {job.order.key} is not in the records yet")
            else:
                job.record = stored.message
        await each([job for job in jobs if job.record is not None], self._settle)

    async def _settle(self, job: Job) -> None:
        if job.record is not None:
            job.record = await self._papers.settled(job.record)

    async def payment_day(self, job: Job) -> date:
        """When the bill was paid, as the accounts have it."""
        if job.record is None or job.bill is None:
            raise RetryLater(f"bill {job.order.key} is not there")
        names = [
            self._subject(job.order, "billpayment", f"{job.order.realm}-{link.id}")
            for link in job.bill.links
            if link.kind.startswith("BillPayment")
        ]
        found = await self._bus.latest(self._bus.topology.records, names, Record)
        return paid_on(job.record, [stored.message for stored in found.values()], now().date())

    async def file(self, job: Job) -> File:
        """The bill's document."""
        if job.record is None or job.bill is None:
            raise RetryLater(f"bill {job.order.key} is not there")
        return await self.paper(job.record, job.bill)

    async def paper(self, record: Record, bill: Bill) -> File:
        """The document of a bill and its record."""
        vendor_key = f"{record.realm}-{bill.vendor.id}"
        names = [subjects.record(self._bus.region, record.workspace, "vendor", vendor_key)]
        vendors = await self._bus.latest(self._bus.topology.records, names, Record)
        pattern = f"{self._bus.region}.record.{record.workspace}.company.*"
        company = await self._bus.newest(self._bus.topology.records, pattern, Record)
        vendor = next((stored.message.body for stored in vendors.values()), None)
        buyer = company.message.body if company is not None and company.message.realm == record.realm else None
        return await self._papers.file(
            record,
            vendor if isinstance(vendor, Vendor) else None,
            buyer if isinstance(buyer, Company) else None,
        )

    def _subject(self, order: Order, kind: RecordKind, key: str) -> str:
        return subjects.record(self._bus.region, order.workspace, kind, key)
