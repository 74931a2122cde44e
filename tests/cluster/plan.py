"""What goes wrong and what people do in a chaos run: a function of the seed, and of nothing else."""

import random
from dataclasses import dataclass
from typing import Any, Literal

VICTIMS = ("puller", "poster", "console", "scorer-1", "scorer-2", "sandbox", "broker")
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "html502"},
    {"kind": "html502", "after": True},
    {"kind": "storm429"},
    {"kind": "drop_before"},
    {"kind": "drop_after"},
    {"kind": "truncate"},
    {"kind": "delay", "seconds": 3.0},
)
PATHS: tuple[dict[str, str], ...] = (
    {"side": "quickbooks", "path_regex": "/v3/company/"},
    {"side": "quickbooks", "path_regex": "/query|/cdc|/download"},
    {"side": "quickbooks", "path_regex": "/tokens/bearer"},
    {"side": "qonto", "path_regex": "/v2/"},
    {"side": "qonto", "path_regex": "/v2/supplier_invoices", "method": "POST"},
    {"side": "qonto", "path_regex": "/v2/supplier_invoices", "method": "GET"},
    {"side": "qonto", "path_regex": "/v2/supplier_invoices", "method": "PATCH"},
    {"side": "qonto", "path_regex": "/oauth2/token"},
)
WORK = ("enter", "edit", "pay", "delete")

Kind = Literal["kill", "fault", "work", "pull", "expire"]
_WEIGHTS: dict[Kind, float] = {"kill": 0.25, "fault": 0.35, "work": 0.27, "pull": 0.1, "expire": 0.03}
_EVERY = 1.2
"""Seconds between two happenings, on average."""


@dataclass(frozen=True)
class Happening:
    """At so many seconds after the start: what happens, to whom, and which of those there are (`nth`)."""

    at: float
    kind: Kind
    what: str = ""
    nth: int = 0
    fault: dict[str, Any] | None = None


def plan(seed: int, seconds: float) -> list[Happening]:
    """All that happens within so many seconds, in order. Every victim dies at least once if there is time for it."""
    dice = random.Random(seed)
    found: list[Happening] = []
    due = list(VICTIMS)
    dice.shuffle(due)
    at = 1.0
    while (at := at + dice.expovariate(1 / _EVERY)) < seconds:
        kind = dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        if due and len(due) * 3 * _EVERY > seconds - at:
            kind = "kill"
        found.append(_happening(dice, at, kind, due))
    return found


def _happening(dice: random.Random, at: float, kind: Kind, due: list[str]) -> Happening:
    match kind:
        case "kill":
            return Happening(at, kind, due.pop() if due else dice.choice(VICTIMS))
        case "fault":
            fault = {
                "match": dice.choice(PATHS),
                **dice.choice(FAULTS),
                "times": dice.choice((1, 1, 1, 2, 3)),
                "skip": dice.randrange(6),
            }
            return Happening(at, kind, fault["kind"], fault=fault)
        case "work":
            return Happening(at, kind, dice.choice(WORK), dice.randrange(1 << 30))
        case _:
            return Happening(at, kind)
