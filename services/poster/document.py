"""Which file stands for a bill: the supplier's own, or one Weir draws."""

import hashlib

import msgspec

from common import codec
from common.buckets import Documents
from common.messages import Bill, Company, Document, Record, Vendor
from services.poster.render import draw

LARGEST = 10 * 1024 * 1024
"""Bytes; Qonto takes no larger file."""

TYPES = {"application/pdf": "pdf", "image/jpeg": "jpg", "image/png": "png"}
"""What Qonto takes, with the extension of the file name."""

_MAGIC = {"application/pdf": b"%PDF-", "image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it is uploaded."""

    data: bytes
    content_type: str
    note: str | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The supplier's document to use, if any; `note` says why others were passed over."""

    document: Document | None
    note: str | None

    @property
    def extension(self) -> str:
        """Of the file name."""
        return TYPES[self.document.content_type] if self.document is not None else "pdf"


def choose(record: Record) -> Choice:
    """The first document Qonto takes, in the order of QuickBooks ids: always the same one."""
    passed: list[str] = []
    for document in sorted(record.documents, key=lambda item: (len(item.attachable), item.attachable)):
        if document.content_type not in TYPES:
            passed.append(f"{document.name} is {document.content_type}")
        elif not 0 < document.size <= LARGEST:
            passed.append(f"{document.name} has {document.size} bytes")
        else:
            return Choice(document=document, note=None)
    note = f"drawn from the bill, as Qonto does not take its documents: {'; '.join(passed)}" if passed else None
    return Choice(document=None, note=note)


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


async def load(documents: Documents, record: Record, vendor: Vendor | None, company: Company | None) -> File:
    """The bytes that are uploaded for the bill; the same for the same record.

    A stored file that is not what its type says is passed over for a drawn one. RetryLater while the file
    is not in the store yet.
    """
    choice = choose(record)
    note = choice.note
    if choice.document is not None:
        data = await documents.get(choice.document.sha256)
        if data.startswith(_MAGIC[choice.document.content_type]) and len(data) <= LARGEST:
            return File(data=data, content_type=choice.document.content_type)
        note = f"drawn from the bill: {choice.document.name} is not the {choice.document.content_type} it claims to be"
    return File(data=await draw(record, vendor, company), content_type="application/pdf", note=note)
