"""A policy in a form: what is filled in is what is read, and of two people who amend at once nobody loses anything."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from common.errors import UserError
from common.messages import Policy
from common.policies import FIELDS, Name
from services.console.draft import filled, read, rebased, seal

vendors = st.lists(st.sampled_from(["7", "8", "9", "10"]), unique=True).map(tuple)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any policy that may be set, version 4."""
    review, auto = sorted(draw(st.lists(st.integers(1, 1000), min_size=2, max_size=2)))
    cap = draw(st.none() | st.decimals(0, 10**9, places=2))
    return Policy(
        version=4,
        auto=auto / 1000,
        review=review / 1000,
        margin=draw(st.integers(0, 1000)) / 1000,
        target=draw(st.integers(0, 999)) / 1000,
        amount_cap=cap,
        cap_currency=draw(st.sampled_from([None, "EUR", "USD"])) if cap is not None else None,
        currencies=tuple(draw(st.lists(st.sampled_from(["EUR", "USD", "CHF"]), unique=True))),
        blocked_vendors=draw(vendors),
        review_vendors=draw(vendors),
        closed_until=draw(st.none() | st.dates(date(2000, 1, 1), date(2030, 1, 1))),
        pull_every=draw(st.none() | st.integers(1, 10_080)),
    )


def values(policy: Policy) -> dict[str, object]:
    return {field: getattr(policy, field) for field in FIELDS.values()}


@settings(max_examples=50)
@given(policies(), policies())
def test_what_is_filled_in_is_what_is_read(policy: Policy, before: Policy) -> None:
    found = read(filled(policy), before)
    assert values(found) == values(policy)
    assert found.version == before.version + (values(policy) != values(before))
    assert read(filled(policy), policy) is policy


@settings(max_examples=50)
@given(policies(), policies(), policies())
def test_of_two_who_amend_nobody_loses_anything(base: Policy, theirs: Policy, mine: Policy) -> None:
    theirs = replace(theirs, version=5)
    found = rebased(base, theirs, mine)
    assert found.policy.version == 6
    assert found.policy.review <= found.policy.auto
    for field in ("blocked_vendors", "review_vendors", "currencies"):
        was, other, own, now = (set(getattr(one, field)) for one in (base, theirs, mine, found.policy))
        assert now == (was & other & own) | (other - was) | (own - was)
    assert found.policy.closed_until in {theirs.closed_until, mine.closed_until}
    assert ("closed-until" in found.both) == (len({base.closed_until, theirs.closed_until, mine.closed_until}) == 3)
    assert values(rebased(base, theirs, base).policy) == values(theirs)
    alone = values(rebased(base, replace(base, version=5), mine).policy)
    assert {field: _unordered(value) for field, value in alone.items()} == {
        field: _unordered(value) for field, value in values(mine).items()
    }


def _unordered(value: object) -> object:
    return set(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    "name,text,value",
    [
        ("cap", "5 000,50", Decimal("5000.50")),
        ("cap", "5,000.50", Decimal("5000.50")),
        ("cap", "5.000,50", Decimal("5000.50")),
        ("cap", "1,234,567", Decimal(1234567)),
        ("cap", "12,5", Decimal("12.5")),
        ("auto", "92,5 %", 0.925),
        ("currency", "eur usd;CHF", ("EUR", "USD", "CHF")),
        ("closed-until", "2026-03-31", date(2026, 3, 31)),
    ],
)
def test_numbers_are_read_as_people_write_them(name: Name, text: str, value: object) -> None:
    assert getattr(read({**filled(Policy()), name: [text]}, Policy()), FIELDS[name]) == value


@pytest.mark.parametrize(
    "name,text,words",
    [
        ("cap", "5,000", "Largest amount: 5,000 may be read in two ways; write 5000 or 5.000"),
        ("cap", "much", "Largest amount: much is no number"),
        ("cap", "-1", "Largest amount: -1: must be an amount of 0 or more"),
        ("auto", "0.85", "Asks from: 55 % lies above 0.85 %"),
        ("auto", "185", "Acts by itself from: 185 must lie between 0 and 100 %"),
        ("target", "100", "Must prove right: 1: must lie from 0 up to below 1"),
        ("cap-currency", "EUR", "Currency of the amount: EUR: there is no cap"),
        ("currency", "euro", "Currencies: EURO: must be three capital letters"),
        ("closed-until", "soon", "Closed up to: soon is no date"),
        ("pull-every", "0.5", "Pulls every: 0.5 must be whole minutes"),
        ("pull-every", "0", "Pulls every: 0: must be 1 to 10,080 minutes"),
        ("block-vendor", "x", "Never posted: x: must be the vendor's id"),
    ],
)
def test_what_cannot_be_read_names_the_field(name: Name, text: str, words: str) -> None:
    with pytest.raises(UserError) as told:
        read({**filled(Policy()), name: [text]}, Policy())
    assert str(told.value).startswith(words)


def test_a_seal_is_of_the_values_and_not_of_the_person() -> None:
    assert seal(Policy()) == seal(Policy(by="Olive")) != seal(Policy(margin=0.1))
