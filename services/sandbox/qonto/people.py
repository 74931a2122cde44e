"""What people do in Qonto's app, over the control API."""

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from services.sandbox.qonto import invoices
from services.sandbox.routing import COMPANY, Wrong, body_of, company_of, route
from services.sandbox.store import Row
from services.sandbox.world import World


class People:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        listed = f"{COMPANY}/qonto/supplier_invoices"
        return [
            route("GET", listed, self.invoices),
            route("PATCH", f"{listed}/{{id}}", self.edit),
            route("DELETE", f"{listed}/{{id}}", self.delete),
            route("POST", f"{listed}/{{id}}/approve", self.approve),
        ]

    async def invoices(self, request: Request) -> Any:
        """Every supplier invoice, live or not, without paging."""
        organization = str(company_of(self._world, request)["organization"])
        rows = self._world.store.table(organization, invoices.KIND).values()
        return {"supplier_invoices": [row.body for row in rows]}

    def _invoice(self, request: Request) -> tuple[str, Row]:
        organization = str(company_of(self._world, request)["organization"])
        row = self._world.store.get(organization, invoices.KIND, request.path_params["id"])
        if row is None:
            raise Wrong("There is no such supplier invoice", 404)
        return organization, row

    async def edit(self, request: Request) -> Any:
        """A person edits fields in the app, the status included.

        `?strange=true` also takes names and values Qonto does not have today, as it may have tomorrow.
        """
        changes = await body_of(request)
        organization, row = self._invoice(request)
        unknown = set(changes) - set(row.body)
        sane = not unknown and changes.get("status", "paid") in invoices.STATUSES
        if not sane and request.query_params.get("strange") != "true":
            raise Wrong(f"Not to be set: {', '.join(sorted(unknown)) or 'this status'}")
        with self._world.store.transaction():
            row.body |= changes
            invoices.store(self._world, organization, row)
        return row.body

    async def delete(self, request: Request) -> Any:
        """A person deletes it in the app: its id answers 404 from now on."""
        organization, row = self._invoice(request)
        with self._world.store.transaction():
            self._world.store.remove(organization, invoices.KIND, row.id)
        return {"deleted": row.id}

    async def approve(self, request: Request) -> Any:
        organization, row = self._invoice(request)
        if row.body["status"] not in ("to_review", "to_approve"):
            raise Wrong(f"Cannot approve from {row.body['status']}")
        with self._world.store.transaction():
            row.body["status"] = "to_pay"
            invoices.store(self._world, organization, row)
        return row.body
