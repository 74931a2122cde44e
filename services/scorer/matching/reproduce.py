"""A decision taken again from what is stored with it, and compared with what it was."""

import numpy as np

from common.messages import Candidate, Decision, Policy
from services.scorer.matching import compare, model
from services.scorer.matching.decide import case_of, choose
from services.scorer.matching.model import Habits, Weights

_CLOSE = 1e-9
"""By how much a probability may differ from one machine's arithmetic to another's."""


def differences(decision: Decision, policy: Policy) -> list[str]:
    """What comes out otherwise, in words; nothing if the decision is reproduced.

    `policy` is the version that the decision names; the weights are those of the model that it names. UserError if this
    release does not have them.
    """
    if decision.action == "withdraw":  # by the deletion alone
        return []
    weights = weights_of(decision)
    found = [
        f"entry {one.entry} alone: {one.alone:.6f} was decided on, its fields make {now:.6f}"
        for one in decision.candidates
        if abs((now := alone(one, weights, recurs=decision.grounds.recurs)) - one.alone) > _CLOSE
    ]
    choice = choose(case_of(decision), policy, weights)
    for what, was, comes_out in (
        ("action", decision.action, choice.action),
        ("score", decision.score, round(choice.score, 4)),
        ("entry", decision.entry, choice.chosen.entry if choice.chosen else None),
        ("gate", decision.gate, choice.gate),
        ("reason", decision.why, choice.why),
        ("counterfactual", decision.counterfactual, choice.counterfactual),
        (
            "candidates",
            {one.entry: one.score for one in decision.candidates},
            {one.entry: round(score, 4) for one, score in choice.shown},
        ),
    ):
        if was != comes_out:
            found.append(f"{what}: {was} was decided, {comes_out} comes out")
    return found


def weights_of(decision: Decision) -> Weights:
    """The weights a decision was made by, suited to its workspace; UserError if this release does not have them."""
    grounds = decision.grounds
    habits = Habits(
        presence=grounds.presence,
        coincidence=grounds.coincidence,
        strangers=grounds.strangers,
        damage=grounds.damage,
    )
    return model.weights(decision.model_version).suited(habits)


def alone(candidate: Candidate, weights: Weights, *, recurs: bool) -> float:
    """The probability that a candidate's stored fields make, without competitors."""
    scores = [candidate.fields[name].score for name in model.FIELDS]
    row = np.array([[np.nan if score is None else score for score in scores]])
    return float(compare.probabilities(row, np.array([candidate.same_identity]), np.array([recurs]), weights)[0])
