"""What people do in Qonto's app, over the control API."""

from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.routing import Route

from services.sandbox.qonto import invoices, transactions, wire
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
            route("POST", f"{COMPANY}/qonto/bank_accounts", self.open_account),
            route("POST", f"{COMPANY}/qonto/transactions", self.pay),
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

    async def open_account(self, request: Request) -> Any:
        """A further bank account, empty."""
        organization = str(company_of(self._world, request)["organization"])
        row = self._world.store.need(organization, "organization", organization)
        first = row.body["bank_accounts"][0]
        zero = {"balance": 0, "balance_cents": 0, "authorized_balance": 0, "authorized_balance_cents": 0}
        number = len(row.body["bank_accounts"]) + 1
        account = {**first, **zero, "id": str(uuid4()), "slug": f"{first['slug'][:-1]}{number}", "main": False}
        account |= {"name": f"Compte {number}", "updated_at": wire.stamp(self._world.now())}
        with self._world.store.transaction():
            row.body["bank_accounts"] = [*row.body["bank_accounts"], account]
            self._world.store.put(organization, "organization", row)
        return account

    async def pay(self, request: Request) -> Any:
        """A card payment of `cents` from `account` (left out: the first), settled now; its balance moves."""
        given = await body_of(request)
        organization = str(company_of(self._world, request)["organization"])
        row = self._world.store.need(organization, "organization", organization)
        accounts = {one["id"]: one for one in row.body["bank_accounts"]}
        account = accounts.get(given.get("account", next(iter(accounts))))
        if account is None:
            raise Wrong("There is no such account", 404)
        payment = transactions.payment(self._world, account, int(given.get("cents", 1000)))
        with self._world.store.transaction():
            self._world.store.put(organization, transactions.KIND, payment)
            self._world.store.put(organization, "organization", row)
        return payment.body
