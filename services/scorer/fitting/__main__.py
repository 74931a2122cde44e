"""`python -m services.scorer.fitting`"""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from services.scorer.fitting.fit import fit
from services.scorer.fitting.report import table, to_fit, to_judge, to_temper
from services.scorer.matching import model

BASELINE = "2026.11.1"
"""The weights that were set by hand."""

app = App(name="python -m services.scorer.fitting", help="Fit the weights of the matcher and say what they are worth.")


@app.default
def main(
    *,
    seed: Annotated[str, Parameter(help="What all invented workspaces follow from.")] = "november",
    bills: Annotated[int, Parameter(help="Bills to fit on; twice as many are tempered on.")] = 12_000,
    draws: Annotated[int, Parameter(help="How often a quarter as many are drawn of each kind to judge on.")] = 1,
    label: Annotated[str, Parameter(help="First part of the version; a digest of all numbers follows.")] = "2026.11.5",
    out: Annotated[Path, Parameter(help="Where to write the weights.")] = Path("weights.json"),
) -> None:
    """Invent workspaces, fit the weights on some, judge them on others, print the figures, write the weights."""
    weights = fit(to_fit(seed, bills), to_temper(seed, 2 * bills), label)
    judged = (model.weights(BASELINE), weights)
    for line in table(to_judge(seed, bills // 4, draws), judged):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    out.write_bytes(msgspec.json.format(msgspec.json.encode(weights), indent=2) + b"\n")
    sys.stdout.write(f"written to {out}\n")


if __name__ == "__main__":
    app()
