"""The sandbox's own API under `/sandbox/`: companies, truth, switches, faults, counts, webhooks and connections.

What people do in the books and in Qonto's app is in the `people` module of either provider.
"""

from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from services.sandbox import truth
from services.sandbox.calls import Calls
from services.sandbox.faults import Fault, Faults
from services.sandbox.generator import generate
from services.sandbox.qonto.oauth import OAuth as QontoOAuth
from services.sandbox.qonto.ocr import Reader
from services.sandbox.qonto.webhooks import Webhooks as QontoWebhooks
from services.sandbox.quickbooks.oauth import OAuth as QuickBooksOAuth
from services.sandbox.quickbooks.webhooks import Settings as Webhook
from services.sandbox.quickbooks.webhooks import Webhooks
from services.sandbox.routing import COMPANY, Wrong, body_of, company_of, route
from services.sandbox.traffic import Traffic
from services.sandbox.world import World

MOST_BILLS = 50_000
QONTO_SCOPE = (
    "offline_access organization.read supplier_invoice.read supplier_invoice.write attachment.read attachment.write"
)


class NewCompany(msgspec.Struct, forbid_unknown_fields=True):
    seed: str | int = "weir"
    bills: int = 520


class Control:
    def __init__(
        self,
        world: World,
        faults: Faults,
        calls: Calls,
        traffic: Traffic,
        webhooks: Webhooks,
        quickbooks: QuickBooksOAuth,
        qonto: QontoOAuth,
        reader: Reader,
        hooks: QontoWebhooks,
    ) -> None:
        self._world = world
        self._faults = faults
        self._calls = calls
        self._traffic = traffic
        self._webhooks = webhooks
        self._quickbooks = quickbooks
        self._qonto = qonto
        self._reader = reader
        self._hooks = hooks

    def routes(self) -> list[Route]:
        return [
            route("GET", "/sandbox/companies", self.companies),
            route("POST", "/sandbox/companies", self.new_company),
            route("GET", "/sandbox/truth/{realm}", self.truth),
            route("GET", "/sandbox/duplicates/{realm}", self.duplicates),
            route("GET", "/sandbox/switches", self.switches),
            route("PUT", "/sandbox/switches", self.turn),
            route("GET", "/sandbox/faults", self.faults),
            route("POST", "/sandbox/faults", self.script),
            route("DELETE", "/sandbox/faults", self.clear_faults),
            route("GET", "/sandbox/calls", self.calls),
            route("POST", f"{COMPANY}/tokens", self.tokens),
            route("DELETE", f"{COMPANY}/tokens/{{side}}", self.revoke),
            route("GET", "/sandbox/traffic/{realm}", self.traffic),
            route("DELETE", "/sandbox/traffic/{realm}", self.forget_traffic),
            route("GET", "/sandbox/webhooks", self.webhooks),
            route("PUT", "/sandbox/webhooks", self.set_webhooks),
            route("DELETE", "/sandbox/webhooks", self.stop_webhooks),
        ]

    async def companies(self, request: Request) -> Any:
        del request
        rows = sorted(self._world.store.table("sandbox", "company").values(), key=lambda row: row.created)
        return {"companies": [row.body for row in rows]}

    async def new_company(self, request: Request) -> Any:
        wanted = msgspec.json.decode(await request.body() or b"{}", type=NewCompany)
        if not 0 <= wanted.bills <= MOST_BILLS:
            raise Wrong(f"bills must be between 0 and {MOST_BILLS}")
        world = self._world
        company = generate(world.store, seed=str(wanted.seed), bills=wanted.bills, now=world.now())
        return {**company, "cases": truth.tally(truth.known(world.store, company["realm"]))}

    async def truth(self, request: Request) -> Any:
        company = company_of(self._world, request)
        known = truth.known(self._world.store, company["realm"])
        return {**company, "cases": truth.tally(known), "truth": known}

    async def duplicates(self, request: Request) -> Any:
        company = company_of(self._world, request)
        return truth.duplicates(self._world.store, company["realm"], company["organization"])

    async def switches(self, request: Request) -> Any:
        del request
        return self._world.switches

    async def turn(self, request: Request) -> Any:
        self._world.turn(self._world.switches.changed(await body_of(request)))
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

    async def traffic(self, request: Request) -> Any:
        return self._traffic.told(company_of(self._world, request)["realm"])

    async def forget_traffic(self, request: Request) -> Any:
        realm = company_of(self._world, request)["realm"]
        self._traffic.forget(realm)
        return self._traffic.told(realm)

    async def webhooks(self, request: Request) -> Any:
        del request
        return self._webhooks.told()

    async def set_webhooks(self, request: Request) -> Any:
        self._webhooks.set(msgspec.json.decode(await request.body(), type=Webhook))
        return self._webhooks.told()

    async def stop_webhooks(self, request: Request) -> Any:
        del request
        self._webhooks.set(None)
        return self._webhooks.told()

    async def tokens(self, request: Request) -> Any:
        """A connection without the walk through the consent page."""
        company, given = company_of(self._world, request), await body_of(request)
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
        company, side = company_of(self._world, request), request.path_params["side"]
        tenant = company["realm"] if side == "quickbooks" else company["organization"]
        with self._world.store.transaction():
            revoked = self._quickbooks.tokens.revoke_tenant(side, tenant)
        if side == "qonto" and request.query_params.get("silent") != "true":
            self._hooks.revoked(tenant)
        return {"revoked": revoked}
