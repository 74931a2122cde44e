"""What each process may do on the broker: one table, from which the broker's permissions follow.

An identity is a key of its own. What it may do is said in the words of the topology (streams, buckets, durables,
calls) and spelled out as subjects by `permissions`, so that a stream that is renamed or added cannot be forgotten
here. Nobody but the operator makes streams or durables, and nobody at all deletes or purges a stream.

The subjects of the broker's own interface are those of "JetStream wire API reference" of the NATS documentation;
since 2.10 the filter of a consumer is part of the subject that makes it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from common.topology import Topology

Identity = Literal["puller", "scorer", "poster", "console", "operator", "monitor", "backup"]
"""The keys of a region: the services, who runs `weir` in a terminal, what only counts, and what copies everything."""
IDENTITIES: tuple[Identity, ...] = get_args(Identity)

_ALL = ">"
_ANSWERS_FOR = "5m"
"""For how long a call may be answered; the longest, a mirror pass, takes two minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What an identity does, in the words of `Topology`; subjects are without their region.

    `reads` are streams, by the name of their attribute. `sees` are buckets that are read, `keeps` those that are
    written too: bucket and keys. `tells` are subjects that are published on, `hears` those that are listened to
    directly, `hears_of` buckets whose changes are. `takes` are durables that are pulled from. `asks` and `answers`
    are calls. `forgets` are limits in which a place is given back. `files` says what is done with documents, `counts`
    that it tells what waits: how much streams hold, and the oldest message that each durable has yet to bring.
    """

    what: str
    reads: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
    keeps: tuple[tuple[str, str], ...] = ()
    tells: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()
    hears_of: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    forgets: tuple[Literal["hour"], ...] = ()
    files: Literal["reads", "writes"] | None = None
    counts: bool = False


_FLOW = ("records", "entries", "decisions", "reviews", "postings", "failures")

ROLES: dict[Identity, Role] = {
    "puller": Role(
        what="reads QuickBooks, holds its tokens",
        reads=("records", "pulls", "failures"),
        sees=("people", "policies"),
        keeps=(
            ("workspaces", "*"),
            ("pulls", "*"),
            ("markers", _ALL),
            ("omissions", _ALL),
            ("accounts", "quickbooks.*"),
            ("connections", "*.quickbooks"),
            ("vault", _ALL),
            ("authorizations", "*"),
            ("leases", "pull.*"),
            ("leases", "refresh.*.quickbooks"),
            ("leases", "revoke.quickbooks.*"),
            ("leases", "inhand.puller.*"),
        ),
        tells=(
            "record.>",
            "pull.*",
            "schedule.*",
            "meter.quickbooks.>",
            "pace.second.quickbooks.*",
            "pace.minute.quickbooks.*",
            "notice.*",
            "failure.*.puller.*",
        ),
        takes=("puller",),
        asks=("call.qonto.mirror",),
        answers=("call.quickbooks.*", "retry.puller", "ready.puller"),
        files="writes",
    ),
    "scorer": Role(
        what="decides; no tokens, no documents, no people",
        reads=(*_FLOW, "checks"),
        sees=("policies", "workspaces", "claims"),
        keeps=(
            ("aliases", _ALL),
            ("selfchecks", _ALL),
            ("surveys", _ALL),
            ("leases", "survey.*"),
            ("leases", "inhand.scorer.*"),
            ("leases", "inhand.lessons.*"),
            ("leases", "inhand.checker.*"),
        ),
        tells=(
            "decision.>",
            "review.requested.>",
            "review.refused.>",
            "review.closed.>",
            "check.*",
            "check-schedule.*",
            "notice.*",
            "failure.*.scorer.*",
            "failure.*.lessons.*",
            "failure.*.checker.*",
        ),
        takes=("scorer", "lessons", "checker"),
        answers=("call.scorer.*", "retry.scorer", "retry.lessons", "retry.checker", "ready.scorer"),
    ),
    "poster": Role(
        what="posts to Qonto, holds its tokens and the ledger",
        reads=_FLOW,
        sees=("people",),
        keeps=(
            ("markers", _ALL),
            ("accounts", "qonto.*"),
            ("connections", "*.qonto"),
            ("idempotency", _ALL),
            ("claims", _ALL),
            ("subscriptions", _ALL),
            ("vault", _ALL),
            ("authorizations", "*"),
            ("leases", "mirror.*"),
            ("leases", "refresh.*.qonto"),
            ("leases", "revoke.qonto.*"),
            ("leases", "inhand.poster.*"),
            ("leases", "inhand.answers.*"),
        ),
        tells=(
            "entry.>",
            "posting.>",
            "review.requested.>",
            "review.closed.>",
            "pull.*",
            "pace.ten-seconds.qonto.*",
            "pace.ten-minutes.qonto.*",
            "pace.hour.qonto.*",
            "notice.*",
            "failure.*.poster.*",
            "failure.*.answers.*",
            "failure.*.mirror.*",
        ),
        takes=("poster", "answers"),
        answers=("call.qonto.*", "retry.poster", "retry.answers", "retry.mirror", "ready.poster"),
        forgets=("hour",),
        files="writes",
    ),
    "console": Role(
        what="shows people what there is and takes their answers",
        reads=(*_FLOW, "notices", "meters"),
        sees=("connections", "workspaces", "pulls", "selfchecks", "people", "tokens"),
        keeps=(("policies", "*"), ("sessions", "*"), ("invitations", "*")),
        tells=("review.resolved.>", "pull.*"),
        hears=("review.>", "decision.>", "posting.>", "failure.>"),
        hears_of=("connections", "pulls", "policies"),
        asks=("call.quickbooks.*", "call.qonto.*", "call.scorer.*", "retry.*", "ready.*"),
        answers=("ready.console",),
        files="reads",
        counts=True,
    ),
    "operator": Role(
        what="makes and upgrades streams (`weir setup`), and everything else that `weir` does in a terminal",
        reads=(*_FLOW, "notices", "meters", "pulls", "checks"),
        sees=("connections", "workspaces", "pulls", "selfchecks", "leases"),
        keeps=(("policies", "*"), ("people", "*"), ("invitations", "*"), ("tokens", "*")),
        tells=("review.resolved.>", "pull.*"),
        hears=("review.>", "decision.>", "posting.>", "failure.>", "notice.>", "record.>", "entry.>"),
        asks=("call.quickbooks.*", "call.qonto.*", "call.scorer.*", "retry.*", "ready.*"),
        files="reads",
    ),
    "monitor": Role(what="counts what streams hold and what waits; sees no message"),
    "backup": Role(what="copies whole streams, and puts copies where there is no such stream"),
}


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects that may be published on and subscribed to; what is denied is so even where it is allowed too.

    `answers` allows one message to the reply subject of each request that came.
    """

    publish: tuple[str, ...]
    denied: tuple[str, ...]
    subscribe: tuple[str, ...]
    answers: str | None

    def may_publish(self, subject: str) -> bool:
        """Whether the broker takes a message on `subject` (answers to requests aside)."""
        return any(matches(one, subject) for one in self.publish) and not any(
            matches(one, subject) for one in self.denied
        )

    def may_subscribe(self, subject: str) -> bool:
        """Whether the broker takes a subscription on `subject`, wildcards allowed."""
        return any(matches(one, subject) for one in self.subscribe)


