"""Whether the numbers a counterparty goes by can be real: VAT numbers by their check digits, IBANs as well."""

import re
from functools import lru_cache

from schwifty import IBAN
from stdnum import get_cc_module
from stdnum.eu import vat as eu_vat

_MASKED = re.compile(r"[X*•]{3,}", re.IGNORECASE)
"""QuickBooks shows the last four characters of a tax identifier only."""

_MOST_LETTERS = 3
"""Letters after the country in any VAT number of the Union; more of them are a personal code, such as Italy's."""
_FEWEST_DIGITS = 5


@lru_cache(maxsize=8192)
def tax_number_is_valid(raw: str | None, country: str | None = None) -> bool | None:
    """True or False for a number that claims to be a VAT number of the Union or Britain, None if nothing can be said.

    A masked number says nothing, nor does one without a country in front, unless it is valid in `country`
    (two letters) or where else its first letters point to: it may be any of the numbers that authorities give out.
    """
    text = re.sub(r"[^0-9A-Z+*•]", "", (raw or "").upper())
    if not text or _MASKED.search(text):
        return None
    claimed, rest = text[:2], text[2:]
    if _claims_a_country(claimed, rest):
        return _valid_in("GB", text) if claimed == "GB" else bool(eu_vat.is_valid(text))
    return True if _valid_in(claimed, text) or _valid_in((country or "").upper(), text) else None


@lru_cache(maxsize=8192)
def iban_is_valid(raw: str | None) -> bool | None:
    """Whether an IBAN can exist (country, length, check digits); None if there is none."""
    if not raw or not raw.strip():
        return None
    return bool(IBAN(raw, allow_invalid=True).is_valid)


def _claims_a_country(code: str, rest: str) -> bool:
    if code not in {"GB", "EL"} and code.lower() not in eu_vat.MEMBER_STATES:
        return False
    digits, letters = sum(char.isdigit() for char in rest), sum(char.isalpha() for char in rest)
    return digits >= _FEWEST_DIGITS and letters <= _MOST_LETTERS


def _valid_in(country: str, number: str) -> bool:
    module = get_cc_module(country, "vat") if re.fullmatch("[A-Z]{2}", country) else None
    return bool(module is not None and module.is_valid(number))
