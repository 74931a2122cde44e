"""What is usual in a workspace: looked at by one scorer, and kept for all of them.

A look at a large workspace takes as long as deciding on several hundred of its bills, and is due for all scorers at
once, when their books have outgrown the last one. So the first takes it and the others wait for what it finds; they
decide alike then, whenever each of them loaded its books.
"""

import msgspec
import nats.errors
import structlog

from common.buckets import Bucket
from common.bus import Bus
from common.errors import RetryLater
from common.lease import Taken, lease
from services.scorer.matching.books import Books, Surveyed
from services.scorer.matching.habits import fits, habits
from services.scorer.matching.model import weights

log = structlog.get_logger()

PATIENCE = 5.0
"""Seconds to wait for another scorer, many times what a look takes; then it is slow or dead."""


class Surveys:
    """The surveys of all workspaces, as one of several scorers takes and uses them."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._kept = Bucket(bus, "surveys", Surveyed)

    async def renew(self, workspace: str, books: Books) -> None:
        """See that books which have outgrown their survey get one that fits. RetryLater if the broker does not answer.

        Where none can be shared they are left as they are; who decides on them looks for itself then.
        """
        if books.surveyed is not None and fits(books.surveyed, books, weights()):
            return
        try:
            if not await self._taken(workspace, books):
                async with lease(self._bus, f"survey.{workspace}", wait=PATIENCE):
                    if not await self._taken(workspace, books):
                        await self._make(workspace, books)
        except (Taken, msgspec.MsgspecError) as error:
            log.warning("scorer.survey_not_shared", workspace=workspace, error=error)
        except nats.errors.Error as error:
            raise RetryLater(f"the survey of {workspace} cannot be had ({error!r})") from error

    async def _make(self, workspace: str, books: Books) -> None:
        habits(books, weights())
        if books.surveyed is not None:
            await self._kept.put(workspace, books.surveyed)

    async def _taken(self, workspace: str, books: Books) -> bool:
        """Whether what is kept fits these books, which have it then."""
        kept = await self._kept.get(workspace)
        if kept is None or not fits(kept.value, books, weights()):
            return False
        books.surveyed = kept.value
        return True
