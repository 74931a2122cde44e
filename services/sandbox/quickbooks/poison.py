"""Records QuickBooks cannot answer with: one such record makes every page it would be on fail."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from services.sandbox.quickbooks.entities import Entity
from services.sandbox.quickbooks.wire import Fault
from services.sandbox.store import Row
from services.sandbox.world import World


class Poison(msgspec.Struct, forbid_unknown_fields=True):
    """`reads`: whether a single read still works; `lists`: whether a query for named properties does."""

    code: Literal["4002", "10000"] = "4002"
    reads: bool = True
    lists: bool = True


def poison(world: World, realm: str, entity: Entity, row: Row, dose: Poison) -> None:
    """Spoils a record without touching it: neither time nor sync token move."""
    row.inner["poison"] = msgspec.to_builtins(dose)
    world.store.put(realm, entity.name, row)


def heal(row: Row) -> bool:
    """Whether it was poisoned; the caller stores the row."""
    return row.inner.pop("poison", None) is not None


def check_page(rows: Iterable[Row], *, whole: bool) -> None:
    """Raises the fault of the first record that spoils the answer; `whole` objects or only named properties."""
    for row in rows:
        dose = _dose(row)
        if dose is not None and not row.deleted and (whole or not dose.lists):
            raise _fault(dose)


def check_read(row: Row) -> None:
    dose = _dose(row)
    if dose is not None and not dose.reads:
        raise _fault(dose)


def _dose(row: Row) -> Poison | None:
    return msgspec.convert(row.inner["poison"], Poison) if "poison" in row.inner else None


def _fault(dose: Poison) -> Fault:
    if dose.code == "4002":
        detail = "QueryProcessingError: To email address entered is invalid"
        return Fault("4002", "Error processing query", detail)
    return Fault(
        "10000",
        "An application error has occurred while processing your request",
        "System Failure Error: An unexpected error occurred while accessing or saving your data.",
        status=500,
        kind="SystemFault",
    )
