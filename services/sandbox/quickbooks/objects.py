"""Reading and writing objects; what a write moves elsewhere is in `effects`."""

from decimal import Decimal
from typing import Any

from services.sandbox.quickbooks.checks import checked
from services.sandbox.quickbooks.effects import home, hung_on, rehang, settle, touch
from services.sandbox.quickbooks.entities import Entity
from services.sandbox.quickbooks.finding import find, missing, unsupported
from services.sandbox.quickbooks.index import keep
from services.sandbox.quickbooks.poison import check_read, heal
from services.sandbox.quickbooks.wire import Fault, money, normalized, pacific
from services.sandbox.store import Row
from services.sandbox.world import World

READ_ONLY = (
    "Id", "SyncToken", "MetaData", "domain", "sparse", "time", "LinkedTxn", "Balance", "HomeBalance",
    "FileAccessUri", "TempDownloadUri", "Size",
)  # fmt: skip
STALE = (
    "Stale Object Error : You and root were working on this at the same time. "
    "root finished before you did, so your work was not saved."
)


def read(world: World, realm: str, entity: Entity, ident: str) -> dict[str, Any]:
    """One object as a single read shows it; a vendor then has its unset rates as 0."""
    row = find(world, realm, entity, ident)
    check_read(row)
    body = row.body
    return {"BillRate": 0, "CostRate": 0, **body} if entity.name == "Vendor" else body


def fresh(ident: str, body: dict[str, Any], now: float) -> Row:
    stamp = pacific(now)
    front = {"domain": "QBO", "sparse": False, "Id": ident, "SyncToken": "0"}
    return Row(
        ident, normalized({**body, **front, "MetaData": {"CreateTime": stamp, "LastUpdatedTime": stamp}}), now, now
    )


def create(
    world: World, realm: str, entity: Entity, incoming: dict[str, Any], *, allow_duplicate: bool = False
) -> dict[str, Any]:
    if not entity.writable:
        raise unsupported(f"create {entity.name}")
    body = {key: value for key, value in incoming.items() if key not in READ_ONLY and value not in (None, "")}
    body = checked(world, realm, entity, body, None, allow_duplicate)
    ident = str(world.store.next_number(realm, "names" if entity.lists_names else "transactions"))
    row = fresh(ident, body, world.now())
    _open(row)
    keep(world, realm, entity.name, row)
    settle(world, realm, entity, row, +1)
    world.tell(realm, entity.name, row.id, "Create")
    return row.body


def update(
    world: World, realm: str, entity: Entity, incoming: dict[str, Any], *, allow_duplicate: bool = False
) -> dict[str, Any]:
    """Full update, which empties what is left out, or sparse update, which keeps it."""
    if not entity.writable:
        raise unsupported(f"update {entity.name}")
    row = _current(world, realm, entity, incoming)
    changes = {key: value for key, value in incoming.items() if key not in READ_ONLY}
    kept = row.body if incoming.get("sparse") is True else {}
    body = {**{key: value for key, value in kept.items() if key not in READ_ONLY}, **changes}
    if "Line" in changes and "TxnTaxDetail" not in changes:
        body.pop("TxnTaxDetail", None)
    if entity.lists_names and not kept:
        body.setdefault("Active", True)
        body.setdefault("CurrencyRef", row.body.get("CurrencyRef"))
    body = checked(world, realm, entity, {k: v for k, v in body.items() if v not in (None, "")}, row, allow_duplicate)
    settle(world, realm, entity, row, -1)
    paid = Decimal(row.body.get("TotalAmt", 0)) - Decimal(row.body.get("Balance", 0))
    hung = hung_on(row.body)
    stable = {key: row.body[key] for key in READ_ONLY if key in row.body}
    row.body = normalized({**body, **stable})
    if "Balance" in stable and "TotalAmt" in body:
        row.body["Balance"] = money(Decimal(row.body["TotalAmt"]) - paid)
        home(row)
    touch(world, row)
    heal(row)
    keep(world, realm, entity.name, row)
    settle(world, realm, entity, row, +1)
    rehang(world, realm, hung ^ hung_on(row.body))
    world.tell(realm, entity.name, row.id, "Update")
    return row.body


def delete(world: World, realm: str, entity: Entity, incoming: dict[str, Any]) -> dict[str, Any]:
    """Takes id and sync token; of an attachable it wants the whole object."""
    if not entity.deletable:
        raise unsupported(f"delete {entity.name}")
    row = _current(world, realm, entity, incoming)
    if entity.name == "Attachable":
        for name in ("FileName", "Note", "AttachableRef"):
            if row.body.get(name) and name not in incoming:
                raise missing(name)
    settle(world, realm, entity, row, -1)
    row.deleted = True
    touch(world, row)
    heal(row)
    keep(world, realm, entity.name, row)
    rehang(world, realm, hung_on(row.body))
    world.tell(realm, entity.name, row.id, "Delete")
    return {"status": "Deleted", "domain": "QBO", "Id": row.id}


def void(world: World, realm: str, entity: Entity, incoming: dict[str, Any]) -> dict[str, Any]:
    """A voided payment stays, empty; what it paid is open again."""
    if entity.name != "BillPayment":
        raise unsupported(f"void {entity.name}")
    row = _current(world, realm, entity, incoming)
    settle(world, realm, entity, row, -1)
    note = str(row.body.get("PrivateNote", ""))
    row.body |= {"TotalAmt": 0, "Line": [], "PrivateNote": f"Voided - {note}" if note else "Voided"}
    touch(world, row)
    heal(row)
    keep(world, realm, entity.name, row)
    world.tell(realm, entity.name, row.id, "Void")
    return row.body


def merge(world: World, realm: str, loser: Row, winner: Row, *, touches: bool) -> None:
    """One vendor goes up in another: it becomes inactive, and its documents are the other's from now on.

    Whether that shows in the documents' sync token and time is not known: `touches`.
    """
    for kind in ("Bill", "BillPayment", "VendorCredit"):
        moved = [
            row
            for row in world.store.table(realm, kind).values()
            if not row.deleted and row.body["VendorRef"]["value"] == loser.id
        ]
        for row in moved:
            row.body["VendorRef"] = {"value": winner.id, "name": winner.body["DisplayName"]}
            if touches:
                touch(world, row)
        keep(world, realm, kind, *moved)
    owed = Decimal(winner.body.get("Balance", 0)) + Decimal(loser.body.get("Balance", 0))
    winner.body["Balance"] = money(owed)
    loser.body |= {"Active": False, "Balance": 0, "DisplayName": f"{loser.body['DisplayName']} (deleted)"}
    touch(world, winner, version=False)
    touch(world, loser)
    keep(world, realm, "Vendor", winner, loser)
    world.tell(realm, "Vendor", winner.id, "Merge", gone=loser.id)


def _current(world: World, realm: str, entity: Entity, incoming: dict[str, Any]) -> Row:
    if not incoming.get("Id"):
        raise missing("Id")
    row = find(world, realm, entity, str(incoming["Id"]))
    if "SyncToken" not in incoming:
        raise missing("SyncToken")
    if str(incoming["SyncToken"]) != row.body["SyncToken"]:
        raise Fault("5010", "Stale Object Error", STALE)
    return row


def _open(row: Row) -> None:
    """A new document is wholly open."""
    if "VendorRef" in row.body and "PayType" not in row.body:
        row.body["Balance"] = row.body["TotalAmt"]
        home(row)
    elif "DisplayName" in row.body:
        row.body.setdefault("Balance", 0)
