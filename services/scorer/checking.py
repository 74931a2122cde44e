"""The weekly self-check: brought by the broker, done by whichever scorer is free."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import anyio
import nats.errors
import structlog

from common import subjects
from common.buckets import Bucket
from common.bus import Bus
from common.delivery import Delivery
from common.errors import Refused, RetryLater
from common.messages import Check, Notice, NoticeKind, Policy, SelfCheck, Workspace, now
from services.scorer.history import History
from services.scorer.matching.selfcheck import case, changes, checked, hold, measured

log = structlog.get_logger()

EVERY = timedelta(days=7).total_seconds()
"""Seconds from one check of a workspace to the next."""
JITTER = 0.05
"""Part of that by which checks are spread."""
WAKE_EVERY = timedelta(hours=6).total_seconds()
"""Seconds between two looks for workspaces that nothing would check."""


class Checks:
    """Checks workspaces as one of several; the same check done twice has one effect."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._kept = Bucket(bus, "selfchecks", SelfCheck)
        self._policies = Bucket(bus, "policies", Policy)
        self._workspaces = Bucket(bus, "workspaces", Workspace)
        self._resting = anyio.CancelScope()
        self._stopping = False

    async def handle(self, deliveries: Sequence[Delivery[Check]]) -> None:
        """Check the workspace of each message, and tell its owner whose bills are held back from now on."""
        for delivery in deliveries:
            workspace = delivery.message.workspace
            if delivery.subject != subjects.check(self._bus.region, workspace):
                raise Refused(f"the check names another workspace than its subject {delivery.subject}")
            await self._check(workspace)

    async def keep_scheduled(self) -> None:
        """Schedule what is not scheduled every now and then, for as long as the service runs."""
        rest = 0.0
        while not self._stopping:
            with anyio.move_on_after(rest) as self._resting:
                await anyio.sleep_forever()
            rest = WAKE_EVERY * random.uniform(0.5, 1.5)
            if not self._stopping:
                try:
                    await self.schedule_forgotten()
                except (RetryLater, nats.errors.Error) as error:
                    log.warning("scorer.checks_not_scheduled", error=error)

    async def stop(self) -> None:
        """End `keep_scheduled`."""
        self._stopping = True
        self._resting.cancel()

    async def schedule_forgotten(self) -> None:
        """Have every workspace of the region checked each week that is not yet."""
        region, stream = self._bus.region, self._bus.topology.checks
        pattern = subjects.check_schedule(region, "*")
        present = {name.rpartition(".")[2] for name in await self._bus.subjects(stream, pattern)}
        async for kept in self._workspaces.items():
            if kept.key not in present:
                await self._schedule(kept.key)

    async def _schedule(self, workspace: str) -> None:
        """Have a workspace checked every week; two instances that do it leave one schedule, the later one."""
        region = self._bus.region
        seconds = round(EVERY * random.uniform(1 - JITTER, 1 + JITTER))
        headers = {"Nats-Schedule": f"@every {seconds}s", "Nats-Schedule-Target": subjects.check(region, workspace)}
        check = Check(workspace=workspace, asked_at=now())
        await self._bus.publish(
            subjects.check_schedule(region, workspace), check, stream=self._bus.topology.checks, **headers
        )
        log.info("scorer.check_scheduled", workspace=workspace, seconds=seconds)

    async def _check(self, workspace: str) -> None:
        present = await self._kept.get(workspace)
        policy = await self._policies.get(workspace)
        target = policy.value.target if policy is not None else Policy().target
        after = await self._measure(workspace, target)
        before = present.value if present is not None else None
        # Told first and under a key: who dies in between tells the same again, and it is stored once.
        demoted, restored = changes(before, after)
        for vendor in demoted:
            why = f"bills of {_named(after, vendor)} wait for you: {hold(after, vendor)}"
            fix = "answer their reviews as they come; Weir decides by itself again when enough of them agree with it"
            await self._tell(workspace, "demoted", vendor, after, why, fix)
        for vendor in restored:
            shown = after if vendor in after.vendors else before
            why = f"Weir decides on bills of {_named(shown, vendor)} by itself again: {_proof(after, vendor)}"
            await self._tell(workspace, "restored", vendor, after, why)
        if present is None:
            await self._kept.create(workspace, after)
        else:
            await self._kept.replace(workspace, after, present.revision)
        log.info("scorer.checked", workspace=workspace, cases=after.overall.cases, held=len(after.held))

    async def _measure(self, workspace: str, target: float) -> SelfCheck:
        at, history = now(), History(self._bus, workspace)
        courses = await history.courses(at)
        vendors = await history.vendors(courses)
        right, cases, names = Counter[str](), Counter[str](), dict[str, str | None]()
        for bill, (vendor, name) in vendors.items():
            course = courses[bill]
            proved = case(course.decisions, course.answers, at, turned_down=course.turned_down)
            if proved is not None:
                right[vendor] += proved
                cases[vendor] += 1
                names[vendor] = name
        found = {vendor: measured(right[vendor], cases[vendor], names[vendor]) for vendor in cases}
        return checked(found, target, at)

    async def _tell(
        self, workspace: str, kind: NoticeKind, vendor: str, check: SelfCheck, why: str, fix: str | None = None
    ) -> None:
        notice = Notice(workspace=workspace, kind=kind, at=check.at, why=why, fix=fix)
        proof = check.vendors.get(vendor)
        identity = f"{proof.right}-{proof.cases}" if proof is not None else "spotless"
        await self._bus.notify(notice, key=f"{kind}-{workspace}-{vendor}-{identity}")


def _named(check: SelfCheck | None, vendor: str) -> str:
    found = check.vendors.get(vendor) if check is not None else None
    return found.name if found is not None and found.name else f"vendor {vendor.partition('-')[2]}"


def _proof(check: SelfCheck, vendor: str) -> str:
    """Why a vendor is no longer held back."""
    found = check.vendors.get(vendor)
    if found is None:
        return "no decision of the last year was wrong"
    return f"{found.right} of {found.cases} decisions were right, at least {found.at_least:.0%}"
