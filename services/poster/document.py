"""Which file stands for a bill: the supplier's own, or one Weir draws."""

import codecs
import hashlib

import msgspec

from common import codec
from common.buckets import Documents
from common.messages import Bill, Company, Record, Vendor
from services.poster.choice import LARGEST, Choice, choose
from services.poster.render import draw

__all__ = ["LARGEST", "Choice", "File", "choose", "facts", "load", "shown"]

_MAGIC = {"application/pdf": b"%PDF-", "image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}


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


async def load(documents: Documents, record: Record, vendor: Vendor | None, company: Company | None) -> File:
    """The bytes that are uploaded for the bill; the same for the same record.

    A stored file that is not what its type says is passed over for a drawn one. RetryLater while the file
    is not in the store yet.
    """
    choice = choose(record)
    note = choice.note
    if choice.document is not None:
        data = await documents.get(choice.document.sha256)
        begins = data.removeprefix(codecs.BOM_UTF8).startswith(_MAGIC[choice.document.content_type])
        if begins and len(data) <= LARGEST:
            return File(data=data, content_type=choice.document.content_type, note=note)
        note = f"drawn from the bill: {choice.document.name} is not the {choice.document.content_type} it claims to be"
    return File(data=await draw(record, vendor, company), content_type="application/pdf", note=note)
