"""What each entity is to the API: its name, the properties a query may use, and what it can do."""

from dataclasses import dataclass
from typing import Literal

Type = Literal["id", "text", "ref", "number", "date", "time", "flag"]

COMMON: dict[str, Type] = {"Id": "id", "MetaData.CreateTime": "time", "MetaData.LastUpdatedTime": "time"}
NAME_LIST: dict[str, Type] = {
    **COMMON,
    "Active": "flag",
    "DisplayName": "text",
    "GivenName": "text",
    "FamilyName": "text",
    "CompanyName": "text",
    "PrintOnCheckName": "text",
    "Balance": "number",
}
TRANSACTION: dict[str, Type] = {
    **COMMON,
    "VendorRef": "ref",
    "TxnDate": "date",
    "TotalAmt": "number",
    "DocNumber": "text",
}


@dataclass(frozen=True, slots=True)
class Entity:
    """`fields` may stand in WHERE, all but `unsortable` in ORDERBY.

    `counted` answers carry `totalCount`. `deletable` ones disappear when deleted, the others only
    become inactive. `changes` says whether change data capture knows them, `hooks` whether webhooks do.
    """

    name: str
    fields: dict[str, Type]
    unsortable: frozenset[str] = frozenset()
    counted: bool = False
    deletable: bool = True
    changes: bool = True
    hooks: bool = True
    writable: bool = True
    label: str = ""

    @property
    def lists_names(self) -> bool:
        return "Active" in self.fields


ENTITIES: dict[str, Entity] = {
    entity.name: entity
    for entity in (
        Entity(
            "Bill",
            {
                **TRANSACTION,
                "DueDate": "date",
                "SalesTermRef": "ref",
                "APAccountRef": "ref",
                "Balance": "number",
            },
            unsortable=frozenset({"Balance"}),
            counted=True,
        ),
        Entity("BillPayment", TRANSACTION, counted=True),
        Entity("VendorCredit", {**TRANSACTION, "Balance": "number"}),
        Entity("Vendor", NAME_LIST, deletable=False, label="DisplayName"),
        Entity("Customer", {**NAME_LIST, "FullyQualifiedName": "text"}, deletable=False, label="DisplayName"),
        Entity(
            "TaxCode",
            {**COMMON, "Active": "flag", "Name": "text"},
            deletable=False,
            changes=False,
            hooks=False,
            writable=False,
            label="Name",
        ),
        Entity(
            "TaxRate",
            {**COMMON, "Active": "flag", "Name": "text"},
            deletable=False,
            changes=False,
            hooks=False,
            writable=False,
            label="Name",
        ),
        Entity(
            "Attachable",
            {
                **COMMON,
                "FileName": "text",
                "Note": "text",
                "ContentType": "text",
                "AttachableRef.EntityRef.type": "text",
                "AttachableRef.EntityRef.value": "text",
            },
            hooks=False,
        ),
        Entity("Term", {**COMMON, "Active": "flag", "Name": "text"}, deletable=False, writable=False, label="Name"),
        Entity("CompanyInfo", COMMON, deletable=False, hooks=False, writable=False),
        Entity("Preferences", COMMON, deletable=False, writable=False),
    )
}
BY_LOWER = {name.lower(): entity for name, entity in ENTITIES.items()}
