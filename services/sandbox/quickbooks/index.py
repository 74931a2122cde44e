"""The index that query and change data capture read from, which may lag behind what a single read shows."""

from collections.abc import Iterator
from typing import Any

from services.sandbox.store import DECODER, ENCODER, Row
from services.sandbox.world import World


def keep(world: World, realm: str, kind: str, *changed: Row) -> None:
    """Stores changes; while the switched lag lasts, the index goes on showing what was there before."""
    if lag := world.switches.query_lag:
        for row in changed:
            last = world.store.saved(realm, kind, row.id)
            before = None if last is None else indexed(world, last)
            row.inner["lagging"] = {"until": world.now() + lag, "before": None if before is None else _frozen(before)}
    world.store.put(realm, kind, *changed)


def rows(world: World, realm: str, kind: str) -> Iterator[Row]:
    """Every row as the index knows it, deleted ones included."""
    for row in world.store.table(realm, kind).values():
        known = indexed(world, row)
        if known is not None:
            yield known


def indexed(world: World, row: Row) -> Row | None:
    lagging = row.inner.get("lagging")
    if lagging is None or lagging["until"] <= world.now():
        return row
    before = lagging["before"]
    if before is None:
        return None
    return Row(row.id, DECODER.decode(before["body"]), row.created, before["updated"], before["deleted"], row.inner)


def _frozen(row: Row) -> dict[str, Any]:
    return {"body": ENCODER.encode(row.body).decode(), "updated": row.updated, "deleted": row.deleted}
