"""Who is signed in. A browser holds a random value; the bucket `sessions` holds only its hash."""

import hashlib
import hmac
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from common.buckets import Bucket
from common.bus import Bus
from common.errors import Conflict
from common.messages import now
from common.people import Person

IDLE = timedelta(hours=12)
"""A session unused for so long has ended."""
LONGEST = timedelta(days=7)
"""After so long a person signs in again, however busy."""
_RENEW_AFTER = timedelta(minutes=15)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One browser's session."""

    person: str
    began_at: datetime
    seen_at: datetime

    @property
    def ends_at(self) -> datetime:
        """When it ends unless it is used before."""
        return min(self.seen_at + IDLE, self.began_at + LONGEST)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who makes a request, and what its forms have to carry; None for programs, which send no form by mistake."""

    person: Person
    csrf: str | None = None

    def wrote(self, csrf: str | None) -> bool:
        """Whether a write came from a page this session was given."""
        return self.csrf is None or (csrf is not None and hmac.compare_digest(self.csrf.encode(), csrf.encode()))


class Sessions:
    """The bucket of sessions."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = Bucket(bus, "sessions", Session)

    async def begin(self, person: str) -> str:
        """Sign a person in; the value for the browser's cookie."""
        value, at = secrets.token_urlsafe(32), now()
        await self._bucket.create(_hash(value), Session(person=person, began_at=at, seen_at=at), ttl=_seconds(IDLE))
        return value

    async def find(self, value: str, *, used: bool = True) -> Session | None:
        """The session of a cookie; None if there is none, or it has ended. It lasts longer when it is `used`."""
        kept = await self._bucket.get(_hash(value))
        if kept is None or kept.value.ends_at <= now():
            return None
        if used and now() - kept.value.seen_at > _RENEW_AFTER:
            seen = msgspec.structs.replace(kept.value, seen_at=now())
            with suppress(Conflict):  # another request of this browser was faster, or it signed out: the next will see
                await self._bucket.replace(kept.key, seen, kept.revision, ttl=_seconds(seen.ends_at - now()))
        return kept.value

    async def end(self, value: str) -> None:
        """Sign out."""
        kept = await self._bucket.get(_hash(value))
        if kept is None:
            return
        ended = msgspec.structs.replace(kept.value, began_at=now() - LONGEST)
        try:
            # Not deleted: a deletion would leave its mark in the bucket for ever, this one goes by itself.
            await self._bucket.replace(kept.key, ended, kept.revision, ttl=1)
        except Conflict:
            await self.end(value)


def csrf(value: str) -> str:
    """What forms of this session carry: made from the cookie, which it does not give away."""
    return hmac.new(value.encode(), b"csrf", hashlib.sha256).hexdigest()


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _seconds(span: timedelta) -> int:
    return max(1, round(span.total_seconds()))
