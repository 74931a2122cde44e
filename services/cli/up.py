"""`weir up`: broker and every service on one machine, until Ctrl-C."""

from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.console import Console

from common import logs
from common.settings import Settings, load
from services.cli.installation import installation


def up(
    *,
    scorers: Annotated[int, Parameter(help="How many scorers to run.")] = 1,
    sandbox: Annotated[
        bool, Parameter(negative="", help="Use the stand-ins instead of the real QuickBooks and Qonto.")
    ] = False,
) -> None:
    """Run the broker (unless WEIR_NATS_URL names one) and every service on this machine."""
    settings = load()
    logs.configure("up", level=settings.log_level, style=settings.log_format)
    anyio.run(_up, settings, scorers, sandbox)


async def _up(settings: Settings, scorers: int, sandbox: bool) -> None:
    async with installation(settings, settings.data_dir, sandbox=sandbox, scorers=scorers) as weir:
        console = Console(stderr=True, highlight=False)
        console.print(f"Weir is up. Console: {weir.console_url}  Broker: {weir.settings.nats_url}")
        console.print("Connect accounts in the console; Ctrl-C stops everything.")
        await anyio.sleep_forever()
