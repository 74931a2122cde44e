"""Failures: the messages that no service could handle, in one place, until what they are about succeeds.

A consumer that gives a message up writes a `Failure` here before it lets go of the message, so nothing is dropped
and nothing goes round in a loop. Each stage has one subject for each record; its newest message counts. A failure
is over when trying it again succeeded, or when what came later shows that the work was done all the same: the
streams of decisions, postings and reviews say so, which costs nothing while all goes well.
"""

import hashlib
from collections.abc import Iterable, Mapping

import msgspec
import nats.js.errors

from common import provenance, subjects
from common.buckets import Bucket
from common.bus import Bus
from common.errors import Conflict, Verdict
from common.messages import Decision, Failure, Posting, PullState, ReviewClosed, Stage, now
from common.reading import Stored
from common.topology import Consumer

WHOLE = "-"
"""The record of a failure that is about a whole workspace."""
PAGE = 500
"""Failures read at once."""
_TRIES = 10
_UNDONE = frozenset({"failed", "uncertain"})


class Failures:
    """The failures of a region, as any service or console reads and writes them."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._stream = bus.topology.failures

    async def record(self, consumer: Consumer, subject: str, sequence: int, result: Verdict) -> None:
        """Write down that a consumer gives a message up; the same message of the same stream once."""
        workspace, record = _about(subject)
        retryable = consumer.stream not in {self._bus.topology.pulls, self._bus.topology.checks}
        stage = msgspec.convert(consumer.name, Stage)
        await self._stand(stage, workspace, record, subject, consumer.stream, sequence, result, retryable=retryable)

    async def unreadable(self, workspace: str, record: str, subject: str, result: Verdict, *, retryable: bool) -> None:
        """Write down that an entry, `record` of the form `{kind}-{id}`, cannot be read at Qonto."""
        stream = self._bus.topology.entries
        await self._stand("mirror", workspace, record, subject, stream, 0, result, retryable=retryable)

    async def _stand(
        self,
        stage: Stage,
        workspace: str,
        record: str,
        subject: str,
        stream: str,
        sequence: int,
        result: Verdict,
        *,
        retryable: bool,
    ) -> None:
        name = subjects.failure(self._bus.region, workspace, stage, record)
        for _ in range(_TRIES):
            before = await self._bus.newest(self._stream, name, Failure)
            stands = before is not None and before.message.resolved_at is None
            if before is not None and stands and before.message.sequence == sequence:
                return
            at = now()
            failure = Failure(
                id=f"{stage}.{record}",
                workspace=workspace,
                stage=stage,
                record=record,
                why=result.why,
                first_seen=before.message.first_seen if before is not None and stands else at,
                last_seen=at,
                attempts=before.message.attempts + 1 if before is not None and stands else 1,
                subject=subject,
                stream=stream,
                sequence=sequence,
                retryable=retryable,
                field=result.field,
                fix=result.fix,
            )
            try:
                await self._write(name, failure, before.sequence if before is not None else 0)
            except Conflict:
                continue
            return
        raise Conflict(f"{name} is written by many at once")

    async def get(self, workspace: str, ident: str) -> Stored[Failure] | None:
        """One failure as it stands, or as it ended; None if there never was one."""
        stage, _, record = ident.partition(".")
        try:
            name = subjects.failure(self._bus.region, workspace, stage, record)
        except subjects.BadTokenError:
            return None
        return await self._bus.newest(self._stream, name, Failure)

    async def standing(self, workspace: str | None = None, stage: Stage | None = None) -> list[Failure]:
        """The failures that stand, of one workspace (and stage) or of all, longest standing first."""
        pattern = f"{self._bus.region}.failure.{workspace or '*'}.{stage or '*'}.*"
        names = await self._bus.subjects(self._stream, pattern)
        found: list[Failure] = []
        for start in range(0, len(names), PAGE):
            page = await self._bus.latest(self._stream, names[start : start + PAGE], Failure)
            stand = [stored.message for stored in page.values() if stored.message.resolved_at is None]
            over = await self.overtaken(stand)
            found += [failure for failure in stand if failure.subject not in over or not over[failure.subject]]
        return sorted(found, key=lambda failure: (failure.first_seen, failure.id))

    async def overtaken(self, failures: Iterable[Failure]) -> dict[str, str]:
        """How those ended whose work was done all the same, by the subject of their message."""
        known = [failure for failure in failures if failure.workspace != subjects.NOBODY]
        keyed = [failure for failure in known if failure.record != WHOLE]
        topology, region = self._bus.topology, self._bus.region

        def names(stages: set[str], step: str) -> dict[str, str]:
            """The subject where a record's outcome is told, by the subject of the failed message."""
            return {
                failure.subject: f"{region}.{step}.{failure.workspace}.{failure.record}"
                for failure in keyed
                if failure.stage in stages
            }

        decided = names({"scorer", "poster"}, "decision")
        posted = names({"poster"}, "posting")
        closed = names({"answers"}, "review.closed")
        decisions = await self._bus.latest(topology.decisions, decided.values(), Decision) if decided else {}
        postings = await self._bus.latest(topology.postings, posted.values(), Posting) if posted else {}
        closings = await self._bus.latest(topology.reviews, closed.values(), ReviewClosed) if closed else {}
        over: dict[str, str] = {}
        for failure in known:
            how = await self._how(failure, decisions, postings, closings, (decided, posted, closed))
            if how is not None:
                over[failure.subject] = how
        return over

    async def _how(
        self,
        failure: Failure,
        decisions: Mapping[str, Stored[Decision]],
        postings: Mapping[str, Stored[Posting]],
        closings: Mapping[str, Stored[ReviewClosed]],
        where: tuple[Mapping[str, str], Mapping[str, str], Mapping[str, str]],
    ) -> str | None:
        decided, posted, closed = where
        decision = decisions.get(decided.get(failure.subject, ""))
        posting = postings.get(posted.get(failure.subject, ""))
        closing = closings.get(closed.get(failure.subject, ""))
        match failure.stage:
            case "scorer" if decision is not None and decision.message.record_seq >= failure.sequence:
                return f"decided: {decision.message.action}"
            case "poster" if posting is not None and posting.message.posted_at > failure.last_seen:
                return None if posting.message.outcome in _UNDONE else f"posted: {posting.message.outcome}"
            case "poster" if decision is not None and decision.sequence > failure.sequence:
                asked = decision.message.action in {"review", "refuse"}
                return f"decided anew: {decision.message.action}" if asked else None
            case "answers" if closing is not None and closing.message.closed_at > failure.last_seen:
                return f"the review was closed: {closing.message.outcome}"
            case "puller":
                pull = await Bucket(self._bus, "pulls", PullState).get(failure.workspace)
                if pull is not None and pull.value.finished_at is not None:
                    return "pulled since" if pull.value.finished_at > failure.last_seen else None
        return None

    async def message(self, failure: Failure) -> bytes | None:
        """The message that failed, as it came; None if the stream no longer has it.

        Refused if it is one that was not published for its stream: trying it again would let it pass.
        """
        try:
            found = await self._bus.js.get_msg(failure.stream, failure.sequence)
        except nats.js.errors.NotFoundError:
            return None
        if failure.stream in self._bus.topology.guarded:
            provenance.check(found.headers, failure.stream)
        return found.data or b""

    async def resolve(self, kept: Stored[Failure], how: str) -> Failure:
        """Say that a failure is over; what stands there now if somebody else was faster."""
        return await self._replace(kept, resolved_at=now(), resolution=how)

    async def again(self, kept: Stored[Failure], result: Verdict) -> Failure:
        """Say that a failure was tried again and still stands."""
        return await self._replace(
            kept,
            last_seen=now(),
            attempts=kept.message.attempts + 1,
            why=result.why,
            field=result.field,
            fix=result.fix,
        )

    async def _replace(self, kept: Stored[Failure], **changes: object) -> Failure:
        after = msgspec.structs.replace(kept.message, **changes)
        try:
            await self._write(kept.subject, after, kept.sequence)
        except Conflict:
            there = await self._bus.newest(self._stream, kept.subject, Failure)
            return there.message if there is not None else after
        return after

    async def _write(self, name: str, failure: Failure, expected: int) -> None:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        await self._bus.publish(name, failure, stream=self._stream, **headers)


def _about(subject: str) -> tuple[str, str]:
    """The workspace and the record a subject is about; a hash of it where it names no record that can be read."""
    tokens = subject.split(".")
    workspace = subjects.workspace_of(subject)
    if workspace is not None and len(tokens) == 3:
        return workspace, WHOLE
    try:
        if workspace is not None:
            return workspace, str(subjects.RecordKey.parse(tokens[-1]))
    except subjects.BadTokenError:
        pass
    return workspace or subjects.NOBODY, hashlib.sha256(subject.encode()).hexdigest()[:16]
