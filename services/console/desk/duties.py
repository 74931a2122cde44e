"""What a person has to do in a workspace, the most pressing first. Pure: told from what the buckets and streams say."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from common.messages import NAMES, Failure, Provider, SelfCheck
from common.tenants import Tenant
from services.console.desk.flow import Standing

Duty = Literal["connect", "reconnect", "mend", "pull", "failures", "reviews", "held", "left out", "late"]

LATE = timedelta(minutes=15)
"""How long what was decided may wait for Qonto before somebody should look at the poster."""


class Must(msgspec.Struct, frozen=True):
    """Something to do: what it is about, why, how many times, and the next step where it is not plain."""

    duty: Duty
    why: str
    count: int = 1
    fix: str | None = None


def who_must(
    tenant: Tenant,
    at: datetime,
    *,
    waiting: int = 0,
    failures: Sequence[Failure] = (),
    standing: Standing | None = None,
    check: SelfCheck | None = None,
) -> list[Must]:
    """What is to be done; nothing where all flows by itself. `waiting` are the open reviews."""
    found = [must for provider in NAMES for must in _connection(tenant, provider)]
    pull = tenant.pull_standing
    if pull is not None and pull.state == "failing":
        found.append(Must("pull", f"pulling fails: {pull.detail}", fix=pull.fix))
    if failures:
        first = failures[0]
        found.append(Must("failures", f"{first.record}: {first.why}", len(failures), first.fix))
    late = standing is not None and standing.oldest is not None and at - standing.oldest > LATE
    if standing is not None and late and tenant.connected("qonto"):
        why = f"decided and not yet in Qonto: {standing.decided}"
        found.append(Must("late", why, standing.decided, "see that `weir poster` runs"))
    if waiting:
        found.append(
            Must("reviews", f"{waiting:,} bill{'s wait' if waiting != 1 else ' waits'} for a decision", waiting)
        )
    if check is not None and check.held:
        names = [check.vendors[one].name or one for one in check.held if one in check.vendors]
        why = f"too few decisions proved right for {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
        found.append(Must("held", why, len(check.held), "answer the reviews of these vendors as they come"))
    if tenant.left_out is not None:
        found.append(Must("left out", tenant.left_out))
    return found


def _connection(tenant: Tenant, provider: Provider) -> list[Must]:
    standing = tenant.standing(provider)
    match standing.state:
        case "not connected" | "disconnected":
            return [Must("connect", f"{NAMES[provider]} is {standing.state}", fix=standing.fix)]
        case "needs-reconnect":
            return [Must("reconnect", f"{NAMES[provider]}: {standing.detail}", fix=standing.fix)]
        case "paused":
            return [Must("mend", f"{NAMES[provider]}: {standing.detail}", fix=standing.fix)]
        case _:
            return []
