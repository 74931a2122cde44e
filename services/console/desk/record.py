"""Everything the streams hold about one bill: what its page and its review show."""

import contextlib
from collections.abc import Iterable
from typing import TypeVar

import anyio
import msgspec

from common import answering, subjects
from common.answering import Asked
from common.buckets import Documents
from common.bus import Bus
from common.errors import WeirError
from common.history import seen
from common.messages import (
    Bill,
    Candidate,
    Decision,
    Document,
    Draw,
    Drawn,
    Entry,
    EntryKind,
    Posting,
    Record,
    Refusal,
    Vendor,
)
from common.timeline import Step, timeline

T = TypeVar("T")

DRAWN_WITHIN = 30.0
"""Seconds in which a poster should have drawn a bill."""


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """One bill: the newest of everything, and its history.

    `entries` are those that candidates, decision and posting name, by `{kind}-{id}`, as Qonto was last seen.
    """

    workspace: str
    key: str
    record: Record | None = None
    vendor: Vendor | None = None
    decision: Decision | None = None
    asked: Asked | None = None
    posting: Posting | None = None
    entries: dict[str, Entry] = {}
    steps: list[Step] = []

    @property
    def bill(self) -> Bill | None:
        """The bill as QuickBooks has it; as it was asked about where QuickBooks has it no more."""
        if self.record is not None and isinstance(self.record.body, Bill):
            return self.record.body
        return self.asked.question.summary if self.asked is not None else None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Those of the question while it is open, else those of the newest decision."""
        if self.asked is not None and (self.asked.closed is None or self.decision is None):
            return self.asked.question.candidates
        return self.decision.candidates if self.decision is not None else ()


class NoDocument(WeirError):  # noqa: N818
    """There is no such file of this bill; the words say why."""


async def whole(bus: Bus, workspace: str, key: str) -> Whole | None:
    """Everything about a bill (a record key) of a workspace; None if no stream knows it."""
    region, at = bus.region, bus.topology
    subjects.RecordKey.parse(key)
    found = Whole(workspace=subjects.workspace(workspace), key=key)
    asked: list[Asked | None] = []
    steps: list[Step] = []
    newest: dict[str, object] = {}

    async def read(stream: str, name: str, type_: type[object]) -> None:
        newest[type_.__name__] = await _newest(bus, stream, name, type_)

    async def ask() -> None:
        asked.append(await answering.asked(bus, workspace, key))

    async def tell() -> None:
        steps.extend(timeline(await seen(bus, workspace, key)))

    async with anyio.create_task_group() as group:
        group.start_soon(read, at.records, subjects.record(region, workspace, "bill", key), Record)
        group.start_soon(read, at.decisions, subjects.decision(region, workspace, key), Decision)
        group.start_soon(read, at.postings, subjects.posting(region, workspace, key), Posting)
        group.start_soon(ask)
        group.start_soon(tell)
    if not steps:
        return None
    found = msgspec.structs.replace(
        found,
        record=newest["Record"],
        decision=newest["Decision"],
        posting=newest["Posting"],
        asked=asked[0],
        steps=steps,
    )
    return msgspec.structs.replace(found, vendor=await _vendor(bus, found), entries=await _entries(bus, found))


async def document(bus: Bus, workspace: str, key: str, sha256: str) -> tuple[Document, bytes]:
    """A file that the newest version of this bill of this workspace names, and its bytes.

    NoDocument if it names no such file, whoever else's bill may: a hash alone opens nothing. RetryLater while the file
    is not in the store.
    """
    name = subjects.record(bus.region, subjects.workspace(workspace), "bill", key)
    record = await _newest(bus, bus.topology.records, name, Record)
    named = next((one for one in record.documents if one.sha256 == sha256), None) if record is not None else None
    if named is None:
        raise NoDocument(f"bill {key} has no file {sha256[:12]}")
    return named, await Documents(bus).get(sha256)


async def drawn(bus: Bus, workspace: str, key: str) -> tuple[Document, bytes]:
    """What the poster would post for the bill: its chosen file as it would be uploaded, or one that Weir draws.

    NoDocument where there is nothing to draw, RetryLater where no poster answers.
    """
    subject = subjects.call(bus.region, "qonto", "document")
    message = Draw(workspace=subjects.workspace(workspace), bill=key)
    match await bus.call(subject, message, timeout=DRAWN_WITHIN):
        case Drawn(document=found):
            return found, await Documents(bus).get(found.sha256)
        case Refusal(why=why):
            raise NoDocument(why)
        case other:
            raise NoDocument(f"the poster answered {type(other).__name__}")


async def _newest(bus: Bus, stream: str, name: str, type_: type[T]) -> T | None:
    stored = (await bus.latest(stream, [name], type_)).get(name)
    return stored.message if stored is not None else None


async def _vendor(bus: Bus, found: Whole) -> Vendor | None:
    bill = found.bill
    if bill is None:
        return None
    realm = subjects.RecordKey.parse(found.key).realm
    name = subjects.record(bus.region, found.workspace, "vendor", f"{realm}-{bill.vendor.id}")
    record = await _newest(bus, bus.topology.records, name, Record)
    return record.body if record is not None and isinstance(record.body, Vendor) else None


async def _entries(bus: Bus, found: Whole) -> dict[str, Entry]:
    names = {}
    for kind, ident in _named(found):
        with contextlib.suppress(subjects.BadTokenError):  # an answer may name anything
            names[subjects.entry(bus.region, found.workspace, kind, ident)] = f"{kind}-{ident}"
    stored = await bus.latest(bus.topology.entries, names, Entry) if names else {}
    return {names[name]: one.message for name, one in stored.items()}


def _named(found: Whole) -> Iterable[tuple[EntryKind, str]]:
    """Every entry that is named of a bill, once."""
    shown = (*(found.decision.candidates if found.decision else ()), *found.candidates)
    parts = [part.partition("-") for one in shown for part in one.also]
    named: dict[tuple[EntryKind, str], None] = dict.fromkeys((one.kind, one.entry) for one in shown)
    named |= {("transaction" if kind == "transaction" else "invoice", ident): None for kind, _, ident in parts}
    for told in (found.decision, found.posting):
        if told is not None and told.entry is not None:
            named[told.entry_kind or "invoice", told.entry] = None
    if found.asked is not None:
        linked = [given.answer.entry for given in found.asked.given]
        linked += [found.asked.closed.entry] if found.asked.closed is not None else []
        for ident in linked:
            if ident is not None:
                named["invoice", ident] = named["transaction", ident] = None
    return named
