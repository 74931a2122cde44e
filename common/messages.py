"""Every message that crosses a Weir subject, and every value other services read from a bucket.

JSON on the wire, one struct per subject (see `common.subjects`). Readers accept unknown fields, so a field
may be added at any time; a breaking change gets a new tag and a new subject.

Conventions: money is `Decimal` in the currency beside it, ids are strings, instants are UTC, plain dates
are the accounting dates of the provider (no zone). `None` means "the provider did not say".
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal

import msgspec

Provider = Literal["quickbooks", "qonto"]
NAMES: dict[Provider, str] = {"quickbooks": "QuickBooks", "qonto": "Qonto"}
"""Providers as people know them."""

RecordKind = Literal["bill", "vendor", "customer", "taxcode", "billpayment", "vendorcredit", "company"]
EntryKind = Literal["invoice", "transaction"]


def now() -> datetime:
    """The present instant in UTC."""
    return datetime.now(UTC)


def said(instant: datetime) -> str:
    """An instant as people read it, to the minute."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of what travels on a subject: immutable, tagged with its type and version."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what is nested in a message."""


class Ref(Part, frozen=True, kw_only=True):
    """A QuickBooks reference: the id is what counts, the name is what people read."""

    id: str
    name: str | None = None


class Address(Part, frozen=True, kw_only=True):
    """A postal address as QuickBooks keeps it; `country` is whatever people typed."""

    lines: tuple[str, ...] = ()
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str | None = None


class Link(Part, frozen=True, kw_only=True):
    """A transaction linked to a bill or one of its lines (payment, purchase order, reimbursement)."""

    id: str
    kind: str
    line_id: str | None = None


class BillLine(Part, frozen=True, kw_only=True):
    """One line of a bill or vendor credit. `amount` is net; `gross` only where tax is inclusive."""

    id: str | None = None
    number: int | None = None
    description: str | None = None
    amount: Decimal = Decimal(0)
    gross: Decimal | None = None
    quantity: Decimal | None = None
    unit_price: Decimal | None = None
    account: Ref | None = None
    item: Ref | None = None
    customer: Ref | None = None
    tax_code: Ref | None = None
    links: tuple[Link, ...] = ()


class TaxLine(Part, frozen=True, kw_only=True):
    """Tax of one rate: `net` × `percent` = `amount`."""

    amount: Decimal
    net: Decimal | None = None
    percent: Decimal | None = None
    rate: Ref | None = None


class Bill(Part, frozen=True, kw_only=True, tag="bill", tag_field="kind"):
    """A supplier bill. `total` includes tax; `balance` is what is still to pay (0 = paid)."""

    vendor: Ref
    total: Decimal
    balance: Decimal
    currency: str
    exchange_rate: Decimal | None = None
    number: str | None = None
    issued_on: date | None = None
    due_on: date | None = None
    tax: Decimal | None = None
    tax_mode: str | None = None
    tax_lines: tuple[TaxLine, ...] = ()
    lines: tuple[BillLine, ...] = ()
    links: tuple[Link, ...] = ()
    terms: Ref | None = None
    payable_account: Ref | None = None
    department: Ref | None = None
    vendor_address: Address | None = None
    memo: str | None = None

    @property
    def net(self) -> Decimal:
        """Total without tax; equal to the total where QuickBooks names no tax."""
        return self.total - (self.tax or Decimal(0))

    @property
    def paid(self) -> bool:
        """Whether nothing is left to pay."""
        return self.balance == 0 and self.total != 0


class VendorCredit(Part, frozen=True, kw_only=True, tag="vendorcredit", tag_field="kind"):
    """A supplier's credit note; `total` is positive, `balance` is its unused part."""

    vendor: Ref
    total: Decimal
    currency: str
    balance: Decimal | None = None
    exchange_rate: Decimal | None = None
    number: str | None = None
    issued_on: date | None = None
    tax: Decimal | None = None
    tax_mode: str | None = None
    tax_lines: tuple[TaxLine, ...] = ()
    lines: tuple[BillLine, ...] = ()
    links: tuple[Link, ...] = ()
    memo: str | None = None


class Vendor(Part, frozen=True, kw_only=True, tag="vendor", tag_field="kind"):
    """A supplier. QuickBooks masks `tax_identifier` in answers and knows no IBAN."""

    name: str
    active: bool = True
    company_name: str | None = None
    print_name: str | None = None
    tax_identifier: str | None = None
    account_number: str | None = None
    email: str | None = None
    phone: str | None = None
    website: str | None = None
    currency: str | None = None
    terms: Ref | None = None
    address: Address | None = None


