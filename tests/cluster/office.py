"""All of Weir as processes between a fictional company's books and its bank, and what must be so in the end.

The oracle reads the sandbox's own stores, the ledger and the streams, and believes no service.
"""

import contextlib
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import httpx
import nats.errors
import nats.js.errors
import pytest

from common import subjects, tenants
from common.buckets import Bucket
from common.errors import WeirError
from common.failures import Failures
from common.messages import Bill, Provider, Retried, Retry
from common.settings import load
from services.cli import demo
from services.cli.bookkeeper import Bookkeeper
from services.cli.installation import Installation, installation
from services.cli.tally import Tally
from services.poster.ledger import Ledger, Page

WS = demo.WORKSPACE
AWAY = (nats.errors.Error, nats.js.errors.APIError, nats.js.errors.NoStreamResponseError, WeirError, httpx.HTTPError)
"""What those who look on meet while the broker or the sandbox is gone; they look again."""
_AT_REST = frozenset({"verified", "linked", "withdrawn", "failed", "uncertain"})
_DEAD = frozenset({"rejected", "archived", "deleted"})


@dataclass
class Office:
    """A running Weir, the company it works for, and who looks on."""

    weir: Installation
    books: Bookkeeper
    tally: Tally
    entered: set[str] = field(default_factory=set)
    reconnected: list[Provider] = field(default_factory=list)

    async def connect(self, provider: Provider) -> None:
        """Connect through the OAuth pages, as often as it takes."""
        with anyio.fail_after(90):
            while True:
                try:
                    await demo.connect(self.weir, provider)
                except AWAY:
                    await anyio.sleep(0.5)
                else:
                    return

    async def mind_connections(self) -> None:
        """Be the person who connects again what a lost answer of a token endpoint has ended; never ends."""
        while True:
            await anyio.sleep(1.0)
            with contextlib.suppress(*AWAY):
                for provider in await self.ended():
                    await demo.connect(self.weir, provider)
                    self.reconnected.append(provider)

    async def ended(self) -> list[Provider]:
        """The providers that want a person to connect them again."""
        kept = (await tenants.tenant(self.weir.bus, WS)).connections
        return [provider for provider, connection in kept.items() if connection.state == "needs-reconnect"]

    async def kill(self, name: str) -> None:
        """End a service by kill -9, which its supervisor starts again."""
        process = self.weir.children[name].process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGKILL)

    async def settled(self, within: float) -> None:
        """Wait until nothing is under way, twice in a row; AssertionError with what still is."""
        calm = 0
        with anyio.move_on_after(within):
            while calm < 2:
                try:
                    calm = calm + 1 if await self.tally.settled() and not await self.ended() else 0
                except AWAY:
                    calm = 0
                await anyio.sleep(0.25)
            return
        raise AssertionError(f"not settled within {within:g} s: {await self.under_way()}")

    async def retry_failures(self) -> list[str]:
        """Be the person who tries again what was given up, once each; the reasons that stood there."""
        bus = self.weir.bus
        found: list[str] = []
        for failure in await Failures(bus).standing(WS):
            found.append(f"{failure.id}: {failure.why}")
            asked = Retry(workspace=WS, id=failure.id, by="A. Tester")
            answer = await bus.call(subjects.retry(bus.region, failure.stage), asked, timeout=60)
            assert isinstance(answer, Retried), answer
        return found

    async def under_way(self) -> dict[str, Any]:
        """How many bills are where, some that are not done, and what the consumers have before them."""
        found: dict[str, Any] = {str(fate): count for fate, count in self.tally.fates().items()}
        found["stuck"] = [key for key in self.tally.bills if self.tally.fate(key) in {"undecided", "unposted"}][:5]
        for consumer in self.weir.bus.topology.consumers:
            with contextlib.suppress(*AWAY):
                info = await self.weir.bus.js.consumer_info(consumer.stream, consumer.name)
                if info.num_pending or info.num_ack_pending:
                    found[consumer.name] = (info.num_pending, info.num_ack_pending)
        return found

    async def differences(self) -> list[str]:
        """In words, everything that is not as it must be once all came to rest; nothing if all is well."""
        tally, bus = self.tally, self.weir.bus
        found = [f"{surplus} duplicate entries"] if (surplus := await self.books.duplicates()) else []
        found += [f"an effect of {posting.bill} was not read back" for posting in tally.unverified]
        standing = await Failures(bus).standing(WS)
        found += [f"failure {failure.id}: {failure.why}" for failure in standing]
        tally.parked.clear()  # told on the way; what still stands is among the failures
        pages = {
            kept.key.rpartition(".")[2]: kept.value
            async for kept in Bucket(bus, "idempotency", Page).items()
            if kept.key.startswith(Ledger.key(WS, self.books.realm, ""))
        }
        live: dict[str, list[dict[str, Any]]] = {}
        invoices = await self._get(f"/sandbox/companies/{self.books.realm}/qonto/supplier_invoices")
        there = {one["id"] for one in invoices}
        prefix = f"QBO-{self.books.realm}-"
        for one in invoices:
            if one["file_name"].startswith(prefix) and one["status"] not in _DEAD:
                live.setdefault(one["file_name"].removeprefix(prefix).partition("-")[0], []).append(one)
        pulled = {record.id for record in tally.bills.values()}
        for ident in sorted({*await self.books.truth(), *self.entered, *pulled, *live, *pages}, key=int):
            bill = await self._bill(ident)
            found += [f"bill {ident}: {why}" for why in self._about(ident, bill, live.get(ident, []), pages.get(ident))]
            page = pages.get(ident)
            if page is not None and page.state == "linked" and page.entry_kind == "invoice" and page.entry not in there:
                found.append(f"bill {ident}: linked to {page.entry}, which is not there")
        return found

    def _about(
        self, ident: str, bill: dict[str, Any] | None, live: list[dict[str, Any]], page: Page | None
    ) -> list[str]:
        key = f"{self.books.realm}-{ident}"
        record = self.tally.bills.get(key)
        if record is None:
            return [] if bill is None else ["it was never pulled"]
        found: list[str] = []
        if record.deleted != (bill is None):
            found.append(f"deleted in the books: {bill is None}, in RECORDS: {record.deleted}")
        if bill is not None and isinstance(record.body, Bill):
            stated = (bill.get("DocNumber"), Decimal(str(bill["TotalAmt"])), Decimal(str(bill["Balance"])))
            kept = (record.body.number, record.body.total, record.body.balance)
            if stated != kept:
                found.append(f"number, total and balance are {stated} in the books, {kept} in RECORDS")
        fate = self.tally.fate(key)
        if fate in {"undecided", "unposted", "failed"}:
            found.append(f"it is {fate}")
        ids = [one["id"] for one in live]
        if page is None:
            return [*found, *([f"{ids} stand in Qonto without a page in the ledger"] if ids else [])]
        if page.state not in _AT_REST:
            found.append(f"the ledger left it {page.state}")
        expected = [page.entry] if page.state in {"verified", "superseding"} and page.made else []
        if ids != expected and page.state in {"verified", "linked", "withdrawn"}:
            found.append(f"the ledger says {page.state} {page.entry} (made by us: {page.made}), Qonto has {ids}")
        if fate == "created" and bill is not None and len(live) == 1:
            paid = float(bill["Balance"]) == 0
            if paid != (live[0]["status"] == "paid"):
                found.append(f"paid in the books: {paid}, in Qonto it is {live[0]['status']}")
        return found

    async def _bill(self, ident: str) -> dict[str, Any] | None:
        answer = await self.books.http.get(f"/sandbox/companies/{self.books.realm}/quickbooks/bill/{ident}")
        body: dict[str, Any] = answer.json()
        return body.get("Bill") if answer.status_code == 200 else None

    async def _get(self, path: str) -> list[dict[str, Any]]:
        answer = (await self.books.http.get(path)).raise_for_status().json()
        found: list[dict[str, Any]] = answer["supplier_invoices"]
        return found


@asynccontextmanager
async def office(directory: Path, *, bills: int, seed: str, settings: Mapping[str, object]) -> AsyncIterator[Office]:
    """Run all of it, connected to both providers, on the broker that `settings` name, until the block ends."""
    ports = {"sandbox_quickbooks_port": 0, "sandbox_qonto_port": 0}
    with pytest.MonkeyPatch.context() as patch:  # the services' settings are their environment
        for name, value in settings.items():
            patch.setenv(f"WEIR_{name.upper()}", str(value))
        base = load(console_port=0).model_copy(update=ports)
        async with (
            installation(base, directory, sandbox=True, scorers=2, own_logs=True) as weir,
            httpx.AsyncClient(base_url=weir.settings.quickbooks_api_url, timeout=60.0, trust_env=False) as http,
        ):
            books = await Bookkeeper.new_company(http, seed, bills)
            tally = Tally(weir.bus, WS)
            await tally.follow()
            scene = Office(weir, books, tally)
            for provider in ("qonto", "quickbooks"):
                await scene.connect(provider)
            yield scene
