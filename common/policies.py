"""The policy of a workspace: read, amended by what a person names, stored once, and told version by version."""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from common import codec, subjects
from common.amounts import BELOW, usual
from common.buckets import Bucket, Kept
from common.bus import Bus
from common.errors import Conflict, UserError
from common.history import messages
from common.messages import Policy, Record, Vendor
from common.tenants import Tenant

FIRST_SET = 2
"""Version of the first policy that is set: where nobody has set one, the default is version 1."""

Name: TypeAlias = Literal[
    "auto",
    "review",
    "margin",
    "target",
    "cap",
    "cap-currency",
    "currency",
    "block-vendor",
    "review-vendor",
    "closed-until",
    "pull-every",
]
"""What can be set, as its option is called."""

FIELDS: dict[Name, str] = {
    "auto": "auto",
    "review": "review",
    "margin": "margin",
    "target": "target",
    "cap": "amount_cap",
    "cap-currency": "cap_currency",
    "currency": "currencies",
    "block-vendor": "blocked_vendors",
    "review-vendor": "review_vendors",
    "closed-until": "closed_until",
    "pull-every": "pull_every",
}
"""The fields of a policy by the options that set them."""

MOST: dict[Name, int] = {"currency": 200, "block-vendor": 1000, "review-vendor": 1000}
"""How much may be named of what is a list."""
_LONGEST_ID = 20

_NO_VALUE: dict[Name, str] = {
    "currency": "any",
    "block-vendor": "nobody",
    "review-vendor": "nobody",
    "pull-every": "as set",
}
LONGEST_CADENCE = 7 * 24 * 60
"""Minutes between two pulls at most; QuickBooks tells of deletions for 30 days."""
_SHARES: tuple[Name, ...] = ("auto", "review", "margin")
_VENDORS: tuple[Name, ...] = ("block-vendor", "review-vendor")


MEANS: dict[Name, str] = {
    "auto": "from this score on it acts by itself",
    "review": "from this score on it asks; a bill below is refused",
    "margin": "by how much the best match must be ahead of the next",
    "target": "vendors whose automatic decisions prove right less often go to a person",
    "cap": "bills above it are for a person",
    "cap-currency": "what the cap is in; the home currency of the books if none is named",
    "currency": "bills in others are for a person",
    "block-vendor": "nothing of these is ever posted",
    "review-vendor": "every bill of these is for a person",
    "closed-until": "bills dated up to this day are for a person",
    "pull-every": "minutes between two pulls, from the next one on; WEIR_PULL_EVERY if none are named",
}
"""What each says, for people."""


class Version(NamedTuple):
    """A policy that was set, and when; None if the broker does not know."""

    policy: Policy
    since: datetime | None


class Difference(NamedTuple):
    """What one setting was and is, as people read it."""

    name: Name
    before: str
    after: str


class Overtaken(UserError):  # noqa: N818
    """Somebody else set another policy meanwhile, and this one was not set."""


async def present(bus: Bus, workspace: str) -> Kept[Policy] | None:
    """The policy that was set last, None if none ever was."""
    return await Bucket(bus, "policies", Policy).get(workspace)


async def store(bus: Bus, workspace: str, before: Kept[Policy] | None, after: Policy) -> None:
    """Put `after` in the place of `before`; Overtaken if that is no longer what holds."""
    bucket = Bucket(bus, "policies", Policy)
    try:
        if before is None:
            await bucket.create(workspace, after)
        else:
            await bucket.replace(workspace, after, before.revision)
    except Conflict:
        raise Overtaken(
            f"the policy of {workspace} was changed by somebody else at the same time, and yours was not set;"
            " look at theirs and set yours again"
        ) from None


async def versions(bus: Bus, workspace: str) -> list[Version]:
    """The policies that were set for the workspace, newest first, as far as they are kept."""
    bucket = bus.topology.bucket("policies")
    kept = [one async for one in messages(bus, f"KV_{bucket}", f"$KV.{bucket}.{workspace}") if one.data]
    return [Version(codec.decode(one.data or b"", Policy), one.time) for one in reversed(kept)]


async def vendor_names(bus: Bus, found: Tenant, policies: Iterable[Policy]) -> dict[str, str]:
    """What the vendors that the policies name are called, by id, as far as they were pulled."""
    company = found.connections.get("quickbooks")
    wanted = {ident for one in policies for ident in (*one.blocked_vendors, *one.review_vendors)}
    if company is None or not wanted:
        return {}
    idents = {
        subjects.record(bus.region, found.workspace, "vendor", f"{company.account}-{ident}"): ident for ident in wanted
    }
    newest = await bus.latest(bus.topology.records, idents, Record)
    bodies = {idents[subject]: stored.message.body for subject, stored in newest.items()}
    return {ident: body.name for ident, body in bodies.items() if isinstance(body, Vendor)}


