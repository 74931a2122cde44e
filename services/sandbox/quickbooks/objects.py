"""Reading and writing objects, with what a write moves elsewhere.

A payment moves the bill's balance, links, sync token and time; bills and payments move the vendor's
balance and time but not its sync token.
"""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from services.sandbox.quickbooks.entities import BY_LOWER, ENTITIES, Entity
from services.sandbox.quickbooks.index import keep
from services.sandbox.quickbooks.wire import Fault, money, normalized, pacific
from services.sandbox.store import Row
from services.sandbox.world import World

LONGEST_DOCNUMBER = 21
READ_ONLY = ("Id", "SyncToken", "MetaData", "domain", "sparse", "time", "LinkedTxn", "Balance", "HomeBalance")
INACTIVE = (
    "Object Not Found : Something you're trying to use has been made inactive. "
    "Check the fields with accounts, customers, items, vendors or employees."
)
GONE = "Object Not Found : Another user has deleted this transaction."
STALE = (
    "Stale Object Error : You and root were working on this at the same time. "
    "root finished before you did, so your work was not saved."
)
CURRENCY_NAMES = {
    "EUR": "Euro",
    "USD": "United States Dollar",
    "GBP": "British Pound Sterling",
    "CHF": "Swiss Franc",
}


def entity_named(path: str) -> Entity:
    """The entity of a path segment, which is its name in lower case."""
    if path not in BY_LOWER:
        raise unsupported(path)
    return BY_LOWER[path]


def unsupported(operation: str) -> Fault:
    return Fault("500", "Unsupported Operation", f"Operation {operation} is not supported.")


def missing(parameter: str) -> Fault:
    return Fault(
        "2020",
        "Required param missing, need to supply the required value for the API",
        f"Required parameter {parameter} is missing in the request",
        element=parameter,
    )


def dangling(kind: str, ident: str) -> Fault:
    return Fault("2500", "Invalid Reference Id", f"Invalid Reference Id : {kind} element id {ident} not found")


def find(world: World, realm: str, entity: Entity, ident: str) -> Row:
    row = world.store.get(realm, entity.name, ident)
    if row is None or row.deleted:
        raise Fault("610", "Object Not Found", INACTIVE if row is None else GONE, element="")
    return row


def read(world: World, realm: str, entity: Entity, ident: str) -> dict[str, Any]:
    """One object as a single read shows it; a vendor then has its unset rates as 0."""
    body = find(world, realm, entity, ident).body
    return {"BillRate": 0, "CostRate": 0, **body} if entity.name == "Vendor" else body


def touch(world: World, row: Row, *, version: bool = True) -> None:
    """Marks a change: a new time and, unless only a balance moved, a new sync token."""
    now = world.now()
    if version:
        row.body["SyncToken"] = str(int(row.body["SyncToken"]) + 1)
    row.body["MetaData"] = {**row.body["MetaData"], "LastUpdatedTime": pacific(now)}
    row.updated = now


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
    body = {key: value for key, value in incoming.items() if key not in READ_ONLY and value is not None}
    body = _checked(world, realm, entity, body, None, allow_duplicate)
    ident = str(world.store.next_number(realm, "names" if entity.lists_names else "transactions"))
    row = fresh(ident, body, world.now())
    _open(row)
    keep(world, realm, entity.name, row)
    _settle(world, realm, entity, row, +1)
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
    body = _checked(world, realm, entity, {k: v for k, v in body.items() if v is not None}, row, allow_duplicate)
    _settle(world, realm, entity, row, -1)
    paid = Decimal(row.body.get("TotalAmt", 0)) - Decimal(row.body.get("Balance", 0))
    stable = {key: row.body[key] for key in READ_ONLY if key in row.body}
    row.body = normalized({**body, **stable})
    if "Balance" in stable and "TotalAmt" in body:
        row.body["Balance"] = money(Decimal(row.body["TotalAmt"]) - paid)
        _home(row)
    touch(world, row)
    keep(world, realm, entity.name, row)
    _settle(world, realm, entity, row, +1)
    return row.body


def delete(world: World, realm: str, entity: Entity, incoming: dict[str, Any]) -> dict[str, Any]:
    if not entity.deletable:
        raise unsupported(f"delete {entity.name}")
    row = _current(world, realm, entity, incoming)
    _settle(world, realm, entity, row, -1)
    row.deleted = True
    touch(world, row)
    keep(world, realm, entity.name, row)
    return {"status": "Deleted", "domain": "QBO", "Id": row.id}


def void(world: World, realm: str, entity: Entity, incoming: dict[str, Any]) -> dict[str, Any]:
    """A voided payment stays, empty; what it paid is open again."""
    if entity.name != "BillPayment":
        raise unsupported(f"void {entity.name}")
    row = _current(world, realm, entity, incoming)
    _settle(world, realm, entity, row, -1)
    note = str(row.body.get("PrivateNote", ""))
    row.body |= {"TotalAmt": 0, "Line": [], "PrivateNote": f"Voided - {note}" if note else "Voided"}
    touch(world, row)
    keep(world, realm, entity.name, row)
    return row.body


