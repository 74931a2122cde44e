"""Bank accounts: part of the organization, and a list of their own."""

from typing import Any

from starlette.requests import Request

from services.sandbox.qonto.wire import known_id, not_found, paged
from services.sandbox.world import World

PER_PAGE = 100


def listed(world: World, organization: str, request: Request) -> dict[str, Any]:
    page, meta = paged(request, _all(world, organization), PER_PAGE)
    return {"bank_accounts": page, "meta": meta}


def find(world: World, organization: str, ident: str) -> dict[str, Any]:
    wanted = known_id(ident)
    found = next((account for account in _all(world, organization) if account["id"] == wanted), None)
    if found is None:
        raise not_found("id", ident)
    return found


def _all(world: World, organization: str) -> list[dict[str, Any]]:
    row = world.store.need(organization, "organization", organization)
    return [{**account, "organization_id": organization} for account in row.body["bank_accounts"]]
