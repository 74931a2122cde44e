"""Keeping within QuickBooks' limits, and counting what Intuit meters.

A company allows 10 requests a second and 500 a minute, whoever sends them. So the broker counts for all
instances together: every request first puts a message on a subject that takes only so many of a certain age
(`common.topology.PACE`), and waits while it is refused. No clock of ours is involved, and nothing is left to
clean up after a crash.
"""

import random
from collections import Counter
from collections.abc import Mapping
from weakref import WeakValueDictionary

import anyio
import httpx
import structlog

from common import subjects
from common.bus import Bus
from common.errors import RetryLater
from common.http import measured
from common.messages import now
from common.settings import READS_WARN_AT
from common.subjects import Span

log = structlog.get_logger()

METERED_FOR = "weir.workspace"
"""Extension of a request that names the workspace its answer is metered for."""

_COMPANY = "/v3/company/"
_ASK_AGAIN: Mapping[Span, float] = {"minute": 1.0, "second": 0.1}
"""Mean seconds between two tries for a place."""


class Pace:
    """Waits for a place within the limits of one company, in turn with all other instances."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._turns: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def wait(self, realm: str) -> None:
        """Return when one more request fits; RetryLater if the broker does not answer."""
        turn = self._turns.setdefault(realm, anyio.Lock())
        async with turn:  # one of this process's requests asks the broker at a time
            for span, seconds in _ASK_AGAIN.items():
                subject = subjects.pace(self._bus.region, span, "quickbooks", realm)
                while not await self._bus.admit(self._bus.topology.pace(span), subject):  # noqa: ASYNC110 (it is far away)
                    await anyio.sleep(seconds * random.uniform(0.5, 1.5))


class Meter:
    """Counts the reads that Intuit meters: answers of the data API with status 2xx."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._owed: Counter[str] = Counter()

    async def count(self, workspace: str) -> None:
        """Add one to the workspace's month and everybody's; what the broker does not take now comes with the next."""
        region, month = self._bus.region, now()
        everybody = subjects.metered(region, "quickbooks", month)
        self._owed.update([subjects.meter(region, "quickbooks", month, workspace), everybody])
        for subject in list(self._owed):
            owed = self._owed.pop(subject, 0)
            if not owed:
                continue  # another request's task is at it
            try:
                reads = await self._bus.count(subject, owed)
            except RetryLater as error:
                self._owed[subject] += owed
                log.warning("puller.not_metered", subject=subject, reads=owed, error=error)
            else:
                self._warn(reads if subject == everybody else 0, owed)

    def _warn(self, reads: int, added: int) -> None:
        """Say that the plan's reads run out, once at each step: only who takes the step sees it."""
        limit = self._bus.settings.quickbooks_monthly_reads
        for share in READS_WARN_AT:
            if reads - added < share * limit <= reads:
                log.warning("puller.reads_run_out", reads=reads, included=limit, share=f"{share:.0%}")


def keep_within_limits(http: httpx.AsyncClient, bus: Bus) -> None:
    """Pace every request of `http` to QuickBooks' data API, repeats included, and meter its answers."""
    host = httpx.URL(bus.settings.quickbooks_api_url).netloc
    pace, meter = Pace(bus), Meter(bus)

    def of_company(request: httpx.Request) -> bool:
        return request.url.netloc == host and _COMPANY in request.url.path

    async def wait(request: httpx.Request) -> None:
        if of_company(request):
            with measured(request, "quickbooks"):
                await pace.wait(request.url.path.partition(_COMPANY)[2].partition("/")[0])

    async def count(response: httpx.Response) -> None:
        workspace = response.request.extensions.get(METERED_FOR)
        if workspace is not None and response.is_success and of_company(response.request):
            await meter.count(workspace)

    hooks = http.event_hooks
    http.event_hooks = {"request": [*hooks["request"], wait], "response": [*hooks["response"], count]}