class Customer(Part, frozen=True, kw_only=True, tag="customer", tag_field="kind"):
    """A customer, named on bill lines that are billed on."""

    name: str
    active: bool = True
    full_name: str | None = None
    company_name: str | None = None
    email: str | None = None
    currency: str | None = None
    parent: Ref | None = None
    project: bool = False


class TaxRate(Part, frozen=True, kw_only=True):
    """One rate of a tax code on purchases, in per cent."""

    id: str
    name: str | None = None
    percent: Decimal | None = None


class TaxCode(Part, frozen=True, kw_only=True, tag="taxcode", tag_field="kind"):
    """A tax code with its purchase rates (never the sales list: bills are purchases)."""

    name: str
    active: bool = True
    description: str | None = None
    taxable: bool | None = None
    rates: tuple[TaxRate, ...] = ()


class Payment(Part, frozen=True, kw_only=True):
    """What a bill payment paid of one bill (or took from one credit)."""

    amount: Decimal
    links: tuple[Link, ...] = ()


class BillPayment(Part, frozen=True, kw_only=True, tag="billpayment", tag_field="kind"):
    """A payment of one or more bills."""

    vendor: Ref
    total: Decimal
    currency: str
    exchange_rate: Decimal | None = None
    number: str | None = None
    paid_on: date | None = None
    method: str | None = None
    account: Ref | None = None
    payments: tuple[Payment, ...] = ()
    memo: str | None = None


class Company(Part, frozen=True, kw_only=True, tag="company", tag_field="kind"):
    """The buyer: the company whose books these are."""

    name: str
    legal_name: str | None = None
    country: str | None = None
    home_currency: str | None = None
    multicurrency: bool = False
    books_closed_on: date | None = None
    address: Address | None = None
    email: str | None = None


class Document(Part, frozen=True, kw_only=True):
    """A file of a record, kept in the object store under its hash."""

    sha256: str
    name: str
    content_type: str
    size: int
    attachable: str


Body = Bill | Vendor | Customer | TaxCode | BillPayment | VendorCredit | Company


class Record(Message, frozen=True, kw_only=True, tag="record.1"):
    """One version of one QuickBooks object, normalized.

    `content_hash` covers what matters to Weir (body, documents, deletion), not balances of vendors or sync
    tokens, so an unchanged object has an unchanged hash. `entries_seq` is the sequence of the workspace's
    newest Qonto entry when the record was pulled: the scorer's view must have reached it.
    """

    workspace: str
    realm: str
    id: str
    kind: RecordKind
    content_hash: str
    pulled_at: datetime
    updated_at: datetime | None = None
    created_at: datetime | None = None
    sync_token: str | None = None
    deleted: bool = False
    entries_seq: int = 0
    documents: tuple[Document, ...] = ()
    body: Body | None = None

    @property
    def key(self) -> str:
        """`{realm}-{QuickBooks id}`: unique across companies, since ids repeat between them."""
        return f"{self.realm}-{self.id}"


class Entry(Message, frozen=True, kw_only=True, tag="entry.1"):
    """A Qonto supplier invoice or bank transaction as Weir last saw it.

    `amount` is positive in `currency`; `local_amount` is what the counterparty asked for when it differs.
    `origin` is the record key of the bill Weir made the entry for, read from the file name, `revision` its
    revision. `category` is what Qonto takes an invoice's document for. `matched` holds, for an invoice, the
    transactions Qonto matched it with.
    """

    workspace: str
    organization: str
    id: str
    kind: EntryKind
    status: str
    updated_at: datetime
    created_at: datetime | None = None
    analyzed_at: datetime | None = None
    counterparty: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    net_amount: Decimal | None = None
    tax_amount: Decimal | None = None
    local_amount: Decimal | None = None
    local_currency: str | None = None
    side: Literal["debit", "credit"] | None = None
    number: str | None = None
    label: str | None = None
    issued_on: date | None = None
    due_on: date | None = None
    paid_on: date | None = None
    vat_number: str | None = None
    iban: str | None = None
    category: str | None = None
    credit_note: bool = False
    has_duplicates: bool = False
    file_name: str | None = None
    attachments: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()
    origin: str | None = None
    revision: int | None = None
    deleted: bool = False

    @property
    def live(self) -> bool:
        """Whether the entry still stands (a rejected, discarded or declined one does not)."""
        return not self.deleted and self.status not in {"rejected", "discarded", "declined", "reversed"}


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
    `target` is the share of automatic decisions that must prove right for each vendor (see `SelfCheck`).
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
    how many of its bills Qonto holds, and how rarely other documents have the same amount on the same days.
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