def matches(pattern: str, subject: str) -> bool:
    """Whether every subject that `subject` stands for is one that `pattern` stands for."""
    wanted, given = _words(pattern), _words(subject)
    for number, word in enumerate(wanted):
        if word == ">":
            return len(given) > number
        if number >= len(given) or given[number] == ">" or word not in {"*", given[number]}:
            return False
    return len(wanted) == len(given)


@lru_cache(maxsize=10_000)
def _words(subject: str) -> list[str]:
    return subject.split(".")


def inbox(identity: str) -> str:
    """What the subjects begin with that answers to an identity come to; nobody else may listen there."""
    return f"_INBOX_{identity}"


def permissions(identity: Identity, at: Topology, reviewers: Iterable[str] = ()) -> Permissions:
    """What the broker lets an identity do in a region whose reviewers are those of these workspaces."""
    role, region = ROLES[identity], at.region
    durables = [(one.stream, one.name) for one in at.consumers]
    durables += [(one.stream, one.name) for one in map(at.reviewer, reviewers)]
    mine = {getattr(at, name).name for name in role.takes}
    buckets = {*role.sees, *(bucket for bucket, _ in role.keeps)}
    publish = [f"{region}.{one}" for one in (*role.tells, *role.asks)]
    for name in sorted({*_streams(role, at), *(f"KV_{at.bucket(bucket)}" for bucket in buckets)}):
        publish += _reading(name, at)
    publish += [f"$KV.{at.bucket(bucket)}.{key}" for bucket, key in role.keeps]
    if role.files == "writes":
        publish += [f"$O.{at.bucket('documents')}.{part}.>" for part in "CM"]
    publish += [f"$JS.API.STREAM.MSG.DELETE.{at.pace(span)}" for span in role.forgets]
    for stream, name in durables:
        if name in mine:
            publish += [f"$JS.ACK.{stream}.{name}.>", f"$JS.API.CONSUMER.{{INFO,MSG.NEXT}}.{stream}.{name}"]
    if role.counts:
        publish += _counting(at, durables)
        publish += [f"$JS.API.STREAM.MSG.GET.{stream}" for stream in sorted({one.stream for one in at.consumers})]
    denied: list[str] = []
    match identity:
        case "operator":
            publish += _administering(at)
        case "monitor":
            publish += _counting(at, durables)
        case "backup":
            publish += _copying(at)
        case _:
            # What others pull from is not theirs to take from, to change or to remove.
            for stream, name in durables:
                denied += [f"$JS.API.CONSUMER.CREATE.{stream}.{name}.>", f"$JS.API.CONSUMER.DELETE.{stream}.{name}"]
                if name not in mine:
                    denied.append(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}")
    subscribe = [f"{inbox(identity)}.>", *(f"{region}.{one}" for one in (*role.hears, *role.answers))]
    subscribe += [f"$KV.{at.bucket(one)}.>" for one in role.hears_of]
    if identity == "operator":
        subscribe.append("_INBOX.>")  # any NATS client of whoever runs Weir
    spelled = tuple(dict.fromkeys(word for one in publish for word in _spelled(one)))
    return Permissions(spelled, tuple(denied), tuple(subscribe), _ANSWERS_FOR if role.answers else None)


