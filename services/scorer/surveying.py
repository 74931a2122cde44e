"""What is usual in a workspace: looked at by one scorer, and kept for all of them.

A look at a large workspace takes as long as deciding on several hundred of its bills, and is due for all scorers at
once, when their books have outgrown the last one. So the first takes it and the others wait for what it finds; they
decide alike then, whenever each of them loaded its books.
"""

from datetime import timedelta

import msgspec
import nats.errors
import structlog

from common import codec
from common.buckets import Bucket, Kept
from common.bus import Bus
from common.errors import Conflict, RetryLater
from common.lease import Taken, lease
from common.pace import Pace
from services.scorer.matching.books import Books, Surveyed
from services.scorer.matching.habits import fits, habits
from services.scorer.matching.model import weights

log = structlog.get_logger()

PATIENCE = 2.0
"""Seconds to wait for another scorer, several times what a look takes; then it is slow or dead."""
_FORGOTTEN_AFTER = timedelta(days=30).total_seconds()
"""Seconds for which what was found is kept: books may change altogether and stay as large as they were."""


class Surveys:
    """The surveys of all workspaces, as one of several scorers takes and uses them; it looks in the turns of `pace`."""

    def __init__(self, bus: Bus, pace: Pace) -> None:
        self._bus = bus
        self._pace = pace
        self._kept = Bucket(bus, "surveys", msgspec.Raw)

    async def renew(self, workspace: str, books: Books) -> None:
        """See that books which have outgrown their survey get one that fits. RetryLater if the broker does not answer.

        Where another scorer holds it up they are left as they are; who decides on them looks for itself then.
        """
        if books.surveyed is not None and fits(books.surveyed, books, weights()):
            return
        try:
            if not _taken(await self._kept.get(workspace), books):
                async with lease(self._bus, f"survey.{workspace}", wait=PATIENCE):
                    kept = await self._kept.get(workspace)
                    if not _taken(kept, books):
                        await self._make(workspace, books, kept)
        except (Taken, Conflict) as error:
            log.warning("scorer.survey_not_shared", workspace=workspace, error=error)
        except nats.errors.Error as error:
            raise RetryLater(f"the survey of {workspace} cannot be had ({error!r})") from error

    async def _make(self, workspace: str, books: Books, kept: Kept[msgspec.Raw] | None) -> None:
        async with self._pace:
            habits(books, weights())
        found = msgspec.Raw(codec.encode(books.surveyed))
        if kept is None:
            await self._kept.create(workspace, found, ttl=_FORGOTTEN_AFTER)
        else:
            await self._kept.replace(workspace, found, kept.revision, ttl=_FORGOTTEN_AFTER)


def _taken(kept: Kept[msgspec.Raw] | None, books: Books) -> bool:
    """Whether what is kept fits these books, which have it then; what another release wrote may not be readable."""
    try:
        found = codec.decode(bytes(kept.value), Surveyed) if kept is not None else None
    except msgspec.MsgspecError:
        return False
    if found is None or not fits(found, books, weights()):
        return False
    books.surveyed = found
    return True
