"""Everything the sandbox holds, in one SQLite file.

What was answered survives `kill -9`: each request commits before its answer leaves. Rows are
kept in memory once read, since one process owns the file and queries look at every row anyway.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

ENCODER = msgspec.json.Encoder(decimal_format="number")
DECODER = msgspec.json.Decoder(float_hook=Decimal)

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    tenant TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
    body BLOB NOT NULL, inner BLOB NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL, deleted INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, content_type TEXT NOT NULL,
    content BLOB, recipe BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (
    tenant TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (tenant, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS memos (
    scope TEXT NOT NULL, key TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (scope, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS grants (
    id TEXT PRIMARY KEY, side TEXT NOT NULL, client TEXT NOT NULL, tenant TEXT NOT NULL, scope TEXT NOT NULL,
    created REAL NOT NULL, revoked INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tokens (
    value TEXT PRIMARY KEY, kind TEXT NOT NULL, grant_id TEXT NOT NULL REFERENCES grants(id),
    issued REAL NOT NULL, expires REAL NOT NULL, spent REAL, extra BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tokens_grant ON tokens (grant_id, kind, issued);
"""


@dataclass(slots=True)
class Row:
    """One object as its API shows it (`body`), with what the API never shows (`inner`).

    `created` and `updated` are epoch seconds.
    """

    id: str
    body: dict[str, Any]
    created: float
    updated: float
    deleted: bool = False
    inner: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class File:
    """A stored document: its bytes, or the recipe they are drawn from at first use."""

    id: str
    name: str
    content_type: str
    content: bytes | None
    recipe: dict[str, Any]


@dataclass(slots=True, frozen=True)
class Memo:
    """An answer kept under a key, so that a repeat can be answered alike."""

    status: int
    body: bytes
    at: float


ROWS = "SELECT id, body, inner, created, updated, deleted FROM objects"


def _row(found: tuple[Any, ...]) -> Row:
    # What is money has its Decimal in the body; the inner part holds instants, which are floats.
    ident, body, inner, created, updated, deleted = found
    return Row(ident, DECODER.decode(body), created, updated, bool(deleted), msgspec.json.decode(inner))


class Store:
    """The file, its rows and its transactions."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.db.executescript(SCHEMA)
        self._tables: dict[tuple[str, str], dict[str, Row]] = {}
        self._depth = 0
        self._after: list[Callable[[], None]] = []

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nested uses join the outer one. What was read is forgotten on failure."""
        if self._depth == 0:
            self.db.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self.db.execute("ROLLBACK")
                self._tables.clear()
                self._after.clear()
            raise
        self._depth -= 1
        if self._depth == 0:
            self.db.execute("COMMIT")
            after, self._after = self._after, []
            for act in after:
                act()

    def after_commit(self, act: Callable[[], None]) -> None:
        """Runs `act` once what the open transaction changes is stored, and never if it fails; at once without one."""
        if self._depth == 0:
            act()
        else:
            self._after.append(act)

    def table(self, tenant: str, kind: str) -> dict[str, Row]:
        """All rows of one kind by id, deleted ones included. Change rows only through `put`."""
        key = (tenant, kind)
        if key not in self._tables:
            found = self.db.execute(f"{ROWS} WHERE tenant=? AND kind=?", key)
            self._tables[key] = {row.id: row for row in map(_row, found)}
        return self._tables[key]

    def get(self, tenant: str, kind: str, ident: str) -> Row | None:
        return self.table(tenant, kind).get(ident)

    def need(self, tenant: str, kind: str, ident: str) -> Row:
        """A row that must be there; `KeyError` when the store is broken."""
        return self.table(tenant, kind)[ident]

    def saved(self, tenant: str, kind: str, ident: str) -> Row | None:
        """A row as it was stored last, whatever was changed on it since."""
        found = self.db.execute(f"{ROWS} WHERE tenant=? AND kind=? AND id=?", (tenant, kind, ident)).fetchone()
        return None if found is None else _row(found)

    def put(self, tenant: str, kind: str, *rows: Row) -> None:
        table = self.table(tenant, kind)
        self.db.executemany(
            "INSERT OR REPLACE INTO objects VALUES (?,?,?,?,?,?,?,?)",
            [
                (
                    tenant,
                    kind,
                    row.id,
                    ENCODER.encode(row.body),
                    ENCODER.encode(row.inner),
                    row.created,
                    row.updated,
                    row.deleted,
                )
                for row in rows
            ],
        )
        table.update({row.id: row for row in rows})

    def remove(self, tenant: str, kind: str, ident: str) -> None:
        self.db.execute("DELETE FROM objects WHERE tenant=? AND kind=? AND id=?", (tenant, kind, ident))
        self.table(tenant, kind).pop(ident, None)

    def tenants(self, kind: str) -> list[str]:
        """Every tenant that holds at least one object of this kind."""
        return [tenant for (tenant,) in self.db.execute("SELECT DISTINCT tenant FROM objects WHERE kind=?", (kind,))]

    def next_number(self, tenant: str, name: str, start: int = 1) -> int:
        found = self.db.execute(
            "INSERT INTO counters VALUES (?,?,?) ON CONFLICT DO UPDATE SET value=value+1 RETURNING value",
            (tenant, name, start),
        ).fetchone()
        return int(found[0])

    def set_number(self, tenant: str, name: str, value: int) -> None:
        """The next number will be one more."""
        self.db.execute("INSERT OR REPLACE INTO counters VALUES (?,?,?)", (tenant, name, value))

    def put_file(self, file: File) -> None:
        recipe = ENCODER.encode(file.recipe) if file.recipe else None
        self.db.execute(
            "INSERT OR REPLACE INTO files VALUES (?,?,?,?,?)",
            (file.id, file.name, file.content_type, file.content, recipe),
        )

    def file(self, ident: str) -> File | None:
        found = self.db.execute(
            "SELECT id, name, content_type, content, recipe FROM files WHERE id=?", (ident,)
        ).fetchone()
        if found is None:
            return None
        ident, name, content_type, content, recipe = found
        return File(ident, name, content_type, content, {} if recipe is None else DECODER.decode(recipe))

    def memo(self, scope: str, key: str) -> Memo | None:
        found = self.db.execute("SELECT status, body, at FROM memos WHERE scope=? AND key=?", (scope, key)).fetchone()
        return None if found is None else Memo(*found)

    def put_memo(self, scope: str, key: str, memo: Memo) -> None:
        self.db.execute(
            "INSERT OR REPLACE INTO memos VALUES (?,?,?,?,?)", (scope, key, memo.status, memo.body, memo.at)
        )