def _current(world: World, realm: str, entity: Entity, incoming: dict[str, Any]) -> Row:
    if not incoming.get("Id"):
        raise missing("Id")
    row = find(world, realm, entity, str(incoming["Id"]))
    if "SyncToken" not in incoming:
        raise missing("SyncToken")
    if str(incoming["SyncToken"]) != row.body["SyncToken"]:
        raise Fault("5010", "Stale Object Error", STALE)
    return row


def _checked(
    world: World, realm: str, entity: Entity, body: dict[str, Any], row: Row | None, allow_duplicate: bool
) -> dict[str, Any]:
    """The body completed as QuickBooks does it, or the fault that refuses it."""
    match entity.name:
        case "Vendor" | "Customer":
            return _name(world, realm, body, row)
        case "Bill" | "VendorCredit":
            return _document(world, realm, entity, body, row, allow_duplicate)
        case "BillPayment":
            return _payment(world, realm, body)
        case _:
            return body


def _name(world: World, realm: str, body: dict[str, Any], row: Row | None) -> dict[str, Any]:
    parts = (body.get("GivenName"), body.get("FamilyName"))
    display = body.get("DisplayName") or " ".join(part for part in parts if part)
    if not display:
        raise missing("DisplayName")
    for kind in ("Vendor", "Customer"):
        for other in world.store.table(realm, kind).values():
            if other is not row and other.body["DisplayName"].lower() == display.lower():
                raise Fault(
                    "6240",
                    "Duplicate Name Exists Error",
                    f"The name supplied already exists. : Id={other.id}",
                )
    if identifier := body.get("TaxIdentifier"):
        body["TaxIdentifier"] = "X" * max(len(identifier) - 4, 0) + identifier[-4:]
    body.setdefault("PrintOnCheckName", display)
    body.setdefault("Active", True)
    body.setdefault("CurrencyRef", {"value": "EUR", "name": CURRENCY_NAMES["EUR"]})
    return {**body, "DisplayName": display}


def _vendor(world: World, realm: str, body: dict[str, Any]) -> Row:
    ident = body.get("VendorRef", {}).get("value")
    if not ident:
        raise missing("VendorRef")
    vendor = world.store.get(realm, "Vendor", str(ident))
    if vendor is None:
        raise dangling("Names", str(ident))
    body["VendorRef"] = {"value": vendor.id, "name": vendor.body["DisplayName"]}
    body.setdefault("CurrencyRef", vendor.body.get("CurrencyRef"))
    return vendor


def _document(
    world: World, realm: str, entity: Entity, body: dict[str, Any], row: Row | None, allow_duplicate: bool
) -> dict[str, Any]:
    vendor = _vendor(world, realm, body)
    if not body.get("Line"):
        raise missing("Line")
    number = body.get("DocNumber")
    if number and len(number) > LONGEST_DOCNUMBER:
        raise Fault("2050", "String length is either shorter or longer than supported by specification",
                    f"Min:0 Max:{LONGEST_DOCNUMBER} supplied:{len(number)}", element="DocNumber")  # fmt: skip
    if number and world.switches.refuse_duplicate_docnumber and not allow_duplicate:
        for other in world.store.table(realm, entity.name).values():
            if other is not row and not other.deleted and other.body.get("DocNumber") == number:
                detail = f"Duplicate Document Number Error : DocNumber={number} is assigned to TxnId={other.id}"
                raise Fault("6140", "Duplicate Document Number Error", detail)
    body.setdefault("TxnDate", pacific(world.now())[:10])
    if entity.name == "Bill":
        body.setdefault("DueDate", _due(world, realm, body))
        body.setdefault("APAccountRef", {"value": "33", "name": "Accounts Payable (A/P)"})
    for position, line in enumerate(body["Line"], 1):
        if "Amount" not in line:
            raise missing("Amount")
        line.setdefault("Id", str(position))
        line.setdefault("LineNum", position)
    if address := vendor.body.get("BillAddr"):
        body.setdefault("VendorAddr", address)
    return _priced(world, realm, body)


def _due(world: World, realm: str, body: dict[str, Any]) -> str:
    term = world.store.get(realm, "Term", str(body.get("SalesTermRef", {}).get("value", "")))
    days = 0 if term is None else int(term.body["DueDays"])
    return (date.fromisoformat(body["TxnDate"]) + timedelta(days=days)).isoformat()


