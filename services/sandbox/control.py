"""The sandbox's own API under `/sandbox/`: companies, truth, switches, faults, calls, and what people do."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox import truth
from services.sandbox.calls import Calls
from services.sandbox.faults import Fault, Faults
from services.sandbox.generator import generate
from services.sandbox.qonto import invoices
from services.sandbox.qonto.oauth import OAuth as QontoOAuth
from services.sandbox.qonto.ocr import Reader
from services.sandbox.quickbooks import attachments, objects, wire
from services.sandbox.quickbooks.entities import ENTITIES
from services.sandbox.quickbooks.oauth import OAuth as QuickBooksOAuth
from services.sandbox.store import DECODER, ENCODER, Row
from services.sandbox.world import World

LOOPBACK = ("127.0.0.1", "::1", "testclient")
MOST_BILLS = 50_000
QONTO_SCOPE = (
    "offline_access organization.read supplier_invoice.read supplier_invoice.write attachment.read attachment.write"
)


class Wrong(Exception):  # noqa: N818
    """A control call that makes no sense; the text says why."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class NewCompany(msgspec.Struct, forbid_unknown_fields=True):
    seed: str | int = "weir"
    bills: int = 520


class Control:
    def __init__(
        self,
        world: World,
        faults: Faults,
        calls: Calls,
        quickbooks: QuickBooksOAuth,
        qonto: QontoOAuth,
        reader: Reader,
    ) -> None:
        self._world = world
        self._faults = faults
        self._calls = calls
        self._quickbooks = quickbooks
        self._qonto = qonto
        self._reader = reader

    def routes(self) -> list[Route]:
        company = "/sandbox/companies/{realm}"
        return [
            self._route("GET", "/sandbox/companies", self.companies),
            self._route("POST", "/sandbox/companies", self.new_company),
            self._route("GET", "/sandbox/truth/{realm}", self.truth),
            self._route("GET", "/sandbox/duplicates/{realm}", self.duplicates),
            self._route("GET", "/sandbox/switches", self.switches),
            self._route("PUT", "/sandbox/switches", self.turn),
            self._route("GET", "/sandbox/faults", self.faults),
            self._route("POST", "/sandbox/faults", self.script),
            self._route("DELETE", "/sandbox/faults", self.clear_faults),
            self._route("GET", "/sandbox/calls", self.calls),
            self._route("POST", f"{company}/tokens", self.tokens),
            self._route("DELETE", f"{company}/tokens/{{side}}", self.revoke),
            self._route("GET", f"{company}/quickbooks/{{entity}}/{{id}}", self.read_object),
            self._route("POST", f"{company}/quickbooks/{{entity}}", self.create_object),
            self._route("PATCH", f"{company}/quickbooks/{{entity}}/{{id}}", self.update_object),
            self._route("DELETE", f"{company}/quickbooks/{{entity}}/{{id}}", self.delete_object),
            self._route("POST", f"{company}/quickbooks/bill/{{id}}/pay", self.pay),
            self._route("POST", f"{company}/quickbooks/bill/{{id}}/attach", self.attach),
            self._route("GET", f"{company}/qonto/supplier_invoices", self.qonto_invoices),
            self._route("PATCH", f"{company}/qonto/supplier_invoices/{{id}}", self.edit_invoice),
            self._route("DELETE", f"{company}/qonto/supplier_invoices/{{id}}", self.delete_invoice),
            self._route("POST", f"{company}/qonto/supplier_invoices/{{id}}/approve", self.approve_invoice),
        ]

    def _route(self, method: str, path: str, handle: Callable[[Request], Awaitable[Any]]) -> Route:
        async def endpoint(request: Request) -> Response:
            if request.client is None or request.client.host not in LOOPBACK:
                return _json({"error": "The control API answers on loopback only"}, 403)
            try:
                return _json(await handle(request))
            except Wrong as wrong:
                return _json({"error": str(wrong)}, wrong.status)
            except wire.Fault as fault:
                return _json({"error": fault.detail or fault.message, "code": fault.code}, fault.status)
            except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
                return _json({"error": str(error)}, 400)

        return Route(path, endpoint, methods=[method])

    def _company(self, request: Request) -> dict[str, Any]:
        row = self._world.store.get("sandbox", "company", request.path_params["realm"])
        if row is None:
            raise Wrong("There is no such company", 404)
        return row.body

    async def _body(self, request: Request) -> dict[str, Any]:
        read = DECODER.decode(await request.body() or b"{}")
        if not isinstance(read, dict):
            raise Wrong("A JSON object is expected")
        return read

    async def companies(self, request: Request) -> Any:
        del request
        rows = sorted(self._world.store.table("sandbox", "company").values(), key=lambda row: row.created)
        return {"companies": [row.body for row in rows]}

    async def new_company(self, request: Request) -> Any:
        wanted = msgspec.json.decode(await request.body() or b"{}", type=NewCompany)
        if not 1 <= wanted.bills <= MOST_BILLS:
            raise Wrong(f"bills must be between 1 and {MOST_BILLS}")
        world = self._world
        company = generate(world.store, seed=str(wanted.seed), bills=wanted.bills, now=world.now())
        return {**company, "cases": truth.tally(truth.known(world.store, company["realm"]))}

    async def truth(self, request: Request) -> Any:
        company = self._company(request)
        known = truth.known(self._world.store, company["realm"])
        return {**company, "cases": truth.tally(known), "truth": known}

    async def duplicates(self, request: Request) -> Any:
        company = self._company(request)
        return truth.duplicates(self._world.store, company["realm"], company["organization"])

    async def switches(self, request: Request) -> Any:
        del request
        return self._world.switches

    async def turn(self, request: Request) -> Any:
        self._world.turn(self._world.switches.changed(await self._body(request)))
        self._reader.wake()
        return self._world.switches

    async def faults(self, request: Request) -> Any:
        del request
        return {"faults": self._faults.queue}

    async def script(self, request: Request) -> Any:
        self._faults.script(msgspec.json.decode(await request.body(), type=Fault))
        return {"faults": self._faults.queue}

    async def clear_faults(self, request: Request) -> Any:
        del request
        self._faults.queue.clear()
        return {"faults": []}

    async def calls(self, request: Request) -> Any:
        text = request.query_params.get("since", "0")
        since = datetime.fromisoformat(text.replace(" ", "+")).timestamp() if "T" in text else float(text)
        counted = self._calls.since(since)
        return {"total": sum(one["count"] for one in counted), "calls": counted}

    async def tokens(self, request: Request) -> Any:
        """A connection without the walk through the consent page."""
        company, given = self._company(request), await self._body(request)
        world, side = self._world, given.get("side")
        with world.store.transaction():
            if side == "quickbooks":
                scope = given.get("scope", "com.intuit.quickbooks.accounting")
                return self._quickbooks.connect(company["realm"], scope, str(request.base_url))
            if side == "qonto":
                client = world.credentials.qonto_client_id
                scope = given.get("scope", QONTO_SCOPE)
                grant = self._qonto.tokens.grant("qonto", client, company["organization"], scope, world.now())
                return self._qonto.issue(grant)
        raise Wrong("side must be quickbooks or qonto")

    async def revoke(self, request: Request) -> Any:
        """A person disconnects the app on the provider's side."""
        company, side = self._company(request), request.path_params["side"]
        tenant = company["realm"] if side == "quickbooks" else company["organization"]
        with self._world.store.transaction():
            return {"revoked": self._quickbooks.tokens.revoke_tenant(side, tenant)}

    def _row(self, request: Request) -> tuple[str, Any, Row]:
        realm = self._company(request)["realm"]
        entity = objects.entity_named(request.path_params["entity"].lower())
        return realm, entity, objects.find(self._world, realm, entity, request.path_params["id"])

    async def read_object(self, request: Request) -> Any:
        _, entity, row = self._row(request)
        return {entity.name: row.body}

    async def create_object(self, request: Request) -> Any:
        realm = self._company(request)["realm"]
        entity, body = objects.entity_named(request.path_params["entity"].lower()), await self._body(request)
        with self._world.store.transaction():
            return {entity.name: objects.create(self._world, realm, entity, body)}

    async def update_object(self, request: Request) -> Any:
        """A sparse update; the sync token is filled in."""
        body = await self._body(request)
        realm, entity, row = self._row(request)
        change = {**body, "Id": row.id, "SyncToken": row.body["SyncToken"], "sparse": True}
        with self._world.store.transaction():
            return {entity.name: objects.update(self._world, realm, entity, change)}

    async def delete_object(self, request: Request) -> Any:
        realm, entity, row = self._row(request)
        gone = {"Id": row.id, "SyncToken": row.body["SyncToken"]}
        with self._world.store.transaction():
            return {entity.name: objects.delete(self._world, realm, entity, gone)}

    async def pay(self, request: Request) -> Any:
        """Pays a bill, wholly or `{"amount": …}`, on `{"date": …}`."""
        given = await self._body(request)
        realm = self._company(request)["realm"]
        bill = objects.find(self._world, realm, ENTITIES["Bill"], request.path_params["id"])
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
        """Hangs the request's body on a bill as a file; its name in `?name=`."""
        realm, content = self._company(request)["realm"], await request.body()
        bill = objects.find(self._world, realm, ENTITIES["Bill"], request.path_params["id"])
        name = request.query_params.get("name", "document.pdf")
        kind = request.headers.get("content-type", "application/pdf")
        metadata = {"AttachableRef": [{"EntityRef": {"type": "Bill", "value": bill.id}}]}
        with self._world.store.transaction():
            row = attachments.new_attachable(self._world, realm, metadata, (name, kind, content))
        return {"Attachable": row.body}

    async def qonto_invoices(self, request: Request) -> Any:
        """Every supplier invoice, live or not, without paging."""
        organization = self._company(request)["organization"]
        rows = self._world.store.table(organization, invoices.KIND).values()
        return {"supplier_invoices": [row.body for row in rows]}

    def _invoice(self, request: Request) -> tuple[str, Row]:
        organization = self._company(request)["organization"]
        row = self._world.store.get(organization, invoices.KIND, request.path_params["id"])
        if row is None:
            raise Wrong("There is no such supplier invoice", 404)
        return organization, row

    async def edit_invoice(self, request: Request) -> Any:
        """A person edits fields in the app, the status included.

        `?strange=true` also takes names and values Qonto does not have today, as it may have tomorrow.
        """
        changes = await self._body(request)
        organization, row = self._invoice(request)
        unknown = set(changes) - set(row.body)
        sane = not unknown and changes.get("status", "paid") in invoices.STATUSES
        if not sane and request.query_params.get("strange") != "true":
            raise Wrong(f"Not to be set: {', '.join(sorted(unknown)) or 'this status'}")
        with self._world.store.transaction():
            row.body |= changes
            invoices.store(self._world, organization, row)
        return row.body

    async def delete_invoice(self, request: Request) -> Any:
        """A person deletes it in the app: its id answers 404 from now on."""
        organization, row = self._invoice(request)
        with self._world.store.transaction():
            self._world.store.remove(organization, invoices.KIND, row.id)
        return {"deleted": row.id}

    async def approve_invoice(self, request: Request) -> Any:
        organization, row = self._invoice(request)
        if row.body["status"] not in ("to_review", "to_approve"):
            raise Wrong(f"Cannot approve from {row.body['status']}")
        with self._world.store.transaction():
            row.body["status"] = "to_pay"
            invoices.store(self._world, organization, row)
        return row.body


def _json(body: Any, status: int = 200) -> Response:
    return Response(ENCODER.encode(body), status, media_type="application/json")
