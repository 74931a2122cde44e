"""Change data capture: what changed since a moment, deletes last, never more than 1000 objects."""

from typing import Any

from services.sandbox.quickbooks import index
from services.sandbox.quickbooks.attachments import as_shown
from services.sandbox.quickbooks.entities import BY_LOWER, Entity
from services.sandbox.quickbooks.finding import missing
from services.sandbox.quickbooks.poison import check_page
from services.sandbox.quickbooks.wire import Fault, instant, pacific
from services.sandbox.store import Row
from services.sandbox.world import World

LARGEST = 1000  # objects per answer, over all entities
LOOK_BACK = 30 * 86_400  # seconds
TOO_OLD = {"500": "Unsupported Operation", "5020": "Permission Denied Error", "4000": "Error parsing query"}


def changes(world: World, realm: str, entities: str, since: str, base_url: str) -> dict[str, Any]:
    """The body of a CDC answer; the cap cuts from the end, so deletes are lost first."""
    if not entities:
        raise missing("entities")
    if not since:
        raise missing("changedSince")
    try:
        moment = instant(since.replace(" ", "+")).timestamp()
    except ValueError:
        raise Fault("2030", "Invalid ID", f"Invalid changedSince: {since}") from None
    if moment < world.now() - LOOK_BACK:
        detail = f"Operation cdc with changedSince date {since} which is older than fixed days is not supported."
        code = world.switches.capture_too_old
        raise Fault(code, TOO_OLD[code], detail)
    room, answers, haunted = LARGEST, [], not world.switches.phantom_deletes
    for entity in [_entity(world, name.strip()) for name in entities.split(",")]:
        rows = _changed(world, realm, entity, moment)
        if not haunted and (phantom := _phantom(world, realm, entity)) and len(rows) < room:
            rows.append(phantom)
            haunted = True
            _count_down(world)
        rows = rows[:room]
        check_page(rows, whole=True)
        room -= len(rows)
        if rows or world.switches.capture_empty == "braces":
            answers.append(_answer(world, realm, entity, rows, base_url))
    return {"CDCResponse": [{"QueryResponse": answers}]}


def _entity(world: World, name: str) -> Entity:
    entity = BY_LOWER.get(name.lower())
    known = entity is not None and (entity.name != "Attachable" or world.switches.capture_attachables)
    if entity is None or not known or not entity.changes:
        raise Fault("500", "Unsupported Operation", f"Operation cdc for entity {name} is not supported.")
    return entity


def _changed(world: World, realm: str, entity: Entity, moment: float) -> list[Row]:
    # Whole seconds on both sides: whether a change in the very second asked for is inside is a switch.
    first = int(moment) + (world.switches.changed_since == "exclusive")
    rows = [row for row in index.rows(world, realm, entity.name) if int(row.updated) >= first]
    return sorted(rows, key=lambda row: (row.deleted, row.updated))


def _phantom(world: World, realm: str, entity: Entity) -> Row | None:
    """One live object as if it were deleted."""
    if not entity.deletable:
        return None
    alive = (row for row in index.rows(world, realm, entity.name) if not row.deleted)
    victim = next(alive, None)
    return None if victim is None else Row(victim.id, {}, victim.created, world.now(), deleted=True)


def _count_down(world: World) -> None:
    world.turn(world.switches.changed({"phantom_deletes": world.switches.phantom_deletes - 1}))


def _answer(world: World, realm: str, entity: Entity, rows: list[Row], base_url: str) -> dict[str, Any]:
    if not rows:
        return {}
    shown = [_shown(world, realm, entity, row, base_url) for row in rows]
    answer = {entity.name: shown, "startPosition": 1, "maxResults": len(rows)}
    return {**answer, "totalCount": len(rows)} if entity.counted else answer


def _shown(world: World, realm: str, entity: Entity, row: Row, base_url: str) -> dict[str, Any]:
    if row.deleted:
        stamp = {"LastUpdatedTime": pacific(row.updated)}
        return {"status": "Deleted", "domain": "QBO", "Id": row.id, "MetaData": stamp}
    return as_shown(world, realm, row, base_url) if entity.name == "Attachable" else row.body
