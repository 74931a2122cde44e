"""How Qonto writes things: times, amounts, errors, paging."""

import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from services.sandbox.store import ENCODER
from services.sandbox.world import World

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
CENT = Decimal("0.01")


class Refusal(Exception):  # noqa: N818
    """An error answer; `source` is a pointer into the body or the name of a parameter."""

    def __init__(self, status: int, code: str, detail: str, **source: str) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code, self.detail, self.source = status, code, detail, source

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "detail": self.detail}
        return {**error, "source": self.source} if self.source else error


def answer(body: Any, status: int = 200) -> Response:
    return Response(ENCODER.encode(body), status, {"x-request-id": request_id()}, "application/json; charset=utf-8")


def empty(status: int = 200) -> Response:
    return Response(b"", status, {"x-request-id": request_id()})


def refused(refusal: Refusal) -> Response:
    """The list shape, with a `trace_id` that equals the response header."""
    trace = request_id()
    body = {"errors": [refusal.body()], "trace_id": trace}
    return Response(ENCODER.encode(body), refusal.status, {"x-request-id": trace}, "application/json; charset=utf-8")


def not_found(parameter: str, value: str) -> Refusal:
    return Refusal(404, "not_found", f"No record {value} was found", parameter=parameter)


def gateway_not_found() -> Response:
    """The gateway's answer to a route that does not exist; the application never saw the call."""
    return PlainTextResponse("Not Found", 404, {"x-tyk-trace-id": secrets.token_hex(16)})


def throttled(world: World, wait: float) -> Response:
    trace = request_id()
    error = {"code": "too_many_requests", "detail": "You have exceeded the rate limit, please slow down"}
    extra = {"Retry-After": str(ceil(wait))} if world.switches.retry_after else {}
    return Response(
        ENCODER.encode({"errors": [error], "trace_id": trace}),
        429,
        {"x-request-id": trace, **extra},
        "application/json; charset=utf-8",
    )


def staging_page() -> Response:
    """What the staging gate says to a call without its token: a page, not JSON."""
    page = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Staging access</h1></body></html>"
    return Response(page, 403, media_type="text/html")


def request_id() -> str:
    return secrets.token_hex(16)


def stamp(epoch: float) -> str:
    """`2026-03-04T17:58:30.123Z`."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(text: str, parameter: str) -> datetime:
    """A time as a client sends it; a plus sign read as a blank by URL decoding is mended as the server does."""
    try:
        read = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise Refusal(400, "invalid", f"{text} is not an ISO 8601 time", parameter=parameter) from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def amount(value: Decimal | None, currency: str | None) -> dict[str, str] | None:
    """Invoice amounts are decimal strings."""
    return None if value is None or currency is None else {"value": f"{value.quantize(CENT)}", "currency": currency}


def known_id(value: str, parameter: str = "id") -> str:
    if not UUID.fullmatch(value):
        raise Refusal(400, "invalid", f"{value} is not a valid identifier", pointer=f"/{parameter}")
    return value.lower()


def choice(request: Request, name: str, allowed: Sequence[str]) -> str | None:
    """A parameter that must be one of a list."""
    value = request.query_params.get(name)
    if value is not None and value not in allowed:
        raise Refusal(400, "not_in_list", f"{name} must be one of {', '.join(allowed)}", parameter=name)
    return value


def choices(request: Request, name: str, allowed: Sequence[str] | None = None) -> list[str]:
    """A parameter that may come as `name`, `name[]`, or several times."""
    values = request.query_params.getlist(name) + request.query_params.getlist(f"{name}[]")
    if allowed is not None:
        for value in values:
            if value not in allowed:
                raise Refusal(400, "not_in_list", f"{name} must be one of {', '.join(allowed)}", parameter=name)
    return values


def flag(request: Request, name: str) -> bool | None:
    value = choice(request, name, ("true", "false"))
    return None if value is None else value == "true"


def paged(request: Request, rows: list[Any], per_page: int) -> tuple[list[Any], dict[str, Any]]:
    """One page and its `meta`; a page beyond the end is empty."""
    page, size = _number(request, "page", 1, None), _number(request, "per_page", per_page, 100)
    pages = ceil(len(rows) / size)
    meta = {
        "current_page": page,
        "next_page": page + 1 if page < pages else None,
        "prev_page": page - 1 if page > 1 else None,
        "total_pages": pages,
        "total_count": len(rows),
        "per_page": size,
    }
    return rows[(page - 1) * size : page * size], meta


def _number(request: Request, name: str, default: int, largest: int | None) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isdigit() or int(text) < 1 or (largest is not None and int(text) > largest):
        upper = f" and {largest}" if largest else ""
        raise Refusal(400, "invalid", f"{name} must be at least 1{upper}", parameter=name)
    return int(text)


def ordering(request: Request, fields: Sequence[str], default: str) -> tuple[str, bool]:
    """`sort_by` as (field, descending)."""
    text = request.query_params.get("sort_by", default)
    name, _, direction = text.partition(":")
    if name not in fields or direction not in ("asc", "desc", ""):
        raise Refusal(400, "not_in_list", f"sort_by must be one of {', '.join(fields)}", parameter="sort_by")
    return name, direction == "desc"


def within(world: World, request: Request, prefix: str, value: str | None) -> bool:
    """Whether a time lies between `{prefix}_from` and `{prefix}_to`, ends included as switched."""
    lower, upper = (request.query_params.get(_suffixed(prefix, end)) for end in ("from", "to"))
    if lower is None and upper is None:
        return True
    if value is None:
        return False
    moment, inclusive = instant(value, prefix), world.switches.time_filters == "inclusive"
    if lower is not None:
        limit = instant(lower, prefix)
        if moment < limit or (moment == limit and not inclusive):
            return False
    if upper is not None:
        limit = instant(upper, prefix)
        if moment > limit or (moment == limit and not inclusive):
            return False
    return True


def _suffixed(prefix: str, end: str) -> str:
    return f"{prefix[:-1]}_{end}]" if prefix.endswith("]") else f"{prefix}_{end}"
