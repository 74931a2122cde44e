"""Runs a parsed query over the rows of one company."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from services.sandbox.quickbooks import index
from services.sandbox.quickbooks.attachments import as_shown
from services.sandbox.quickbooks.entities import BY_LOWER, Entity, Type
from services.sandbox.quickbooks.grammar import Condition, Literal, Query, parse, validation_fault
from services.sandbox.quickbooks.poison import check_page
from services.sandbox.quickbooks.wire import instant
from services.sandbox.store import Row
from services.sandbox.world import World

Comparable = Any


def run_query(world: World, realm: str, text: str, base_url: str) -> dict[str, Any]:
    """The content of `QueryResponse` for one statement; `{}` when no row fits."""
    query = parse(text, start_zero=world.switches.start_zero == "accept")
    entity = BY_LOWER.get(query.entity.lower())
    if entity is None:
        raise validation_fault(f"Entity {query.entity} not found")
    ids: Type = "id" if world.switches.id_order == "numeric" else "text"
    rows = list(_fitting(world, realm, entity, query, ids))
    if query.count:
        return {"totalCount": len(rows)}
    _sort(rows, entity, query, ids)
    page = rows[query.start - 1 : query.start - 1 + query.size]
    if not page:
        return {}
    check_page(page, whole=not query.names)
    shown = [as_shown(world, realm, row, base_url) if entity.name == "Attachable" else row.body for row in page]
    if query.names:
        paths = [_path(entity, name, shown) for name in query.names]
        shown = [_projected(body, paths) for body in shown]
    answer: dict[str, Any] = {entity.name: shown, "startPosition": query.start, "maxResults": len(page)}
    if entity.counted:
        answer["totalCount"] = len(rows)
    return answer


def _fitting(world: World, realm: str, entity: Entity, query: Query, ids: Type) -> Iterator[Row]:
    tests = [_test(entity, condition, ids) for condition in query.conditions]
    asks_active = any(condition.name.lower() == "active" for condition in query.conditions)
    for row in index.rows(world, realm, entity.name):
        if row.deleted or (entity.lists_names and not asks_active and not row.body.get("Active", True)):
            continue
        if all(test(row.body) for test in tests):
            yield row


def _field(entity: Entity, name: str, ids: Type = "id") -> tuple[str, Type]:
    """The property as it is spelled, and its type, `ids` for an id; spelling in any case is accepted."""
    for known, kind in entity.fields.items():
        if known.lower() == name.lower():
            return known, ids if kind == "id" else kind
    raise validation_fault(f"Property {name} not found for Entity {entity.name}")


def _values(body: Any, path: list[str]) -> Iterator[Any]:
    """Every value a dotted property reaches; lists are walked through."""
    if isinstance(body, list):
        for item in body:
            yield from _values(item, path)
    elif not path:
        yield body
    elif isinstance(body, dict) and path[0] in body:
        yield from _values(body[path[0]], path[1:])


def _read(literal: Literal, kind: Type) -> Comparable:
    try:
        match kind:
            case "number":
                return Decimal(literal.text)
            case "time":
                return instant(literal.text)
            case "date":
                return date.fromisoformat(literal.text[:10])
            case "flag":
                return {"true": True, "false": False}[literal.text.lower()]
            case _:
                return literal.text
    except (ValueError, InvalidOperation, KeyError):
        raise validation_fault(f"Invalid value {literal.text}") from None


def _own(value: Any, kind: Type) -> Comparable:
    match kind:
        case "ref":
            return value["value"]
        case "number":
            return Decimal(value)
        case "time":
            return datetime.fromisoformat(value)
        case "date":
            return date.fromisoformat(value)
        case _:
            return value


def _test(entity: Entity, condition: Condition, ids: Type) -> Callable[[dict[str, Any]], bool]:
    name, kind = _field(entity, condition.name, ids)
    path = name.split(".")
    if condition.operator == "like":
        fits = _like(condition.values[0].text)
    else:
        fits = _compare(condition.operator, kind, [_read(value, kind) for value in condition.values])
    return lambda body: any(fits(_own(value, kind)) for value in _values(body, path))


def _like(pattern: str) -> Callable[[Comparable], bool]:
    """`%` stands for anything; letter case does not matter."""
    first, *rest = pattern.lower().split("%")

    def fits(value: Comparable) -> bool:
        text = str(value).lower()
        if not rest:
            return text == first
        if not text.startswith(first):
            return False
        at = len(first)
        for part in rest[:-1]:
            found = text.find(part, at)
            if found < 0:
                return False
            at = found + len(part)
        return text.endswith(rest[-1]) and len(text) - len(rest[-1]) >= at

    return fits


def _compare(operator: str, kind: Type, wanted: list[Comparable]) -> Callable[[Comparable], bool]:
    if operator in ("=", "in"):
        if kind == "text":
            folded = {value.lower() for value in wanted}
            return lambda value: str(value).lower() in folded
        chosen = set(wanted)
        return lambda value: value in chosen
    limit = _rank(wanted[0], kind)
    match operator:
        case "<":
            return lambda value: bool(_rank(value, kind) < limit)
        case "<=":
            return lambda value: bool(_rank(value, kind) <= limit)
        case ">":
            return lambda value: bool(_rank(value, kind) > limit)
        case _:
            return lambda value: bool(_rank(value, kind) >= limit)


def _rank(value: Comparable, kind: Type) -> Comparable:
    """Ids order as numbers, which reach beyond 64 bits."""
    if kind == "id":
        return (0, int(value), "") if value.isdigit() else (1, 0, value)
    return value.lower() if kind == "text" else value


def _sort(rows: list[Row], entity: Entity, query: Query, ids: Type) -> None:
    """By ORDERBY; without it, transactions newest change first and name lists by name, as observed."""
    if not query.orders:
        if entity.label:
            rows.sort(key=lambda row: str(row.body.get(entity.label, "")).lower())
        else:
            rows.sort(key=lambda row: (-row.updated, _rank(row.id, "id")))
        return
    rows.sort(key=lambda row: _rank(row.id, ids))
    for order in reversed(query.orders):
        name, kind = _field(entity, order.name, ids)
        if name in entity.unsortable:
            raise validation_fault(f"Property {order.name} not found for Entity {entity.name}")
        rows.sort(key=_key(name.split("."), kind), reverse=order.descending)


def _key(path: list[str], kind: Type) -> Callable[[Row], Comparable]:
    def key(row: Row) -> Comparable:
        value = next(_values(row.body, path), None)
        return (0, "") if value is None else (1, _rank(_own(value, kind), kind))

    return key


def _path(entity: Entity, name: str, shown: Iterable[dict[str, Any]]) -> list[str]:
    """The steps to a chosen property, which any of the rows must have unless it is a known one."""
    path = name.split(".")
    if not any(key.lower() == path[0].lower() for body in shown for key in body):
        _field(entity, name)
    return path


def _projected(body: dict[str, Any], paths: list[list[str]]) -> dict[str, Any]:
    """Only the chosen properties, marked sparse."""
    chosen: dict[str, Any] = {}
    for path in paths:
        source, target = body, chosen
        for depth, wanted in enumerate(path):
            key = next((key for key in source if key.lower() == wanted.lower()), None)
            if key is None:
                break
            if depth == len(path) - 1 or not isinstance(source[key], dict):
                target[key] = source[key]
                break
            source, target = source[key], target.setdefault(key, {})
    return {**chosen, "sparse": True}
