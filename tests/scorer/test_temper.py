"""The last correction of log-odds: what holds whatever is usual in a workspace."""

from itertools import pairwise
from math import exp, log

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from common.errors import UserError
from services.scorer.fitting.evaluate import figures
from services.scorer.fitting.features import compared
from services.scorer.fitting.tempering import tempered
from services.scorer.fitting.worlds import make
from services.scorer.matching.model import read, weights
from services.scorer.matching.temper import LATEST, Steps, Temper

HAND_SET = "2026.11.1"
LOGIT = st.floats(-30.0, 30.0)


@st.composite
def rising_steps(draw: st.DrawFn) -> Steps:
    """Any steps that leave greater log-odds greater."""
    at = draw(st.lists(st.integers(-500, 500), min_size=1, max_size=6, unique=True).map(sorted))
    to = draw(st.lists(st.integers(-500, 500), min_size=len(at), max_size=len(at), unique=True).map(sorted))
    return tuple((low / 100, (high - low) / 100 / LATEST) for low, high in zip(at, to, strict=True))


STEPS = rising_steps()
TEMPER = st.builds(Temper, strangers=st.floats(0.0, 2.0), single=STEPS, series=STEPS)


@given(temper=TEMPER, logits=st.lists(LOGIT, min_size=2, max_size=8), late=st.floats(0.0, 4.0), recurs=st.booleans())
def test_greater_odds_stay_greater(temper: Temper, logits: list[float], late: float, recurs: bool) -> None:
    correction = temper.correction(strangers=-1.0, late=late, recurs=recurs)
    found = [correction.odds(exp(logit)) for logit in sorted(logits)]
    assert all(low <= high * (1 + 1e-12) for low, high in pairwise(found))


@given(temper=TEMPER, odds=st.floats(0.0, 1e12), recurs=st.booleans())
def test_nothing_is_corrected_where_all_is_as_usual(temper: Temper, odds: float, recurs: bool) -> None:
    assert temper.correction(strangers=0.0, late=0.0, recurs=recurs).odds(odds) == odds


@pytest.mark.parametrize("late", [2.0, 3.3])
@pytest.mark.parametrize("recurs, logit, found", [(False, 1.0, 2.0), (True, 1.0, -2.5), (True, 9.0, 5.0)])
def test_a_bill_of_a_series_has_a_correction_of_its_own(recurs: bool, logit: float, found: float, late: float) -> None:
    temper = Temper(strangers=0.5, single=((0.0, 1.0),), series=((0.0, -1.0), (2.0, -1.5)))
    correction = temper.correction(strangers=-2.0, late=late, recurs=recurs)
    assert log(correction.odds(exp(logit))) == pytest.approx(found)


@pytest.mark.parametrize(
    "temper, field",
    [
        ('{"single":[]}', r"temper\.single must have pairs"),
        ('{"series":[[1.0,0.0],[1.0,0.5]]}', r"temper\.series must have log-odds that rise"),
        ('{"series":[[0.0,1.0],[1.0,-1.0]]}', r"temper\.series must leave greater"),
        ('{"single":[[0.0,9.0]]}', r"temper\.single must add between"),
        ('{"strangers":-9.0}', r"temper\.strangers is -9"),
        ('{"surprise":1}', "surprise"),
    ],
)
def test_a_correction_that_makes_no_sense_is_refused_by_field(temper: str, field: str) -> None:
    whole = {**msgspec.to_builtins(weights(HAND_SET)), "temper": msgspec.json.decode(temper)}
    with pytest.raises(UserError, match=f"mine.json: .*{field}"):
        read(msgspec.json.encode(whole), "mine.json")


def test_a_correction_makes_a_fit_likelier_on_worlds_it_has_not_seen() -> None:
    seen, unseen = ([compared(make("clash", seed, 400))] for seed in ("seen", "unseen"))
    bare = replace(weights(), temper=Temper())
    one = tempered(seen, bare)
    before, after = (figures(unseen, which).evaluation.calibration.log_loss for which in (bare, one))
    assert after is not None
    assert before is not None
    assert after < before
