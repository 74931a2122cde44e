"""What a workspace's owner should know, and what could not be handled."""

from datetime import datetime
from typing import Literal

import msgspec

from common.messages.base import Message, Provider

NoticeKind = Literal[
    "needs-reconnect",
    "failed",
    "pulled",
    "pull-failed",
    "connected",
    "disconnected",
    "paused",
    "expires-soon",
    "demoted",
    "restored",
]


class Notice(Message, frozen=True, kw_only=True, tag="notice.1"):
    """Something the workspace's owner should know; `fix` is the next step."""

    workspace: str
    kind: NoticeKind
    at: datetime
    why: str
    fix: str | None = None
    provider: Provider | None = None
    subject: str | None = None
    stream: str | None = None
    sequence: int | None = None
    counts: dict[str, int] = msgspec.field(default_factory=dict)


Stage = Literal["puller", "scorer", "poster", "answers", "lessons", "checker", "mirror"]
"""Where work is done on a message, by the name of its consumer; on an entry of Qonto, `mirror`."""


class Failure(Message, frozen=True, kw_only=True, tag="failure.1"):
    """A message that could not be handled: where, why, and what to do; the newest on its subject counts.

    `id` is `{stage}.{record}`; `record` is a record key, `-` where the message is about a whole workspace, a hash where
    its subject has no key that can be read, `{kind}-{id}` of an entry at Qonto. `workspace` is `_` where the subject
    names none. `attempts` counts how often it was given up since `first_seen`. `stream` and `sequence` say where the
    message is (0: nowhere, it is about an entry), `retryable` whether it can be tried again from there. With
    `resolved_at` it is over, and `resolution` says how.
    """

    id: str
    workspace: str
    stage: Stage
    record: str
    why: str
    first_seen: datetime
    last_seen: datetime
    attempts: int
    subject: str
    stream: str
    sequence: int
    retryable: bool
    field: str | None = None
    fix: str | None = None
    resolved_at: datetime | None = None
    resolution: str | None = None


class Retry(Message, frozen=True, kw_only=True, tag="retry.1"):
    """Try a failure again now; answered with `Retried`, or with `Refusal` where it could not be tried."""

    workspace: str
    id: str
    by: str


class Retried(Message, frozen=True, kw_only=True, tag="retried.1"):
    """What came of trying a failure again; while `failure` has no `resolved_at` it stands, for the reason it names."""

    failure: Failure
