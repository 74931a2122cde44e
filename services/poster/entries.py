"""The mirror's stream: publishing what Qonto holds, and never something older over something newer."""

from collections.abc import Iterable

from common import subjects
from common.bus import Bus
from common.errors import Conflict, RetryLater
from common.messages import Entry, EntryKind

_TRIES = 5


class Entries:
    """Entries of all workspaces, as subscribers see them."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._stream = bus.topology.entries

    def subject(self, entry: Entry) -> str:
        """Where an entry is published."""
        return subjects.entry(self._bus.region, entry.workspace, entry.kind, entry.id)

    async def get(self, workspace: str, ident: str, *kinds: EntryKind) -> Entry | None:
        """The entry as last published, whichever of `kinds` it is."""
        names = [subjects.entry(self._bus.region, workspace, kind, ident) for kind in kinds]
        found = await self._bus.latest(self._stream, names, Entry)
        return next((stored.message for stored in found.values()), None)

    async def _changed(self, entries: Iterable[Entry]) -> dict[str, tuple[Entry, int]]:
        """Those that differ from what is published, with the sequence they would replace, by subject."""
        wanted = {self.subject(entry): entry for entry in entries}
        present = await self._bus.latest(self._stream, wanted, Entry)
        result: dict[str, tuple[Entry, int]] = {}
        for name, entry in wanted.items():
            stored = present.get(name)
            if stored is None:
                result[name] = (entry, 0)
            elif entry != stored.message and entry.updated_at >= stored.message.updated_at:
                result[name] = (entry, stored.sequence)
        return result

    async def publish(self, entries: Iterable[Entry]) -> int:
        """Publish those that changed, all or none; how many. At most a page."""
        wanted = list(entries)
        for _ in range(_TRIES):
            news = await self._changed(wanted)
            if not news:
                return 0
            page = [(name, entry) for name, (entry, _) in news.items()]
            try:
                await self._bus.publish_page(
                    self._stream, page, expected={name: sequence for name, (_, sequence) in news.items()}
                )
            except Conflict:
                continue  # somebody published one of them: compare again
            return len(page)
        raise RetryLater("entries change faster than they can be published", delay=1.0)
