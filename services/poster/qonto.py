"""Qonto's Business API v2, as far as the poster needs it.

Reads are repeated until answered. Writes are sent once, and their outcome is one of four: the answer; Denied
(it had no effect and never will); NotSent (it had no effect, try again); Unknown (it may have had its effect,
look before anything else). Pages: supplier invoices, transactions, attachments, errors, rate limitations.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NoReturn

import anyio
import httpx
import msgspec
import structlog
from aiolimiter import AsyncLimiter

from common import http as transport
from common import qonto as wire
from common.connections import Connections, Grant
from common.errors import RetryLater, WeirError
from common.messages import Entry
from common.wire import WireError
from services.poster.connection import bearer

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


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list; `unreadable` tells what could not be understood and was left out."""

    entries: list[Entry]
    last: bool
    unreadable: list[str]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a bulk upload."""

    key: str
    file_name: str
    data: bytes
    content_type: str


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a bulk upload answered, by file name and by idempotency key. A part may be in neither."""

    entries: dict[str, Entry]
    problems: dict[str, wire.Problem]


class Qonto:
    """The calls, for any connected workspace, held below the limits of one address."""

    def __init__(self, http: httpx.AsyncClient, connections: Connections) -> None:
        self._http = http
        self._connections = connections
        # Qonto allows 1000 calls in 10 s and 10,000 in 10 min from one address. A leaky bucket lets its
        # size through at once and its rate after that, so both add up within a window.
        self._limits = (AsyncLimiter(450, 10), AsyncLimiter(1500, 115))

    async def organization(self, workspace: str) -> wire.Organization:
        """The organization with its bank accounts."""
        return wire.organization(await self._read(workspace, "/v2/organization"))

    async def invoice(self, workspace: str, ident: str) -> Entry:
        """One supplier invoice; Missing if it is gone."""
        body = await self._read(workspace, f"/v2/supplier_invoices/{ident}")
        return wire.invoice(wire.single(body, "supplier_invoice"), workspace)

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
    ) -> Listed:
        """One page of supplier invoices, oldest change (or, with `created_from`, creation) first."""
        query: dict[str, Any] = {"page": page, "per_page": PER_PAGE}
        query["sort_by"] = "updated_at:asc" if created_from is None else "created_at:asc"
        if updated_from is not None:
            query["filter[updated_at_from]"] = _instant(updated_from)
        if created_from is not None:
            query["filter[created_at_from]"] = _instant(created_from)
        body = await self._read(workspace, "/v2/supplier_invoices", query)
        return _listed(body, "supplier_invoices", lambda raw: wire.invoice(raw, workspace))

    async def created_since(self, workspace: str, moment: datetime) -> AsyncIterator[Entry]:
        """Every supplier invoice created since `moment`, straight from the list (no search index)."""
        page = 1
        while True:
            listed = await self.invoices(workspace, page=page, created_from=moment)
            for entry in listed.entries:
                yield entry
            if listed.last:
                return
            page += 1

    async def named(self, workspace: str, part: str) -> list[Entry]:
        """Supplier invoices whose file name contains `part`, by Qonto's search; callers compare names themselves."""
        found: list[Entry] = []
        page = 1
        while True:
            query = {"query": part, "query_fields": "file_name", "page": page, "per_page": PER_PAGE}
            body = await self._read(workspace, "/v2/supplier_invoices", query)
            listed = _listed(body, "supplier_invoices", lambda raw: wire.invoice(raw, workspace))
            found += [entry for entry in listed.entries if part in (entry.file_name or "")]
            if listed.last:
                return found
            page += 1

    async def transactions(
        self, workspace: str, account: str, *, page: int = 1, updated_from: datetime | None = None
    ) -> Listed:
        """One page of a bank account's transactions, oldest change first."""
        query: dict[str, Any] = {
            **_SHOWN,
            "bank_account_id": account,
            "sort_by": "updated_at:asc",
            "page": page,
            "per_page": PER_PAGE,
        }
        if updated_from is not None:
            query["updated_at_from"] = _instant(updated_from)
        body = await self._read(workspace, "/v2/transactions", query)
        organization = await self._connections.account(workspace) or ""
        return _listed(body, "transactions", lambda raw: wire.transaction(raw, workspace, organization))

    async def upload(self, workspace: str, parts: Sequence[Part]) -> Uploaded:
        """Upload at most BULK_FILES files of at most BULK_BYTES together.

        Qonto pairs a file with the key that follows it, so the parts go out in exactly that order.
        """
        files: list[tuple[str, Any]] = []
        for part in parts:
            files.append(("supplier_invoices[][file]", (part.file_name, part.data, part.content_type)))
            files.append(("supplier_invoices[][idempotency_key]", (None, part.key)))
        files.append(("source", (None, "integration")))
        body = await self._write(workspace, "POST", "/v2/supplier_invoices/bulk", files=files)
        try:
            answer = wire.uploaded(body)
            entries = [wire.invoice(raw, workspace) for raw in answer.invoices]
        except WireError as error:
            raise Unknown(f"Qonto's answer to an upload cannot be read: {error}") from None
        return Uploaded(
            entries={entry.file_name: entry for entry in entries if entry.file_name is not None},
            problems={problem.idempotency_key: problem for problem in answer.problems if problem.idempotency_key},
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
        grant = await self._connections.grant(workspace)
        for last in (False, True):
            await self._admit()
            try:
                response = await transport.repeated(self._http, "GET", path, params=query, headers=bearer(grant.access))
            except transport.NotRepeated as error:
                raise RetryLater(f"Qonto is busy: {error}", error.wait) from None
            except httpx.TransportError as error:
                raise RetryLater(f"Qonto cannot be reached: {type(error).__name__}") from None
            if response.status_code == 200:
                return response.content
            if response.status_code == 401 and not last:
                grant = await self._connections.grant(workspace, rejected=grant.access)
                continue
            await self._complain(workspace, response, grant)
        raise AssertionError("_complain always raises")

    async def _write(
        self, workspace: str, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> bytes:
        grant = await self._connections.grant(workspace)
        for last in (False, True):
            await self._admit()
            try:
                with anyio.fail_after(WRITE_TIMEOUT):
                    response = await self._http.request(
                        method, path, headers={**bearer(grant.access), **(headers or {})}, **options
                    )
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
                raise NotSent(f"Qonto cannot be reached: {type(error).__name__}") from None
            except (httpx.TransportError, TimeoutError) as error:
                raise Unknown(f"Qonto did not answer: {type(error).__name__}") from None
            if response.is_success:
                return response.content
            if response.status_code == 401 and not last:
                grant = await self._connections.grant(workspace, rejected=grant.access)
                continue
            if response.status_code >= 500:
                raise Unknown(f"Qonto answered HTTP {response.status_code}")
            if response.status_code == 429:
                raise NotSent("Qonto asks to slow down", transport.retry_after(response))
            await self._complain(workspace, response, grant)
        raise AssertionError("_complain always raises")

    async def _admit(self) -> None:
        for limit in self._limits:
            await limit.acquire()

    async def _complain(self, workspace: str, response: httpx.Response, grant: Grant) -> NoReturn:
        """Turn an answer that is no success into what follows from it."""
        status = response.status_code
        if status >= 500:
            raise RetryLater(f"Qonto answered HTTP {status}")
        problems = wire.problems(status, response.content)
        if status in {401, 403}:
            if "html" in response.headers.get("Content-Type", ""):
                raise RetryLater("Qonto answers with a web page; check WEIR_QONTO_STAGING_TOKEN", delay=60.0)
            reason = problems[0].detail if problems else f"HTTP {status}"
            raise await self._connections.lost(workspace, f"Qonto refuses access: {reason}", grant=grant)
        if status == 404:
            raise Missing(f"Qonto has no {response.request.url.path}")
        raise Denied(status, problems)


def _listed(body: bytes, key: str, entry: Callable[[msgspec.Raw], Entry]) -> Listed:
    page = wire.page(body, key)
    entries, unreadable = [], []
    for raw in page.items:
        try:
            entries.append(entry(raw))
        except WireError as error:
            unreadable.append(str(error))
    return Listed(entries=entries, last=page.next_page is None and len(page.items) < PER_PAGE, unreadable=unreadable)


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