class ReviewRequested(Message, frozen=True, kw_only=True, tag="review.requested.1"):
    """A bill waits for a person. Answer with a `ReviewResolved` that names `review`.

    The same message on `….review.refused.…` says the bill was refused; its candidates can still be pinned.
    """

    review: str
    workspace: str
    realm: str
    bill: str
    requested_at: datetime
    score: float
    why: str
    summary: Bill
    gate: str | None = None
    counterfactual: str | None = None
    readiness: Readiness | None = None
    candidates: tuple[Candidate, ...] = ()


class ReviewResolved(Part, frozen=True, kw_only=True):
    """A person's answer; plain JSON, so any NATS client can send it."""

    review: str
    action: Literal["link", "create", "refuse"]
    by: str
    entry: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.action == "link" and not self.entry:
            raise ValueError("entry: name the Qonto entry to link to")
        if not self.by.strip():
            raise ValueError("by: say who decided")


ReviewOutcome = Literal["linked", "created", "refused", "superseded", "rejected"]


class ReviewClosed(Message, frozen=True, kw_only=True, tag="review.closed.1"):
    """What became of a review; `rejected` refuses one answer (stale, second or impossible) with a reason."""

    review: str
    workspace: str
    realm: str
    bill: str
    outcome: ReviewOutcome
    closed_at: datetime
    by: str | None = None
    entry: str | None = None
    why: str | None = None


Outcome = Literal[
    "created", "linked", "paid", "unpaid", "superseded", "withdrawn", "unchanged", "failed", "uncertain", "stale"
]


class Posting(Message, frozen=True, kw_only=True, tag="posting.1"):
    """What happened in Qonto for one decision, written after Qonto was read back.

    `verified_at` is set only when the read-back showed the effect. A `failed` posting names the `field` at
    fault and the `fix`; an `uncertain` one waits for a person. `by` is the person who had it undone.
    """

    id: str
    workspace: str
    realm: str
    bill: str
    decision: str
    outcome: Outcome
    revision: int
    posted_at: datetime
    entry: str | None = None
    entry_kind: EntryKind | None = None
    replaced: str | None = None
    verified_at: datetime | None = None
    why: str | None = None
    field: str | None = None
    fix: str | None = None
    record_hash: str | None = None
    by: str | None = None


TickReason = Literal["schedule", "asked", "connected", "webhook", "rewind", "backfill"]


class Tick(Message, frozen=True, kw_only=True, tag="tick.1"):
    """Pull one workspace now; several ticks of one workspace collapse into the newest."""

    workspace: str
    reason: TickReason
    asked_at: datetime


LISTED = 10
"""Texts of what was left out; more than these are only counted, in the last one."""


class PullState(Part, frozen=True, kw_only=True):
    """How pulling a workspace stands, for people; the puller only takes from it how long ago the last pull began.

    `began_at` is when the newest pull began, `finished_at` when one last read all there was. `entity` and
    `read_until` say where an unfinished pull stands; `counts` are the records it published, or the last one
    did, and `first` says that it is a first one; `failing` is why the newest pull did not get to its end, with
    `fix` as the next step. Where nothing failed but a person has to connect or mend a provider's account,
    `waits_for` names the provider. `failures` are those in a row. `left_out` are at most LISTED texts: what the
    last whole pull had to leave out.
    """

    realm: str
    began_at: datetime
    finished_at: datetime | None = None
    next_at: datetime | None = None
    entity: str | None = None
    read_until: datetime | None = None
    first: bool = False
    counts: dict[str, int] = {}
    failing: str | None = None
    fix: str | None = None
    failures: int = 0
    waits_for: Provider | None = None
    left_out: tuple[str, ...] = ()


NoticeKind = Literal[
    "needs-reconnect",
    "failed",
    "pulled",
    "pull-failed",
    "connected",
    "disconnected",
    "paused",
    "expires-soon",
    "demoted",
    "restored",
]


class Notice(Message, frozen=True, kw_only=True, tag="notice.1"):
    """Something the workspace's owner should know; `fix` is the next step."""

    workspace: str
    kind: NoticeKind
    at: datetime
    why: str
    fix: str | None = None
    provider: Provider | None = None
    subject: str | None = None
    stream: str | None = None
    sequence: int | None = None
    counts: dict[str, int] = {}


Stage = Literal["puller", "scorer", "poster", "answers", "lessons", "checker"]
"""Where work is done on a message, by the name of its consumer."""


