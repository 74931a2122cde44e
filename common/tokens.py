"""Bearer tokens of the API: what a program may do, never more than the person it acts for.

The bucket `tokens` holds the hash of each token, so who reads the bucket cannot use it.
"""

import hashlib
import secrets
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import msgspec

from common.buckets import Bucket, Kept
from common.bus import Bus
from common.errors import Conflict
from common.messages import now
from common.people import EVERYWHERE, Person, Role

PREFIX = "weir_"
"""Begins every token, so that who finds one in a file knows what it is."""
LONGEST = timedelta(days=366)


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is kept: for whom it acts, what it may do where, and what it is for."""

    person: str
    roles: dict[str, Role]
    purpose: str = ""
    made_at: datetime
    expires_at: datetime


class Tokens:
    """The bucket of tokens. A token's `id`, the beginning of its hash, is fit to be shown."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = Bucket(bus, "tokens", Token)

    async def make(self, person: str, roles: dict[str, Role], *, good_for: timedelta, purpose: str = "") -> str:
        """A new token, shown once. ValueError if it would be good for longer than LONGEST, or not at all."""
        if not timedelta(0) < good_for <= LONGEST:
            raise ValueError(f"a token is good for at most {LONGEST.days} days")
        secret, at = PREFIX + secrets.token_urlsafe(32), now()
        token = Token(person=person, roles=roles, purpose=purpose, made_at=at, expires_at=at + good_for)
        await self._bucket.create(_hash(secret), token, ttl=max(1, round(good_for.total_seconds())))
        return secret

    async def find(self, secret: str) -> Token | None:
        """The token, or None if there is none, or no more."""
        kept = await self._bucket.get(_hash(secret))
        return None if kept is None or kept.value.expires_at <= now() else kept.value

    async def all(self) -> AsyncIterator[tuple[str, Token]]:
        """Every token that is good, with its id, in no order."""
        async for kept in self._bucket.items():
            if kept.value.expires_at > now():
                yield _id(kept), kept.value

    async def revoke(self, ident: str) -> Token | None:
        """End the token of this id; what it was, None if there is none."""
        async for kept in self._bucket.items():
            if _id(kept) == ident and kept.value.expires_at > now():
                ended = msgspec.structs.replace(kept.value, expires_at=now())
                try:
                    # Not deleted: a deletion would leave its mark in the bucket for ever, this one goes by itself.
                    await self._bucket.replace(kept.key, ended, kept.revision, ttl=1)
                except Conflict:
                    return None
                return kept.value
        return None


def limited(person: Person, roles: dict[str, Role]) -> Person:
    """The person with no more than these roles: in each workspace the lower of the two."""
    allowed = Person(name=person.name, roles=roles, since=person.since)
    left: dict[str, Role] = {}
    for place in person.roles.keys() | roles.keys():
        mine, theirs = _role(person, place), _role(allowed, place)
        if mine is not None and theirs is not None:
            left[place] = theirs if mine.includes(theirs) else mine
    return Person(name=person.name, roles=left, since=person.since)


def _role(person: Person, place: str) -> Role | None:
    return person.roles.get(EVERYWHERE) if place == EVERYWHERE else person.role(place)


def _id(kept: Kept[Token]) -> str:
    return kept.key[:12]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
