"""The weights: what holds of those that ship, of any that are fitted, and of the file they are read from."""

from math import log

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.messages import Field
from services.scorer.fitting.evaluate import decided, figures
from services.scorer.fitting.features import Compared, compared, features
from services.scorer.fitting.fit import fit
from services.scorer.fitting.worlds import Kind, make
from services.scorer.matching import model
from services.scorer.matching.model import FIELDS, Weights, held, posterior, read, weights
from services.scorer.matching.ranking import Ranking
from services.scorer.matching.temper import Temper

HAND_SET = "2026.11.1"
AUTO = log(0.85 / 0.15)
SCORE = st.floats(0.0, 1.0)
FULL: dict[Field, float | None] = dict.fromkeys(FIELDS, 1.0)


@pytest.fixture(scope="module")
def open_world() -> Compared:
    return compared(make("open", "test", 500))


@pytest.fixture(scope="module")
def fitted(open_world: Compared) -> Weights:
    return fit([open_world], [open_world], "test")


@pytest.fixture(params=["shipped", HAND_SET, "fitted"])
def any_weights(request: pytest.FixtureRequest, fitted: Weights) -> Weights:
    return {"shipped": weights(), HAND_SET: weights(HAND_SET), "fitted": fitted}[request.param]


def test_amount_and_date_alone_are_not_enough(any_weights: Weights) -> None:
    for reference in (None, 0.0):
        scores: dict[Field, float | None] = {"amount": 1.0, "date": 1.0, "currency": 1.0, "reference": reference}
        assert any_weights.probability(scores) < 0.85
        assert any_weights.probability({**scores, "name": 0.0}) < 0.85


def test_name_amount_and_date_are_enough_where_nothing_competes(any_weights: Weights) -> None:
    scores = {**FULL, "reference": None}
    assert any_weights.probability(scores) >= 0.85
    rivals = np.array([any_weights.logit(scores)] * 2)
    assert posterior(rivals).max() < 0.55


@pytest.mark.parametrize("made", ["shipped", "fitted"])
def test_what_qonto_has_half_read_is_asked_about(made: str, fitted: Weights) -> None:
    one = {"shipped": weights(), "fitted": fitted}[made]
    assert one.probability({"name": 1.0, "amount": 1.0, "currency": 1.0}) >= 0.55
    assert one.probability({"name": 1.0, "date": 1.0}) >= 0.55


def test_no_single_field_carries_a_link(any_weights: Weights) -> None:
    for field in FIELDS:
        assert any_weights.probability({field: 1.0}, same_identity=False) < 0.85
        assert all(abs(worth) <= model.MOST for _, worth in any_weights.worths[field])


def test_a_missing_field_says_nothing(any_weights: Weights) -> None:
    for field in FIELDS:
        assert any_weights.worth(field, None) == 0.0
    assert any_weights.logit(dict.fromkeys(FIELDS, None)) == any_weights.prior
    nothing = np.full((1, model.COLUMNS), np.nan)
    assert any_weights.logits(nothing)[0] == any_weights.prior


@given(low=SCORE, high=SCORE, field=st.sampled_from(FIELDS))
def test_a_better_score_is_never_worth_less(low: float, high: float, field: Field) -> None:
    low, high = sorted((low, high))
    for one in (weights(), weights(HAND_SET)):
        assert one.worth(field, low) <= one.worth(field, high) + 1e-12


@given(logits=st.lists(st.floats(-40, 40), max_size=8))
def test_candidates_and_none_share_one_probability(logits: list[float]) -> None:
    found = posterior(np.array(logits))
    none = 1 / (1 + sum(np.exp(logit) for logit in logits))
    assert found.sum() + none == pytest.approx(1.0)
    alone = 1 / (1 + np.exp(-np.array(logits)))
    assert np.all(found <= alone + 1e-12)


def test_contradicting_numbers_hold_a_candidate_down() -> None:
    one, best = weights(), np.ones((3, model.COLUMNS))
    best[1, FIELDS.index("reference")] = 0.0
    best[2, FIELDS.index("name")] = 0.0
    alone = 1 / (1 + np.exp(-held(one.logits(best), best)))
    assert alone[0] > 0.85
    assert alone[1] <= model.CONFLICT + 1e-12
    assert alone[2] <= model.OTHER_COMPANY + 1e-12


