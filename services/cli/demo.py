"""`weir demo`: a fictional company, its books and its bank, and Weir between them, on this machine."""

import os
import secrets
import shutil
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import anyio
import httpx
import msgspec
from cyclopts import Parameter
from rich.console import Console

from common import logs, subjects
from common.bus import Bus
from common.errors import UserError, WeirError
from common.invitations import Invitations, address
from common.messages import Refusal, Rewind, now
from common.settings import Settings, load
from common.ticks import ask_for_pull
from services.cli import report
from services.cli.bookkeeper import Bookkeeper
from services.cli.installation import Installation, installation
from services.cli.tally import Tally

WORKSPACE = "demo"
SETTLED_WITHIN = 150.0
"""Seconds one round of the demo may take."""


def demo(
    *,
    once: Annotated[bool, Parameter(negative="", help="End when done instead of waiting for Ctrl-C.")] = False,
    json: Annotated[bool, Parameter(negative="", help="Print the figures as one JSON object, the last line.")] = False,
    bills: Annotated[int, Parameter(help="How many bills the company has.")] = 520,
    seed: Annotated[str, Parameter(help="Which fictional company.")] = "weir",
    scorers: Annotated[int, Parameter(help="How many scorers share the work.")] = 2,
) -> int:
    """Sync a fictional company, change things in its books, sync again, and count.

    Exits 1 if a law is broken: a duplicate, an effect that was not read back, a bill without an answer.
    """
    if bills < 20:
        raise UserError(f"--bills {bills}: at least 20 are needed for every kind of bill to occur")
    settings = load()
    logs.configure("demo", level="warning", style=settings.log_format)
    screen = Console(stderr=json, highlight=False)
    return anyio.run(_demo, settings, screen, once, json, bills, seed, scorers)


async def _demo(
    settings: Settings, screen: Console, once: bool, json: bool, bills: int, seed: str, scorers: int
) -> int:
    began = time.monotonic()
    directory = _fresh(settings.data_dir / "demo")
    screen.print(f"Starting a broker, the sandbox, and puller, {scorers} scorers, poster, console as processes …")
    chosen: dict[str, object] = {"console_port": 0}
    if settings.nats_url is not None:  # on a broker that others use, a region that nobody else does
        chosen["region"] = f"dm{secrets.token_hex(3)}"
    base = load(**{**settings.model_dump(exclude_unset=True), **chosen})
    base = base.model_copy(update={"sandbox_quickbooks_port": 0, "sandbox_qonto_port": 0})
    async with (
        installation(base, directory, sandbox=True, scorers=scorers, own_logs=True) as weir,
        httpx.AsyncClient(base_url=weir.settings.quickbooks_api_url, timeout=60.0, trust_env=False) as http,
    ):
        bookkeeper = await Bookkeeper.new_company(http, seed, bills)
        tally = Tally(weir.bus, WORKSPACE)
        await tally.follow()
        for provider in ("quickbooks", "qonto"):
            await connect(weir, provider)
            screen.print(f"Connected [bold]{provider}[/bold] through its OAuth pages.")
        changes = await rounds(weir.bus, bookkeeper, tally, screen)
        figures = report.figures(tally, await bookkeeper.truth(), await bookkeeper.duplicates(), changes)
        figures.seconds = round(time.monotonic() - began, 1)
        figures.calls = await bookkeeper.calls()
        report.show(screen, figures, tally, changes, weir)
        if json:
            sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
            sys.stdout.flush()
        if not once and sys.stdin.isatty():
            link = address(weir.console_url, await Invitations(weir.bus).for_operator())
            screen.print(
                "Everything still runs: press Ctrl-C to stop, or sign in (once, within ten minutes) at",
                link,
                soft_wrap=True,
            )
            await anyio.sleep_forever()
    return 1 if figures.broken else 0


async def rounds(bus: Bus, bookkeeper: Bookkeeper, tally: Tally, screen: Console) -> report.Changes:
    """A first sync, one after changes in the books, one of everything again, one with the markers set back."""
    await _settle(tally, screen, "First sync")
    changes = await _change(bookkeeper, tally)
    await ask_for_pull(bus, WORKSPACE, "asked")
    await _settle(tally, screen, "After changes in the books")
    await _rewind(bus, datetime(2000, 1, 1, tzinfo=UTC))
    await _settle(tally, screen, "After importing everything again")
    await _rewind(bus, now() - timedelta(days=30))
    await _settle(tally, screen, "After setting the markers back")
    return changes


async def _change(bookkeeper: Bookkeeper, tally: Tally) -> report.Changes:
    """A new bill, a corrected, a paid and a deleted one; the last three among those Weir made entries for."""
    made = sorted(
        (key for key in tally.bills if tally.fate(key) == "created" and not _paid(tally, key)),
        key=lambda key: int(tally.bills[key].id),
    )
    if len(made) < 3:
        raise WeirError(f"only {len(made)} unpaid bills were created, three are needed to change; use more --bills")
    # A correction shows in Qonto only where Weir drew the document: the supplier's own stays as it is.
    drawn = next((key for key in made if not tally.bills[key].documents), made[0])
    made.remove(drawn)
    edited, paid, deleted = (tally.bills[key].id for key in (drawn, *made[:2]))
    new = await bookkeeper.enter_bill_like(edited, number="NEW-2718")
    await bookkeeper.edit(edited, number="FIXED-3141")
    await bookkeeper.pay(paid)
    await bookkeeper.delete(deleted)
    realm = bookkeeper.realm
    return report.Changes(f"{realm}-{new}", f"{realm}-{edited}", f"{realm}-{paid}", f"{realm}-{deleted}")


def _paid(tally: Tally, key: str) -> bool:
    body = tally.bills[key].body
    return bool(getattr(body, "paid", True))


async def connect(weir: Installation, provider: str) -> None:
    """Sign in and follow the redirects a browser follows; the sandbox's consent page approves at once."""
    async with httpx.AsyncClient(timeout=30.0, follow_redirects=True, trust_env=False) as browser:
        await browser.post(f"{weir.console_url}/signin", data={"link": await Invitations(weir.bus).for_operator()})
        page = await browser.get(f"{weir.console_url}/connect/{WORKSPACE}/{provider}")
    if page.status_code != 200:
        raise WeirError(f"connecting {provider} ended at {page.url.path} with HTTP {page.status_code}")


async def _rewind(bus: Bus, to: datetime) -> None:
    answer = await bus.call(subjects.call(bus.region, "quickbooks", "rewind"), Rewind(workspace=WORKSPACE, to=to))
    if isinstance(answer, Refusal):
        raise WeirError(f"the rewind was refused: {answer.why}")


async def _settle(tally: Tally, screen: Console, title: str) -> None:
    """Wait, showing each stage, until nothing is under way any more."""
    with report.progress(screen, title, tally) as refresh, anyio.move_on_after(SETTLED_WITHIN):
        calm = 0
        while calm < 2:  # twice in a row: what was just published may not have reached us yet
            calm = calm + 1 if await tally.settled() else 0
            refresh()
            await anyio.sleep(0.25)
        return
    raise WeirError(f"not settled after {SETTLED_WITHIN:g} s: {dict(tally.fates())}; see the logs of the demo")


def _fresh(directory: Path) -> Path:
    """An empty place for this demo's state; the last demo's is thrown away, a running one's is not."""
    running = directory / "running.pid"
    if running.exists() and _alive(int(running.read_text())):
        raise UserError(f"a demo runs already (process {running.read_text()}); stop it first, or set WEIR_DATA_DIR")
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    running.write_text(str(os.getpid()))
    return directory.resolve()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
