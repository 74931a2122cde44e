"""Whether a company can be read at all: what Intuit says when a token is good and the company is not."""

from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.sandbox.quickbooks import wire
from services.sandbox.store import Memo
from services.sandbox.world import World

LAPSED = (
    "Subscription period has ended or canceled or there was a billing problem : You can't add data to QuickBooks "
    "Online Plus because your trial or subscription period ended, you canceled your subscription, or there was a "
    "billing problem."
)
NO_RIGHTS = "-11014-You do not have access to use QuickBooks Online Plus."
LOCKED = "The company is locked for the moment."
# Code, message, detail, type and the likeliest HTTP status.
FAULTS = {
    "lapsed": ("6190", "Invalid Company Status", LAPSED, "ValidationFault", 403),
    "no-rights": ("120", "Authorization Failure", NO_RIGHTS, "AuthorizationFault", 403),
    "locked": ("140", "Company Locked Out", LOCKED, "AuthenticationFault", 401),
}


class Access(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The state of a company and, if not the likeliest, the HTTP status it is told with.

    A lapsed subscription has been seen with 200 too, a fault in its body.
    """

    state: Literal["open", "lapsed", "no-rights", "app-refused", "locked", "wrong-realm"] = "open"
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None


def of(world: World, realm: str) -> Access:
    kept = world.store.memo("access", realm)
    return Access() if kept is None else msgspec.json.decode(kept.body, type=Access)


def put(world: World, realm: str, access: Access) -> None:
    world.store.put_memo("access", realm, Memo(0, msgspec.json.encode(access), world.now()))


def barred(world: World, realm: str, request: Request) -> Response | None:
    """What every data call of the company is answered with; None when it is open."""
    access = of(world, realm)
    match access.state:
        case "open":
            return None
        case "app-refused":
            return wire.app_refused(world, access.status or 403)
        case "wrong-realm":
            return wire.wrong_realm(world, access.status or 401)
        case state:
            code, message, detail, kind, status = FAULTS[state]
            fault = wire.Fault(code, message, detail, status=access.status or status, kind=kind, element="")
            return wire.fault(request, fault)
