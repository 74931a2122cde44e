"""Qonto's Business API v2, as far as the poster needs it.

Reads are repeated until answered. Writes are sent once, and their outcome is one of four: the answer; Denied
(it had no effect and never will); NotSent (it had no effect, try again); Unknown (it may have had its effect,
look before anything else). Pages: supplier invoices, transactions, attachments, errors, rate limitations.
"""

import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NoReturn

import anyio
import httpx
import msgspec
import structlog

from common import http as transport
from common import qonto as wire
from common.connections import Connections, Grant
from common.errors import RetryLater, WeirError
from common.messages import Entry, EntryKind
from common.wire import WireError
from services.poster.connection import bearer, needed
from services.poster.limits import ADMITTED, Pace, Place, Refusals, no_place

log = structlog.get_logger()

PER_PAGE = 100
WRITE_TIMEOUT = 15.0
"""Seconds for a whole write; shorter than a ledger step's deadline."""
BULK_FILES = 20
BULK_BYTES = 14_500_000
"""Most files and bytes of one upload; Qonto takes 20 and 15 MB with all that surrounds the files."""
_SHOWN = {"includes[]": "attachments", "status[]": ["pending", "completed", "declined"]}


class Unknown(RetryLater):
    """Nobody knows whether the write had its effect."""


class NotSent(RetryLater):
    """The write surely had no effect."""


class Missing(WeirError):  # noqa: N818
    """Qonto has no such object (any more)."""


