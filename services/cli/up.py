"""`weir up`: broker and every service on one machine, until Ctrl-C."""

from typing import Annotated

import anyio
import httpx
from cyclopts import Parameter
from rich.console import Console

from common import logs
from common.invitations import Invitations, address
from common.settings import Settings, load
from services.cli.bookkeeper import Bookkeeper
from services.cli.installation import Installation, installation


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
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        if sandbox:
            await _first_company(weir)
        console.print(f"Weir is up. Console: {weir.console_url}  Broker: {weir.settings.nats_url}")
        console.print(
            f"For `weir pull` and your own subscribers in another terminal: set -a; . {weir.variables}; set +a"
        )
        link = address(weir.console_url, await Invitations(weir.bus).for_operator())
        console.print(f"Sign in once within ten minutes at {link}")
        console.print("Connect accounts in the console; Ctrl-C stops everything.")
        await anyio.sleep_forever()


async def _first_company(weir: Installation) -> None:
    """Give an empty sandbox a company, or there would be nothing to connect."""
    async with httpx.AsyncClient(base_url=weir.settings.quickbooks_api_url, timeout=60.0, trust_env=False) as http:
        if not (await http.get("/sandbox/companies")).json()["companies"]:
            await Bookkeeper.new_company(http, seed="weir", bills=520)
