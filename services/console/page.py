"""Making pages: the templates, what every one of them is told, and how values are shown."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from litestar.enums import MediaType
from markupsafe import Markup

from common.messages import NAMES, said
from common.people import Role
from services.console.access import CSRF_FIELD
from services.console.live import TOPICS
from services.console.problem import Problem
from services.console.sessions import Visitor

HERE = Path(__file__).parent
STATIC = HERE / "static"


@dataclass(frozen=True, slots=True)
class Place:
    """A page of every workspace, as the navigation names it; `key` is pressed after `g` to go there."""

    name: str
    path: str
    key: str


PLACES = (
    Place("Today", "", "t"),
    Place("Reviews", "reviews", "r"),
    Place("Failures", "failures", "f"),
    Place("Policy", "policy", "p"),
    Place("Connections", "connections", "c"),
)


def environment() -> Environment:
    """The templates of the console."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"asset": asset, "names": NAMES, "places": PLACES, "Role": Role, "topics": TOPICS}
    made.filters |= {"count": count, "instant": instant, "day": day, "money": money, "worded": worded}
    made.filters |= {"short": short, "lasted": lasted}
    return made


class Page:
    """Renders a template for one request: who asks, and for which workspace, is known to all of them."""

    def __init__(self, templates: Environment, visitor: Visitor | None, workspace: str | None, path: str) -> None:
        self._templates = templates
        self._known: Mapping[str, Any] = {
            "visitor": visitor,
            "workspace": workspace,
            "path": path,
            "csrf": lambda: field(visitor),
        }

    def __call__(self, template: str, *, status: int = 200, **values: Any) -> Response[str]:
        """The page; `values` are the template's own."""
        text = self._templates.get_template(template).render(**self._known, **values)
        return Response(text, status_code=status, media_type=MediaType.HTML)

    def problem(self, problem: Problem) -> Response[str]:
        """A problem as a page."""
        response = self("problem.html", status=problem.status, problem=problem)
        response.headers.update(problem.headers)
        return response


@cache
def asset(name: str) -> str:
    """The address of a static file, which changes with its content: browsers may keep it for ever."""
    return f"/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def field(visitor: Visitor | None) -> Markup:
    """What every form that writes has to carry."""
    token = visitor.csrf if visitor else None
    return Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, token or "")


def worded(text: str) -> Markup:
    """A sentence in which `commands` are set off as such."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def instant(value: datetime) -> Markup:
    """An instant in UTC, which weir.js turns into the reader's own words and zone."""
    return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), said(value))


def day(value: date) -> Markup:
    """A date of the books, which has no zone."""
    return Markup('<time datetime="{}">{:%d %b %Y}</time>').format(value.isoformat(), value)


def money(value: Decimal, currency: str | None) -> Markup:
    """An amount, which weir.js writes as the reader is used to; the currency may be unknown."""
    if currency is None:
        return Markup('<data value="{}">{:,}</data>').format(value, value)
    return Markup('<data value="{}" data-currency="{}">{:,} {}</data>').format(value, currency, value, currency)


def count(value: int) -> Markup:
    """A number, which weir.js groups as the reader is used to."""
    return Markup('<data value="{}">{:,}</data>').format(value, value)


def short(value: date) -> Markup:
    """A day of this year or the last, where there is little room."""
    return Markup('<time datetime="{}" data-short>{:%d %b}</time>').format(value.isoformat(), value)


def lasted(value: timedelta) -> str:
    """How long something takes already, in its largest unit."""
    seconds = int(value.total_seconds())
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if (many := seconds // length) >= 1:
            return f"{many} {unit}{'' if many == 1 else 's'}"
    return "less than a minute"
