"""Invents a company: what QuickBooks knows of it, what Qonto already holds of the same, and the truth.

The same seed, size and day give the same company. Qonto's part is noisy as in life: names spelled
otherwise, numbers missing or mangled, dates off by days, gross taken for net.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from services.sandbox.bookkeeping import Books, reference_data
from services.sandbox.drafts import CENT, Dice, Draft
from services.sandbox.qonto_past import QontoPast
from services.sandbox.store import Row, Store
from services.sandbox.truth import Case, Truth, keep
from services.sandbox.vendors import HOME_NAMES, Supplier, plain, suppliers

SPAN = 300  # days back to the oldest bill
RATES = {"EUR": Decimal(1), "USD": Decimal("0.92"), "GBP": Decimal("1.17"), "CHF": Decimal("1.05")}
SHARES: tuple[tuple[Case, float], ...] = (
    ("invoice", 0.35),
    ("matched", 0.09),
    ("transaction", 0.12),
    ("incomplete", 0.04),
    ("duplicate", 0.03),
    ("near_tie", 0.04),
)  # the rest is absent from Qonto
FEW = 5  # suppliers of a company without bills
WITH_DOCUMENT = 0.45
IMPORTED = 0.45  # of the older bills came by import, in few seconds


def generate(store: Store, *, seed: str, bills: int, now: float) -> dict[str, Any]:
    """Creates a company with about so many bills and answers its ids; `now` (epoch seconds) is its today.

    With no bills it has a few vendors, and Qonto holds nothing.
    """
    copies = sum(1 for row in store.table("sandbox", "company").values() if row.body["seed"] == seed)
    dice = Dice(f"{seed}/{copies}/{bills}")
    realm, organization = f"9341{dice.randrange(10**11, 10**12)}", dice.uuid()
    today = datetime.fromtimestamp(now, UTC).date()
    name = dice.choice(HOME_NAMES)
    company = {
        "realm": realm,
        "organization": organization,
        "name": name,
        "slug": f"{re.sub(r'[^a-z]+', '-', plain(name).lower())}-{realm[-4:]}",
        "secret_key": dice.randbytes(16).hex(),
        "bank_account": dice.uuid(),
        "seed": seed,
        "bills": bills,
    }
    known = suppliers(dice)[: None if bills else FEW]
    drafts = _drafts(dice, known, name, bills, today, now)
    past = QontoPast(store, dice, company, today, now)
    _assign(dice, drafts, today, now)
    with store.transaction():
        reference_data(store, realm, name, now)
        books = Books(store, dice, realm, known, now)
        for draft in drafts:
            _in_qonto(past, draft)
        books.write(drafts)
        past.strangers(known, drafts)
        past.credit_notes(books.credits)
        past.write()
        keep(store, realm, sorted(map(_truth, drafts), key=lambda truth: int(truth.bill)))
        store.put("sandbox", "company", Row(realm, company, now, now))
    return company


def _truth(draft: Draft) -> Truth:
    source = draft.original or draft
    return Truth(
        bill=draft.id,
        case=draft.case,
        counterparts=tuple(source.counterparts),
        ambiguous=draft.case == "near_tie",
        duplicate_of=draft.original.id if draft.original else None,
    )


def _drafts(dice: Dice, known: list[Supplier], buyer: str, bills: int, today: date, now: float) -> list[Draft]:
    """Monthly bills of equal amount first, then single ones; numbered in the order of their dates."""
    drafts: list[Draft] = []
    monthly = [one for one in known if one.sector.monthly]
    dice.shuffle(monthly)
    for supplier in monthly[: max(bills // 24, 1)]:
        drafts += _series(dice, supplier, buyer, today)
    drafts = drafts[: bills * 2 // 5]
    weights = [dice.random() ** 2 + 0.05 for _ in known]
    while len(drafts) < bills:
        supplier = dice.choices(known, weights)[0]
        day = today - timedelta(days=dice.randrange(1, SPAN))
        drafts.append(_draft(dice, supplier, buyer, day, None))
    drafts.sort(key=lambda draft: draft.issued)
    running: dict[str, int] = {}
    for draft in drafts:
        key = draft.supplier.legal
        running[key] = running.get(key, dice.randrange(20, 4000)) + dice.randrange(1, 9)
        draft.number = _number(draft.supplier, running[key], draft.issued)
    _stamp(dice, drafts, today, now)
    return drafts


def _number(supplier: Supplier, running: int, day: date) -> str:
    return supplier.numbering.format(n=running, y=day.year, yy=day.strftime("%y"), m=day.month)


def _series(dice: Dice, supplier: Supplier, buyer: str, today: date) -> Iterator[Draft]:
    day = today - timedelta(days=dice.randrange(1, 28))
    net = dice.money(supplier.sector.low, supplier.sector.high)
    for _ in range(dice.randrange(6, 11)):
        yield _draft(dice, supplier, buyer, day, net)
        day -= timedelta(days=dice.choice((28, 30, 30, 31)))


def _draft(dice: Dice, supplier: Supplier, buyer: str, day: date, net: Decimal | None) -> Draft:
    currency = supplier.currencies[-1] if dice.happens(0.3) else supplier.currencies[0]
    net = net or dice.money(supplier.sector.low, supplier.sector.high)
    # Suppliers abroad charge no French VAT: the buyer accounts for it (reverse charge).
    rate = Decimal(supplier.sector.rate) if supplier.country == "FR" else Decimal(0)
    lines = _lines(dice, supplier, net)
    drift = Decimal(str(round(dice.uniform(0.97, 1.03), 4)))
    return Draft(
        supplier=supplier,
        buyer=buyer,
        currency=currency,
        issued=day,
        due=day + timedelta(days=dice.choice((0, 14, 30, 30, 30, 45))),
        number=None,
        lines=lines,
        net=net,
        rate=rate,
        tax=(net * rate / 100).quantize(CENT),
        exchange=Decimal(1) if currency == "EUR" else (RATES[currency] * drift).quantize(Decimal("0.0001")),
        created=0.0,
    )


def _lines(dice: Dice, supplier: Supplier, net: Decimal) -> list[dict[str, Any]]:
    """One to three lines that add up to the net amount."""
    words = supplier.sector.lines if supplier.language == "fr" else supplier.sector.english
    count = min(dice.choice((1, 1, 2, 3)), len(words)) if net > 60 else 1
    rest, lines = net, []
    for position, text in enumerate(dice.sample(words, count)):
        share = rest if position == count - 1 else (rest / (count - position)).quantize(CENT)
        rest -= share
        lines.append({"text": text, "quantity": 1, "unit": share, "net": share})
    return lines


def _stamp(dice: Dice, drafts: list[Draft], today: date, now: float) -> None:
    """When each bill was typed in. Much of the older half came by import, many within one second."""
    imports = [dice.moment(today - timedelta(days=days)) for days in (150, 149, 90)]
    for draft in drafts:
        typed = dice.moment(draft.issued + timedelta(days=dice.randrange(0, 6)))
        later = [moment for moment in imports if moment > typed]
        draft.created = dice.choice(later) if later and dice.happens(IMPORTED) else typed
        draft.created = min(draft.created, now - dice.randrange(60, 7200))
        draft.updated = draft.created
        if dice.happens(0.15):
            draft.updated = min(draft.created + dice.randrange(600, 864_000), now - dice.randrange(1, 60))
        if dice.happens(0.55) and draft.due < today:
            draft.paid = min(draft.due + timedelta(days=dice.randrange(-5, 12)), today - timedelta(days=1))


def _assign(dice: Dice, drafts: list[Draft], today: date, now: float) -> None:
    """Which bill is which case; duplicates are second entries of bills that are plain otherwise."""
    order = drafts[:]
    dice.shuffle(order)
    position = 0
    for case, share in SHARES:
        count = round(share * len(drafts))
        for draft in order[position : position + count]:
            draft.case = case
        position += count
    originals = [draft for draft in drafts if draft.case in ("invoice", "matched", "absent")]
    dice.shuffle(originals)
    for draft in drafts:
        match draft.case:
            case "duplicate":
                _repeat(dice, draft, originals.pop(), now)
            case "incomplete":
                _spoil(dice, draft)
            case "near_tie":
                draft.number = None
            case "matched" | "transaction":
                draft.paid = draft.paid or min(draft.issued + timedelta(days=dice.randrange(0, 20)), today)
            case _:
                pass
    for draft in drafts:
        if draft.case not in ("duplicate", "incomplete") and dice.happens(WITH_DOCUMENT):
            draft.file = dice.uuid()


def _repeat(dice: Dice, draft: Draft, original: Draft, now: float) -> None:
    """The same document typed in again, some days later, perhaps slightly differently."""
    for name in ("supplier", "currency", "issued", "due", "number", "lines", "net", "rate", "tax", "exchange"):
        setattr(draft, name, getattr(original, name))
    draft.original, draft.paid = original, None
    later = max(draft.created, original.created + dice.randrange(3600, 400_000))
    draft.created = draft.updated = min(later, now - dice.randrange(60, 3600))
    if draft.number and dice.happens(0.3):
        draft.number = draft.number.replace("-", "").replace("/", "")


def _spoil(dice: Dice, draft: Draft) -> None:
    draft.paid = None
    draft.defect = dice.choice(("no_number", "inactive_vendor", "zero_total", "nothing_but_amount"))
    if draft.defect in ("no_number", "nothing_but_amount"):
        draft.number = None
    if draft.defect == "zero_total":
        draft.net = draft.tax = Decimal(0)
        draft.lines = [{**draft.lines[0], "unit": Decimal(0), "net": Decimal(0)}]


def _in_qonto(past: QontoPast, draft: Draft) -> None:
    """Puts the counterparts of a bill into Qonto's past."""
    match draft.case:
        case "invoice":
            draft.counterparts.append(past.invoice(draft))
        case "matched":
            draft.counterparts += past.matched(draft)
        case "transaction":
            draft.counterparts.append(past.transaction(draft))
        case "near_tie":
            draft.counterparts.append(past.twins(draft))
        case _:
            pass
