"""When a chain of refresh tokens ends, and when its owner should hear of it."""

from datetime import datetime, timedelta

DAYS = (1, 7, 30)
"""Days before the end at which it is announced, once each."""
_DAY = timedelta(days=1)


def end_of_chain(
    hard: datetime | None, idle: datetime | None, window: timedelta | None, *, at: datetime
) -> datetime | None:
    """When refreshing will stop to help, as it looks right after a refresh `at`; None if no end is in sight.

    `hard` is the end the provider names. `idle` ends the time without use, which each refresh begins anew and
    which is no end in itself; but when it is no longer as long as it was once (`window`), the hard end has
    caught up with it.
    """
    ends = [] if hard is None else [hard]
    if idle is not None and window is not None and idle - at < window - _DAY:
        ends.append(idle)
    return min(ends, default=None)


def due(end: datetime, *, at: datetime) -> int | None:
    """The announcement that is due: the least of DAYS that is more than what is left; None before the first."""
    return next((days for days in DAYS if end - at < timedelta(days=days)), None)
