"""The routes of the accounting API under `/v3/company/{realm}`, and what guards them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.sandbox.limits import (
    QUICKBOOKS_APP,
    QUICKBOOKS_BATCH,
    QUICKBOOKS_BATCH_REALM,
    QUICKBOOKS_REALM,
    Limit,
    Windows,
)
from services.sandbox.quickbooks import access, attachments, cdc, objects, wire
from services.sandbox.quickbooks.entities import ENTITIES
from services.sandbox.quickbooks.finding import entity_named, find, unsupported
from services.sandbox.quickbooks.oauth import OAuth
from services.sandbox.quickbooks.poison import check_read
from services.sandbox.quickbooks.query import run_query
from services.sandbox.quickbooks.writing import write
from services.sandbox.store import DECODER, ENCODER, Memo
from services.sandbox.world import World

ACCOUNTING = "com.intuit.quickbooks.accounting"
LARGEST_BATCH = 30
LONGEST_REQUEST_ID = 50


@dataclass(frozen=True, slots=True)
class Call:
    """One call that passed the gateway, its body read."""

    request: Request
    realm: str
    body: bytes

    @property
    def base_url(self) -> str:
        return str(self.request.base_url)

    def param(self, name: str) -> str:
        return self.request.query_params.get(name, "")

    def json(self) -> dict[str, Any]:
        try:
            read = DECODER.decode(self.body)
        except msgspec.DecodeError as error:
            raise wire.Fault("2010", "Request has invalid or unsupported property", str(error)) from None
        if not isinstance(read, dict):
            raise wire.Fault("2010", "Request has invalid or unsupported property", "An object is expected")
        return read


class Api:
    def __init__(self, world: World, oauth: OAuth) -> None:
        self._world = world
        self._oauth = oauth
        self._windows = Windows()

    def routes(self) -> list[Route]:
        company = "/v3/company/{realm}"
        return [
            self._route(f"{company}/query", self.query, "GET", "POST"),
            self._route(f"{company}/cdc", self.cdc, "GET"),
            self._route(f"{company}/batch", self.batch, "POST"),
            self._route(f"{company}/upload", self.upload, "POST"),
            self._route(f"{company}/download/{{id}}", self.download, "GET"),
            self._route(f"{company}/{{entity}}/{{id}}", self.read, "GET"),
            self._route(f"{company}/{{entity}}", self.entity, "GET", "POST"),
            Route("/{realm}/attachments/{id}", self.file),
        ]

    def _route(self, path: str, handle: Callable[[Call], dict[str, Any] | Response], *methods: str) -> Route:
        async def endpoint(request: Request) -> Response:
            realm = request.path_params["realm"]
            token, why = self._oauth.bearer(request)
            if token is None:
                return wire.unauthenticated(self._world, why)
            if token.grant.tenant != realm:
                return wire.wrong_realm(self._world)
            if not token.grant.allows(ACCOUNTING):
                return wire.app_refused(self._world)
            if self._world.switches.limits and (wait := self._wait(request, realm, token.grant.client)):
                return wire.throttled(self._world, wait)
            if (refusal := access.barred(self._world, realm, request)) is not None:
                return refusal
            call = Call(request, realm, await request.body())
            try:
                found = handle(call)
            except wire.Fault as fault:
                return wire.fault(request, fault)
            return found if isinstance(found, Response) else wire.answer(request, found)

        return Route(path, endpoint, methods=list(methods))

    def _wait(self, request: Request, realm: str, client: str) -> float:
        """Seconds until the call fits all its limits; it is counted against all of them or none."""
        limits: list[tuple[Limit, Hashable]] = [(QUICKBOOKS_REALM, realm), (QUICKBOOKS_APP, (realm, client))]
        if request.url.path.endswith("/batch"):
            limits += [(QUICKBOOKS_BATCH, (realm, client)), (QUICKBOOKS_BATCH_REALM, realm)]
        return self._windows.admit(limits)

    def query(self, call: Call) -> dict[str, Any]:
        text = call.param("query") or (call.body.decode() if call.request.method == "POST" else "")
        return {"QueryResponse": run_query(self._world, call.realm, text, call.base_url)}

    def cdc(self, call: Call) -> dict[str, Any]:
        return cdc.changes(self._world, call.realm, call.param("entities"), call.param("changedSince"), call.base_url)

    def read(self, call: Call) -> dict[str, Any]:
        entity = entity_named(call.request.path_params["entity"])
        ident = call.request.path_params["id"]
        if entity.name == "CompanyInfo":
            ident = "1"
        if entity.name == "Attachable":
            row = find(self._world, call.realm, entity, ident)
            check_read(row)
            return {"Attachable": attachments.as_shown(self._world, call.realm, row, call.base_url)}
        return {entity.name: objects.read(self._world, call.realm, entity, ident)}

    def entity(self, call: Call) -> dict[str, Any] | Response:
        name = call.request.path_params["entity"]
        if call.request.method == "GET":
            if name == "preferences":
                return {"Preferences": objects.read(self._world, call.realm, ENTITIES["Preferences"], "1")}
            raise unsupported(f"read {name}")
        return self._once(call, lambda: self._write(call, name, call.json()))

    def _once(self, call: Call, effect: Callable[[], dict[str, Any]]) -> dict[str, Any] | Response:
        """Runs a write; one with a `requestid` seen before gets the first answer, without effect."""
        request_id = call.param("requestid")
        if len(request_id) > LONGEST_REQUEST_ID:
            raise wire.Fault("2050", "String length is either shorter or longer than supported", "requestid")
        store, scope = self._world.store, f"requestid {call.realm}"
        with store.transaction():
            kept = store.memo(scope, request_id) if request_id else None
            if kept is not None:
                return wire.answer(call.request, DECODER.decode(kept.body))
            body = effect()
            if request_id:
                store.put_memo(scope, request_id, Memo(200, ENCODER.encode(body), self._world.now()))
            return body

    def _write(self, call: Call, name: str, body: dict[str, Any]) -> dict[str, Any]:
        entity = entity_named(name)
        operation, include = call.param("operation").lower(), call.param("include").lower()
        done = write(self._world, call.realm, entity, body, call.base_url, operation=operation, include=include)
        return {entity.name: done}

    def batch(self, call: Call) -> dict[str, Any]:
        items = call.json().get("BatchItemRequest", [])
        if len(items) > LARGEST_BATCH:
            raise wire.Fault("1040", "Batch size exceeds limit", f"The maximum is {LARGEST_BATCH} items")
        return {"BatchItemResponse": [self._item(call, item) for item in items]}

    def _item(self, call: Call, item: dict[str, Any]) -> dict[str, Any]:
        answer = {"bId": item.get("bId")}
        try:
            if "Query" in item:
                return {**answer, "QueryResponse": run_query(self._world, call.realm, item["Query"], call.base_url)}
            name = next((key for key in item if key in ENTITIES), None)
            if name is None:
                raise unsupported("batch item")
            operation, include = (str(item.get(key, "")).lower() for key in ("operation", "optionsData"))
            with self._world.store.transaction():
                done = write(
                    self._world, call.realm, ENTITIES[name], item[name], call.base_url,
                    operation=operation, include=include,
                )  # fmt: skip
            return {**answer, name: done}
        except wire.Fault as fault:
            return {**answer, "Fault": fault.body()}

    def upload(self, call: Call) -> dict[str, Any]:
        pairs = attachments.upload(call.request.headers.get("content-type", ""), call.body)
        answers: list[dict[str, Any]] = []
        for metadata, file in pairs:
            try:
                with self._world.store.transaction():
                    row = attachments.new_attachable(self._world, call.realm, metadata, file)
            except wire.Fault as fault:
                answers.append({"Fault": fault.body()})
            else:
                shown = attachments.as_shown(self._world, call.realm, row, call.base_url)
                answers.append({"Attachable": shown})
        return {"AttachableResponse": answers}

    def download(self, call: Call) -> Response:
        """The link as plain text."""
        ident = call.request.path_params["id"]
        row = find(self._world, call.realm, ENTITIES["Attachable"], ident)
        if "file" not in row.inner:
            raise wire.Fault("610", "Object Not Found", "The attachment has no file")
        url = attachments.link(self._world, call.realm, row, call.base_url)
        text = f'"{url}"' if self._world.switches.download_link == "quoted" else url
        return PlainTextResponse(text, headers=wire.headers())

    async def file(self, request: Request) -> Response:
        given = request.query_params
        return attachments.fetch(
            self._world, request.path_params["id"], given.get("Expires", ""), given.get("Signature", "")
        )