def test_the_same_worlds_give_the_same_weights(open_world: Compared, fitted: Weights) -> None:
    assert fit([open_world], [open_world], "test") == fitted
    assert fitted.version.startswith("test-")
    other = [compared(make("open", "other", 500))]
    assert fit(other, other, "test").version != fitted.version


def test_a_small_fit_is_calibrated_on_worlds_it_has_not_seen(fitted: Weights) -> None:
    unseen = [compared(make("open", "unseen", 500))]
    ours, hand_set = (figures(unseen, one).evaluation.calibration for one in (fitted, weights(HAND_SET)))
    assert ours.ece is not None
    assert ours.ece < 0.04
    assert ours.log_loss is not None
    assert hand_set.log_loss is not None
    assert ours.log_loss < hand_set.log_loss


def test_the_shipped_weights_are_calibrated_in_books_that_lost_much_on_the_way() -> None:
    worlds = [compared(make("degraded", f"shipped/{draw}", 600)) for draw in range(3)]
    bare = msgspec.structs.replace(weights(), temper=Temper())
    told, untempered = (figures(worlds, one).evaluation for one in (weights(), bare))
    assert told.calibration.ece is not None
    assert told.calibration.ece < 0.04
    assert (told.calibration.log_loss or 1.0) < (untempered.calibration.log_loss or 0.0)
    assert told.links.count - told.links.right < untempered.links.count - untempered.links.right


@pytest.mark.parametrize("kind", ["closed", "open", "clash"])
def test_links_of_the_shipped_weights_are_right(kind: Kind) -> None:
    found = figures([compared(make(kind, "shipped", 500))], weights())
    links = found.evaluation.links
    assert (found.used, links.used_twice) == (0, 0)
    assert links.count - links.right <= 3
    assert (links.recall or 0.0) > 0.75
    assert found.kept >= 0.995 * found.matchable


def test_replaying_changes_no_decision() -> None:
    plain, again = (
        {
            key: (verdict.action, verdict.entry)
            for key, verdict in decided(compared(make(kind, "again", 200)), weights())
        }
        for kind in ("open", "replay")
    )
    assert plain == again


def test_features_are_the_matchers_own(open_world: Compared) -> None:
    ranking = Ranking(open_world.books, least=0.0)
    for bill, key in list(enumerate(open_world.bills))[::50]:
        keys, rows = features(ranking, key, recurs=open_world.books.recurs(key))
        assert tuple(keys) == open_world.candidates[open_world.rows(bill).start : open_world.rows(bill).stop]
        assert rows.shape == (len(keys), model.COLUMNS)
        known = rows[~np.isnan(rows)]
        assert np.all((known >= 0.0) & (known <= 1.0))


def test_an_older_version_scores_as_it_did() -> None:
    old = weights(HAND_SET)
    assert old.version == HAND_SET
    assert old.probability(FULL) == pytest.approx(1 / (1 + np.exp(-10.6)))
    assert weights(weights().version) is not None
    with pytest.raises(UserError, match=r"weights 1999\.1 are unknown.*2026\.11\.1"):
        weights("1999.1")


@pytest.mark.parametrize(
    "damage, field",
    [
        ({"version": ""}, "version"),
        ({"prior": 1e999}, "prior"),
        ({"identity": -1.0}, "identity"),
        ({"identity": "much"}, "identity"),
        ({"date": [[0.0, 1.0], [1.0, 0.5]]}, r"worths\.date falls"),
        ({"date": [[0.0, 1.0], [0.5, 2.0], [0.5, 2.0], [1.0, 3.0]]}, r"worths\.date has score"),
        ({"amount": [[0.1, 0.0], [1.0, 1.0]]}, r"worths\.amount must go"),
        ({"name": [[0.0, 0.0], [1.0, 99.0]]}, r"worths\.name is 99"),
        ({"name": None}, "worths"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_weights_that_make_no_sense_are_refused_by_field(damage: dict[str, object], field: str) -> None:
    whole = msgspec.to_builtins(weights(HAND_SET))
    for name, value in damage.items():
        (whole["worths"] if name in FIELDS else whole)[name] = value
    text = msgspec.json.encode(whole).replace(b'"prior":null', b'"prior":1e999')
    with pytest.raises(UserError, match=f"mine.json: .*{field}"):
        read(text, "mine.json")
