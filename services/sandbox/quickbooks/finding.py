"""Finding objects, and the faults of what is not there."""

from services.sandbox.quickbooks.entities import BY_LOWER, Entity
from services.sandbox.quickbooks.wire import Fault
from services.sandbox.store import Row
from services.sandbox.world import World

INACTIVE = (
    "Object Not Found : Something you're trying to use has been made inactive. "
    "Check the fields with accounts, customers, items, vendors or employees."
)
GONE = "Object Not Found : Another user has deleted this transaction."


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
