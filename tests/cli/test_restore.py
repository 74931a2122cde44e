"""The broker's store set back to a backup, or lost: what was done is found at both providers, and not done again."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx
import pytest

from common import subjects
from common.messages import Refusal, Rewind
from common.settings import load
from common.ticks import ask_for_pull
from services.cli import demo
from services.cli.bookkeeper import Bookkeeper
from services.cli.installation import Installation, installation
from services.cli.tally import Tally

BILLS = 24


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[tuple[Installation, Tally, httpx.AsyncClient]]:
    """Weir on what the directory holds, from its start to its end."""
    base = load(console_port=0).model_copy(update={"sandbox_quickbooks_port": 0, "sandbox_qonto_port": 0})
    async with (
        installation(base, directory, sandbox=True, own_logs=True) as weir,
        httpx.AsyncClient(base_url=weir.settings.quickbooks_api_url, timeout=60, trust_env=False) as http,
    ):
        tally = Tally(weir.bus, demo.WORKSPACE)
        await tally.follow()
        yield weir, tally, http


async def settled(tally: Tally, bills: int) -> None:
    """Wait until so many bills have their answers."""
    with anyio.fail_after(90):
        while len(tally.bills) < bills or not await tally.settled():
            await anyio.sleep(0.25)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "kept", [pytest.param(True, id="backup"), pytest.param(False, id="nothing", marks=pytest.mark.long)]
)
async def test_a_store_set_back_or_lost_doubles_nothing(kept: bool, tmp_path: Path) -> None:
    store, backup = tmp_path / "broker/store", tmp_path / "backup"
    async with running(tmp_path) as (weir, tally, http):
        bookkeeper = await Bookkeeper.new_company(http, "restore", BILLS)
        for provider in ("quickbooks", "qonto"):
            await demo.connect(weir, provider)
        await settled(tally, BILLS)
        made = [key for key in tally.bills if tally.fate(key) == "created"]
    shutil.copytree(store, backup)

    async with running(tmp_path) as (weir, tally, http):
        bookkeeper = Bookkeeper(http, bookkeeper.realm, bookkeeper.organization)
        await settled(tally, BILLS)
        edited, deleted = (tally.bills[key].id for key in made[:2])
        entered = await bookkeeper.enter_bill_like(edited, number="NEW-2718")
        await bookkeeper.edit(edited, number="FIXED-3141")
        await bookkeeper.delete(deleted)
        await ask_for_pull(weir.bus, demo.WORKSPACE, "asked")
        await settled(tally, BILLS + 1)
        entry = tally.entry(f"{bookkeeper.realm}-{entered}")
        assert tally.fate(f"{bookkeeper.realm}-{entered}") == "created"
        assert tally.fate(f"{bookkeeper.realm}-{edited}") == "created"
        assert tally.fate(f"{bookkeeper.realm}-{deleted}") == "withdrawn"
    shutil.rmtree(store)
    if kept:
        shutil.copytree(backup, store)

    async with running(tmp_path) as (weir, tally, http):
        bookkeeper = Bookkeeper(http, bookkeeper.realm, bookkeeper.organization)
        if kept:
            await settled(tally, BILLS)
            asked = Rewind(workspace=demo.WORKSPACE, to=datetime(2000, 1, 1, tzinfo=UTC))
            answer = await weir.bus.call(subjects.call(weir.bus.region, "quickbooks", "rewind"), asked)
            assert not isinstance(answer, Refusal), answer
        else:
            for provider in ("quickbooks", "qonto"):
                await demo.connect(weir, provider)
        # A bill that was deleted is not seen by a first import.
        await settled(tally, BILLS + kept)
        assert await bookkeeper.duplicates() == 0
        assert tally.unverified == []
        assert tally.entry(f"{bookkeeper.realm}-{entered}") == entry
        assert tally.fate(f"{bookkeeper.realm}-{edited}") in {"linked", "created"}
        if kept:
            assert tally.fate(f"{bookkeeper.realm}-{deleted}") == "withdrawn"