def _priced(world: World, realm: str, body: dict[str, Any]) -> dict[str, Any]:
    """Adds the tax lines the codes of the lines ask for, unless given, and the total."""
    net: dict[str, Decimal] = {}
    for line in body["Line"]:
        detail = line.get(line.get("DetailType", ""), {})
        code = detail.get("TaxCodeRef", {}).get("value")
        if code and world.store.get(realm, "TaxCode", code) is None:
            raise Fault("6000", "A business validation error has occurred while processing your request",
                        f"Business Validation Error: Tax code {code} is not valid")  # fmt: skip
        net[code or ""] = net.get(code or "", Decimal(0)) + Decimal(str(line["Amount"]))
    if body.get("GlobalTaxCalculation", "NotApplicable") == "NotApplicable":
        tax = Decimal(str(body.get("TxnTaxDetail", {}).get("TotalTax", 0)))
    elif "TxnTaxDetail" in body and "TotalTax" in body["TxnTaxDetail"]:
        tax = Decimal(str(body["TxnTaxDetail"]["TotalTax"]))
    else:
        lines = [line for code, amount in net.items() if code for line in tax_lines(world, realm, code, amount)]
        tax = sum((Decimal(line["Amount"]) for line in lines), Decimal(0))
        body["TxnTaxDetail"] = {"TotalTax": tax, "TaxLine": lines}
    return {**body, "TotalAmt": money(sum(net.values(), Decimal(0)) + tax)}


def tax_lines(world: World, realm: str, code: str, amount: Decimal) -> list[dict[str, Any]]:
    """The tax lines of a net amount, from the code's purchase rates; reverse charge cancels itself."""
    row = world.store.need(realm, "TaxCode", code)
    found = []
    for detail in row.body["PurchaseTaxRateList"]["TaxRateDetail"]:
        rate = world.store.need(realm, "TaxRate", detail["TaxRateRef"]["value"])
        per_cent = Decimal(rate.body["RateValue"])
        found.append(
            {
                "Amount": money(amount * per_cent / 100),
                "DetailType": "TaxLineDetail",
                "TaxLineDetail": {
                    "TaxRateRef": {"value": rate.id},
                    "PercentBased": True,
                    "TaxPercent": per_cent,
                    "NetAmountTaxable": money(amount),
                },
            }
        )
    return found


def _payment(world: World, realm: str, body: dict[str, Any]) -> dict[str, Any]:
    _vendor(world, realm, body)
    for parameter in ("PayType", "TotalAmt"):
        if parameter not in body:
            raise missing(parameter)
    for line in body.setdefault("Line", []):
        for link in line.get("LinkedTxn", []):
            if link["TxnType"] not in ("Bill", "VendorCredit"):
                raise Fault("620", "Transaction cannot be linked", f"Type {link['TxnType']} cannot be paid")
            find(world, realm, ENTITIES[link["TxnType"]], link["TxnId"])
    body.setdefault("TxnDate", pacific(world.now())[:10])
    return body


def _open(row: Row) -> None:
    """A new document is wholly open."""
    if "VendorRef" in row.body and "PayType" not in row.body:
        row.body["Balance"] = row.body["TotalAmt"]
        _home(row)
    elif "DisplayName" in row.body:
        row.body.setdefault("Balance", 0)


def _home(row: Row) -> None:
    if "ExchangeRate" in row.body:
        row.body["HomeBalance"] = money(Decimal(row.body["Balance"]) * Decimal(row.body["ExchangeRate"]))


def _settle(world: World, realm: str, entity: Entity, row: Row, sign: int) -> None:
    """Carries a document's amount to its vendor, and a payment's to what it pays; -1 takes it back."""
    match entity.name:
        case "Bill":
            _move_vendor(world, realm, row, sign * Decimal(row.body["Balance"]))
        case "VendorCredit":
            _move_vendor(world, realm, row, -sign * Decimal(row.body["Balance"]))
        case "BillPayment":
            for line in row.body["Line"]:
                for link in line.get("LinkedTxn", []):
                    _move_document(world, realm, row, link, sign * Decimal(line["Amount"]))


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
    _home(document)
    links = [one for one in document.body.get("LinkedTxn", []) if one["TxnId"] != payment.id]
    if amount > 0:
        links.append({"TxnId": payment.id, "TxnType": "BillPaymentCheck"})
    document.body["LinkedTxn"] = links
    touch(world, document)
    keep(world, realm, kind.name, document)
    _move_vendor(world, realm, document, -amount if kind.name == "Bill" else amount)


def _move_vendor(world: World, realm: str, document: Row, amount: Decimal) -> None:
    vendor = world.store.get(realm, "Vendor", document.body["VendorRef"]["value"])
    if vendor is None or not amount:
        return
    vendor.body["Balance"] = money(Decimal(vendor.body.get("Balance", 0)) + amount)
    touch(world, vendor, version=False)
    keep(world, realm, "Vendor", vendor)
