"""What people ask a scorer: which entries there are, and what another policy would have decided."""

import anyio

from common import subjects
from common.bus import Bus
from common.errors import RetryLater
from common.messages import Answer, Found, Search, WhatIf
from common.pace import Pace
from services.scorer.matching.books import Books
from services.scorer.matching.search import Best, Query
from services.scorer.scoring import Scoring
from services.scorer.whatif import Trial

TRIALS = 2
"""Policies that are tried at a time, of one workspace one: each reads everything that was decided there."""
TRIED_WITHIN = 60.0
"""Seconds after which nobody waits for a trial any more."""
_LOADING = "the books of {} are being loaded; try again in a moment"


class Calls:
    """Answers as one of several scorers, from the books that it decides on."""

    def __init__(self, bus: Bus, scoring: Scoring) -> None:
        self._bus = bus
        self._scoring = scoring
        self._trying: set[str] = set()
        self._pace = Pace()  # of its own: whoever asks must not keep bills waiting

    def serve(self) -> None:
        """Register the calls."""
        region = self._bus.region
        self._bus.answers(subjects.ask_scorer(region, "search"), Search, self.search)
        self._bus.answers(subjects.ask_scorer(region, "whatif"), WhatIf, self.what_if)

    async def search(self, request: Search) -> Answer:
        """The live entries of a workspace that fit; RetryLater while its books are being loaded."""
        best = Best(Query(request.text, request.kind, request.amount), request.limit)
        async with self._scoring.view(subjects.workspace(request.workspace)) as view:
            if view is None:
                raise RetryLater(_LOADING.format(request.workspace))
            books = view.books
            async with self._pace:
                for key in list(books.entries):  # they may change while others run
                    if (entry := books.entries.get(key)) is not None:
                        best.look(entry, books.claims.get(key))
                    await self._pace.rest()
                for bill, made in list(books.made.items()):
                    for entry in list(made.values()):
                        best.look(entry, bill)
                    await self._pace.rest()
        return Found(hits=best.hits(), count=best.count)

    async def what_if(self, request: WhatIf) -> Answer:
        """What the policy would have made of everything decided.

        RetryLater while the books are being loaded, as many trials as may be are under way, or nobody waits any more.
        """
        workspace = subjects.workspace(request.workspace)
        if workspace in self._trying or len(self._trying) >= TRIALS:
            raise RetryLater("another policy is being tried; try yours in a moment")
        self._trying.add(workspace)
        try:
            with anyio.move_on_after(TRIED_WITHIN):
                async with self._scoring.view(workspace) as view:
                    if view is None:
                        raise RetryLater(_LOADING.format(workspace))
                    trial = _trial(self._bus, workspace, view.books, request)
                return await trial.run(self._pace)
            raise RetryLater(f"trying a policy took longer than {TRIED_WITHIN:g} s")
        finally:
            self._trying.discard(workspace)


def _trial(bus: Bus, workspace: str, books: Books, request: WhatIf) -> Trial:
    """Everything of the books that a trial needs, as it stands now: the scorer goes on meanwhile."""
    return Trial(bus, workspace, dict(books.bills), books.company, books.selfcheck, books.policy, request.policy)
