"""Every subject of a region: what is said on it, by whom and to whom.

Forms come from `common.subjects` and places from `common.topology`; only who says what to whom is told here.
"""

from datetime import date

from common import messages as m
from common import subjects
from services.cli.contracts.channels import Channel

OUTSIDE = "reviewer"
"""Whoever answers reviews: a person's program, with credentials for one workspace."""

_R, _W, _K = "{region}", "{ws}", "0-0"
_MONTH = date(2000, 1, 1)


class Ready(m.Part, frozen=True, kw_only=True):
    """One instance of a service, and whether it is connected."""

    instance: str
    ready: bool


def _form(subject: str, **names: str) -> str:
    """The subject with its sample tokens, given as name=sample, made parameters."""
    samples = {sample: f"{{{name}}}" for name, sample in {"rk": _K, **names}.items()}
    return ".".join(samples.get(token, token) for token in subject.split("."))


_PEOPLE = (OUTSIDE, "console", "cli")

CHANNELS: tuple[Channel, ...] = (
    Channel(
        "review.requested",
        _form(subjects.review(_R, "requested", _W, _K)),
        "A bill waits for a person. The newest question on a subject counts; an older one can no longer be answered.",
        (m.ReviewRequested,),
        ("scorer", "poster"),
        _PEOPLE,
        stable=True,
    ),
    Channel(
        "review.refused",
        _form(subjects.review(_R, "refused", _W, _K)),
        "A bill was refused and nothing waits; its candidates can still be pinned by an answer.",
        (m.ReviewRequested,),
        ("scorer",),
        _PEOPLE,
        stable=True,
    ),
    Channel(
        "review.resolved",
        _form(subjects.review(_R, "resolved", _W, _K)),
        "A person's answer to the question on the same workspace and record key.",
        (m.ReviewResolved,),
        _PEOPLE,
        ("poster",),
        stable=True,
    ),
    Channel(
        "review.closed",
        _form(subjects.review(_R, "closed", _W, _K)),
        "What became of a question, or why an answer was rejected, which leaves the question open.",
        (m.ReviewClosed,),
        ("scorer", "poster"),
        (*_PEOPLE, "scorer"),
        stable=True,
    ),
    Channel(
        "record",
        _form(subjects.record(_R, _W, "bill", _K), kind="bill"),
        "What QuickBooks holds.",
        (m.Record,),
        ("puller",),
        ("scorer", "poster", "console", "cli"),
    ),
    Channel(
        "entry",
        _form(subjects.entry(_R, _W, "invoice", "0"), kind="invoice", id="0"),
        "What Qonto holds.",
        (m.Entry,),
        ("poster",),
        ("scorer", "console", "cli"),
    ),
    Channel(
        "decision",
        _form(subjects.decision(_R, _W, _K)),
        "What should become of a bill, and why.",
        (m.Decision,),
        ("scorer",),
        ("poster", "console", "cli"),
    ),
    Channel(
        "posting",
        _form(subjects.posting(_R, _W, _K)),
        "What happened in Qonto, after it was read back.",
        (m.Posting,),
        ("poster",),
        ("scorer", "console", "cli"),
    ),
    Channel(
        "notice",
        _form(subjects.notice(_R, _W)),
        "What the owner of a workspace should know.",
        (m.Notice,),
        ("puller", "scorer", "poster"),
        ("console", "cli"),
    ),
    Channel(
        "failure",
        _form(subjects.failure(_R, "ws", "mirror", "0"), ws="ws", stage="mirror", record="0"),
        "A message that could not be handled; the newest on its subject counts. The workspace is `_` where none is "
        "named.",
        (m.Failure,),
        ("puller", "scorer", "poster"),
        ("console", "cli"),
    ),
    Channel(
        "pull",
        _form(subjects.pull(_R, _W)),
        "Pull a workspace now.",
        (m.Tick,),
        ("puller", "cli"),
        ("puller",),
    ),
    Channel(
        "schedule",
        _form(subjects.schedule(_R, _W)),
        "The next tick of a workspace; the broker brings it to `pull` when it is due.",
        (m.Tick,),
        ("puller",),
        (),
    ),
    Channel(
        "check",
        _form(subjects.check(_R, _W)),
        "Check how right a workspace's decisions were.",
        (m.Check,),
        ("scorer",),
        ("scorer",),
    ),
    Channel(
        "check-schedule",
        _form(subjects.check_schedule(_R, _W)),
        "The next self-check of a workspace; the broker brings it to `check` when it is due.",
        (m.Check,),
        ("scorer",),
        (),
    ),
    Channel(
        "pace",
        _form(subjects.pace(_R, "second", "quickbooks", "0"), span="second", provider="quickbooks", account="0"),
        "One message without a body for each call to a provider; the broker refuses those beyond the limit.",
        (),
        ("puller", "poster"),
        (),
    ),
    Channel(
        "meter",
        _form(subjects.meter(_R, "quickbooks", _MONTH, _W), provider="quickbooks", month="2000-01"),
        "Counts a workspace's metered reads by `Nats-Incr`.",
        (),
        ("puller",),
        ("console", "cli"),
    ),
    Channel(
        "metered",
        _form(subjects.metered(_R, "quickbooks", _MONTH), provider="quickbooks", month="2000-01"),
        "Counts the metered reads of all workspaces together by `Nats-Incr`.",
        (),
        ("puller",),
        ("console", "cli"),
    ),
    *(
        Channel(
            f"call.{provider}.{verb}",
            subjects.call(_R, provider, verb),
            about,
            (asked,),
            senders,
            (owner,),
            (answer, m.Refusal),
        )
        for provider, owner, verb, about, asked, senders, answer in (
            *(
                (provider, owner, *said)
                for provider, owner in (("quickbooks", "puller"), ("qonto", "poster"))
                for said in (
                    (
                        "authorize",
                        "Where to send the browser to connect an account.",
                        m.Authorize,
                        ("console",),
                        m.Redirect,
                    ),
                    ("exchange", "The provider's callback, as it came.", m.Exchange, ("console",), m.Connected),
                    ("disconnect", "Revoke the grant and forget the token.", m.Disconnect, ("console",), m.Done),
                    ("webhook", "A provider's webhook, as it came.", m.Webhook, ("console",), m.Done),
                    ("keys", "Which master keys it holds, by fingerprint only.", m.Keys, ("cli",), m.Keyring),
                    ("rewrap", "Move what it sealed under its first master key.", m.Rewrap, ("cli",), m.Rewrapped),
                )
            ),
            ("quickbooks", "puller", "rewind", "Read everything since a date again.", m.Rewind, ("cli",), m.Done),
            ("quickbooks", "puller", "backfill", "Read from an earlier date on.", m.Backfill, ("cli",), m.Done),
            ("qonto", "poster", "mirror", "Bring the mirror of Qonto up to date.", m.Mirror, ("puller",), m.Mirrored),
            ("qonto", "poster", "undo", "Take back what stands in Qonto.", m.Undo, ("console", "cli"), m.Undone),
            ("qonto", "poster", "document", "The file that would be posted for a bill.", m.Draw, ("console",), m.Drawn),
        )
    ),
    Channel(
        "call.scorer.search",
        subjects.ask_scorer(_R, "search"),
        "Find entries by words and amount.",
        (m.Search,),
        ("console",),
        ("scorer",),
        (m.Found, m.Refusal),
    ),
    Channel(
        "call.scorer.whatif",
        subjects.ask_scorer(_R, "whatif"),
        "What another policy would make of all decisions.",
        (m.WhatIf,),
        ("console",),
        ("scorer",),
        (m.Changes, m.Refusal),
    ),
    Channel(
        "retry",
        _form(subjects.retry(_R, "mirror"), stage="mirror"),
        "Try a failure again now.",
        (m.Retry,),
        ("console", "cli"),
        ("puller", "scorer", "poster"),
        (m.Retried, m.Refusal),
    ),
    Channel(
        "ready",
        _form(subjects.ready(_R, "0"), service="0"),
        "Asked without a body; every instance of a service says whether it is ready.",
        (),
        ("console", "cli"),
        ("puller", "scorer", "poster", "console"),
        (Ready,),
    ),
)
"""The public ones first, then what services say to each other."""
