"""Whole invented workspaces with the truth of every bill: what the weights are fitted and judged on.

A world is a pure function of a seed. Everything in it is made up by this package, so figures measured on it
say how the matcher deals with these considered guesses, not how any real company's books look.
"""

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Literal, get_args

import msgspec

from common.messages import Bill, Entry, Record
from services.scorer.fitting.drafts import Draft, drafts
from services.scorer.fitting.noise import CENT, Noise, plain, slipped
from services.scorer.fitting.scribe import Scribe, entry_key
from services.scorer.fitting.suppliers import Supplier, suppliers
from services.scorer.matching.books import Books

Kind = Literal["closed", "open", "clash", "degraded", "replay"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_CLASH_DAYS, _ALIKE = 7, 0.2
_DEGRADED_NAME = 12
_REMOVED = 0.5


@dataclass(frozen=True, slots=True)
class Truth:
    """One bill. `counterparts` are the keys of all entries of its document, none if Qonto does not hold it.

    `ambiguous` says that nobody could tell from the data which of two entries it is; `duplicate_of` names the
    bill that is the same document, entered before, whose counterparts are listed here as well.
    """

    counterparts: frozenset[str] = frozenset()
    ambiguous: bool = False
    duplicate_of: str | None = None


@dataclass(frozen=True, slots=True)
class World:
    """A workspace as its streams tell it, in order of arrival.

    `claims` says which bill an entry serves already; `truth` has every bill that serves none, by its key.
    `known` are the suppliers by their vendor id.
    """

    records: tuple[Record, ...]
    entries: tuple[Entry, ...]
    claims: Mapping[str, str]
    truth: Mapping[str, Truth]
    known: Mapping[str, Supplier]

    def books(self) -> Books:
        """The books after all of it has arrived."""
        books = Books()
        for record in self.records:
            books.take_record(record)
        for one in self.entries:
            books.take_entry(one)
        for entry, bill in self.claims.items():
            books.take_claim(entry, bill)
        return books


def make(kind: Kind, seed: str, bills: int, noise: Noise | None = None, *, severity: float = 1.0) -> World:
    """A world of one kind with about so many bills.

    All but the closed one have lost half of the counterparts, because that is where a matcher does harm.
    """
    world = closed(seed, bills, noise)
    if kind == "closed":
        return world
    world = opened(world, seed)
    match kind:
        case "clash":
            return clashing(world, seed, severity)
        case "degraded":
            return degraded(world, seed, severity)
        case "replay":
            return replayed(world, seed)
        case _:
            return world


def closed(seed: str, bills: int, noise: Noise | None = None) -> World:
    """Every bill has its counterpart in Qonto, among the entries of documents that QuickBooks never saw."""
    dice = random.Random(f"{seed}/{bills}")
    noise = (noise or Noise()).drawn(dice)
    known = suppliers(dice, bills)
    made = drafts(dice, known, bills)
    scribe = Scribe(dice, noise)
    records = [scribe.company(), *map(scribe.vendor, known)]
    claims: dict[str, str] = {}
    keys: dict[int, str] = {}
    for number, draft in enumerate((draft for draft in made if draft.billed), start=1):
        record = scribe.bill(str(number), draft)
        records.append(record)
        keys[id(draft)] = record.key
    entries: list[Entry] = []
    for draft in made:
        if draft.original is None:
            draft.entries = scribe.document(draft)
            entries += draft.entries
        if draft.settled:
            claims[entry_key(draft.entries[0])] = keys[id(draft)]
    entries += scribe.lookalikes(made)
    dice.shuffle(entries)
    return World(tuple(records), tuple(entries), claims, _truths(made, keys), {one.ident: one for one in known})


def opened(world: World, seed: str) -> World:
    """With half of the counterparts gone, an invoice together with its payment; so Weir made what half of the settled
    bills needed."""
    dice = random.Random(f"{seed}/opened")
    gone: set[str] = set()
    for one in world.truth.values():
        if one.duplicate_of is None and dice.random() < _REMOVED:
            gone |= one.counterparts
    made = {entry: bill for entry, bill in world.claims.items() if dice.random() < _REMOVED}
    return replace(
        world,
        entries=tuple(_made(one, made.get(entry_key(one))) for one in world.entries if entry_key(one) not in gone),
        claims={entry: bill for entry, bill in world.claims.items() if entry not in made},
        truth={key: replace(one, counterparts=one.counterparts - gone) for key, one in world.truth.items()},
    )


def _made(entry: Entry, bill: str | None) -> Entry:
    """An entry as Weir makes it for a bill, if it is for one."""
    if bill is None:
        return entry
    return msgspec.structs.replace(entry, kind="invoice", matched=(), origin=bill, revision=1, status="to_review")


def clashing(world: World, seed: str, share: float = 1.0) -> World:
    """With a second item for every open bill: the same amount within a week, from another supplier."""
    dice = random.Random(f"{seed}/clash")
    scribe = Scribe(dice, Noise().drawn(dice))
    known = list(world.known.values())
    added = []
    for record in world.records:
        bill = record.body
        if (
            isinstance(bill, Bill)
            and record.key in world.truth
            and bill.issued_on is not None
            and dice.random() < share
        ):
            other = _another(dice, known, world.known[bill.vendor.id])
            day = bill.issued_on + timedelta(days=dice.randrange(-_CLASH_DAYS, _CLASH_DAYS + 1))
            number = other.numbering.format(n=dice.randrange(5, 9000), y=day.year, yy=f"{day:%y}", m=day.month)
            draft = Draft(other, day, day, bill.total, bill.total, bill.currency, Decimal(1), number)
            added += scribe.document(draft)[:1]
    entries = [*world.entries, *(msgspec.structs.replace(one, matched=()) for one in added)]
    dice.shuffle(entries)
    return replace(world, entries=tuple(entries))


def _another(dice: random.Random, known: list[Supplier], supplier: Supplier) -> Supplier:
    """Some other supplier; now and then one that is called nearly the same."""
    word = supplier.core.partition(" ")[0]
    alike = [one for one in known if one is not supplier and word in one.core.split()]
    if alike and dice.random() < _ALIKE:
        return dice.choice(alike)
    return next(one for one in dice.sample(known, 2) if one is not supplier)


def degraded(world: World, seed: str, share: float = 1.0) -> World:
    """With numbers blanked, names cut to 12 letters without accents and under another legal form.

    Of four entries, one also has a date 30 days later, one its net amount, and one a converted amount that is
    off by up to two per cent.
    """
    dice = random.Random(f"{seed}/degraded")
    return replace(
        world, entries=tuple(_degraded(dice, one) if dice.random() < share else one for one in world.entries)
    )


def _degraded(dice: random.Random, entry: Entry) -> Entry:
    name = entry.counterparty or entry.label
    words = plain(name or "").split()
    kept = " ".join(words[:-1] if len(words) > 1 and len(words[-1]) <= 4 else words)[:_DEGRADED_NAME]
    shown = f"{kept} {dice.choice(('SA', 'SARL', 'Ltd'))}" if name else None
    changes: dict[str, object] = {
        "counterparty": shown,
        "number": None,
        "label": kept.upper() if entry.kind == "transaction" else None,
    }
    match dice.randrange(4):
        case 0:
            changes["issued_on"] = entry.issued_on and entry.issued_on + timedelta(days=30)
            changes["paid_on"] = entry.paid_on and entry.paid_on + timedelta(days=30)
        case 1:
            changes["amount"] = entry.amount and (entry.amount / Decimal("1.2")).quantize(CENT)
        case 2 if entry.amount and entry.local_currency:
            slip = Decimal(dice.randrange(-200, 201)) / 10_000
            changes |= {"amount": (entry.amount * (1 + slip)).quantize(CENT)}
            changes |= {"local_amount": None, "local_currency": None}
        case _:
            pass
    return msgspec.structs.replace(entry, **changes)


def replayed(world: World, seed: str) -> World:
    """The same told again, out of order: older versions of a third of it first, and some of it twice."""
    dice = random.Random(f"{seed}/replay")
    records = [_edited(dice, one) for one in world.records if dice.random() < 1 / 3]
    entries = [_misjudged(dice, one) for one in world.entries if dice.random() < 1 / 3]
    dice.shuffle(records)
    dice.shuffle(entries)
    again = [one for one in world.records if dice.random() < 1 / 3]
    return replace(
        world,
        records=(*records, *dice.sample(world.records, len(world.records)), *again),
        entries=(*entries, *dice.sample(world.entries, len(world.entries))),
    )


def _edited(dice: random.Random, record: Record) -> Record:
    """A version of before: another amount, date or number; or nothing but the fact that it was deleted."""
    bill = record.body
    if not isinstance(bill, Bill):
        return record
    if dice.random() < 0.1:
        return msgspec.structs.replace(record, deleted=True, body=None)
    total = slipped(dice, bill.total)
    return msgspec.structs.replace(
        record, body=msgspec.structs.replace(bill, total=total, balance=total, number=None, due_on=None)
    )


def _misjudged(dice: random.Random, entry: Entry) -> Entry:
    """As OCR saw it at first: less, or another amount."""
    amount = None if entry.amount is None or dice.random() < 0.5 else slipped(dice, entry.amount)
    return msgspec.structs.replace(entry, amount=amount, number=None, matched=())


def _truths(made: list[Draft], keys: Mapping[int, str]) -> dict[str, Truth]:
    alike: defaultdict[tuple[str, Decimal], list[Draft]] = defaultdict(list)
    for draft in made:
        if draft.original is None:
            alike[draft.supplier.ident, draft.total].append(draft)
    found = {}
    for draft in made:
        if draft.original is not None:
            same = frozenset(map(entry_key, draft.original.entries))
            found[keys[id(draft)]] = Truth(same, duplicate_of=keys[id(draft.original)])
        elif draft.billed and not draft.settled:
            others = [one for one in alike[draft.supplier.ident, draft.total] if one is not draft]
            tied = any(_as_likely(draft, one) for one in others)
            found[keys[id(draft)]] = Truth(frozenset(map(entry_key, draft.entries)), ambiguous=tied)
    return found


def _as_likely(draft: Draft, other: Draft) -> bool:
    """Whether another document's entries fit the bill's days as well as its own do, and no number decides."""
    numbered = any(
        entry.number or (entry.kind == "transaction" and draft.number in (entry.label or ""))
        for entry in (*draft.entries, *other.entries)
    )
    if draft.entered_number is not None and numbered:
        return False
    own, theirs = (min(_days_off(draft, entry) for entry in one.entries) for one in (draft, other))
    return theirs <= own + 1


def _days_off(draft: Draft, entry: Entry) -> int:
    """Days by which an entry misses those on which the bill's document or payment is expected."""
    day = entry.issued_on
    if day is None:
        return 0
    if entry.kind == "invoice":
        return abs((day - draft.issued).days)
    return max((draft.issued - day).days - 1, (day - draft.due).days - 10, 0)
