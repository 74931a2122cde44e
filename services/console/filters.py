"""How the list of reviews is narrowed and put in order, as its address says it."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated
from urllib.parse import urlencode

import msgspec

from common.amounts import usual
from common.messages import now
from common.reviews import Step
from services.console.desk.listing import Query, Sort
from services.console.problem import Problem

Words = Annotated[str, msgspec.Meta(max_length=200)]
Days = Annotated[int, msgspec.Meta(ge=1, le=3650)]


class Filters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which reviews a person looks at; `days` is how long they wait at least, `vendor` is `{realm}-{id}`."""

    text: Words = ""
    step: Step | None = None
    gate: Words | None = None
    vendor: Words | None = None
    least: Decimal | None = None
    most: Decimal | None = None
    days: Days | None = None
    sort: Sort = "since"
    descending: bool = False

    def __post_init__(self) -> None:
        for name, amount in (("least", self.least), ("most", self.most)):
            if amount is not None and not usual(amount):
                raise ValueError(f"{name}: an amount such as 1250.50 is needed")

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Filters":
        """What an address asks for; what is left empty asks for nothing. Problem that names what cannot be read."""
        named = {name: given[name].strip() for name in cls.__struct_fields__ if given.get(name, "").strip()}
        try:
            return msgspec.convert(named, cls, strict=False)
        except msgspec.ValidationError as error:
            raise Problem(400, "Not a filter", f"{error}.", "Correct it in the address, or begin anew.") from None

    @property
    def narrowed(self) -> bool:
        """Whether anything is left out."""
        return msgspec.structs.replace(self, sort="since", descending=False) != Filters()

    def sorted(self, sort: Sort) -> "Filters":
        """Put in order by this; the other way round where it is already."""
        return msgspec.structs.replace(self, sort=sort, descending=self.sort == sort and not self.descending)

    def query(self) -> Query:
        """The same for the list."""
        return Query(
            text=self.text,
            step=self.step,
            gate=self.gate,
            vendor=self.vendor,
            least=self.least,
            most=self.most,
            before=now() - timedelta(days=self.days) if self.days is not None else None,
            sort=self.sort,
            descending=self.descending,
        )

    def address(self, **more: str | None) -> str:
        """The part of an address from its question mark on, with what is to be said beside; empty if nothing is."""
        asked = msgspec.to_builtins(self)
        own = {name: "1" if value is True else str(value) for name, value in asked.items()}
        said = {**own, **{name: value for name, value in more.items() if value is not None}}
        return f"?{urlencode(said)}" if said else ""


def number(text: str, most: int) -> int | None:
    """A whole number from 0 to `most` as an address or a form says it; None if it is none."""
    short = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
    return int(text) if short and int(text) <= most else None
