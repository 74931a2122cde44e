"""How QuickBooks writes things: money, times, ids, faults, and XML when JSON was not asked for."""

import math
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response

from services.sandbox.store import ENCODER
from services.sandbox.world import World

PACIFIC = ZoneInfo("America/Los_Angeles")
CENT = Decimal("0.01")
XML_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
NAMESPACE = 'xmlns="http://schema.intuit.com/finance/v3"'

MONEY = frozenset(
    {
        "Amount", "Balance", "BalanceWithJobs", "CurrentBalance", "CurrentBalanceWithSubAccounts", "HomeBalance",
        "HomeTotalAmt", "NetAmountTaxable", "OpenBalance", "RemainingCredit", "TaxAmount", "TaxInclusiveAmt",
        "TotalAmt", "TotalTax", "UnappliedAmt",
    }
)  # fmt: skip


class Fault(Exception):  # noqa: N818
    """An answer that is an error; `code` names it, `status` is the HTTP status."""

    def __init__(
        self,
        code: str,
        message: str,
        detail: str = "",
        *,
        status: int = 400,
        kind: str = "ValidationFault",
        element: str | None = None,
    ) -> None:
        super().__init__(f"{code} {message}")
        self.code, self.message, self.detail = code, message, detail
        self.status, self.kind, self.element = status, kind, element

    def body(self) -> dict[str, Any]:
        error = {"Message": self.message, "Detail": self.detail, "code": self.code}
        if self.element is not None:
            error["element"] = self.element
        return {"Error": [error], "type": self.kind}


def money(value: Decimal | int | str) -> Decimal | int:
    """Two decimals always, except that nothing is plain `0`."""
    rounded = Decimal(value).quantize(CENT)
    return rounded if rounded else 0


def plain(value: Decimal) -> Decimal | int:
    """A number without trailing zeros or exponent, as quantities and rates are written."""
    return int(value) if value == value.to_integral_value() else Decimal(f"{value.normalize():f}")


def normalized(value: Any, name: str = "") -> Any:
    """A body as QuickBooks would write it: nulls gone, money and other numbers in their forms."""
    if isinstance(value, dict):
        return {key: normalized(item, key) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [normalized(item) for item in value]
    if isinstance(value, bool):
        return value
    if isinstance(value, (Decimal, int)):
        return money(value) if name in MONEY else plain(Decimal(value))
    return value


def pacific(epoch: float) -> str:
    """`2026-05-05T03:14:55-07:00`: whole seconds, US Pacific whatever the company's country."""
    return datetime.fromtimestamp(math.floor(epoch), PACIFIC).isoformat()


def pacific_ms(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, PACIFIC).isoformat(timespec="milliseconds")


def instant(text: str) -> datetime:
    """A time as clients send it; without an offset it is taken as Pacific. `ValueError` when it is none."""
    read = datetime.fromisoformat(text)
    return (read if read.tzinfo else read.replace(tzinfo=PACIFIC)).astimezone(UTC)


def trace_id() -> str:
    return f"1-{secrets.token_hex(4)}-{secrets.token_hex(12)}"


def headers() -> dict[str, str]:
    return {
        "intuit_tid": trace_id(),
        "Cache-Control": "max-age=0, no-cache, no-store, must-revalidate, private",
        "Expires": "0",
        "Server": "nginx",
    }


def wants_json(request: Request) -> bool:
    """Without an `Accept` that names JSON the answer is XML."""
    return "json" in request.headers.get("accept", "") or request.query_params.get("format") == "json"


def answer(request: Request, body: dict[str, Any], status: int = 200) -> Response:
    """The body with the time at which the server began on the request."""
    started = pacific_ms(request.state.started)
    if wants_json(request):
        return Response(ENCODER.encode({**body, "time": started}), status, headers(), "application/json;charset=UTF-8")
    inside = "".join(_elements(body))
    return Response(
        f'{XML_HEAD}<IntuitResponse time="{started}" {NAMESPACE}>{inside}</IntuitResponse>',
        status,
        headers(),
        "application/xml;charset=UTF-8",
    )


def _elements(value: dict[str, Any]) -> Iterator[str]:
    for name, item in value.items():
        for one in item if isinstance(item, list) else [item]:
            if isinstance(one, dict):
                yield f"<{name}>{''.join(_elements(one))}</{name}>"
            else:
                text = str(one).lower() if isinstance(one, bool) else str(one)
                yield f"<{name}>{escape(text)}</{name}>"


def fault(request: Request, error: Fault) -> Response:
    return answer(request, {"Fault": error.body()}, error.status)


def gateway_fault(world: World, status: int, code: str, name: str, detail: str | None, kind: str) -> Response:
    """The gateway's lower-case shape, with its time in epoch milliseconds."""
    error = {
        "message": f"message={name}; errorCode=00{code}; statusCode={status}",
        "detail": detail,
        "code": code,
        "element": None,
    }
    body: dict[str, Any] = {
        "warnings": None,
        "intuitObject": None,
        "fault": {"error": [error], "type": kind},
        "report": None,
        "queryResponse": None,
        "batchItemResponse": [],
        "attachableResponse": [],
        "syncErrorResponse": None,
        "requestId": None,
        "time": int(world.now() * 1000),
        "status": None,
        "cdcresponse": [],
    }
    return Response(ENCODER.encode(body), status, headers(), "application/json")


def unauthenticated(world: World, detail: str | None) -> Response:
    return gateway_fault(world, 401, "3200", "AuthenticationFailed", detail, "AUTHENTICATION")


def _xml_fault(world: World, status: int, kind: str, code: str, message: str, detail: str) -> Response:
    return Response(
        f'{XML_HEAD}<IntuitResponse time="{pacific_ms(world.now())}" {NAMESPACE}><Fault type="{kind}">'
        f'<Error code="{code}"><Message>{message}</Message><Detail>{detail}</Detail></Error>'
        "</Fault></IntuitResponse>",
        status,
        headers(),
        "application/xml",
    )


def app_refused(world: World, status: int = 403) -> Response:
    return gateway_fault(world, status, "3100", "ApplicationAuthorizationFailed", None, "SERVICE")


def wrong_realm(world: World, status: int = 401) -> Response:
    """A good token on a company it was not given for: XML, whatever was asked."""
    detail = f"AuthenticationErrorGeneral: SRV-110-Authentication Failure , statusCode: {status}"
    return _xml_fault(world, status, "AuthenticationFault", "100", "General Authentication Error", detail)


def throttled(world: World, wait: float) -> Response:
    """429 in the shape the switch chooses; which one Intuit sends today is not recorded."""
    name, detail = "ThrottleExceeded", "The request limit was reached.  Try again later"
    message = f"message={name}; errorCode=003001; statusCode=429"
    match world.switches.throttle_shape:
        case "xml":
            response = _xml_fault(world, 429, "SERVICE", "3001", message, detail)
        case "fault":
            response = gateway_fault(world, 429, "3001", name, detail, "SERVICE")
        case _:
            fault = Fault("3001", message, detail, kind="SERVICE")
            response = Response(ENCODER.encode({"Fault": fault.body()}), 429, headers(), "application/json")
    if world.switches.retry_after:
        response.headers["Retry-After"] = str(math.ceil(wait))
    return response
