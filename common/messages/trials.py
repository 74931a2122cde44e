"""What is asked before anything is decided: to find entries, to try a policy, to draw a document."""

from decimal import Decimal
from typing import Annotated

import msgspec

from common.amounts import usual
from common.messages.base import EntryKind, Message, Part
from common.messages.books import Document
from common.messages.decisions import Action, Policy
from common.messages.entries import Entry


class Draw(Message, frozen=True, kw_only=True, tag="draw.1"):
    """Ask for the file that would be posted for a bill (a record key); answered with `Drawn` or `Refusal`."""

    workspace: str
    bill: str


class Drawn(Message, frozen=True, kw_only=True, tag="drawn.1"):
    """The file is in the store; `note` says why it is this one, where there was a choice."""

    document: Document
    note: str | None = None


class Search(Message, frozen=True, kw_only=True, tag="search.1"):
    """Ask for live entries of a workspace whose name, number, amount or date has every word of `text`.

    Amounts and dates may be written as people do; `amount` is to be met to the cent. Answered with `Found` or
    `Refusal`.
    """

    workspace: str
    text: Annotated[str, msgspec.Meta(max_length=200)] = ""
    kind: EntryKind | None = None
    amount: Decimal | None = None
    limit: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= 50:
            raise ValueError("limit: must lie between 1 and 50")
        if self.amount is not None and not usual(self.amount):
            raise ValueError("amount: must be an amount, such as 1250.50")


class Hit(Part, frozen=True, kw_only=True):
    """An entry that was found; `serves` is the bill it is linked to already, or that Weir made it for."""

    entry: Entry
    serves: str | None = None


class Found(Message, frozen=True, kw_only=True, tag="found.1"):
    """The entries that fit best, the newest first of those that fit alike; `count` is how many there are."""

    hits: tuple[Hit, ...]
    count: int


class WhatIf(Message, frozen=True, kw_only=True, tag="what-if.1"):
    """Ask what another policy would make of everything decided; answered with `Changes` or `Refusal`."""

    workspace: str
    policy: Policy


class Example(Part, frozen=True, kw_only=True):
    """One bill that would be decided otherwise, and what either decision says of it."""

    bill: str
    vendor: str | None
    total: Decimal | None
    currency: str | None
    before: str
    after: str


class Move(Part, frozen=True, kw_only=True):
    """Bills that would go from one action to another, or be linked to another entry, with a few examples."""

    before: Action
    after: Action
    count: int
    examples: tuple[Example, ...] = ()


class Band(Part, frozen=True, kw_only=True):
    """What a policy decides by itself: `links` and `creates`, and how many of those people's answers judge (`proved`).

    People decided `wrong` of the proved ones otherwise; `estimated` is what that makes of all of them.
    """

    links: int
    creates: int
    proved: int
    wrong: int
    estimated: float | None = None


class Changes(Message, frozen=True, kw_only=True, tag="changes.1"):
    """What another policy makes of the newest decision on every bill, on the grounds stored with it.

    `gained`, `lost` and `changed` count links, as the offline what-if does. `left_out` are decisions of weights that
    this release does not have, and withdrawals. `now` and `then` are what either policy decides by itself.
    """

    decisions: int
    left_out: int
    gained: int
    lost: int
    changed: int
    moves: tuple[Move, ...]
    now: Band
    then: Band
