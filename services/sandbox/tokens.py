"""Grants a person gave, and the codes and tokens that live on them, for both providers."""

import secrets
from dataclasses import dataclass, replace
from typing import Any

from services.sandbox.store import DECODER, ENCODER, Store


@dataclass(frozen=True, slots=True)
class Grant:
    id: str
    side: str
    client: str
    tenant: str
    scope: str
    created: float
    revoked: bool

    def allows(self, scope: str) -> bool:
        return scope in self.scope.split()


@dataclass(frozen=True, slots=True)
class Token:
    """One code, access token or refresh token; `spent` is when it was used up or superseded."""

    value: str
    kind: str
    grant: Grant
    issued: float
    expires: float
    spent: float | None
    extra: dict[str, Any]


COLUMNS = """SELECT t.value, t.kind, t.issued, t.expires, t.spent, t.extra,
    g.id, g.side, g.client, g.tenant, g.scope, g.created, g.revoked FROM tokens t JOIN grants g ON g.id = t.grant_id"""


def _token(found: tuple[Any, ...]) -> Token:
    value, kind, issued, expires, spent, extra, ident, side, client, tenant, scope, created, revoked = found
    grant = Grant(ident, side, client, tenant, scope, created, bool(revoked))
    return Token(value, kind, grant, issued, expires, spent, DECODER.decode(extra))


class Tokens:
    def __init__(self, store: Store) -> None:
        self._db = store.db

    def grant(self, side: str, client: str, tenant: str, scope: str, now: float) -> Grant:
        grant = Grant(secrets.token_hex(16), side, client, tenant, scope, now, False)
        self._db.execute("INSERT INTO grants VALUES (?,?,?,?,?,?,0)", (grant.id, side, client, tenant, scope, now))
        return grant

    def issue(self, grant: Grant, kind: str, value: str, now: float, lifetime: float, **extra: Any) -> Token:
        """Keeps a new code or token; `lifetime` in seconds."""
        token = Token(value, kind, grant, now, now + lifetime, None, extra)
        self._db.execute(
            "INSERT INTO tokens VALUES (?,?,?,?,?,NULL,?)",
            (value, kind, grant.id, token.issued, token.expires, ENCODER.encode(extra)),
        )
        return token

    def find(self, side: str, value: str, *kinds: str) -> Token | None:
        found = self._db.execute(f"{COLUMNS} WHERE t.value=? AND g.side=?", (value, side)).fetchone()
        token = None if found is None else _token(found)
        return token if token is not None and token.kind in kinds else None

    def newest(self, grant: Grant, kind: str) -> Token | None:
        found = self._db.execute(
            f"{COLUMNS} WHERE t.grant_id=? AND t.kind=? AND t.spent IS NULL ORDER BY t.issued DESC LIMIT 1",
            (grant.id, kind),
        ).fetchone()
        return None if found is None else _token(found)

    def spend(self, token: Token, now: float) -> None:
        self._db.execute("UPDATE tokens SET spent=? WHERE value=?", (now, token.value))

    def extend(self, token: Token, expires: float) -> Token:
        self._db.execute("UPDATE tokens SET expires=? WHERE value=?", (expires, token.value))
        return replace(token, expires=expires)

    def revoke(self, grant: Grant) -> None:
        """Every code and token of the grant is dead from now on."""
        self._db.execute("UPDATE grants SET revoked=1 WHERE id=?", (grant.id,))

    def revoke_tenant(self, side: str, tenant: str) -> int:
        """All grants on one company, as when its administrator removes the app."""
        done = self._db.execute("UPDATE grants SET revoked=1 WHERE side=? AND tenant=? AND revoked=0", (side, tenant))
        return done.rowcount

    def kill(self, token: Token) -> None:
        """One token alone, without its grant."""
        self._db.execute("DELETE FROM tokens WHERE value=?", (token.value,))
