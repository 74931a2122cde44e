"""Trying failures again: the service that works at a failure's stage is asked to do it, and says what came of it."""

import msgspec

from common import subjects
from common.bus import Bus
from common.errors import RetryLater
from common.failures import Failures
from common.messages import Failure, Refusal, Retried, Retry, Stage

WITHIN = 90.0
"""Seconds a failure may take to be tried again: reading Qonto back included."""

STAGES: dict[Stage, str] = {
    "puller": "pulling",
    "scorer": "deciding",
    "poster": "posting",
    "answers": "carrying out an answer",
    "lessons": "learning from an answer",
    "checker": "the self-check",
    "mirror": "reading Qonto",
}
"""What a service was doing, as people say it."""

SERVICES: dict[Stage, str] = {
    "puller": "puller",
    "scorer": "scorer",
    "poster": "poster",
    "answers": "poster",
    "lessons": "scorer",
    "checker": "scorer",
    "mirror": "poster",
}
"""The service that works at a stage."""


async def known(bus: Bus, workspace: str, ident: str) -> Failure | None:
    """A failure, over if later success says so; None if there never was one."""
    kept = await Failures(bus).get(workspace, ident)
    if kept is None:
        return None
    how = (await Failures(bus).overtaken([kept.message])).get(kept.message.subject)
    return kept.message if how is None else msgspec.structs.replace(kept.message, resolution=how)


async def again(bus: Bus, failure: Failure, by: str) -> Failure:
    """Try it again now; the failure as it stands then, with why it was not tried where it was not.

    RetryLater if the service that works at its stage does not answer.
    """
    request = Retry(workspace=failure.workspace, id=failure.id, by=by)
    try:
        answer = await bus.call(subjects.retry(bus.region, failure.stage), request, timeout=WITHIN)
    except RetryLater as error:
        service = SERVICES[failure.stage]
        raise RetryLater(f"{error}; is `weir {service}` running?", fix=f"start it (`weir {service}`)") from None
    match answer:
        case Retried(failure=after):
            return after
        case Refusal(why=why, fix=fix):
            return _not_tried(failure, why, fix)
        case _:
            raise RetryLater(f"an answer of another kind came: {type(answer).__name__}")


async def tried_again(bus: Bus, failure: Failure, by: str) -> Failure:
    """As `again`; what nobody answers to stays as it is, so that the others have their turn."""
    try:
        return await again(bus, failure, by)
    except RetryLater as error:
        return _not_tried(failure, str(error), error.fix)


def _not_tried(failure: Failure, why: str, fix: str | None) -> Failure:
    return msgspec.structs.replace(failure, why=f"it was not tried again: {why}", fix=fix)
