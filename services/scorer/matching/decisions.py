"""Verdicts as messages: the decision, and what a person is asked."""

import hashlib
import uuid
from datetime import datetime

from common.messages import Bill, Decision, Policy, Record, ReviewRequested
from services.scorer.matching import model
from services.scorer.matching.judge import Verdict

_NAMESPACE = uuid.UUID("6f0c1d0e-4c1b-5f0a-9b59-0f6a6d1c7a11")
_FIXED = 0xF000 << 64 | 0xC000 << 48
_VERSION = 0x5000 << 64 | 0x8000 << 48
"""The bits of an id that say which kind of id it is."""


def decision_on(
    record: Record, sequence: int, verdict: Verdict, policy: Policy, at: datetime, memory_version: str = ""
) -> Decision:
    """The decision on one version of a bill, which `sequence` has in the stream of records.

    Its id is made from what was decided, so that the same decision has the same id whoever takes it and whenever.
    """
    entry = verdict.entry
    identity = "|".join(
        str(part)
        for part in (
            record.workspace,
            record.key,
            record.content_hash,
            verdict.action,
            entry.id if entry else "",
            verdict.gate or "",
            policy.version,
            model.VERSION,
        )
    )
    return Decision(
        id=_identifier(identity),
        workspace=record.workspace,
        realm=record.realm,
        bill=record.id,
        action=verdict.action,
        score=round(verdict.score, 4),
        why=verdict.why,
        record_hash=record.content_hash,
        record_seq=sequence,
        entries_seq=record.entries_seq,
        policy_version=policy.version,
        model_version=model.VERSION,
        decided_at=at,
        memory_version=memory_version,
        entry=entry.id if entry else None,
        entry_kind=entry.kind if entry else None,
        readiness=verdict.readiness,
        gate=verdict.gate,
        counterfactual=verdict.counterfactual,
        candidates=verdict.candidates,
        grounds=verdict.grounds,
    )


def _identifier(name: str) -> str:
    """What `uuid.uuid5` makes of a name (RFC 9562, version 5), many times faster."""
    digest = hashlib.sha1(_NAMESPACE.bytes + name.encode(), usedforsecurity=False).digest()
    number = int.from_bytes(digest[:16], "big") & ~_FIXED | _VERSION
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def review_of(decision: Decision, bill: Bill) -> ReviewRequested:
    """What a person is asked, or told of a refusal; one review for one decision."""
    return ReviewRequested(
        review=decision.id,
        workspace=decision.workspace,
        realm=decision.realm,
        bill=decision.bill,
        requested_at=decision.decided_at,
        score=decision.score,
        why=decision.why,
        summary=bill,
        gate=decision.gate,
        counterfactual=decision.counterfactual,
        readiness=decision.readiness,
        candidates=decision.candidates,
    )
