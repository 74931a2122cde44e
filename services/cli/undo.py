"""`weir undo`: take one link or creation back, and leave the bill to a person."""

from typing import Annotated

import anyio
from cyclopts import Parameter

from common import subjects
from common.errors import UserError, WeirError
from common.messages import Refusal, Undo, Undone
from services.cli.terminal import at, bill, key_of, named, say

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
    anyio.run(_undo, named(workspace), bill(record), by, note)


async def _undo(workspace: str, record: str, by: str, note: str | None) -> None:
    async with at(workspace) as (bus, found):
        key = key_of(found, record)
        message = Undo(workspace=workspace, bill=key, by=by, note=note)
        answer = await bus.call(subjects.call(bus.region, "qonto", "undo"), message, timeout=ANSWERS_WITHIN)
    match answer:
        case Undone(entry=entry, why=why):
            say(f"{key}: {entry} {why}\nThe bill waits for a person now.")
        case Refusal(why=why, fix=fix):
            raise NotUndone(f"{why}; {fix}" if fix else why)
        case _:
            raise NotUndone(f"the poster answered {type(answer).__name__}")
