"""People who may use the console and the API, and what each may do in which workspace.

Kept in the bucket `people`, one key per person. What is changed here holds from the next request on.
"""

import base64
import enum
import unicodedata
from collections.abc import AsyncIterator
from datetime import datetime

import msgspec

from common import subjects
from common.buckets import Bucket, Kept
from common.bus import Bus
from common.errors import Conflict, UserError
from common.messages import now

EVERYWHERE = "*"
"""Stands for every workspace, those to come included."""
LONGEST_NAME = 254
"""Characters; no e-mail address has more."""


class Role(enum.StrEnum):
    """What a person may do: look, decide, or run the workspace; each includes the one before."""

    VIEWER = "viewer"
    REVIEWER = "reviewer"
    OWNER = "owner"

    def includes(self, other: "Role") -> bool:
        """Whether who has this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """One person; `name` is an e-mail address where people sign in with OIDC. `roles` is by workspace.

    `since` is when the first role was given. What was made for a person of this name before it (a session, a token, a
    link) was made for somebody whose roles were all taken since, and is good for nothing.
    """

    name: str
    roles: dict[str, Role] = {}
    since: datetime

    def role(self, workspace: str) -> Role | None:
        """The highest role in a workspace; None if the person has nothing to do there."""
        held = [self.roles[place] for place in (workspace, EVERYWHERE) if place in self.roles]
        return max(held, key=list(Role).index, default=None)

    def may(self, role: Role, workspace: str) -> bool:
        """Whether the person may do in a workspace what the role allows."""
        held = self.role(workspace)
        return held is not None and held.includes(role)


class People:
    """The bucket of people."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = Bucket(bus, "people", Person)

    async def get(self, name: str) -> Person | None:
        """A person, or None."""
        kept = await self._bucket.get(_key(name))
        return None if kept is None else kept.value

    async def all(self) -> AsyncIterator[Person]:
        """Everybody, in no order."""
        async for kept in self._bucket.items():
            yield kept.value

    async def grant(self, name: str, workspace: str, role: Role) -> Person:
        """Give a person a role in a workspace (EVERYWHERE: in all), in place of the one held there."""
        place = workspace if workspace == EVERYWHERE else _workspace(workspace)
        while True:
            kept = await self._bucket.get(_key(name))
            before = Person(name=_clean(name), since=now()) if kept is None else kept.value
            try:
                return await self._write(kept, msgspec.structs.replace(before, roles={**before.roles, place: role}))
            except Conflict:
                continue

    async def revoke(self, name: str, workspace: str | None = None) -> Person | None:
        """Take a person's role in a workspace, or everything; what is left, None if nobody is."""
        while True:
            kept = await self._bucket.get(_key(name))
            if kept is None:
                return None
            left = {} if workspace is None else {at: role for at, role in kept.value.roles.items() if at != workspace}
            try:
                if not left:
                    await self._bucket.delete(kept.key, kept.revision)
                    return None
                return await self._write(kept, msgspec.structs.replace(kept.value, roles=left))
            except Conflict:
                continue

    async def _write(self, kept: Kept[Person] | None, person: Person) -> Person:
        if kept is None:
            await self._bucket.create(_key(person.name), person)
        else:
            await self._bucket.replace(kept.key, person, kept.revision)
        return person


def _workspace(value: str) -> str:
    try:
        return subjects.workspace(value)
    except subjects.BadTokenError as error:
        raise UserError(str(error)) from None


def _clean(name: str) -> str:
    clean = unicodedata.normalize("NFC", name.strip())
    if not 0 < len(clean) <= LONGEST_NAME or not clean.isprintable():
        raise UserError(f"person {name!r:.60}: a name or e-mail address has 1 to {LONGEST_NAME} printable characters")
    return clean


def _key(name: str) -> str:
    """The same for every spelling in capitals of ASCII or not; fit for a bucket's key.

    No more is folded: to Unicode ß is ss, and two addresses that a mail server tells apart would be one person.
    """
    return base64.urlsafe_b64encode(_clean(name).encode().lower()).decode().rstrip("=")
