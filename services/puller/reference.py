"""What change data capture does not tell: the company itself and its tax codes, read whole once a day.

Each in a pull of its own, so that a pull of an hour in which nothing changed stays cheap; both together at a first
pull and after a rewind.

What of it QuickBooks cannot give stays in RECORDS as it was.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from common import quickbooks as wire
from common.bus import Bus
from common.messages import RecordKind, TaxCode, TaxRate
from common.wire import WireError
from services.puller.marker import Marker, Markers, due
from services.puller.omissions import left_damaged, left_malformed
from services.puller.publisher import COMPANY_ID, Publisher
from services.puller.quickbooks import Company, Damaged
from services.puller.records import record
from services.puller.salvage import ACTIVE, Salvage
from services.puller.window import whole

T = TypeVar("T")

COMPANY = "CompanyInfo"
TAX_CODES = "TaxCode"
TAX_RATES = "TaxRate"


class Reference:
    """The daily part of a pull."""

    def __init__(self, bus: Bus, company: Company, markers: Markers, publisher: Publisher) -> None:
        self._bus = bus
        self._company = company
        self._markers = markers
        self._publisher = publisher

    async def refresh(self) -> datetime:
        """Read and publish what is due by QuickBooks' time, and tell the publisher the home currency; that time."""
        if COMPANY not in self._markers:  # a first pull: the answer tells the time
            await self._read_company()
        at = whole(self._company.answered_at or await self._company.clock())
        at_once = [name for name in (COMPANY, TAX_CODES) if not self._markers[name].quiet]
        wanted = at_once or self._due(at)[:1]
        if COMPANY in wanted:
            await self._read_company()
        await self._publisher.learn_home_currency()
        if TAX_CODES in wanted:
            await self._read_tax_codes(at)
        return at

    def _due(self, at: datetime) -> list[str]:
        """What was not read for a day, the longest unread first."""
        read = {name: until for name in (COMPANY, TAX_CODES) if (until := self._markers[name].until) is not None}
        return sorted((name for name, until in read.items() if due(until, at)), key=read.__getitem__)

    async def _read_company(self) -> None:
        marker = self._markers[COMPANY]
        try:
            found = await self._company_info()
        except (Damaged, WireError) as error:
            at = whole(await self._company.clock())  # fails too if QuickBooks itself is unwell
            if await self._publisher.unknown("company", [COMPANY_ID]):
                raise  # without a home currency no amount can be told
            if COMPANY not in marker.damaged:
                await left_damaged(self._bus, self._company, COMPANY, error)
            await self._markers.move(COMPANY, Marker(until=at, damaged=(COMPANY,)))
            return
        await self._publish("company", found, republish=marker.republish)
        at = whole(self._company.answered_at or await self._company.clock())
        await self._markers.move(COMPANY, Marker(until=at))

    async def _company_info(self) -> list[wire.Normalized]:
        companies = await self._company.rows(COMPANY, "SELECT * FROM CompanyInfo")
        preferences = await self._company.rows("Preferences", "SELECT * FROM Preferences")
        settings = preferences[0].body if preferences else None
        return [wire.company(row.body, settings) for row in companies]

    async def _read_tax_codes(self, at: datetime) -> None:
        marker = self._markers[TAX_CODES]
        of_rates = Salvage(self._bus, self._company, TAX_RATES, self._markers[TAX_RATES], at)
        rates = {rate.id: rate for rate in await self._all(of_rates, wire.tax_rate)}
        if (noted := of_rates.noted(Marker())) != self._markers[TAX_RATES]:
            await self._markers.move(TAX_RATES, noted)
        salvage = Salvage(self._bus, self._company, TAX_CODES, marker, at)
        codes = await self._all(salvage, lambda raw: wire.tax_code(raw, rates))
        if of_rates.damaged:
            vague = [code.id for code in codes if _vague(code, rates)]
            kept = set(vague) - await self._publisher.unknown("taxcode", vague)
            codes = [code for code in codes if code.id not in kept]
        await self._publish("taxcode", codes, republish=marker.republish)
        await self._markers.move(TAX_CODES, salvage.noted(Marker(until=at)))

    async def _all(self, salvage: Salvage, parse: Callable[[msgspec.Raw], T]) -> list[T]:
        """Every object of a short list, without those that cannot be had or are malformed: they are told once."""
        found: list[T] = []
        salvage.damaged.clear()
        for row in await salvage.listed(ACTIVE, order=""):
            try:
                found.append(parse(row.sound()))
            except WireError as error:
                salvage.damaged.add(row.id)
                if salvage.new(row.id):
                    await left_malformed(self._bus, self._company, salvage.entity, row, error)
        return found

    async def _publish(self, kind: RecordKind, found: Sequence[wire.Normalized], *, republish: bool) -> None:
        records = [record(kind, item, self._company) for item in found]
        await self._publisher.records(kind, records, republish=republish)


def _vague(code: wire.Normalized, rates: Mapping[str, TaxRate]) -> bool:
    """Whether a tax code names a rate that could not be read."""
    return isinstance(code.body, TaxCode) and any(rate.id not in rates for rate in code.body.rates)
