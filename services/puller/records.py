"""RECORDS as the puller sees one company: what it holds, what differs, and publishing that."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from common import metrics, subjects, tracing
from common import quickbooks as wire
from common.bus import Bus
from common.messages import Document, Record, RecordKind, now
from common.reading import Stored
from common.topology import BATCH_LIMIT
from services.puller.quickbooks import Company

T = TypeVar("T")

Held = Mapping[str, Stored[Record]]
"""What RECORDS holds, by QuickBooks id."""


class Records:
    """The records of one company in one workspace."""

    def __init__(self, bus: Bus, workspace: str, realm: str) -> None:
        self._bus = bus
        self._stream = bus.topology.records
        self.workspace = workspace
        self.realm = realm

    async def held(self, kind: RecordKind, ids: Iterable[str]) -> dict[str, Stored[Record]]:
        """What is stored for these ids; those without a record are missing."""
        found: dict[str, Stored[Record]] = {}
        for some in parts(list(dict.fromkeys(ids)), BATCH_LIMIT):
            names = {self._subject(kind, ident): ident for ident in some}
            stored = await self._bus.latest(self._stream, names, Record)
            found.update({names[name]: item for name, item in stored.items()})
        return found

    async def publish(self, records: Sequence[Record], held: Held) -> None:
        """Publish all, each in the place of its version in `held`; Conflict if that was replaced meanwhile."""
        for some in parts(records, BATCH_LIMIT):
            page = [(self._subject(record.kind, record.id), record) for record in some]
            expected = {name: held[record.id].sequence if record.id in held else 0 for name, record in page}
            steps = {name: _traced(record) for name, record in page if record.kind == "bill"}
            headers = {name: step.headers for name, step in steps.items()}
            await self._bus.publish_page(self._stream, page, expected=expected, headers=headers)
            for step in steps.values():
                step.end()
            for _, record in page:
                metrics.RECORDS.labels(record.kind).inc()

    async def ids(self, kind: RecordKind) -> set[str]:
        """Every id that has a record of `kind`, deleted ones included."""
        pattern = self._subject(kind, "0").rpartition(".")[0] + ".*"
        names = await self._bus.subjects(self._stream, pattern)
        keys = (subjects.RecordKey.parse(name.rpartition(".")[2]) for name in names)
        return {key.id for key in keys if key.realm == self.realm}

    async def all(self, kind: RecordKind) -> AsyncIterator[Record]:
        """Every record of `kind`, deleted ones included, some at a time."""
        for some in parts(sorted(await self.ids(kind)), BATCH_LIMIT):
            for stored in (await self.held(kind, some)).values():
                yield stored.message

    def _subject(self, kind: RecordKind, ident: str) -> str:
        return subjects.record(self._bus.region, self.workspace, kind, f"{self.realm}-{ident}")


def _traced(record: Record) -> tracing.Step:
    """Where the trace of a bill's version begins."""
    about: tracing.About = {"workspace": record.workspace, "record": record.key, "deleted": record.deleted}
    return tracing.begin("puller.record", about, kind="producer", root=True)


def record(kind: RecordKind, found: wire.Normalized, company: Company) -> Record:
    """What was read of an object of `company`, as a record of `kind` without documents."""
    return Record(
        workspace=company.workspace,
        realm=company.realm,
        id=found.id,
        kind=kind,
        content_hash=wire.content_hash(found.body),
        pulled_at=now(),
        updated_at=found.updated_at,
        created_at=found.created_at,
        sync_token=found.sync_token,
        body=found.body,
    )


def with_documents(record: Record, documents: tuple[Document, ...]) -> Record:
    """The record with these documents."""
    return replace(record, documents=documents, content_hash=wire.content_hash(record.body, documents))


def deleted(record: Record) -> Record:
    """The record of an object that is gone; what it was stays readable."""
    content_hash = wire.content_hash(record.body, record.documents, deleted=True)
    return replace(record, deleted=True, content_hash=content_hash)


def differs(record: Record, held: Stored[Record] | None) -> bool:
    """Whether `record` says something that RECORDS does not."""
    return held is None or record.content_hash != held.message.content_hash


def older(record: Record, other: Record) -> bool:
    """Whether `other` is a later version of the same object: answers of QuickBooks may lag behind each other."""
    if record.updated_at is None or other.updated_at is None:
        return False
    return record.updated_at < other.updated_at


def newest(records: Iterable[Record], held: Held) -> list[Record]:
    """Of each object its newest version, the last given of equal ones; none where `held` is newer still.

    An answer may give an object twice, and what was damaged may be found in two ways.
    """
    found: dict[str, Record] = {}
    known = {ident: stored.message for ident, stored in held.items()}
    for record in records:
        before = found.get(record.id) or known.get(record.id)
        if before is None or not older(record, before):
            found[record.id] = record
    return list(found.values())


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`items` in pieces of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))
