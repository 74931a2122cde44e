"""One-time links by which a person signs in to the console, for installations without OIDC.

The bucket `invitations` holds the hash of what is in the link, so who reads the bucket cannot sign in with it.
"""

import getpass
import hashlib
import secrets
from datetime import datetime, timedelta

import msgspec

from common.buckets import Bucket, Kept
from common.bus import Bus
from common.errors import Conflict
from common.messages import now
from common.people import EVERYWHERE, People, Role

GOOD_FOR = timedelta(minutes=10)


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs in with the link, and until when."""

    person: str
    made_at: datetime
    expires_at: datetime


class Invitations:
    """The bucket of links that were given out and not used yet."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = Bucket(bus, "invitations", Invitation)
        self._people = People(bus)

    async def make(self, person: str) -> str:
        """The secret part of a link that signs `person` in once, within GOOD_FOR."""
        secret, at = secrets.token_urlsafe(32), now()
        invitation = Invitation(person=person, made_at=at, expires_at=at + GOOD_FOR)
        await self._bucket.create(_hash(secret), invitation, ttl=GOOD_FOR.total_seconds())
        return secret

    async def for_operator(self) -> str:
        """The same for the person at this terminal, as an owner: who reaches the broker may do all anyway."""
        person = await self._people.grant(operator(), EVERYWHERE, Role.OWNER)
        return await self.make(person.name)

    async def find(self, secret: str) -> str | None:
        """Whom the link would sign in; None if nobody."""
        kept = await self._good(secret)
        return None if kept is None else kept.value.person

    async def take(self, secret: str) -> str | None:
        """Whom the link signs in; None if it was used, is too old, or was never made. Of two takers one has it.

        A link made for somebody whose roles were all taken since is none; one for a person who has none yet is good,
        and it is the caller's matter to say so.
        """
        kept = await self._good(secret)
        if kept is None:
            return None
        used = msgspec.structs.replace(kept.value, expires_at=now())
        try:
            # Not deleted: a deletion would leave its mark in the bucket for ever, this one goes by itself.
            await self._bucket.replace(kept.key, used, kept.revision, ttl=1)
        except Conflict:
            return None
        return kept.value.person

    async def _good(self, secret: str) -> Kept[Invitation] | None:
        kept = await self._bucket.get(_hash(secret))
        if kept is None or kept.value.expires_at <= now():
            return None
        person = await self._people.get(kept.value.person)
        return None if person is not None and kept.value.made_at < person.since else kept


def operator() -> str:
    """The person at this terminal, by the name they have on this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "owner"


def address(console: str, secret: str) -> str:
    """The link itself."""
    return f"{console.rstrip('/')}/signin?link={secret}"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
