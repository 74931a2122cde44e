"""The subjects of Weir, built and taken apart in one place.

Every id that becomes a token is checked here, at the edge: a token with a dot, a wildcard, blank or control
character would address somebody else's subject.
"""

import re
from datetime import date
from typing import Literal, NamedTuple

from common.messages import EntryKind, Provider, RecordKind

Span = Literal["second", "minute", "ten-seconds", "ten-minutes", "hour"]
"""What a provider counts calls in."""

NOBODY = "_"
"""Stands for the workspace in the subject of a failure whose message names none; no workspace can be called so."""

_REGION = re.compile(r"[a-z]{2}[a-z0-9]{0,6}\Z")
_WORKSPACE = re.compile(r"[a-z0-9-]{1,40}\Z")
_ID = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")


class BadTokenError(ValueError):
    """An id that cannot be part of a subject; says which and what is allowed."""


def region(value: str) -> str:
    """`value` if it is a region (two letters, then up to six letters or digits), else BadTokenError."""
    return _checked(_REGION, "region", value, "two lower-case letters such as eu or us")


def workspace(value: str) -> str:
    """`value` if it is a workspace id, else BadTokenError."""
    return _checked(_WORKSPACE, "workspace", value, "1 to 40 of a-z, 0-9 and -")


def token(value: str, field: str = "id") -> str:
    """`value` if it can stand alone between two dots, else BadTokenError naming `field`."""
    return _checked(_ID, field, value, "1 to 80 of A-Z, a-z, 0-9, _ and -")


def _checked(pattern: re.Pattern[str], field: str, value: str, allowed: str) -> str:
    if not pattern.match(value):
        raise BadTokenError(f"{field}: {value!r:.60} cannot be used in a subject; allowed are {allowed}")
    return value


class RecordKey(NamedTuple):
    """A QuickBooks object across companies: `{realm}-{id}`."""

    realm: str
    id: str

    @classmethod
    def parse(cls, value: str) -> "RecordKey":
        """Split a record key; BadTokenError if it is none."""
        realm, dash, ident = token(value, "record key").partition("-")
        if not dash or not realm or not ident:
            raise BadTokenError(f"record key: {value!r:.60} is not of the form realm-id")
        return cls(realm, ident)

    def __str__(self) -> str:
        return f"{self.realm}-{self.id}"


def record(region: str, workspace: str, kind: RecordKind, key: str) -> str:
    """Subject of one QuickBooks object (stream RECORDS, latest kept)."""
    return f"{region}.record.{workspace}.{kind}.{token(key, 'record key')}"


def entry(region: str, workspace: str, kind: EntryKind, ident: str) -> str:
    """Subject of one Qonto entry (stream ENTRIES, latest kept)."""
    return f"{region}.entry.{workspace}.{kind}.{token(ident, 'entry id')}"


def decision(region: str, workspace: str, key: str) -> str:
    """Subject of the decisions on one bill."""
    return f"{region}.decision.{workspace}.{token(key, 'record key')}"


def posting(region: str, workspace: str, key: str) -> str:
    """Subject of what happened in Qonto for one bill."""
    return f"{region}.posting.{workspace}.{token(key, 'record key')}"


def review(region: str, step: str, workspace: str, key: str) -> str:
    """Subject of a review; `step` is requested, refused, resolved or closed."""
    return f"{region}.review.{step}.{workspace}.{token(key, 'record key')}"


def pull(region: str, workspace: str) -> str:
    """Subject of the ticks of one workspace."""
    return f"{region}.pull.{workspace}"


def schedule(region: str, workspace: str) -> str:
    """Subject that holds the next scheduled tick of one workspace until it is due."""
    return f"{region}.schedule.{workspace}"


def check(region: str, workspace: str) -> str:
    """Subject of the self-checks that are due in one workspace."""
    return f"{region}.check.{workspace}"


def check_schedule(region: str, workspace: str) -> str:
    """Subject that holds the next self-check of one workspace until it is due."""
    return f"{region}.check-schedule.{workspace}"


def notice(region: str, workspace: str) -> str:
    """Subject of the notices to one workspace's owner."""
    return f"{region}.notice.{workspace}"


def failure(region: str, workspace: str, stage: str, record: str) -> str:
    """Subject of one message that could not be handled; the workspace is NOBODY where its subject names none."""
    known = (
        workspace if workspace == NOBODY else _checked(_WORKSPACE, "workspace", workspace, "1 to 40 of a-z, 0-9 and -")
    )
    return f"{region}.failure.{known}.{token(stage, 'stage')}.{token(record, 'record')}"


def retry(region: str, stage: str) -> str:
    """Subject on which the service that works at a stage takes requests to try a failure again."""
    return f"{region}.retry.{token(stage, 'stage')}"


def pace(region: str, span: Span, provider: Provider, account: str) -> str:
    """Subject that takes one message per call to a provider and refuses those beyond the limit of its span."""
    return f"{region}.pace.{span}.{provider}.{token(account, 'account')}"


def meter(region: str, provider: Provider, month: date, workspace: str) -> str:
    """Subject that counts a workspace's metered reads in a calendar month (UTC)."""
    return f"{region}.meter.{provider}.{month:%Y-%m}.{workspace}"


def metered(region: str, provider: Provider, month: date) -> str:
    """Subject that counts the metered reads of all workspaces together."""
    return f"{region}.meter.{provider}.{month:%Y-%m}"


def call(region: str, provider: Provider, verb: str) -> str:
    """Subject on which the owner of a provider answers calls.

    Verbs: authorize, exchange, disconnect; keys, rewrap; webhook; rewind and backfill of QuickBooks only, mirror, undo
    and document of Qonto only.
    """
    return f"{region}.call.{provider}.{verb}"


def ask_scorer(region: str, verb: Literal["search", "whatif"]) -> str:
    """Subject on which scorers answer calls."""
    return f"{region}.call.scorer.{verb}"


def ready(region: str, service: str) -> str:
    """Subject on which every instance of a service says whether it is ready."""
    return f"{region}.ready.{service}"


def workspace_of(subject: str) -> str | None:
    """The workspace a subject belongs to, or None (for failures whose body cannot be read)."""
    tokens = subject.split(".")
    index = 3 if len(tokens) > 3 and tokens[1] == "review" else 2
    if len(tokens) <= index or not _WORKSPACE.match(tokens[index]):
        return None
    return tokens[index]
