"""What a pull has to leave out, told to the workspace's owner: nothing is skipped in silence."""

import structlog

from common.bus import Bus
from common.messages import Notice, now
from services.puller.quickbooks import Company
from services.puller.window import Row

AGAIN = "save it again in QuickBooks"

log = structlog.get_logger()


async def left_damaged(bus: Bus, company: Company, what: str, error: Exception) -> None:
    """Say that QuickBooks itself cannot give `what`."""
    fix = "open it in QuickBooks and save it again; it is tried again every day"
    await left_out(bus, company, what, error, fix=fix, key=f"damaged-{what}")


async def left_malformed(
    bus: Bus, company: Company, entity: str, row: Row, error: Exception, *, fix: str = AGAIN
) -> None:
    """Say that an object is not what it should be."""
    key = f"{entity}-{row.id}-{row.at.isoformat()}"
    await left_out(bus, company, f"{entity} {row.id}", error, fix=fix, key=key)


async def left_out(bus: Bus, company: Company, what: str, error: Exception, *, fix: str, key: str) -> None:
    """Say that `what` was left out because of `error`; `key` tells it apart within the company."""
    log.warning("puller.left_out", workspace=company.workspace, what=key, error=error)
    await bus.notify(
        Notice(
            workspace=company.workspace,
            kind="failed",
            at=now(),
            provider="quickbooks",
            why=f"{what} was left out: {error}",
            fix=fix,
        ),
        key=f"left-out-{company.workspace}-{company.realm}-{key}",
    )
