"""The poster at work between a real broker and the sandbox: what a test says to it and reads from it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import msgspec
import nats.js.errors
from fpdf import FPDF

from common import http, subjects
from common.buckets import Bucket, Kept
from common.bus import Bus
from common.messages import (
    Action,
    Answer,
    Authorize,
    Bill,
    BillLine,
    Claim,
    Company,
    Decision,
    Disconnect,
    Entry,
    EntryKind,
    Exchange,
    Mirror,
    Mirrored,
    Notice,
    Posting,
    Record,
    Redirect,
    Ref,
    ReviewClosed,
    ReviewRequested,
    ReviewResolved,
    TaxLine,
    Vendor,
    now,
)
from common.settings import Settings
from services.poster.app import build
from services.poster.connection import staging
from services.poster.ledger import Ledger, Page

T = TypeVar("T")
WS = "fictional-lock"
BACK = "http://127.0.0.1:8460/oauth/qonto/callback"


def bill(number: str = "F-100", total: str = "120.00", **changes: Any) -> Bill:
    """A plain bill with one line and 20 % tax."""
    gross = Decimal(total)
    net = (gross / Decimal("1.2")).quantize(Decimal("0.01"))
    shape = Bill(
        vendor=Ref(id="7", name="Imaginary Quarry Ltd"),
        total=gross,
        balance=gross,
        currency="EUR",
        number=number,
        issued_on=date(2026, 3, 1),
        due_on=date(2026, 3, 31),
        tax=gross - net,
        tax_lines=(TaxLine(amount=gross - net, net=net, percent=Decimal(20)),),
        lines=(BillLine(description="Gravel", amount=net),),
    )
    return msgspec.structs.replace(shape, **changes)


class Desk:
    """One workspace, its Qonto organization, and everything that is said about its bills."""

    def __init__(self, bus: Bus, settings: Settings, control: str) -> None:
        self.bus = bus
        self.settings = settings
        self.control = httpx.AsyncClient(base_url=control, timeout=30)
        self.company: dict[str, Any] = {}
        self.realm = ""

    async def open(self, bills: int = 40) -> None:
        """Make the company in the sandbox."""
        answer = await self.control.post("/sandbox/companies", json={"seed": "poster", "bills": bills})
        answer.raise_for_status()
        self.company = answer.json()
        self.realm = str(self.company["realm"])

    async def switch(self, **values: Any) -> None:
        """Turn switches of the sandbox."""
        (await self.control.put("/sandbox/switches", json=values)).raise_for_status()

    async def fault(self, kind: str, path: str, *, method: str = "POST", **more: Any) -> None:
        """Script a fault at Qonto."""
        match = {"side": "qonto", "method": method, "path_regex": path}
        answer = await self.control.post("/sandbox/faults", json={"match": match, "kind": kind, **more})
        answer.raise_for_status()

    async def calls(self, since: float = 0.0) -> dict[str, int]:
        """How often each route of Qonto was called."""
        answer = (await self.control.get("/sandbox/calls", params={"since": since})).json()
        counts: dict[str, int] = {}
        for call in answer["calls"]:
            if call["side"] == "qonto":
                name = f"{call['method']} {call['route']}"
                counts[name] = counts.get(name, 0) + call["count"]
        return counts

    async def invoices(self, ident: str | None = None) -> list[dict[str, Any]]:
        """Everything Qonto holds that was made for this company's bills (or for one of them)."""
        head = f"QBO-{self.realm}-" + (f"{ident}-r" if ident is not None else "")
        return [one for one in await self.all_invoices() if one["file_name"].startswith(head)]

    async def all_invoices(self) -> list[dict[str, Any]]:
        """Everything Qonto holds that Weir made, whichever company's bill it is for."""
        answer = await self.control.get(f"/sandbox/companies/{self.company['realm']}/qonto/supplier_invoices")
        found = answer.json()
        listed = found["supplier_invoices"] if isinstance(found, dict) else found
        return [one for one in listed if one["file_name"].startswith("QBO-")]

    async def live(self, ident: str) -> list[dict[str, Any]]:
        """The entries of a bill that stand."""
        return [one for one in await self.invoices(ident) if one["status"] not in {"rejected", "discarded"}]

    async def patch(self, ident: str, **values: Any) -> None:
        """A person changes an invoice in the app."""
        path = f"/sandbox/companies/{self.realm}/qonto/supplier_invoices/{ident}"
        (await self.control.patch(path, json=values)).raise_for_status()

    async def connect(self) -> None:
        """Walk the consent as a browser does."""
        redirect = await self.call("authorize", Authorize(workspace=WS, redirect_uri=BACK))
        assert isinstance(redirect, Redirect), redirect
        async with httpx.AsyncClient() as browser:
            answer = await browser.get(f"{redirect.url}&organization_id={self.company['organization']}")
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        await self.call("exchange", Exchange(state=query["state"][0], code=query["code"][0]))

    async def disconnect(self) -> Answer:
        """End the connection from Weir's side."""
        return await self.call("disconnect", Disconnect(workspace=WS))

    async def call(self, verb: str, message: Any) -> Answer:
        """Ask the poster."""
        return await self.bus.call(subjects.call(self.bus.region, "qonto", verb), message)

    async def mirror(self) -> Mirrored:
        """Bring the mirror up to date."""
        answer = await self.call("mirror", Mirror(workspace=WS))
        assert isinstance(answer, Mirrored), answer
        return answer

    async def entries(self, kind: EntryKind | None = None) -> list[Entry]:
        """What the mirror says."""
        pattern = f"{self.bus.region}.entry.{WS}.{kind or '*'}.*"
        names = await self.bus.subjects(self.bus.topology.entries, pattern)
        found: list[Entry] = []
        for start in range(0, len(names), 500):
            part = await self.bus.latest(self.bus.topology.entries, names[start : start + 500], Entry)
            found += [stored.message for stored in part.values()]
        return found

    async def entry(self, kind: EntryKind, ident: str) -> Entry:
        """One entry as the mirror has it."""
        name = subjects.entry(self.bus.region, WS, kind, ident)
        return (await self.bus.latest(self.bus.topology.entries, [name], Entry))[name].message

    async def foreign_invoice(self) -> Entry:
        """An invoice that somebody else put into Qonto and nobody has dealt with."""
        entries = await self.entries("invoice")
        return next(entry for entry in entries if entry.origin is None and entry.status == "to_review")

    async def uploaded(self, entry: str | None) -> bytes:
        """The file of an invoice, as Qonto gives it back."""
        [attachment] = (await self.entry("invoice", str(entry))).attachments
        secret = f"{self.company['slug']}:{self.company['secret_key']}"
        async with httpx.AsyncClient(base_url=self.settings.qonto_api_url) as client:
            answer = await client.get(f"/v2/attachments/{attachment}", headers={"Authorization": secret})
            return (await client.get(answer.json()["attachment"]["url"])).content

    async def record(self, ident: str, body: Bill | None, **changes: Any) -> tuple[Record, int]:
        """Publish a version of a bill; the record and its sequence."""
        content = changes.pop("content_hash", None) or uuid.uuid5(uuid.NAMESPACE_OID, repr((body, changes))).hex
        record = Record(
            workspace=WS,
            realm=self.realm,
            id=ident,
            kind="bill",
            content_hash=content,
            pulled_at=now(),
            updated_at=datetime(2026, 4, 2, 8, tzinfo=UTC),
            body=body,
            **changes,
        )
        return record, await self._put(record)

    async def put(self, ident: str, kind: Any, body: Any) -> None:
        """Publish a record of another kind."""
        await self._put(
            Record(workspace=WS, realm=self.realm, id=ident, kind=kind, content_hash="x", pulled_at=now(), body=body)
        )

    async def _put(self, record: Record) -> int:
        name = subjects.record(self.bus.region, WS, record.kind, record.key)
        return await self.bus.publish(name, record, stream=self.bus.topology.records)

    async def decide(self, record: Record, sequence: int, action: Action = "create", **more: Any) -> Decision:
        """Publish a decision on a record version."""
        decision = Decision(
            id=uuid.uuid4().hex,
            workspace=WS,
            realm=self.realm,
            bill=record.id,
            action=action,
            score=0.9,
            why="a test says so",
            record_hash=record.content_hash,
            record_seq=sequence,
            entries_seq=0,
            policy_version=1,
            model_version="test",
            decided_at=now(),
            **more,
        )
        await self.redeliver(decision)
        return decision

    async def redeliver(self, decision: Decision) -> None:
        """Publish a decision (once more)."""
        name = subjects.decision(self.bus.region, WS, decision.key)
        await self.bus.publish(name, decision, stream=self.bus.topology.decisions)

    async def create(self, ident: str, body: Bill | None = None, **changes: Any) -> Decision:
        """A bill and the decision to create it."""
        record, sequence = await self.record(ident, body or bill(), **changes)
        return await self.decide(record, sequence)

    async def answer(self, ident: str, resolved: ReviewResolved) -> None:
        """A person answers a review."""
        name = subjects.review(self.bus.region, "resolved", WS, f"{self.realm}-{ident}")
        await self.bus.publish(name, resolved, stream=self.bus.topology.reviews)

    async def posting(self, decision: Decision | str, *, bill: str | None = None, within: float = 30) -> Posting:
        """The posting on a decision (or review id), once it is there."""
        wanted = decision if isinstance(decision, str) else decision.id
        ident = bill or (decision.bill if isinstance(decision, Decision) else "")
        name = subjects.posting(self.bus.region, WS, f"{self.realm}-{ident}")

        async def found() -> Posting | None:
            return next((one for one in await self.history(name, Posting) if one.decision == wanted), None)

        return await self.until(found, within)

    async def postings(self, ident: str) -> list[Posting]:
        """All postings on a bill."""
        return await self.history(subjects.posting(self.bus.region, WS, f"{self.realm}-{ident}"), Posting)

    async def asked(self, ident: str, gate: str | None = None, *, within: float = 30) -> ReviewRequested:
        """The newest review of a bill (that `gate` raised), once it is there."""
        name = subjects.review(self.bus.region, "requested", WS, f"{self.realm}-{ident}")

        async def found() -> ReviewRequested | None:
            history = await self.history(name, ReviewRequested)
            return next((one for one in reversed(history) if gate in {None, one.gate}), None)

        return await self.until(found, within)

    async def closed(self, ident: str, review: str, *, within: float = 30, nth: int = 1) -> ReviewClosed:
        """The nth closing of a review, once it is there."""
        name = subjects.review(self.bus.region, "closed", WS, f"{self.realm}-{ident}")

        async def found() -> ReviewClosed | None:
            history = [one for one in await self.history(name, ReviewClosed) if one.review == review]
            return history[nth - 1] if len(history) >= nth else None

        return await self.until(found, within)

    async def notices(self) -> list[Notice]:
        """What the owner was told."""
        return await self.history(subjects.notice(self.bus.region, WS), Notice)

    async def page(self, ident: str) -> Kept[Page] | None:
        """The ledger's page of a bill."""
        return await Bucket(self.bus, "idempotency", Page).get(Ledger.key(WS, self.realm, ident))

    async def claim(self, kind: EntryKind, entry: str) -> str | None:
        """Which bill an entry serves."""
        kept = await Bucket(self.bus, "claims", Claim).get(f"{WS}.{kind}-{entry}")
        return kept.value.bill if kept is not None else None

    async def history(self, name: str, type_: type[T]) -> list[T]:
        """Every message on a subject, oldest first."""
        stream = await self.bus.js.find_stream_name_by_subject(name)
        found: list[T] = []
        sequence = 0
        while True:
            try:
                message = await self.bus.js.get_msg(stream, seq=sequence + 1, subject=name, next=True)
            except nats.js.errors.NotFoundError:
                return found
            found.append(msgspec.json.decode(message.data or b"", type=type_))
            sequence = int(message.seq or 0)

    async def until(self, found: Callable[[], Awaitable[T | None]], within: float = 30) -> T:
        """What `found` answers once it is something; fails after `within` seconds."""
        with anyio.fail_after(within):
            while True:
                value = await found()
                if value:
                    return value
                await anyio.sleep(0.05)


@asynccontextmanager
async def poster(settings: Settings) -> AsyncIterator[Bus]:
    """A poster at work in this process."""
    async with http.client(settings.qonto_api_url, staging(settings)) as client:
        bus = Bus(settings, "poster")
        build(bus, client)
        task = asyncio.create_task(bus.run())
        try:
            with anyio.fail_after(15):
                await bus.started.wait()
            yield bus
        finally:
            bus.stop()
            await task


VENDOR = Vendor(name="Imaginary Quarry Ltd", email="bills@quarry.example")
BUYER = Company(name="Sample SAS", legal_name="Société Exemple SAS", country="FR", home_currency="EUR")


def pdf_saying(*lines: str) -> bytes:
    """A supplier's PDF with these lines of text."""
    sheet = FPDF()
    sheet.add_page()
    sheet.set_font("Helvetica", size=12)
    for line in lines:
        sheet.cell(0, 8, line, new_x="LMARGIN", new_y="NEXT")
    return bytes(sheet.output())
