"""One bill whole, from the streams of its own workspace and of no other."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from common import subjects
from common.buckets import Documents
from common.bus import Bus
from common.messages import Decision, Document, Entry, Posting, Record, Vendor, now
from services.console.desk.record import NoDocument, document, drawn, whole
from tests.console.desk.asking import WS, answer, ask, candidate, close, closing, key, question, resolved
from tests.poster.conftest import desk, idle, sandbox
from tests.poster.desk import BUYER, VENDOR, Desk, bill, pdf_saying

__all__ = ["desk", "idle", "sandbox"]


def decision(ident: str = "1", **fields: Any) -> Decision:
    """A decision to ask about a bill."""
    given = {"action": "review", "score": 0.7, "why": "a near tie", "decided_at": now(), "candidates": (candidate(),)}
    return Decision(
        **{
            "id": f"d-{ident}",
            "workspace": WS,
            "realm": "9",
            "bill": ident,
            "record_hash": "h",
            "record_seq": 1,
            "entries_seq": 0,
            "policy_version": 1,
            "model_version": "test",
            **given,
            **fields,
        }
    )


def record(workspace: str = WS, ident: str = "1", kind: Any = "bill", **fields: Any) -> Record:
    """A version of a record."""
    stamp = {"content_hash": "h", "pulled_at": now()}
    return Record(**{"workspace": workspace, "realm": "9", "id": ident, "kind": kind, **stamp, **fields})


async def put(bus: Bus, message: Record | Decision | Posting | Entry) -> None:
    """Publish on the message's own subject."""
    region, at = bus.region, bus.topology
    match message:
        case Record():
            name = subjects.record(region, message.workspace, message.kind, message.key)
            await bus.publish(name, message, stream=at.records)
        case Decision():
            await bus.publish(subjects.decision(region, WS, message.key), message, stream=at.decisions)
        case Posting():
            await bus.publish(subjects.posting(region, WS, f"9-{message.bill}"), message, stream=at.postings)
        case Entry():
            await bus.publish(subjects.entry(region, WS, message.kind, message.id), message, stream=at.entries)


def entry(ident: str) -> Entry:
    """An invoice in Qonto."""
    at = datetime(2026, 5, 2, tzinfo=UTC)
    return Entry(workspace=WS, organization="o", id=ident, kind="invoice", status="to_review", updated_at=at)


async def test_a_bill_whole(bus: Bus) -> None:
    assert await whole(bus, WS, key("1")) is None
    asked = question("1", candidates=(candidate("e1"), candidate("gone")))
    await put(bus, record(body=asked.summary))
    await put(bus, record(ident="7", kind="vendor", body=Vendor(name="Sluice & Sons SARL", email="a@sluice.example")))
    for ident in ("e1", "e2"):
        await put(bus, entry(ident))
    await put(bus, decision(candidates=asked.candidates))
    await ask(bus, asked)
    found = await whole(bus, WS, key("1"))
    assert found is not None
    assert found.bill == asked.summary
    assert found.vendor is not None
    assert found.vendor.email == "a@sluice.example"
    assert found.asked is not None
    assert found.asked.open
    assert found.candidates == asked.candidates
    assert set(found.entries) == {"invoice-e1"}
    assert [step.what for step in found.steps] == ["version", "decision", "review"]
    await answer(bus, asked, resolved(asked, action="link", entry="e2"))
    await answer(bus, asked, resolved(asked, action="link", entry="no.such > entry"))
    await close(bus, closing(asked, "linked", by="A. Tester", entry="e2"))
    outcome: dict[str, Any] = {
        "decision": asked.review,
        "outcome": "linked",
        "revision": 0,
        "posted_at": now(),
        "verified_at": now(),
    }
    await put(bus, Posting(id="p", workspace=WS, realm="9", bill="1", entry="e2", entry_kind="invoice", **outcome))
    found = await whole(bus, WS, key("1"))
    assert found is not None
    assert found.posting is not None
    assert set(found.entries) == {"invoice-e1", "invoice-e2"}
    assert [step.what for step in found.steps][3:] == ["answer", "answer", "closed", "posting"]
    assert await whole(bus, "elsewhere", key("1")) is None


async def test_a_file_opens_for_its_own_bill_only(bus: Bus) -> None:
    data = pdf_saying("Imaginary Quarry Ltd")
    sha = await Documents(bus).put(data)
    paper = Document(sha256=sha, name="bill.pdf", content_type="application/pdf", size=len(data), attachable="1")
    await put(bus, record(documents=(paper,)))
    await put(bus, record(ident="2"))
    assert await document(bus, WS, key("1"), sha) == (paper, data)
    for workspace, ident in ((WS, "2"), (WS, "3"), ("elsewhere", "1")):
        with pytest.raises(NoDocument):
            await document(bus, workspace, key(ident), sha)
    with pytest.raises(NoDocument):
        await document(bus, WS, key("1"), hashlib.sha256(b"another").hexdigest())


async def test_what_would_be_posted_is_shown_before(desk: Desk) -> None:
    await desk.put("7", "vendor", VENDOR)
    await desk.put("1", "company", BUYER)
    await desk.record("1", bill("F-1"))
    shown, data = await drawn(desk.bus, "fictional-lock", f"{desk.realm}-1")
    assert data.startswith(b"%PDF-")
    assert (shown.content_type, shown.size) == ("application/pdf", len(data))
    assert shown.name == f"QBO-{desk.realm}-1-r1__Imaginary-Quarry-Ltd-F-1.pdf"
    assert (await drawn(desk.bus, "fictional-lock", f"{desk.realm}-1"))[1] == data
    posting = await desk.posting(await desk.create("1", bill("F-1")))
    assert await desk.uploaded(posting.entry) == data
    with pytest.raises(NoDocument, match="QuickBooks has no bill"):
        await drawn(desk.bus, "fictional-lock", f"{desk.realm}-2")
