"""Change data capture: what changed since a moment, deletes last, never more than 1000 objects."""

from typing import Any

from services.sandbox.quickbooks import index
from services.sandbox.quickbooks.attachments import as_shown
from services.sandbox.quickbooks.entities import BY_LOWER, Entity
from services.sandbox.quickbooks.objects import missing
from services.sandbox.quickbooks.wire import Fault, instant, pacific
from services.sandbox.store import Row
from services.sandbox.world import World

LARGEST = 1000  # objects per answer, over all entities
LOOK_BACK = 30 * 86_400  # seconds


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
        raise Fault("500", "Unsupported Operation", detail)
    room, answers = LARGEST, []
    for entity in [_entity(name.strip()) for name in entities.split(",")]:
        rows = _changed(world, realm, entity, moment)[:room]
        room -= len(rows)
        answers.append(_answer(world, realm, entity, rows, base_url))
    return {"CDCResponse": [{"QueryResponse": answers}]}


def _entity(name: str) -> Entity:
    entity = BY_LOWER.get(name.lower())
    if entity is None or not entity.changes:
        raise Fault("500", "Unsupported Operation", f"Operation cdc for entity {name} is not supported.")
    return entity


def _changed(world: World, realm: str, entity: Entity, moment: float) -> list[Row]:
    # Whole seconds on both sides: a change in the very second asked for is inside.
    rows = [row for row in index.rows(world, realm, entity.name) if int(row.updated) >= int(moment)]
    return sorted(rows, key=lambda row: (row.deleted, row.updated))


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
