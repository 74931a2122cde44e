"""What happens to an upload in the background: it is read, classified, compared, and perhaps matched."""

from dataclasses import dataclass
from decimal import Decimal

import anyio
import anyio.to_thread
import structlog

from services.sandbox.qonto import invoices
from services.sandbox.qonto.reading import Reading, read_document
from services.sandbox.qonto.wire import amount, stamp
from services.sandbox.store import Row
from services.sandbox.world import World

log = structlog.get_logger()

IDLE = 60.0  # seconds between looks when nothing is due; a wake comes sooner


@dataclass(frozen=True, slots=True)
class Due:
    at: float
    organization: str
    id: str


class Reader:
    """Reads what is due. What is pending lives on the invoices, so a restart goes on with it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._woken = anyio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        while True:
            pending = self._pending()
            now = self._world.now()
            for due in pending:
                if due.at <= now:
                    await self._read(due)
            wait = min((max(due.at - now, 0.0) for due in pending if due.at > now), default=IDLE)
            with anyio.move_on_after(wait):
                await self._woken.wait()
            self._woken = anyio.Event()

    def _pending(self) -> list[Due]:
        store = self._world.store
        found = [
            Due(row.inner["ocr_due"], organization, row.id)
            for organization in store.tenants(invoices.KIND)
            for row in store.table(organization, invoices.KIND).values()
            if "ocr_due" in row.inner
        ]
        return sorted(found, key=lambda due: due.at)

    async def _read(self, due: Due) -> None:
        world = self._world
        row = world.store.get(due.organization, invoices.KIND, due.id)
        if row is None:
            return
        attachment = world.store.need(due.organization, "attachment", row.body["attachment_id"])
        _, content = world.content(attachment.inner["file"])
        reading = Reading()
        if world.switches.ocr != "fails":
            reading = await anyio.to_thread.run_sync(read_document, content)
        row = world.store.get(due.organization, invoices.KIND, due.id)
        if row is None:
            return
        with world.store.transaction():
            self._apply(due.organization, row, reading)
        log.debug("sandbox.ocr_read", invoice=due.id, category=reading.category)

    def _apply(self, organization: str, row: Row, reading: Reading) -> None:
        world, body = self._world, row.body
        currency = reading.currency or ("EUR" if reading.total is not None else None)
        total = reading.total
        if total is not None and world.switches.ocr == "misreads":
            total = reading.net if reading.net not in (None, total) else total + Decimal("10.00")
        taxes = amount(reading.tax, currency)
        del row.inner["ocr_due"]
        body |= {
            "supplier_name": reading.supplier,
            "invoice_number": reading.number,
            "issue_date": reading.issued.isoformat() if reading.issued else None,
            "due_date": reading.due.isoformat() if reading.due else None,
            "total_amount": amount(total, currency),
            "payable_amount": amount(total, currency),
            "total_amount_excluding_taxes": amount(reading.net, currency),
            "total_tax_amount": taxes,
            "iban": reading.iban,
            "vat_number": reading.vat_number,
            "is_credit_note": reading.credit_note,
            "attachment_category": reading.category,
            "is_attachment_invoice": reading.category in ("INVOICE", "CREDIT_NOTE"),
            "is_attachment_non_financial": reading.category == "OTHER_NON_FINANCIAL_DOCUMENT",
            "analyzed_at": stamp(world.now()),
        }
        self._compare(organization, row)
        if world.switches.auto_match and not row.inner["skip_matcher"]:
            self._match(organization, row)
        if world.switches.ocr_touches:
            invoices.store(world, organization, row)
        else:
            world.store.put(organization, invoices.KIND, row)

    def _compare(self, organization: str, row: Row) -> None:
        """Doubles: the same bytes, or the same number of the same supplier."""
        world, key = self._world, _identity(row)
        for other in list(world.store.table(organization, invoices.KIND).values()):
            if other.id == row.id or other.body["status"] in invoices.DEAD:
                continue
            same_bytes = bool(row.inner.get("sha256")) and other.inner.get("sha256") == row.inner["sha256"]
            if same_bytes or (key is not None and _identity(other) == key):
                row.body["has_duplicates"] = True
                if not other.body["has_duplicates"]:
                    other.body["has_duplicates"] = True
                    invoices.store(world, organization, other)

    def _match(self, organization: str, row: Row) -> None:
        """The one unmatched transaction of this very amount, if there is just one."""
        world, total = self._world, row.body["total_amount"]
        if total is None:
            return
        taken = {
            ident
            for other in world.store.table(organization, invoices.KIND).values()
            for ident in other.inner.get("transactions", [])
        }
        fitting = [
            one
            for one in world.store.table(organization, "transaction").values()
            if one.id not in taken
            and one.body["side"] == "debit"
            and (one.body["local_currency"], Decimal(one.body["local_amount_cents"]) / 100)
            == (total["currency"], Decimal(total["value"]))
        ]
        if len(fitting) == 1:
            pay(row, fitting[0])


def pay(row: Row, transaction: Row) -> None:
    """Marks an invoice as paid by a transaction."""
    day = (transaction.body["settled_at"] or transaction.body["emitted_at"])[:10]
    transfer = transaction.inner.get("transfer", transaction.id)
    row.inner["transactions"] = [transaction.id]
    row.body |= {
        "status": "paid",
        "payment_date": day,
        "matched_transactions": [
            {"subject_id": transfer, "subject_type": "transfer", "transaction_id": transaction.id}
        ],
        "matched_transactions_ids": [transfer],
    }


def _identity(row: Row) -> tuple[str, str] | None:
    number, supplier = row.body["invoice_number"], row.body["supplier_name"]
    return (number.casefold(), supplier.casefold()) if number and supplier else None
