"""What people, banks and OCR make of a name, a number, a date and an amount; each kind of damage is a knob.

The shares are considered guesses, informed by the faults that issue trackers of reconciliation tools tell of;
nobody publishes counts. `Noise.drawn` varies what differs most between companies.
"""

import random
import re
import unicodedata
from dataclasses import dataclass, replace
from decimal import Decimal

from services.scorer.fitting.suppliers import Supplier
from services.scorer.fitting.words import JARGON

CENT = Decimal("0.01")
_PREFIXES = ("FACTURE ", "Facture n° ", "INV", "No. ", "RE-", "N°", "FAC")
_ALIKE = {"0": "O8", "1": "I7", "2": "Z7", "3": "8", "4": "9", "5": "S6", "6": "8", "7": "1", "8": "B3", "9": "4"}


@dataclass(frozen=True, slots=True)
class Noise:
    """Shares in [0, 1] of documents that suffer each damage; the `_in_bill` ones happen in QuickBooks."""

    # names
    upper: float = 0.35
    accents_lost: float = 0.4
    form_dropped: float = 0.4
    form_respelled: float = 0.2
    form_wrong: float = 0.03
    brand_shown: float = 0.4
    typo: float = 0.05
    reordered: float = 0.03
    word_dropped: float = 0.02
    name_missing: float = 0.01
    jargon: float = 0.5
    label_cut: float = 0.4
    label_only: float = 0.3
    company_name_known: float = 0.6
    vat_in_bill: float = 0.25
    vat_read: float = 0.4
    # numbers
    number_missing: float = 0.3
    number_missing_in_bill: float = 0.3
    number_in_label: float = 0.25
    prefixed: float = 0.08
    separators_lost: float = 0.1
    zeros_lost: float = 0.06
    misread: float = 0.03
    other_number: float = 0.02
    # dates
    date_missing: float = 0.015
    due_for_date: float = 0.03
    date_slip: float = 0.06
    days_swapped: float = 0.01
    entry_day_in_bill: float = 0.03
    due_missing_in_bill: float = 0.15
    late: float = 0.06
    # amounts
    amount_missing: float = 0.015
    net_for_gross: float = 0.03
    cents_off: float = 0.03
    digit_slip: float = 0.008
    fee: float = 0.02
    rate_slip: float = 0.03
    local_amount_known: float = 0.7
    # what nobody can see in the fields
    unread: float = 0.01

    def drawn(self, dice: random.Random) -> "Noise":
        """The noise of one workspace: numbers are missing in 20 to 40 of a hundred on either side."""
        return replace(
            self,
            number_missing=dice.uniform(0.2, 0.4),
            number_missing_in_bill=dice.uniform(0.2, 0.4),
            accents_lost=dice.uniform(0.2, 0.6),
            jargon=dice.uniform(0.2, 0.8),
            label_cut=dice.uniform(0.2, 0.6),
        )


def plain(text: str) -> str:
    """Without accents."""
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


def spelled(dice: random.Random, noise: Noise, supplier: Supplier) -> str:
    """A supplier's name as it stands on some other document."""
    happens = dice.random
    core, form = supplier.core, supplier.forms[0]
    if supplier.brand and happens() < noise.brand_shown:
        core, form = supplier.brand, ""
    elif happens() < noise.form_dropped:
        form = ""
    elif happens() < noise.form_respelled:
        form = dice.choice(supplier.forms)
    elif happens() < noise.form_wrong:
        form = dice.choice(("SARL", "GmbH", "Ltd", "SA"))
    words = core.split()
    if len(words) > 1 and happens() < noise.reordered:
        dice.shuffle(words)
    if len(words) > 2 and happens() < noise.word_dropped:
        words.pop()
    name = " ".join([*words, form]).strip()
    if happens() < noise.typo:
        name = mistyped(dice, name)
    if happens() < noise.accents_lost:
        name = plain(name)
    return name.upper() if happens() < noise.upper else name


def mistyped(dice: random.Random, text: str) -> str:
    """With one letter lost, doubled, or swapped with its neighbour."""
    if len(text) < 4:
        return text
    at = dice.randrange(1, len(text) - 1)
    return dice.choice(
        (
            text[:at] + text[at + 1 :],
            text[:at] + text[at] + text[at:],
            text[:at] + text[at + 1] + text[at] + text[at + 2 :],
        )
    )


def label(dice: random.Random, noise: Noise, supplier: Supplier, number: str | None) -> str:
    """The text of a bank for a payment: capitals, perhaps jargon in front, perhaps cut to 12 to 25 characters."""
    text = plain(spelled(dice, noise, supplier)).upper()
    if dice.random() < noise.label_cut:
        text = text[: dice.randrange(12, 26)].rstrip()
    if dice.random() < noise.jargon:
        text = dice.choice(JARGON) + text
    return f"{text} {number}" if number else text


def rewritten(dice: random.Random, noise: Noise, number: str) -> str:
    """An invoice number as another person or OCR writes it; perhaps misread, perhaps another number altogether."""
    happens = dice.random
    if happens() < noise.other_number:
        return f"{dice.choice(('CMD', 'PO', 'C', ''))}{dice.randrange(10**3, 10**7)}"
    if happens() < noise.separators_lost:
        number = re.sub(r"[-/ ]", dice.choice(("", " ", "/")), number)
    if happens() < noise.zeros_lost:
        number = re.sub(r"(?<![0-9])0+(?=[0-9])", "", number)
    if happens() < noise.misread:
        number = misread(dice, number)
    return dice.choice(_PREFIXES) + number if happens() < noise.prefixed else number


def misread(dice: random.Random, number: str) -> str:
    """With one digit taken for a character that looks alike."""
    digits = [at for at, char in enumerate(number) if char in _ALIKE]
    at = dice.choice(digits)
    return number[:at] + dice.choice(_ALIKE[number[at]]) + number[at + 1 :]


def slipped(dice: random.Random, amount: Decimal) -> Decimal:
    """With one digit read wrong."""
    text = str(amount)
    at = dice.choice([at for at, char in enumerate(text) if char.isdigit()])
    changed = Decimal(text[:at] + dice.choice("123456789".replace(text[at], "")) + text[at + 1 :])
    return changed if changed > 0 else amount