def bound(identity: Identity, at: Topology) -> tuple[frozenset[str], frozenset[str]]:
    """The streams that have to be there for an identity, and the durables."""
    role = ROLES[identity]
    buckets = {*role.sees, *(bucket for bucket, _ in role.keeps)}
    streams = {*_streams(role, at), *(f"KV_{at.bucket(bucket)}" for bucket in buckets)}
    return frozenset(streams), frozenset(getattr(at, name).name for name in role.takes)


def _streams(role: Role, at: Topology) -> Iterator[str]:
    for name in role.reads:
        yield getattr(at, name)
    if role.files is not None:
        yield f"OBJ_{at.bucket('documents')}"


def _reading(stream: str, at: Topology) -> list[str]:
    """Everything that reading a stream takes: by question, and by a consumer that ends with its reader."""
    [subjects] = [one.subjects or [] for one in at.streams if one.name == stream]
    return [
        f"$JS.API.STREAM.{{INFO,MSG.GET}}.{stream}",
        f"$JS.API.DIRECT.GET.{stream}",
        f"$JS.API.CONSUMER.{{INFO,MSG.NEXT,DELETE}}.{stream}.*",
        *(f"$JS.API.CONSUMER.CREATE.{stream}.*.{subject}" for subject in subjects),
    ]


def _counting(at: Topology, durables: Iterable[tuple[str, str]]) -> list[str]:
    """How much streams hold, and what waits in durables."""
    return [
        *(f"$JS.API.STREAM.INFO.{one.name}" for one in at.streams),
        *(f"$JS.API.CONSUMER.INFO.{stream}.{name}" for stream, name in durables),
    ]


def _copying(at: Topology) -> list[str]:
    """Snapshots of streams with their consumers, and making streams of them, as `nats account backup` asks for it."""
    found = ["$JS.API.INFO", "$JS.API.STREAM.{NAMES,LIST}"]
    for one in at.streams:
        found.append(f"$JS.API.STREAM.{{INFO,SNAPSHOT,RESTORE}}.{one.name}")
        found.append(f"$JS.API.CONSUMER.{{NAMES,LIST}}.{one.name}")
        found.append(f"$JS.API.CONSUMER.INFO.{one.name}.*")
        found.append(f"$JS.SNAPSHOT.{{ACK,RESTORE}}.{one.name}.*")
    return found


def _administering(at: Topology) -> list[str]:
    """Making and upgrading streams and durables; never deleting or purging a stream."""
    found = ["$JS.API.INFO", "$JS.API.STREAM.NAMES"]
    for one in at.streams:
        found.append(f"$JS.API.STREAM.{{CREATE,UPDATE,INFO}}.{one.name}")
        found.append(f"$JS.API.CONSUMER.{{CREATE,DURABLE.CREATE,INFO,DELETE}}.{one.name}.>")
        found.append(f"$JS.API.CONSUMER.{{CREATE,NAMES,LIST}}.{one.name}")
        found.append(f"$JS.FC.{one.name}.>")
    return found


def _spelled(subject: str) -> Iterator[str]:
    """`a.{b,c}.d` as a.b.d and a.c.d."""
    head, brace, rest = subject.partition("{")
    if not brace:
        yield subject
        return
    words, _, tail = rest.partition("}")
    for word in words.split(","):
        yield f"{head}{word}{tail}"
