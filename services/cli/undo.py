"""`weir undo`: take one link or creation back, and leave the bill to a person."""

from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.console import Console

from common import subjects
from common.bus import Bus
from common.errors import UserError, WeirError
from common.messages import Refusal, Undo, Undone
from common.settings import load
from common.tenants import tenant

ANSWERS_WITHIN = 60.0
"""Seconds in which a poster should have Qonto read back."""


class NotUndone(WeirError):  # noqa: N818
    """Qonto or the poster did not let it be undone."""


def undo(
    workspace: Annotated[str, Parameter(help="The workspace's name, as it was connected.")],
    record: Annotated[str, Parameter(help="The bill's id in QuickBooks, or REALM-ID.")],
    *,
    by: Annotated[str, Parameter(help="Who undoes it; the history keeps the name.")],
    note: Annotated[str | None, Parameter(help="Why; the history keeps it, and Qonto shows it.")] = None,
) -> None:
    """Take back what stands in Qonto for one bill of WORKSPACE: reject what Weir created, let go of what it linked.

    The bill then waits for a person: nothing is linked or created for it by itself until its document changes.
    Asking twice undoes once. An invoice that Qonto has paid or matched cannot be rejected; then nothing is changed.
    """
    if not by.strip():
        raise UserError("--by: say who undoes it")
    try:
        subjects.workspace(workspace)
        subjects.token(record, "record")
    except subjects.BadTokenError as error:
        raise UserError(str(error)) from None
    anyio.run(_undo, workspace, record, by, note)


async def _undo(workspace: str, record: str, by: str, note: str | None) -> None:
    bus = Bus(load(), "cli")
    await bus.connect()
    try:
        found = await tenant(bus, workspace)
        if not found.known:
            raise UserError(f"workspace {workspace} is not known here; connect it in the console, or check WEIR_REGION")
        key = record
        if "-" not in record:
            company = found.connections.get("quickbooks")
            if company is None:
                raise UserError(f"record {record}: QuickBooks is not connected; name the bill as REALM-{record}")
            key = f"{company.account}-{record}"
        message = Undo(workspace=workspace, bill=key, by=by, note=note)
        answer = await bus.call(subjects.call(bus.region, "qonto", "undo"), message, timeout=ANSWERS_WITHIN)
    finally:
        await bus.close()
    match answer:
        case Undone(entry=entry, why=why):
            out = Console(soft_wrap=True, highlight=False)
            out.print(f"{key}: {entry} {why}\nThe bill waits for a person now.", markup=False)
        case Refusal(why=why, fix=fix):
            raise NotUndone(f"{why}; {fix}" if fix else why)
        case _:
            raise NotUndone(f"the poster answered {type(answer).__name__}")
