"""What is asked of a body before it is stored, and what QuickBooks adds to it: names, terms, taxes, totals."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from services.sandbox.quickbooks.entities import BY_LOWER, ENTITIES, Entity
from services.sandbox.quickbooks.finding import dangling, find, missing
from services.sandbox.quickbooks.wire import Fault, money, pacific
from services.sandbox.store import Row
from services.sandbox.world import World

LONGEST_DOCNUMBER = 21
CURRENCY_NAMES = {
    "EUR": "Euro",
    "USD": "United States Dollar",
    "GBP": "British Pound Sterling",
    "CHF": "Swiss Franc",
}


def checked(
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
        case "Attachable":
            return checked_references(body)
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


def checked_references(body: dict[str, Any]) -> dict[str, Any]:
    """What an attachable hangs on, each of a kind that can carry one."""
    for reference in body.get("AttachableRef", []):
        kind = str(reference.get("EntityRef", {}).get("type", ""))
        if kind.lower() not in BY_LOWER:
            raise Fault("6050", "Entity type is not supported for Attachable", kind)
        reference.setdefault("IncludeOnSend", False)
    return body


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
