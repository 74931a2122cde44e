"""A policy amended by the options that a person named."""

from datetime import date
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import msgspec

from common.errors import UserError
from common.messages import Policy

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
}
"""The fields of a policy by the options that set them."""

_NO_VALUE: dict[Name, str] = {"currency": "any", "block-vendor": "nobody", "review-vendor": "nobody"}


def amended(before: Policy, named: dict[Name, Any], clear: tuple[Name, ...] = ()) -> Policy:
    """The policy with the `named` values, those of `clear` by default, lists longer by what is named of them.

    Its version is one more; it is `before` itself if nothing differs. UserError names the option and the fix.
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
    _check(values)
    if all(getattr(before, field) == value for field, value in values.items()):
        return before
    return msgspec.structs.replace(before, **values, version=before.version + 1)


def differences(before: Policy, after: Policy, names: dict[str, str]) -> list[str]:
    """What differs, a line for each option; `names` are those of vendors by id."""
    return [
        f"{name:<14}{said(name, before, names)} → {said(name, after, names)}"
        for name, field in FIELDS.items()
        if getattr(before, field) != getattr(after, field)
    ]


def said(name: Name, policy: Policy, names: dict[str, str]) -> str:
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


def _check(values: dict[str, Any]) -> None:
    for name in ("auto", "review", "margin"):
        share = values[name]
        if not 0 <= share <= 1 or (share == 0 and name != "margin"):
            allowed = "from 0 up to 1" if name == "margin" else "above 0 and up to 1"
            hint = f"; write {share / 100:g} for {share:g} per cent" if 1 < share <= 100 else ""
            raise UserError(f"--{name} {share:g}: must lie {allowed}{hint}")
    if values["review"] > values["auto"]:
        raise UserError(
            f"--review {values['review']:g} lies above --auto {values['auto']:g}: lower the one or raise the other"
        )
    cap, currency = values["amount_cap"], values["cap_currency"]
    if cap is not None and not (cap.is_finite() and cap >= 0):
        raise UserError(f"--cap {cap}: must be an amount of 0 or more, such as 5000")
    if currency is not None and cap is None:
        raise UserError(f"--cap-currency {currency}: there is no cap; name --cap with it")
    for option, codes in (
        ("cap-currency", (currency,) if currency is not None else ()),
        ("currency", values["currencies"]),
    ):
        for code in codes:
            if not (len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()):
                raise UserError(f"--{option} {code}: must be three capital letters, such as EUR")
    for option, field in (("block-vendor", "blocked_vendors"), ("review-vendor", "review_vendors")):
        for ident in values[field]:
            if not (ident.isascii() and ident.isdigit()):
                raise UserError(f"--{option} {ident}: must be the vendor's id in QuickBooks, a number such as 56")
