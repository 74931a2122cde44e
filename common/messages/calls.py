"""Requests of one service to another, and their answers."""

from datetime import datetime
from typing import Literal

from common.messages.base import Message
from common.messages.notices import Retried
from common.messages.trials import Changes, Drawn, Found


class Authorize(Message, frozen=True, kw_only=True, tag="authorize.1"):
    """Ask the owner of a provider where to send the browser; answered with `Redirect` or `Refusal`.

    `by` is the person who asks, who has to be an owner of the workspace still when the callback comes.
    """

    workspace: str
    redirect_uri: str
    by: str | None = None


class Redirect(Message, frozen=True, kw_only=True, tag="redirect.1"):
    """Where the browser goes next."""

    url: str


class Exchange(Message, frozen=True, kw_only=True, tag="exchange.1"):
    """The provider's callback, as it came; answered with `Connected` or `Refusal`."""

    state: str
    code: str | None = None
    realm: str | None = None
    error: str | None = None


class Connected(Message, frozen=True, kw_only=True, tag="connected.1"):
    """The workspace may now use this provider account; `name` is what the provider calls it."""

    workspace: str
    account: str
    name: str | None = None


class Disconnect(Message, frozen=True, kw_only=True, tag="disconnect.1"):
    """Revoke the grant and forget the token; answered with `Done` or `Refusal`."""

    workspace: str


class Rewind(Message, frozen=True, kw_only=True, tag="rewind.1"):
    """Read everything changed since `to` again and publish it even if unchanged; answered like Disconnect."""

    workspace: str
    to: datetime


class Backfill(Message, frozen=True, kw_only=True, tag="backfill.1"):
    """Read everything changed since `since` and publish what is missing; answered like Disconnect.

    Also where later first pulls of the workspace begin.
    """

    workspace: str
    since: datetime


class Webhook(Message, frozen=True, kw_only=True, tag="webhook.1"):
    """A provider's webhook as it came: the raw body and the signature header; answered with `Done` or `Refusal`."""

    body: bytes
    signature: str


class Mirror(Message, frozen=True, kw_only=True, tag="mirror.1"):
    """Bring the mirror of Qonto up to date; answered with `Mirrored` or `Refusal`."""

    workspace: str


class Mirrored(Message, frozen=True, kw_only=True, tag="mirrored.1"):
    """`entries_seq` is the stream sequence of the workspace's newest entry (0 = Qonto holds none)."""

    workspace: str
    entries_seq: int
    changed: int


class Undo(Message, frozen=True, kw_only=True, tag="undo.1"):
    """Take back what stands in Qonto for one bill (a record key); answered with `Undone` or `Refusal`.

    `entry` is what the person saw standing there: if another does by now, nothing is taken back.
    """

    workspace: str
    bill: str
    by: str
    note: str | None = None
    entry: str | None = None


class Undone(Message, frozen=True, kw_only=True, tag="undone.1"):
    """What was taken back: `why` in words; `entry` is what stood for the bill."""

    bill: str
    entry: str | None
    why: str


class Keys(Message, frozen=True, kw_only=True, tag="keys.1"):
    """Ask the owner of a provider for its master keys, by fingerprint only; answered with `Keyring`."""


class Keyring(Message, frozen=True, kw_only=True, tag="keyring.1"):
    """The fingerprints of an instance's master keys, that of the one that seals first.

    `values` is how many values of its service are sealed under each key, other ones included.
    """

    instance: str
    fingerprints: tuple[str, ...]
    values: dict[str, int]


class Rewrap(Message, frozen=True, kw_only=True, tag="rewrap.1"):
    """Have the owner of a provider move what it sealed under the key it seals with now, whose fingerprint is `to`.

    Answered with `Rewrapped` or `Refusal`.
    """

    to: str


class Rewrapped(Message, frozen=True, kw_only=True, tag="rewrapped.1"):
    """So many values were moved; `more` are left for another call, `stuck` do not open with the keys there are."""

    moved: int
    stuck: int
    more: bool


class Done(Message, frozen=True, kw_only=True, tag="done.1"):
    """The call had its effect."""


class Refusal(Message, frozen=True, kw_only=True, tag="refusal.1"):
    """The call was refused; `retry` says whether the same call may succeed later.

    With `reason` "not-connected", `why` says of the connection alone how it stands.
    """

    why: str
    fix: str | None = None
    retry: bool = False
    reason: Literal["not-connected", "forged", "not-set-up"] | None = None


Answer = (
    Redirect | Connected | Mirrored | Retried | Undone | Drawn | Found | Changes | Keyring | Rewrapped | Done | Refusal
)
