"""Which file stands for a bill: the supplier's own, or one Weir draws.

A file that cannot be used, or made usable, never holds its bill up: the next one is taken, in the end a drawn
one, and the posting says why. As soon as a usable file is attached, it takes the place of the drawn one.
"""

import hashlib
from collections import OrderedDict

import msgspec

from common import codec
from common.buckets import Documents
from common.messages import Bill, Company, Document, Record, Vendor
from services.poster.choice import LARGEST, Choice, choose, flawed
from services.poster.paper import Paper, examined
from services.poster.render import draw

__all__ = ["LARGEST", "Choice", "File", "Papers", "choose", "facts", "shown"]

_KNOWN = 20_000
"""Files of which it is remembered what they are."""
_KEPT = 48 * 1024 * 1024
"""Bytes of files kept at hand."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it is uploaded; `note` says why it is this one, where there was a choice."""

    data: bytes
    content_type: str
    note: str | None = None


def shown(record: Record) -> str | None:
    """The hash of what the bill's document shows; None for a deleted bill.

    A supplier's document shows itself. A drawn one shows the bill without what changes by itself: balance,
    payments, accounts, exchange rate and the private memo.
    """
    bill = record.body
    if record.deleted or not isinstance(bill, Bill):
        return None
    document = choose(record).document
    if document is not None:
        return document.sha256
    return hashlib.sha256(codec.encode(facts(bill))).hexdigest()


def facts(bill: Bill) -> Bill:
    """The bill reduced to what is drawn."""
    lines = tuple(
        msgspec.structs.replace(line, id=None, account=None, customer=None, tax_code=None, links=())
        for line in bill.lines
    )
    return msgspec.structs.replace(
        bill,
        balance=bill.total,
        exchange_rate=None,
        lines=lines,
        links=(),
        terms=None,
        payable_account=None,
        department=None,
        vendor_address=None,
        memo=None,
    )


class Papers:
    """Suppliers' files as they really are.

    What was found out is remembered by hash, the bytes for a while: an order asks for the same file when
    it is planned and again when it is carried out.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._known: OrderedDict[str, Paper] = OrderedDict()
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def settled(self, record: Record) -> Record:
        """The record with its files as their bytes show them, as far as that decides which one is chosen.

        A file gets the type and size it is used with, one that cannot be used a type that says why. RetryLater
        while a file is not in the store yet.
        """
        seen: set[str] = set()
        while not record.deleted and (best := choose(record).document) is not None and best.attachable not in seen:
            seen.add(best.attachable)
            paper = await self._paper(best)
            found = msgspec.structs.replace(best, content_type=paper.content_type)
            if paper.flaw is not None:
                found = flawed(found, paper.flaw)
            elif paper.size:
                found = msgspec.structs.replace(found, size=paper.size)
            documents = tuple(found if document == best else document for document in record.documents)
            record = msgspec.structs.replace(record, documents=documents)
        return record

    async def file(self, record: Record, vendor: Vendor | None, company: Company | None) -> File:
        """The bytes that are uploaded for the bill, the same for the same record: its chosen file, else a drawn one."""
        record = await self.settled(record)
        choice = choose(record)
        if choice.document is None:
            data = await draw(record, vendor, company)
            return File(data=data, content_type="application/pdf", note=choice.note)
        paper = await self._paper(choice.document)
        data = self._kept.get(choice.document.sha256) or b""
        if not data:
            paper, data = await self._examined(choice.document)
        note = "; ".join(part for part in (choice.note, paper.how) if part) or None
        return File(data=data, content_type=paper.content_type, note=note)

    async def _paper(self, document: Document) -> Paper:
        known = self._known.get(document.sha256)
        return known if known is not None else (await self._examined(document))[0]

    async def _examined(self, document: Document) -> tuple[Paper, bytes]:
        """What the file is, and the bytes to use of it."""
        data = await self._documents.get(document.sha256)
        paper = await examined(data, document.content_type.partition("; ")[0])
        data, paper = paper.smaller or data, paper._replace(smaller=None)
        if paper.flaw is None:
            self._kept[document.sha256] = data
        while sum(map(len, self._kept.values())) > _KEPT:
            self._kept.popitem(last=False)
        self._known[document.sha256] = paper
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return paper, data
