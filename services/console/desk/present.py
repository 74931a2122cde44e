"""How a workspace stands just now: what flowed, what waits, what people must do, and how right Weir was."""

from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple

import msgspec

from common.buckets import Bucket
from common.bus import Bus
from common.failures import Failures
from common.messages import Precision, SelfCheck, now
from common.tenants import Tenant, tenant
from services.console.desk.duties import Must, who_must
from services.console.desk.flow import WEEKS, Day, Flow, Standing
from services.console.desk.queue import Queue
from services.console.desk.shelf import Shelf
from services.console.running import Missing, missing

Span = Literal["today", "week", "month", "all"]
DAYS: dict[Span, int] = {"today": 1, "week": 7, "month": 30, "all": WEEKS * 7}
"""How many days a span has, today among them."""


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """What Today shows; `missing` are the services that do not answer, `behind` is why the picture may be old.

    `days` are those of the last weeks, all of them, oldest first. `waiting` are the open reviews, `failing` the
    failures that stand.
    """

    tenant: Tenant
    at: datetime
    days: list[Day]
    standing: Standing
    waiting: int
    failing: int
    must: list[Must]
    missing: list[Missing] = []
    check: SelfCheck | None = None
    loading: bool = False
    behind: str | None = None

    def span(self, span: Span) -> list[Day]:
        """The days of a span."""
        return self.days[-DAYS[span] :]

    @property
    def lag(self) -> timedelta | None:
        """How long what waits longest for Qonto was decided ago."""
        return None if self.standing.oldest is None else max(timedelta(), self.at - self.standing.oldest)

    @property
    def synced(self) -> bool:
        """Whether a first bill stands in Qonto, read back."""
        return self.standing.verified > 0

    @property
    def first(self) -> bool:
        """Whether this is the first run: nothing stands in Qonto yet, and not because all of it is long ago."""
        created = self.tenant.created_at
        young = created is None or self.at - created < timedelta(weeks=WEEKS)
        return young and not self.synced and not self.loading

    @property
    def below(self) -> list[tuple[str, Precision]]:
        """Vendors whose automatic decisions prove right less often than they must, by name or key, worst first."""
        if self.check is None:
            return []
        target = self.check.target
        found = [
            (one.name or key, one)
            for key, one in self.check.vendors.items()
            if one.at_least < target or key in self.check.held
        ]
        return sorted(found, key=lambda pair: (pair[1].at_least, pair[0]))


class Desks(NamedTuple):
    """The pictures that it is told from."""

    flows: Shelf[Flow]
    queues: Shelf[Queue]


async def present(bus: Bus, desks: Desks, workspace: str) -> Present:
    """How the workspace stands; RetryLater if the broker does not answer."""
    at = now()
    known = await tenant(bus, workspace)
    failures = await Failures(bus).standing(workspace)
    check = await Bucket(bus, "selfchecks", SelfCheck).get(workspace)
    flow, queue = await desks.flows.look(workspace), await desks.queues.look(workspace)
    standing, waiting = flow.picture.course.standing(), queue.picture.size
    return Present(
        tenant=known,
        at=at,
        days=_days(flow.picture, at),
        standing=standing,
        waiting=waiting,
        failing=len(failures),
        must=who_must(
            known,
            at,
            waiting=waiting,
            failures=failures,
            standing=standing,
            check=check.value if check else None,
        ),
        missing=await missing(bus),
        check=check.value if check else None,
        loading=flow.loading or queue.loading,
        behind=flow.behind or queue.behind,
    )


def _days(flow: Flow, at: datetime) -> list[Day]:
    today: date = at.astimezone(UTC).date()
    return flow.course.days(today - timedelta(days=DAYS["all"] - 1), today)
