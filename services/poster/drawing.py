"""Showing a bill's document to people before it is posted: the very file that would be uploaded."""

from common import subjects
from common.buckets import Documents
from common.bus import Bus
from common.messages import Answer, Bill, Document, Draw, Drawn, Record, Refusal
from common.qonto import file_name
from services.poster.records import Records


class Drawing:
    """Draws as one worker; asked twice about one version of a bill it gives one file."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._records = Records(bus)
        self._documents = Documents(bus)

    async def draw(self, request: Draw) -> Answer:
        """Put the document of a bill into the store; Refusal where the bill is not there (any more)."""
        workspace = subjects.workspace(request.workspace)
        name = subjects.record(self._bus.region, workspace, "bill", request.bill)
        stored = (await self._bus.latest(self._bus.topology.records, [name], Record)).get(name)
        record = stored.message if stored is not None else None
        if record is None or record.deleted or not isinstance(record.body, Bill):
            return Refusal(why=f"QuickBooks has no bill {request.bill} (any more)")
        bill = record.body
        file = await self._records.paper(record, bill)
        extension = file.content_type.rpartition("/")[2]
        vendor = bill.vendor.name or bill.vendor.id
        document = Document(
            sha256=await self._documents.put(file.data),
            name=file_name(subjects.RecordKey(record.realm, record.id), 1, vendor, bill.number, extension),
            content_type=file.content_type,
            size=len(file.data),
            attachable="",
        )
        return Drawn(document=document, note=file.note)
