"""What people's answers taught, and how right decisions proved."""

from datetime import datetime

import msgspec

from common.messages.base import Message, Part


class TurnedDown(Part, frozen=True, kw_only=True):
    """A candidate that a person was shown and did not take; `entry` is `{kind}-{id}`.

    `name` is its counterparty as `services.scorer.matching.names` folds it, but only where the name is what the person
    must have turned down, because all else agreed.
    """

    entry: str
    name: str | None = None


class Lesson(Part, frozen=True, kw_only=True):
    """What one accepted answer to a review taught; `bill` is a record key, `by` the person, `at` when it closed.

    `entry` is the one the bill was linked to, with the folded `name` of its counterparty and its VAT number
    and IBAN in `identities`; None where the bill was created or refused.
    """

    review: str
    bill: str
    at: datetime
    by: str
    entry: str | None = None
    name: str | None = None
    identities: tuple[str, ...] = ()
    turned_down: tuple[TurnedDown, ...] = ()


class Lessons(Part, frozen=True, kw_only=True):
    """The newest lessons about one vendor, oldest first."""

    lessons: tuple[Lesson, ...] = ()


class Check(Message, frozen=True, kw_only=True, tag="check.1"):
    """Measure how right a workspace's automatic decisions were."""

    workspace: str
    asked_at: datetime


class Precision(Part, frozen=True, kw_only=True):
    """Automatic decisions for one vendor: `right` of `cases`, so at least `at_least` are with 95 % confidence."""

    right: int
    cases: int
    at_least: float
    name: str | None = None


class SelfCheck(Part, frozen=True, kw_only=True):
    """The last check of a workspace: all vendors together, and each one with a wrong decision (`{realm}-{id}`).

    `held` are the vendors whose bills wait for people, because too few decisions proved right.
    """

    at: datetime
    target: float
    overall: Precision
    vendors: dict[str, Precision] = msgspec.field(default_factory=dict)
    held: tuple[str, ...] = ()