def amended(
    before: Policy, named: Mapping[Name, Any], clear: tuple[Name, ...] = (), called: Callable[[Name], str] = str
) -> Policy:
    """The policy with the `named` values, those of `clear` by default, lists longer by what is named of them.

    Its version is one more, and nobody's yet; it is `before` itself if nothing differs. UserError names what is wrong,
    as it is `called` where it was named, and the fix.
    """
    values = {field: getattr(before, field) for field in FIELDS.values()}
    defaults = Policy()
    for name in clear:
        values[FIELDS[name]] = getattr(defaults, FIELDS[name])
    if "cap" in clear:
        values["cap_currency"] = None
    for name, value in named.items():
        there = values[FIELDS[name]]
        values[FIELDS[name]] = tuple(dict.fromkeys((*there, *value))) if isinstance(value, tuple) else value
    _check(values, called)
    if all(getattr(before, field) == value for field, value in values.items()):
        return before
    return msgspec.structs.replace(before, **values, version=before.version + 1, by=None)


def differences(before: Policy, after: Policy, names: Mapping[str, str]) -> list[Difference]:
    """What differs, in the order of FIELDS; `names` are those of vendors by id."""
    return [
        Difference(name, said(name, before, names), said(name, after, names))
        for name, field in FIELDS.items()
        if getattr(before, field) != getattr(after, field)
    ]


def said(name: Name, policy: Policy, names: Mapping[str, str]) -> str:
    """The value of an option as people read it."""
    match getattr(policy, FIELDS[name]):
        case None | ():
            return _NO_VALUE.get(name, "–")
        case tuple() as several:
            return ", ".join(f"{one} ({names[one]})" if one in names else one for one in several)
        case Decimal() as amount:
            return f"{amount:,}"
        case date() as day:
            return day.isoformat()
        case value:
            return str(value)


def _check_cadence(minutes: int | None, called: Callable[[Name], str]) -> None:
    if minutes is not None and not 1 <= minutes <= LONGEST_CADENCE:
        raise UserError(f"{called('pull-every')} {minutes}: must be 1 to {LONGEST_CADENCE:,} minutes")


def _check(values: Mapping[str, Any], called: Callable[[Name], str]) -> None:
    for name in _SHARES:
        share = values[FIELDS[name]]
        if not 0 <= share <= 1 or (share == 0 and name != "margin"):
            allowed = "from 0 up to 1" if name == "margin" else "above 0 and up to 1"
            hint = f"; write {share / 100:g} for {share:g} per cent" if 1 < share <= 100 else ""
            raise UserError(f"{called(name)} {share:g}: must lie {allowed}{hint}")
    if not 0 <= values["target"] < 1:
        raise UserError(f"{called('target')} {values['target']:g}: must lie from 0 up to below 1")
    _check_cadence(values["pull_every"], called)
    if values["review"] > values["auto"]:
        raise UserError(
            f"{called('review')} {values['review']:g} lies above {called('auto')} {values['auto']:g}: "
            "lower the one or raise the other"
        )
    cap, currency = values["amount_cap"], values["cap_currency"]
    if cap is not None and not (usual(cap) and cap >= 0):
        allowed = f"of 0 or more, below {BELOW:,} and with six decimals at most"
        raise UserError(f"{called('cap')} {cap!s:.40}: must be an amount {allowed}, such as 5000")
    if currency is not None and cap is None:
        raise UserError(f"{called('cap-currency')} {currency:.40}: there is no cap; name {called('cap')} with it")
    for name, most in MOST.items():
        if (many := len(values[FIELDS[name]])) > most:
            raise UserError(f"{called(name)}: {many:,} are named, and {most:,} at most can be")
    codes: tuple[tuple[Name, tuple[str, ...]], ...] = (
        ("cap-currency", (currency,) if currency is not None else ()),
        ("currency", values["currencies"]),
    )
    for name, named in codes:
        for code in named:
            if not (len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()):
                raise UserError(f"{called(name)} {code:.40}: must be three capital letters, such as EUR")
    for name in _VENDORS:
        for ident in values[FIELDS[name]]:
            if not (ident.isascii() and ident.isdigit() and len(ident) <= _LONGEST_ID):
                raise UserError(
                    f"{called(name)} {ident:.40}: must be the vendor's id in QuickBooks, a number such as 56"
                )
