"""The routes of the Business API under `/v2`, and what guards them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.limits import QONTO_ADDRESS, QONTO_UNAUTHORIZED, Windows
from services.sandbox.qonto import accounts, attachments, bulk, invoices, transactions, wire
from services.sandbox.qonto.oauth import SIDE, OAuth
from services.sandbox.qonto.ocr import Reader
from services.sandbox.qonto.webhooks import Webhooks
from services.sandbox.store import DECODER, ENCODER, Memo
from services.sandbox.world import World

IDEMPOTENCY_LIFETIME = 1800.0  # seconds
UNAUTHORIZED = wire.Refusal(401, "unauthorized", "Missing or invalid credentials")


@dataclass(frozen=True, slots=True)
class Call:
    """One call that passed the gateway."""

    request: Request
    organization: str

    @property
    def base_url(self) -> str:
        return str(self.request.base_url)

    @property
    def id(self) -> str:
        return str(self.request.path_params["id"])

    async def json(self) -> dict[str, object]:
        try:
            read = DECODER.decode(await self.request.body() or b"{}")
        except msgspec.DecodeError:
            raise wire.Refusal(400, "invalid", "The body is not JSON", pointer="/") from None
        if not isinstance(read, dict):
            raise wire.Refusal(400, "invalid", "An object is expected", pointer="/")
        return read


Handler = Callable[[Call], Awaitable[Response]]


class Api:
    def __init__(self, world: World, oauth: OAuth, reader: Reader, hooks: Webhooks) -> None:
        self._world = world
        self._oauth = oauth
        self._reader = reader
        self._hooks = hooks
        self._windows = Windows()

    def routes(self) -> list[Route]:
        one_invoice, one_transaction = "/v2/supplier_invoices/{id}", "/v2/transactions/{id}"
        read, write = "supplier_invoice.read", "supplier_invoice.write"
        files = ("attachment.read", "organization.read")
        return [
            self._route("GET", "/v2/organization", self.organization, "organization.read"),
            self._route("GET", "/v2/bank_accounts", self.list_accounts, "organization.read"),
            self._route("GET", "/v2/bank_accounts/{id}", self.account, "organization.read"),
            self._route("DELETE", "/v2/oauth2/consents", self.drop_consent, "organization.read"),
            self._route("POST", "/v2/supplier_invoices/bulk", self.create, write),
            self._route("GET", "/v2/supplier_invoices", self.list_invoices, read),
            self._route("GET", one_invoice, self.invoice, read),
            self._route("POST", f"{one_invoice}/mark_as_paid", self.mark_as_paid, write),
            self._route("POST", f"{one_invoice}/unmark_as_paid", self.unmark_as_paid, write),
            self._route("POST", f"{one_invoice}/reject", self.reject, write),
            self._route("POST", "/v2/attachments", self.attach, "attachment.write"),
            self._route("GET", "/v2/attachments/{id}", self.attachment, *files),
            self._route("GET", "/v2/transactions", self.list_transactions, "organization.read"),
            self._route("GET", one_transaction, self.transaction, "organization.read"),
            self._route("POST", f"{one_transaction}/attachments", self.attach_to, "attachment.write"),
            self._route("GET", f"{one_transaction}/attachments", self.attached_to, *files),
            self._route("DELETE", f"{one_transaction}/attachments", self.detach, "attachment.write"),
            self._route("DELETE", f"{one_transaction}/attachments/{{attachment_id}}", self.detach, "attachment.write"),
            self._route("POST", "/v2/webhook_subscriptions", self.subscribe, "webhook"),
            self._route("GET", "/v2/webhook_subscriptions", self.subscriptions, "webhook"),
            self._route("GET", "/v2/webhook_subscriptions/{id}", self.subscription, "webhook"),
            self._route("DELETE", "/v2/webhook_subscriptions/{id}", self.unsubscribe, "webhook"),
            Route("/qonto-attachments/{id}", self.file),
        ]

    def _route(self, method: str, path: str, handle: Handler, *scopes: str) -> Route:
        """A guarded route; one of `scopes` is enough."""

        async def endpoint(request: Request) -> Response:
            if self._oauth.gated(request):
                return wire.staging_page()
            if self._world.switches.limits and (wait := self._wait(request)):
                return wire.throttled(self._world, wait)
            try:
                return await handle(Call(request, self._organization(request, scopes)))
            except wire.Refusal as refusal:
                if refusal.status == 401:
                    self._windows.count(QONTO_UNAUTHORIZED, _address(request))
                if path.startswith("/v2/webhook_subscriptions"):
                    return wire.answer(refusal.body(), refusal.status)  # the bare error, as these pages show it
                return wire.refused(refusal)

        return Route(path, endpoint, methods=[method])

    def _wait(self, request: Request) -> float:
        address = _address(request)
        blocked = self._windows.wait(QONTO_UNAUTHORIZED, address)
        return blocked or self._windows.admit([(limit, address) for limit in QONTO_ADDRESS])

    def _organization(self, request: Request, scopes: tuple[str, ...]) -> str:
        """The organization of the credentials: a bearer token, or `login:secret`."""
        header = request.headers.get("authorization", "")
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer":
            token = self._oauth.bearer(value)
            if token is None:
                raise UNAUTHORIZED
            if not any(token.grant.allows(scope) for scope in scopes):
                raise wire.Refusal(403, "forbidden", "missing required oauth scope")
            return token.grant.tenant
        login, _, secret = header.partition(":")
        for row in self._world.store.table("sandbox", "company").values():
            if secret and (row.body["slug"], row.body["secret_key"]) == (login, secret):
                return str(row.body["organization"])
        raise UNAUTHORIZED

    async def organization(self, call: Call) -> Response:
        row = self._world.store.need(call.organization, "organization", call.organization)
        return wire.answer({"organization": row.body})

    async def list_accounts(self, call: Call) -> Response:
        return wire.answer(accounts.listed(self._world, call.organization, call.request))

    async def account(self, call: Call) -> Response:
        return wire.answer({"bank_account": accounts.find(self._world, call.organization, call.id)})

    async def drop_consent(self, call: Call) -> Response:
        with self._world.store.transaction():
            self._oauth.tokens.revoke_tenant(SIDE, call.organization)
        self._hooks.revoked(call.organization)
        return wire.empty(204)

    async def subscribe(self, call: Call) -> Response:
        given = await call.json()
        with self._world.store.transaction():
            return wire.answer(self._hooks.subscribe(call.organization, given), 201)

    async def subscriptions(self, call: Call) -> Response:
        return wire.answer(self._hooks.listed(call.organization))

    async def subscription(self, call: Call) -> Response:
        return wire.answer(self._hooks.find(call.organization, call.id))

    async def unsubscribe(self, call: Call) -> Response:
        with self._world.store.transaction():
            self._hooks.unsubscribe(call.organization, call.id)
        return wire.empty(204)

    async def create(self, call: Call) -> Response:
        parts = await bulk.received(call.request)
        with self._world.store.transaction():
            answer = bulk.create(self._world, call.organization, parts)
        self._reader.wake()
        return wire.answer(answer)

    async def list_invoices(self, call: Call) -> Response:
        return wire.answer(invoices.listed(self._world, call.organization, call.request))

    async def invoice(self, call: Call) -> Response:
        row = invoices.find(self._world, call.organization, call.id)
        return wire.answer({"supplier_invoice": invoices.as_shown(row.body)})

    async def mark_as_paid(self, call: Call) -> Response:
        given = await call.json()
        with self._world.store.transaction():
            return wire.answer(invoices.mark_as_paid(self._world, call.organization, call.id, given))

    async def unmark_as_paid(self, call: Call) -> Response:
        with self._world.store.transaction():
            return wire.answer(invoices.unmark_as_paid(self._world, call.organization, call.id))

    async def reject(self, call: Call) -> Response:
        given = await call.json()
        with self._world.store.transaction():
            return wire.answer(invoices.reject(self._world, call.organization, call.id, given))

    async def _file_once(self, call: Call, effect: Callable[[str, str, bytes], bytes]) -> bytes:
        """Runs an upload, or gives the first answer again when its key was seen within 30 minutes."""
        key = call.request.headers.get("x-qonto-idempotency-key")
        if not key:
            raise wire.Refusal(
                400, "required", "X-Qonto-Idempotency-Key is required", parameter="X-Qonto-Idempotency-Key"
            )
        store, scope = self._world.store, f"idempotency {call.organization} {call.request.url.path}"
        async with call.request.form() as form:
            kept = store.memo(scope, key)
            if kept is not None and self._world.now() - kept.at < IDEMPOTENCY_LIFETIME:
                return kept.body
            name, content_type, content = await attachments.received(form.get("file"))
        with store.transaction():
            body = effect(name, content_type, content)
            store.put_memo(scope, key, Memo(200, body, self._world.now()))
        return body

    async def attach(self, call: Call) -> Response:
        def effect(name: str, content_type: str, content: bytes) -> bytes:
            row = attachments.new_attachment(self._world, call.organization, name, content_type, content)
            return ENCODER.encode({"attachment": {"id": row.id}})

        return wire.answer(msgspec.Raw(await self._file_once(call, effect)))

    async def attachment(self, call: Call) -> Response:
        row = self._world.store.get(call.organization, "attachment", wire.known_id(call.id))
        if row is None:
            raise wire.not_found("id", call.id)
        shown = attachments.as_shown(self._world, call.organization, row, call.base_url)
        return wire.answer({"attachment": shown})

    async def list_transactions(self, call: Call) -> Response:
        return wire.answer(transactions.listed(self._world, call.organization, call.request, call.base_url))

    async def transaction(self, call: Call) -> Response:
        row = transactions.find(self._world, call.organization, call.id)
        includes = wire.choices(call.request, "includes", transactions.INCLUDES)
        shown = transactions.as_shown(self._world, call.organization, row, includes, call.base_url)
        return wire.answer({"transaction": shown})

    async def attach_to(self, call: Call) -> Response:
        def effect(name: str, content_type: str, content: bytes) -> bytes:
            transactions.attach(self._world, call.organization, call.id, name, content_type, content)
            return b""

        transactions.find(self._world, call.organization, call.id)
        await self._file_once(call, effect)
        return wire.empty()

    async def attached_to(self, call: Call) -> Response:
        return wire.answer(transactions.attached(self._world, call.organization, call.id, call.request, call.base_url))

    async def detach(self, call: Call) -> Response:
        with self._world.store.transaction():
            attachment_id = call.request.path_params.get("attachment_id")
            transactions.detach(self._world, call.organization, call.id, attachment_id)
        return wire.empty()

    async def file(self, request: Request) -> Response:
        given = request.query_params
        return attachments.fetch(
            self._world,
            request.path_params["id"],
            given.get("X-Amz-Expires", ""),
            given.get("X-Amz-Signature", ""),
            "authorization" in request.headers,
        )


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
