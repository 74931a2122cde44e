"""One write, whoever makes it: through the API, in a batch, or a person over the control API."""

from typing import Any

from services.sandbox.quickbooks import attachments, objects
from services.sandbox.quickbooks.entities import Entity
from services.sandbox.quickbooks.finding import find, unsupported
from services.sandbox.world import World


def write(
    world: World,
    realm: str,
    entity: Entity,
    body: dict[str, Any],
    base_url: str,
    *,
    operation: str = "",
    include: str = "",
) -> dict[str, Any]:
    """The object as it is answered. `operation` and `include` are the query parameters, in lower case."""
    if operation == "delete":
        return objects.delete(world, realm, entity, body)
    if operation == "void" or include == "void":
        return objects.void(world, realm, entity, body)
    if operation not in ("", "create", "update"):
        raise unsupported(operation)
    if entity.name == "Attachable":
        return _attachable(world, realm, entity, body, base_url)
    change = objects.update if body.get("Id") else objects.create
    return change(world, realm, entity, body, allow_duplicate="allowduplicatedocnum" in include)


def _attachable(world: World, realm: str, entity: Entity, body: dict[str, Any], base_url: str) -> dict[str, Any]:
    """Without an id it is a note, since files come by upload; its ids are of another sequence."""
    if body.get("Id"):
        objects.update(world, realm, entity, body)
        row = find(world, realm, entity, str(body["Id"]))
    else:
        row = attachments.new_attachable(world, realm, body, None)
    return attachments.as_shown(world, realm, row, base_url)