class Failure(Message, frozen=True, kw_only=True, tag="failure.1"):
    """A message that could not be handled: where, why, and what to do; the newest on its subject counts.

    `id` is `{stage}.{record}`; `record` is a record key, `-` where the message is about a whole workspace, a hash where
    its subject has no key that can be read. `workspace` is `_` where the subject names none. `attempts` counts how
    often it was given up since `first_seen`. `stream` and `sequence` say where the message is, `retryable` whether it
    is kept there to be tried again. With `resolved_at` it is over, and `resolution` says how.
    """

    id: str
    workspace: str
    stage: Stage
    record: str
    why: str
    first_seen: datetime
    last_seen: datetime
    attempts: int
    subject: str
    stream: str
    sequence: int
    retryable: bool
    field: str | None = None
    fix: str | None = None
    resolved_at: datetime | None = None
    resolution: str | None = None


class Retry(Message, frozen=True, kw_only=True, tag="retry.1"):
    """Try a failure again now; answered with `Retried`, or with `Refusal` where it could not be tried."""

    workspace: str
    id: str
    by: str


class Retried(Message, frozen=True, kw_only=True, tag="retried.1"):
    """What came of trying a failure again; while `failure` has no `resolved_at` it stands, for the reason it names."""

    failure: Failure


class Claim(Part, frozen=True, kw_only=True):
    """Says which bill an entry serves; one entry serves one bill."""

    bill: str
    at: datetime


class AccountClaim(Part, frozen=True, kw_only=True):
    """Says which workspace a provider's account belongs to; one account belongs to one workspace."""

    workspace: str
    at: datetime


class Workspace(Part, frozen=True, kw_only=True):
    """A tenant: one QuickBooks company and one Qonto organization.

    `backfill_from` is where its first pull begins, instead of the setting of that name.
    """

    id: str
    region: str
    created_at: datetime
    realm: str | None = None
    organization: str | None = None
    backfill_from: date | None = None


class Authorize(Message, frozen=True, kw_only=True, tag="authorize.1"):
    """Ask the owner of a provider where to send the browser; answered with `Redirect` or `Refusal`."""

    workspace: str
    redirect_uri: str


class Redirect(Message, frozen=True, kw_only=True, tag="redirect.1"):
    """Where the browser goes next."""

    url: str


class Exchange(Message, frozen=True, kw_only=True, tag="exchange.1"):
    """The provider's callback, as it came; answered with `Connected` or `Refusal`."""

    state: str
    code: str | None = None
    realm: str | None = None
    error: str | None = None


class Connected(Message, frozen=True, kw_only=True, tag="connected.1"):
    """The workspace may now use this provider account; `name` is what the provider calls it."""

    workspace: str
    account: str
    name: str | None = None


class Disconnect(Message, frozen=True, kw_only=True, tag="disconnect.1"):
    """Revoke the grant and forget the token; answered with `Done` or `Refusal`."""

    workspace: str


class Rewind(Message, frozen=True, kw_only=True, tag="rewind.1"):
    """Read everything changed since `to` again and publish it even if unchanged; answered like Disconnect."""

    workspace: str
    to: datetime


class Backfill(Message, frozen=True, kw_only=True, tag="backfill.1"):
    """Read everything changed since `since` and publish what is missing; answered like Disconnect.

    Also where later first pulls of the workspace begin.
    """

    workspace: str
    since: datetime


class Webhook(Message, frozen=True, kw_only=True, tag="webhook.1"):
    """A provider's webhook as it came: the raw body and the signature header; answered with `Done` or `Refusal`."""

    body: bytes
    signature: str


class Mirror(Message, frozen=True, kw_only=True, tag="mirror.1"):
    """Bring the mirror of Qonto up to date; answered with `Mirrored` or `Refusal`."""

    workspace: str


class Mirrored(Message, frozen=True, kw_only=True, tag="mirrored.1"):
    """`entries_seq` is the stream sequence of the workspace's newest entry (0 = Qonto holds none)."""

    workspace: str
    entries_seq: int
    changed: int


class Undo(Message, frozen=True, kw_only=True, tag="undo.1"):
    """Take back what stands in Qonto for one bill (a record key); answered with `Undone` or `Refusal`."""

    workspace: str
    bill: str
    by: str
    note: str | None = None


class Undone(Message, frozen=True, kw_only=True, tag="undone.1"):
    """What was taken back: `why` in words; `entry` is what stood for the bill."""

    bill: str
    entry: str | None
    why: str


class Done(Message, frozen=True, kw_only=True, tag="done.1"):
    """The call had its effect."""


class Refusal(Message, frozen=True, kw_only=True, tag="refusal.1"):
    """The call was refused; `retry` says whether the same call may succeed later.

    With `reason` "not-connected", `why` says of the connection alone how it stands.
    """

    why: str
    fix: str | None = None
    retry: bool = False
    reason: Literal["not-connected", "forged", "not-set-up"] | None = None


Answer = Redirect | Connected | Mirrored | Retried | Undone | Done | Refusal


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
    vendors: dict[str, Precision] = {}
    held: tuple[str, ...] = ()
