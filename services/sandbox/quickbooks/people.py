"""What people do in a company's books, and what befalls them, over the control API."""

from decimal import Decimal
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from services.sandbox import crowd
from services.sandbox.quickbooks import access, attachments, objects, poison
from services.sandbox.quickbooks.entities import ENTITIES, Entity
from services.sandbox.quickbooks.finding import entity_named, find
from services.sandbox.quickbooks.writing import write
from services.sandbox.routing import COMPANY, Wrong, body_of, company_of, route
from services.sandbox.store import Row
from services.sandbox.world import World


class Merge(msgspec.Struct, forbid_unknown_fields=True):
    """`into` is the vendor that stays; `touches` whether the moved documents' times and sync tokens move."""

    into: str
    touches: bool = True


class People:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        books = f"{COMPANY}/quickbooks"
        one = f"{books}/{{entity}}/{{id}}"
        return [
            route("GET", f"{books}/access", self.access),
            route("PUT", f"{books}/access", self.set_access),
            route("POST", f"{books}/bulk", self.bulk),
            route("GET", one, self.read),
            route("POST", f"{books}/{{entity}}", self.create),
            route("PATCH", one, self.update),
            route("DELETE", one, self.delete),
            route("PUT", f"{one}/poison", self.poison),
            route("DELETE", f"{one}/poison", self.heal),
            route("POST", f"{books}/bill/{{id}}/pay", self.pay),
            route("POST", f"{books}/bill/{{id}}/attach", self.attach),
            route("POST", f"{books}/vendor/{{id}}/merge", self.merge),
        ]

    def _realm(self, request: Request) -> str:
        return str(company_of(self._world, request)["realm"])

    def _entity(self, request: Request) -> Entity:
        return entity_named(request.path_params["entity"].lower())

    def _row(self, request: Request) -> tuple[str, Entity, Row]:
        realm, entity = self._realm(request), self._entity(request)
        return realm, entity, find(self._world, realm, entity, request.path_params["id"])

    def _write(self, request: Request, realm: str, entity: Entity, body: dict[str, Any], operation: str = "") -> Any:
        with self._world.store.transaction():
            done = write(self._world, realm, entity, body, str(request.base_url), operation=operation)
        return {entity.name: done}

    async def access(self, request: Request) -> Any:
        return access.of(self._world, self._realm(request))

    async def set_access(self, request: Request) -> Any:
        realm = self._realm(request)
        wanted = msgspec.json.decode(await request.body(), type=access.Access)
        access.put(self._world, realm, wanted)
        return wanted

    async def bulk(self, request: Request) -> Any:
        realm = self._realm(request)
        wanted = msgspec.json.decode(await request.body(), type=crowd.Wanted)
        entity = entity_named(wanted.entity.lower())
        with self._world.store.transaction():
            made = crowd.Crowd(self._world, realm, wanted).make(entity)
        return {"entity": entity.name, "count": len(made), "first": made[0], "last": made[-1]}

    async def read(self, request: Request) -> Any:
        _, entity, row = self._row(request)
        return {entity.name: row.body}

    async def create(self, request: Request) -> Any:
        return self._write(request, self._realm(request), self._entity(request), await body_of(request))

    async def update(self, request: Request) -> Any:
        """A sparse update; the sync token is filled in."""
        body = await body_of(request)
        realm, entity, row = self._row(request)
        change = {**body, "Id": row.id, "SyncToken": row.body["SyncToken"], "sparse": True}
        return self._write(request, realm, entity, change)

    async def delete(self, request: Request) -> Any:
        realm, entity, row = self._row(request)
        return self._write(request, realm, entity, row.body, "delete")

    async def poison(self, request: Request) -> Any:
        dose = msgspec.json.decode(await request.body() or b"{}", type=poison.Poison)
        realm, entity, row = self._row(request)
        poison.poison(self._world, realm, entity, row, dose)
        return dose

    async def heal(self, request: Request) -> Any:
        realm, entity, row = self._row(request)
        if not poison.heal(row):
            raise Wrong("It is not poisoned", 404)
        self._world.store.put(realm, entity.name, row)
        return {"healed": row.id}

    async def pay(self, request: Request) -> Any:
        """Pays a bill, wholly or `{"amount": …}`, on `{"date": …}`."""
        given = await body_of(request)
        realm = self._realm(request)
        bill = find(self._world, realm, ENTITIES["Bill"], request.path_params["id"])
        value = Decimal(str(given.get("amount", bill.body["Balance"])))
        payment = {
            "VendorRef": bill.body["VendorRef"],
            "PayType": "Check",
            "CheckPayment": {"BankAccountRef": {"value": "35", "name": "Qonto"}},
            "TotalAmt": value,
            "CurrencyRef": bill.body["CurrencyRef"],
            "Line": [{"Amount": value, "LinkedTxn": [{"TxnId": bill.id, "TxnType": "Bill"}]}],
        }
        if "date" in given:
            payment["TxnDate"] = given["date"]
        with self._world.store.transaction():
            made = objects.create(self._world, realm, ENTITIES["BillPayment"], payment)
        return {"BillPayment": made, "Bill": bill.body}

    async def attach(self, request: Request) -> Any:
        """Hangs the request's body on a bill as a file of the declared content type; its name in `?name=`."""
        realm, content = self._realm(request), await request.body()
        bill = find(self._world, realm, ENTITIES["Bill"], request.path_params["id"])
        name = request.query_params.get("name", "document.pdf")
        kind = request.headers.get("content-type", "application/pdf")
        metadata = {"AttachableRef": [{"EntityRef": {"type": "Bill", "value": bill.id}}]}
        with self._world.store.transaction():
            row = attachments.new_attachable(self._world, realm, metadata, (name, kind, content))
        return {"Attachable": row.body}

    async def merge(self, request: Request) -> Any:
        """Merges a vendor into another; answers the one that stays."""
        wanted = msgspec.json.decode(await request.body(), type=Merge)
        realm, vendors = self._realm(request), ENTITIES["Vendor"]
        loser = find(self._world, realm, vendors, request.path_params["id"])
        winner = find(self._world, realm, vendors, wanted.into)
        if loser is winner:
            raise Wrong("A vendor cannot be merged into itself")
        with self._world.store.transaction():
            objects.merge(self._world, realm, loser, winner, touches=wanted.touches)
        return {"Vendor": winner.body}
