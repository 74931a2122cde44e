"""A policy as a person fills it in: read from the form, and laid over what somebody else set meanwhile. Pure."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from common.errors import UserError
from common.messages import Policy
from common.policies import FIELDS, Name, amended

CALLED: dict[Name, str] = {
    "auto": "Acts by itself from",
    "review": "Asks from",
    "margin": "Lead over the next match",
    "target": "Must prove right",
    "cap": "Largest amount",
    "cap-currency": "Currency of the amount",
    "currency": "Currencies",
    "block-vendor": "Never posted",
    "review-vendor": "Always reviewed",
    "closed-until": "Closed up to",
    "pull-every": "Pulls every",
}
"""What each setting is called in the form."""

SHARES: tuple[Name, ...] = ("auto", "review", "margin", "target")
"""Those that are filled in as per cent."""
VENDORS: tuple[Name, ...] = ("block-vendor", "review-vendor")
"""Those that are chosen among the company's vendors."""

Filled = Mapping[Name, Sequence[str]]
"""What the form holds: the texts of each setting, as many as there are."""


def filled(policy: Policy) -> dict[Name, list[str]]:
    """The form that shows a policy."""
    return {name: _shown(name, getattr(policy, field)) for name, field in FIELDS.items()}


def _shown(name: Name, value: Any) -> list[str]:
    match value:
        case None:
            return [""]
        case tuple() as several:
            return list(several) if name in VENDORS else [", ".join(several)]
        case float() if name in SHARES:
            return [f"{Decimal(str(value)) * 100:f}".rstrip("0").rstrip(".") or "0"]
        case Decimal() as amount:
            return [f"{amount:f}"]
        case date() as day:
            return [day.isoformat()]
        case _:
            return [str(value)]


def read(form: Filled, before: Policy) -> Policy:
    """The policy that the form asks for in the place of `before`, which it is itself if nothing differs.

    UserError begins with what the field at fault is called, and says how to mend it.
    """
    named = {name: value for name in FIELDS if (value := _value(name, form.get(name, ()))) is not None}
    least, most = named.get("review", Policy().review), named.get("auto", Policy().auto)
    if least > most:
        raise UserError(
            f"{CALLED['review']}: {least * 100:g} % lies above {most * 100:g} %, from where Weir acts by itself"
        )
    return amended(before, named, clear=tuple(FIELDS), called=lambda name: f"{CALLED[name]}:")


def _value(name: Name, texts: Sequence[str]) -> Any:
    """What the field says; None where it is left empty, which means its default."""
    if name in VENDORS:
        return tuple(dict.fromkeys(texts)) or None
    text = " ".join(texts).strip()
    if not text:
        return None
    match name:
        case "currency":
            return tuple(dict.fromkeys(code.upper() for code in re.split(r"[\s,;]+", text) if code))
        case "cap-currency":
            return text.upper()
        case "closed-until":
            return _day(text)
        case "cap":
            return _amount(CALLED[name], text)
        case "pull-every":
            return _minutes(CALLED[name], text)
        case _:
            return _share(CALLED[name], text)


def _share(called: str, text: str) -> float:
    found = _amount(called, text.removesuffix("%").strip())
    if not 0 <= found <= 100:
        raise UserError(f"{called}: {text:.40} must lie between 0 and 100 %")
    return float(found / 100)


def _minutes(called: str, text: str) -> int:
    found = _amount(called, text)
    if found != found.to_integral_value():
        raise UserError(f"{called}: {text:.40} must be whole minutes, such as 30")
    return int(found)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UserError(f"{CALLED['closed-until']}: {text:.40} is no date; write it like 2026-03-31") from None


def _amount(called: str, text: str) -> Decimal:
    """A number as people write it; UserError where a comma may mean either."""
    plain = re.sub(r"[\s'’_]", "", text)
    head, comma, tail = plain.rpartition(",")
    if comma and "." not in tail:
        if "." not in head and "," not in head and len(tail) == 3:
            raise UserError(f"{called}: {text:.40} may be read in two ways; write {head}{tail} or {head}.{tail}")
        plain = plain.replace(",", "") if "," in head else f"{head.replace('.', '')}.{tail}"
    else:
        plain = plain.replace(",", "")
    try:
        found = Decimal(plain)
    except InvalidOperation:
        found = None
    if found is None or not found.is_finite():
        raise UserError(f"{called}: {text:.40} is no number; write it like 5000 or 92.5")
    return found


class Rebased(NamedTuple):
    """One person's policy on top of another's; `both` are the settings that both changed, each to its own."""

    policy: Policy
    both: tuple[Name, ...]


def rebased(base: Policy, theirs: Policy, mine: Policy) -> Rebased:
    """What I changed since `base`, laid over what they made of it: nothing of either is lost unseen.

    Of lists both additions and both removals count; of other settings that both changed mine stands, and is named.
    """
    values: dict[str, Any] = {}
    both: list[Name] = []
    for name, field in FIELDS.items():
        was, other, own = (getattr(policy, field) for policy in (base, theirs, mine))
        if isinstance(was, tuple):
            kept = [one for one in other if one in own or one not in was]
            values[field] = tuple(dict.fromkeys([*kept, *(one for one in own if one not in was)]))
        else:
            values[field] = other if own == was else own
            if own not in {was, other} and other != was:
                both.append(name)
    if values["cap_currency"] is not None and values["amount_cap"] is None:
        values["cap_currency"] = None  # one took the cap away while the other changed what it is in
    if values["review"] > values["auto"]:
        values["review"], values["auto"] = mine.review, mine.auto
        both += [name for name in ("review", "auto") if name not in both]
    return Rebased(msgspec.structs.replace(theirs, **values, version=theirs.version + 1), tuple(both))


def seal(policy: Policy) -> str:
    """What a form carries that was shown what this very policy would change."""
    values = [getattr(policy, field) for field in FIELDS.values()]
    return hashlib.sha256(repr((policy.version, *values)).encode()).hexdigest()[:16]