class Denied(WeirError):  # noqa: N818
    """Qonto refused, and would refuse again."""

    def __init__(self, status: int, errors: Sequence[wire.Problem]) -> None:
        first = errors[0] if errors else wire.Problem(code=str(status), detail="")
        super().__init__(f"Qonto refused: {first}")
        self.status = status
        self.code = first.code


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """An object of a list that cannot be understood, and why; `id` is None where not even that can be read.

    `outline` is what is left of it.
    """

    kind: EntryKind
    why: str
    id: str | None = None
    outline: Entry | None = None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list; `unreadable` are those that could not be understood and were left out.

    `total` is how many there are on all pages, None if Qonto does not say.
    """

    entries: list[Entry]
    last: bool
    unreadable: list[Unreadable]
    total: int | None = None

    @property
    def traces(self) -> list[Entry]:
        """The entries, and of uploads of ours that cannot be read the outlines: they are there all the same."""
        outlines = [one.outline for one in self.unreadable if one.outline is not None and one.outline.origin]
        return [*self.entries, *outlines]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a bulk upload."""

    key: str
    file_name: str
    data: bytes
    content_type: str


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a bulk upload answered, by file name and by idempotency key. A part may be in neither.

    `general` are problems that name no part.
    """

    entries: dict[str, Entry]
    problems: dict[str, wire.Problem]
    general: tuple[wire.Problem, ...] = ()


class Qonto:
    """The calls, for any connected workspace, held below the limits of one address."""

    def __init__(self, http: httpx.AsyncClient, connections: Connections, pace: Pace, refusals: Refusals) -> None:
        self._http = http
        self._connections = connections
        self._pace = pace
        self._refusals = refusals

    async def account(self, workspace: str) -> str | None:
        """The organization the workspace is connected to; asks nobody."""
        return await self._connections.account(workspace)

    async def organization(self, workspace: str) -> wire.Organization:
        """The organization with its bank accounts."""
        return wire.organization(await self._read(workspace, "/v2/organization"))

    async def invoice(self, workspace: str, ident: str) -> Entry:
        """One supplier invoice; Missing if it is gone."""
        body = await self._read(workspace, f"/v2/supplier_invoices/{ident}")
        return wire.invoice(wire.single(body, "supplier_invoice"), workspace)

    async def trace(self, workspace: str, ident: str) -> Entry:
        """One supplier invoice, or the outline of one that cannot be read; Missing if it is gone."""
        raw = wire.single(await self._read(workspace, f"/v2/supplier_invoices/{ident}"), "supplier_invoice")
        try:
            return wire.invoice(raw, workspace)
        except WireError:
            outline = wire.outline(raw, workspace, "invoice")
            if outline is None:
                raise
            return outline

    async def transaction(self, workspace: str, ident: str) -> Entry:
        """One transaction with its attachments; Missing if it is gone."""
        body = await self._read(workspace, f"/v2/transactions/{ident}", {"includes[]": "attachments"})
        raw = wire.single(body, "transaction")
        return wire.transaction(raw, workspace, await self._connections.account(workspace) or "")

    async def invoices(
        self,
        workspace: str,
        *,
        page: int = 1,
        updated_from: datetime | None = None,
        created_from: datetime | None = None,
        newest_first: bool = False,
    ) -> Listed:
        """One page of supplier invoices, oldest change (or, with `created_from`, creation) first."""
        query: dict[str, Any] = {"page": page, "per_page": PER_PAGE}
        query["sort_by"] = _by("updated_at" if created_from is None else "created_at", newest_first)
        if updated_from is not None:
            query["filter[updated_at_from]"] = _instant(updated_from)
        if created_from is not None:
            query["filter[created_at_from]"] = _instant(created_from)
        body = await self._read(workspace, "/v2/supplier_invoices", query)
        return _listed(body, "supplier_invoices", "invoice", workspace, lambda raw: wire.invoice(raw, workspace))

    async def created_since(self, workspace: str, moment: datetime) -> AsyncIterator[Entry]:
        """Every supplier invoice created since `moment`, straight from the list (no search index).

        Of an upload of ours that cannot be read, its outline.
        """
        page = 1
        while True:
            listed = await self.invoices(workspace, page=page, created_from=moment)
            for entry in listed.traces:
                yield entry
            if listed.last:
                return
            page += 1

    async def transactions(
        self,
        workspace: str,
        account: str,
        *,
        page: int = 1,
        updated_from: datetime | None = None,
        newest_first: bool = False,
    ) -> Listed:
        """One page of a bank account's transactions, oldest change first unless told otherwise."""
        query: dict[str, Any] = {
            **_SHOWN,
            "bank_account_id": account,
            "sort_by": _by("updated_at", newest_first),
            "page": page,
            "per_page": PER_PAGE,
        }
        if updated_from is not None:
            query["updated_at_from"] = _instant(updated_from)
        body = await self._read(workspace, "/v2/transactions", query)
        organization = await self._connections.account(workspace) or ""
        return _listed(
            body, "transactions", "transaction", workspace, lambda raw: wire.transaction(raw, workspace, organization)
        )

    async def upload(self, workspace: str, parts: Sequence[Part], *, latest: float = math.inf) -> Uploaded:
        """Upload at most BULK_FILES files of at most BULK_BYTES together.

        NotSent if it cannot leave before `latest`, an instant of time.monotonic().
        Qonto pairs a file with the key that follows it, so the parts go out in exactly that order.
        """
        files: list[tuple[str, Any]] = []
        for part in parts:
            files.append(("supplier_invoices[][file]", (part.file_name, part.data, part.content_type)))
            files.append(("supplier_invoices[][idempotency_key]", (None, part.key)))
        files.append(("source", (None, "integration")))
        body = await self._write(workspace, "POST", "/v2/supplier_invoices/bulk", latest=latest, files=files)
        try:
            answer = wire.uploaded(body)
            entries = [wire.invoice(raw, workspace) for raw in answer.invoices]
        except WireError as error:
            raise Unknown(f"Qonto's answer to an upload cannot be read: {error}") from None
        return Uploaded(
            entries={entry.file_name: entry for entry in entries if entry.file_name is not None},
            problems={problem.idempotency_key: problem for problem in answer.problems if problem.idempotency_key},
            general=tuple(problem for problem in answer.problems if not problem.idempotency_key),
        )

    async def mark_as_paid(self, workspace: str, ident: str, day: date) -> Entry:
        """Bookkeeping only, moves no money; repeating it changes nothing."""
        body = {"supplier_invoice": {"payment_date": day.isoformat()}}
        return await self._status(workspace, ident, "mark_as_paid", json=body)

    async def unmark_as_paid(self, workspace: str, ident: str) -> Entry:
        """Back to `to_review`."""
        return await self._status(workspace, ident, "unmark_as_paid")

    async def reject(self, workspace: str, ident: str, note: str) -> Entry:
        """Turn an invoice down, with a note people read."""
        body = {"supplier_invoice": {"declined_note": note}}
        return await self._status(workspace, ident, "reject", json=body)

    async def attach(self, workspace: str, transaction: str, part: Part) -> None:
        """Put a file on a transaction; it shows some moments later."""
        await self._write(
            workspace,
            "POST",
            f"/v2/transactions/{transaction}/attachments",
            files=[("file", (part.file_name, part.data, part.content_type))],
            headers={"X-Qonto-Idempotency-Key": part.key},
        )

    async def subscriptions(self, workspace: str, url: str) -> list[str]:
        """The ids of the webhook subscriptions that send to `url`."""
        return wire.subscriptions(await self._read(workspace, "/v2/webhook_subscriptions"), url)

    async def subscribe(self, workspace: str, url: str, event: str, secret: str) -> str:
        """Have events sent to `url`, signed with `secret`; the id of the subscription."""
        body = {"callback_url": url, "types": [event], "secret": secret, "description": "Weir"}
        answer = await self._write(workspace, "POST", "/v2/webhook_subscriptions", json=body)
        try:
            return wire.subscription(answer)
        except WireError as error:
            raise Unknown(f"Qonto's answer to a subscription cannot be read: {error}") from None

    async def unsubscribe(self, workspace: str, ident: str) -> None:
        """Have no more events sent."""
        await self._write(workspace, "DELETE", f"/v2/webhook_subscriptions/{ident}")

    async def attached(self, workspace: str, transaction: str) -> list[tuple[str, str]]:
        """The id and name of each file on a transaction; Missing if it is gone."""
        body = await self._read(workspace, f"/v2/transactions/{transaction}/attachments")
        return wire.attachments(body)

    async def detach(self, workspace: str, transaction: str, attachment: str) -> None:
        """Take one file off a transaction; Missing if it is not there."""
        await self._write(workspace, "DELETE", f"/v2/transactions/{transaction}/attachments/{attachment}")

    async def _status(self, workspace: str, ident: str, verb: str, **options: Any) -> Entry:
        body = await self._write(workspace, "POST", f"/v2/supplier_invoices/{ident}/{verb}", **options)
        try:
            return wire.invoice(wire.single(body, "supplier_invoice"), workspace)
        except WireError as error:
            raise Unknown(f"Qonto's answer to {verb} cannot be read: {error}") from None

    async def _read(self, workspace: str, path: str, query: Mapping[str, Any] | None = None) -> bytes:
        rejected: str | None = None
        while True:
            grant, place = await self._granted(workspace, rejected)
            status = 0
            try:
                response = await transport.repeated(self._http, "GET", path, params=query, headers=bearer(grant.access))
                status = response.status_code
            except transport.NotRepeated as error:
                raise RetryLater(f"Qonto is busy: {error}", error.wait) from None
            except httpx.TransportError as error:
                raise RetryLater(f"Qonto cannot be reached: {type(error).__name__}") from None
            finally:
                await place.answered(status)
            if status == 200 and not _is_page(response):
                return response.content
            if status == 401 and rejected is None:
                rejected = grant.access
                continue
            await self._complain(workspace, response, grant)

    async def _write(
        self,
        workspace: str,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        latest: float = math.inf,
        **options: Any,
    ) -> bytes:
        rejected: str | None = None
        while True:
            grant, place = await self._granted(workspace, rejected)
            status = 0
            try:
                response = await self._send(method, path, {**bearer(grant.access), **(headers or {})}, latest, options)
                status = response.status_code
            finally:
                await place.answered(status)
            if response.is_success and not _is_page(response):
                return response.content
            if status == 401 and rejected is None:
                rejected = grant.access
                continue
            if status >= 500:
                raise Unknown(f"Qonto answered HTTP {status}")
            if status == 429:
                raise NotSent("Qonto asks to slow down", transport.retry_after(response))
            await self._complain(workspace, response, grant)

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], latest: float, options: Mapping[str, Any]
    ) -> httpx.Response:
        try:
            await self._pace.wait()  # not on the time of the call: what waits here was surely not sent
        except RetryLater as error:
            raise NotSent(str(error)) from None
        if time.monotonic() > latest:
            raise NotSent("it waited too long for its turn", 1.0)
        try:
            with anyio.fail_after(WRITE_TIMEOUT):
                return await self._http.request(method, path, headers=headers, extensions={ADMITTED: True}, **options)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NotSent(f"Qonto cannot be reached: {type(error).__name__}") from None
        except (httpx.TransportError, TimeoutError) as error:
            raise Unknown(f"Qonto did not answer: {type(error).__name__}") from None

    async def _granted(self, workspace: str, rejected: str | None) -> tuple[Grant, Place]:
        """A grant, and room for Qonto to refuse it; what has no room proves itself by a refresh first."""
        grant = await self._connections.grant(workspace, rejected=rejected)
        place = await self._refusals.reserve(grant.access, "kept" if rejected is None else "fresh")
        if place is None and rejected is None:
            grant = await self._connections.grant(workspace, rejected=grant.access)
            place = await self._refusals.reserve(grant.access, "fresh")
        if place is None:
            raise no_place()
        return grant, place

    async def _complain(self, workspace: str, response: httpx.Response, grant: Grant) -> NoReturn:
        """Turn an answer that is no success into what follows from it."""
        status = response.status_code
        if status >= 500:
            raise RetryLater(f"Qonto answered HTTP {status}")
        if _is_page(response):
            raise RetryLater(
                "Qonto answers with a web page instead of data",
                delay=60.0,
                fix="set WEIR_QONTO_STAGING_TOKEN to the token of Qonto's developer portal (its sandbox only)",
            )
        problems = wire.problems(status, response.content)
        if status == 403 and response.request.url.path.startswith("/v2/webhook_subscriptions"):
            raise Denied(status, problems)  # nothing else depends on it
        if status in {401, 403}:
            reason = problems[0].detail if problems else f"HTTP {status}"
            fix: str | None = None
            if status == 403 and "scope" in reason.lower():
                scope = needed(response.request.method, response.request.url.path)
                reason = f"{reason}: {scope}"
                fix = f"allow your Qonto app the scope {scope}, then reconnect Qonto in the console"
            elif status == 403:
                fix = "have an owner or administrator of the organization reconnect Qonto in the console"
            raise await self._connections.lost(workspace, f"Qonto refuses access: {reason}", fix=fix, grant=grant)
        if status == 404:
            raise Missing(f"Qonto has no {response.request.url.path}")
        raise Denied(status, problems)


def _listed(body: bytes, key: str, kind: EntryKind, workspace: str, entry: Callable[[msgspec.Raw], Entry]) -> Listed:
    page = wire.page(body, key)
    entries: list[Entry] = []
    unreadable: list[Unreadable] = []
    for raw in page.items:
        try:
            entries.append(entry(raw))
        except WireError as error:
            left = wire.outline(raw, workspace, kind)
            unreadable.append(Unreadable(kind=kind, why=str(error), id=left.id if left else None, outline=left))
    # Without a word about the next page, a full one may not be the last.
    last = page.next_page is None and (page.total is not None or len(page.items) < PER_PAGE)
    return Listed(entries=entries, last=last, unreadable=unreadable, total=page.total)


def _is_page(response: httpx.Response) -> bool:
    """Whether the answer is for a browser: what Qonto's sandbox says without its staging token."""
    return "html" in response.headers.get("Content-Type", "") and response.status_code < 500


def _by(field: str, newest_first: bool) -> str:
    return f"{field}:{'desc' if newest_first else 'asc'}"


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
