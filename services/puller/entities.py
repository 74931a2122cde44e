"""What is pulled, in the order in which it must be in RECORDS: what a bill names before the bill."""

from typing import NamedTuple

from common.messages import RecordKind


class Entity(NamedTuple):
    """A QuickBooks entity that has windows and change data capture.

    `lists_names`: its objects are never deleted but made inactive, and must be asked for then.
    """

    name: str
    kind: RecordKind
    lists_names: bool = False


BILL = Entity("Bill", "bill")
BEFORE_BILLS = (
    Entity("Vendor", "vendor", lists_names=True),
    Entity("Customer", "customer", lists_names=True),
    Entity("BillPayment", "billpayment"),
    Entity("VendorCredit", "vendorcredit"),
)
ENTITIES = (*BEFORE_BILLS, BILL)

DELETIONS = "deletions"
"""Name of the marker up to which deletions are known."""
