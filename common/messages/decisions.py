"""What should become of a bill, and what that rests on."""

from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from common.messages.base import EntryKind, Message, Part

Field = Literal["name", "amount", "date", "currency", "reference"]

Action = Literal["link", "create", "review", "refuse", "withdraw"]


class FieldScore(Part, frozen=True, kw_only=True):
    """How one field compares, in [0, 1]; `score` is None where one side does not say (neutral).

    `worth` is what that adds to the candidate's log-odds, positive where it speaks for the candidate.
    """

    score: float | None
    worth: float = 0.0
    bill: str | None = None
    entry: str | None = None
    why: str | None = None


class Candidate(Part, frozen=True, kw_only=True):
    """An entry that may be the same document as the bill, and how sure that is, in [0, 1].

    `score` is the probability that it is, the other candidates and "none of them" being what else may be true;
    `alone` is the probability had it no competitors. `same_identity` says that the VAT number or IBAN is the same,
    `also` names the entries that are one with it. `free` is the probability that no other bill is its document;
    `taken_by` is the bill that wants it most, which it serves already if `claimed`. Where `alike`, nothing should be
    created beside it unasked; a person who was shown it for this bill and chose otherwise has `turned_down` the entry.
    """

    entry: str
    kind: EntryKind
    score: float
    fields: dict[Field, FieldScore]
    alone: float = 0.0
    same_identity: bool = False
    also: tuple[str, ...] = ()
    free: float = 1.0
    taken_by: str | None = None
    claimed: bool = False
    alike: bool = False
    turned_down: bool = False


class Readiness(Part, frozen=True, kw_only=True):
    """How fit a bill is to be posted as it stands, in [0, 1].

    `lacks` are its shortcomings with what to do about each, `standing` is what is known of the counterparty,
    `holds` are the policy's reasons to ask a person.
    """

    score: float
    completeness: float
    counterparty: float
    policy: float
    lacks: tuple[str, ...] = ()
    standing: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()


class Policy(Message, frozen=True, kw_only=True, tag="policy.1"):
    """What a workspace allows. A change makes a new version and applies to later records only.

    `amount_cap` is in `cap_currency`, in the home currency of the books if that is None. `currencies` are all
    that are allowed, any if empty; vendors are QuickBooks ids.
    `target` is the share of automatic decisions that must prove right for each vendor (see `SelfCheck`). `pull_every`
    is in minutes, the installation's setting if None. `by` is the person who set it, where that is known.
    """

    version: int = 1
    auto: float = 0.85
    review: float = 0.55
    margin: float = 0.05
    target: float = 0.95
    currencies: tuple[str, ...] = ()
    amount_cap: Decimal | None = None
    cap_currency: str | None = None
    blocked_vendors: tuple[str, ...] = ()
    review_vendors: tuple[str, ...] = ()
    closed_until: date | None = None
    pull_every: int | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.review <= self.auto <= 1:
            raise ValueError("policy: thresholds must satisfy 0 < review <= auto <= 1")
        if not 0 <= self.margin <= 1:
            raise ValueError("policy: margin must lie between 0 and 1")
        if not 0 <= self.target < 1:
            raise ValueError("policy: target must lie between 0 (never hold a vendor back) and below 1")


class Grounds(Part, frozen=True, kw_only=True):
    """What else a decision rests on than its candidates and the bill's readiness.

    `before` is what became of the bill earlier: nothing, Weir made an entry, it is linked to the one candidate, or
    the entry it was linked to is gone. `copy_of` is a bill of which this is a second entry; `holds` are the
    policy's reasons to ask a person, `blocked` whether it refuses the vendor. `remittance` says in words which payments
    make up the bill or pay it with others, `held_back` why the self-check holds the vendor's bills. `rest` are the odds
    of all candidates that are not shown. `presence` and `coincidence` are what is usual in the workspace, as log-odds:
    how many of its bills Qonto holds, and how rarely other documents have the same amount on the same days; `strangers`
    how much less rarely those of other suppliers do. `damage` is how usual it is there that a name, amount or date
    suffers, by levels from the worst. `recurs` says that the supplier billed the same in another period.
    """

    before: Literal["nothing", "made", "linked", "gone"] = "nothing"
    copy_of: str | None = None
    holds: tuple[str, ...] = ()
    blocked: bool = False
    remittance: str | None = None
    held_back: str | None = None
    rest: float = 0.0
    presence: float = 0.0
    coincidence: float = 0.0
    strangers: float = 0.0
    damage: tuple[tuple[float, ...], ...] = ()
    recurs: bool = False


class Decision(Message, frozen=True, kw_only=True, tag="decision.1"):
    """What should become of one bill version, and why; enough to reproduce it.

    `score` is the probability that Qonto holds the bill's document, and the candidates' scores say as which entry;
    `gate` names what held back an otherwise sufficient score; `counterfactual` says what would have changed the
    outcome. `memory_version` names what people had taught the scorer by then.
    """

    id: str
    workspace: str
    realm: str
    bill: str
    action: Action
    score: float
    why: str
    record_hash: str
    record_seq: int
    entries_seq: int
    policy_version: int
    model_version: str
    decided_at: datetime
    memory_version: str = ""
    entry: str | None = None
    entry_kind: EntryKind | None = None
    readiness: Readiness | None = None
    gate: str | None = None
    counterfactual: str | None = None
    candidates: tuple[Candidate, ...] = ()
    grounds: Grounds = Grounds()

    @property
    def key(self) -> str:
        """The record key of the bill."""
        return f"{self.realm}-{self.bill}"
