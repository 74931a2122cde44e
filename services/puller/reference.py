"""What change data capture does not tell: the company itself and its tax codes, read whole once a day."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec

from common import quickbooks as wire
from common.messages import RecordKind, now
from services.puller.marker import Marker, Markers
from services.puller.publisher import Publisher
from services.puller.quickbooks import Company
from services.puller.records import record
from services.puller.window import whole

EVERY = timedelta(hours=23)
"""Less than a day, so that a daily pull finds it due."""

COMPANY = "CompanyInfo"
TAX_CODES = "TaxCode"


class Reference:
    """The daily part of a pull."""

    def __init__(self, company: Company, markers: Markers, publisher: Publisher) -> None:
        self._company = company
        self._markers = markers
        self._publisher = publisher

    async def refresh(self) -> bool:
        """Read and publish what is due, and tell the publisher the home currency; whether anything was due."""
        company = await self._refresh(COMPANY, "company", self._company_info)
        await self._publisher.learn_home_currency()
        tax_codes = await self._refresh(TAX_CODES, "taxcode", self._tax_codes)
        return company or tax_codes

    async def _refresh(
        self, name: str, kind: RecordKind, read: Callable[[], Awaitable[tuple[datetime, list[wire.Normalized]]]]
    ) -> bool:
        marker = self._markers[name]
        if marker.until is not None and marker.quiet and now() - marker.until < EVERY:
            return False
        at, found = await read()
        records = [record(kind, item, self._company) for item in found]
        await self._publisher.records(kind, records, republish=marker.republish)
        await self._markers.move(name, Marker(until=at))
        return True

    async def _company_info(self) -> tuple[datetime, list[wire.Normalized]]:
        at, companies = await self._all(COMPANY)
        _, preferences = await self._all("Preferences")
        return at, [wire.company(item, next(iter(preferences), None)) for item in companies]

    async def _tax_codes(self) -> tuple[datetime, list[wire.Normalized]]:
        at, listed = await self._all("TaxRate", inactive=True)
        rates = {rate.id: rate for rate in map(wire.tax_rate, listed)}
        _, codes = await self._all(TAX_CODES, inactive=True)
        return at, [wire.tax_code(code, rates) for code in codes]

    async def _all(self, entity: str, *, inactive: bool = False) -> tuple[datetime, list[msgspec.Raw]]:
        """Every object of a short list, and the server's time of the first answer."""
        active = " WHERE Active IN (true, false)" if inactive else ""
        found: list[msgspec.Raw] = []
        at: datetime | None = None
        while True:
            answer = await self._company.query(
                entity,
                f"SELECT * FROM {entity}{active} STARTPOSITION {len(found) + 1} MAXRESULTS {self._company.size}",  # noqa: S608
            )
            at = at or whole(answer.time)
            found += answer.objects
            if len(answer.objects) < self._company.size:
                return at, found
