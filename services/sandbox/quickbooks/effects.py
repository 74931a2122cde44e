"""What a write moves elsewhere.

A payment moves the bill's balance, links, sync token and time; bills and payments move the vendor's
balance and time but not its sync token. Whether a file moves its bill is open, and a switch.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from services.sandbox.quickbooks.entities import ENTITIES, Entity
from services.sandbox.quickbooks.index import keep
from services.sandbox.quickbooks.wire import Fault, money, pacific
from services.sandbox.store import Row
from services.sandbox.world import World


def touch(world: World, row: Row, *, version: bool = True) -> None:
    """Marks a change: a new time and, unless only a balance moved, a new sync token."""
    now = world.now()
    if version:
        row.body["SyncToken"] = str(int(row.body["SyncToken"]) + 1)
    row.body["MetaData"] = {**row.body["MetaData"], "LastUpdatedTime": pacific(now)}
    row.updated = now


def settle(world: World, realm: str, entity: Entity, row: Row, sign: int) -> None:
    """Carries a document's amount to its vendor, and a payment's to what it pays; -1 takes it back."""
    match entity.name:
        case "Bill":
            move_vendor(world, realm, row, sign * Decimal(row.body["Balance"]))
        case "VendorCredit":
            move_vendor(world, realm, row, -sign * Decimal(row.body["Balance"]))
        case "BillPayment":
            for line in row.body["Line"]:
                for link in line.get("LinkedTxn", []):
                    _move_document(world, realm, row, link, sign * Decimal(line["Amount"]))


def home(row: Row) -> None:
    """The open balance in the home currency."""
    if "ExchangeRate" in row.body:
        row.body["HomeBalance"] = money(Decimal(row.body["Balance"]) * Decimal(row.body["ExchangeRate"]))


def _move_document(world: World, realm: str, payment: Row, link: dict[str, str], amount: Decimal) -> None:
    kind = ENTITIES[link["TxnType"]]
    document = world.store.get(realm, kind.name, link["TxnId"])
    if document is None or document.deleted:
        return
    balance = Decimal(document.body["Balance"]) - amount
    if balance < 0:
        raise Fault("6000", "A business validation error has occurred while processing your request",
                    "Business Validation Error: The amount applied exceeds the open balance.")  # fmt: skip
    document.body["Balance"] = money(balance)
    home(document)
    links = [one for one in document.body.get("LinkedTxn", []) if one["TxnId"] != payment.id]
    if amount > 0:
        links.append({"TxnId": payment.id, "TxnType": "BillPaymentCheck"})
    document.body["LinkedTxn"] = links
    touch(world, document)
    keep(world, realm, kind.name, document)
    world.tell(realm, kind.name, document.id, "Update")
    move_vendor(world, realm, document, -amount if kind.name == "Bill" else amount)


def move_vendor(world: World, realm: str, document: Row, amount: Decimal) -> None:
    vendor = world.store.get(realm, "Vendor", document.body["VendorRef"]["value"])
    if vendor is None or not amount:
        return
    vendor.body["Balance"] = money(Decimal(vendor.body.get("Balance", 0)) + amount)
    touch(world, vendor, version=False)
    keep(world, realm, "Vendor", vendor)


def hung_on(body: dict[str, Any]) -> set[str]:
    """Ids of the bills an attachable hangs on."""
    targets = [reference.get("EntityRef", {}) for reference in body.get("AttachableRef", [])]
    return {str(target.get("value")) for target in targets if str(target.get("type")).lower() == "bill"}


def rehang(world: World, realm: str, bills: Iterable[str]) -> None:
    """A file came to these bills or left them; by default nothing of that shows on a bill."""
    if not world.switches.attach_touches_bill:
        return
    for ident in sorted(bills):
        bill = world.store.get(realm, "Bill", ident)
        if bill is not None and not bill.deleted:
            touch(world, bill, version=False)
            keep(world, realm, "Bill", bill)
