"""Entries by the hundred thousand: kept packed, and unpacked one at a time when somebody looks at them."""

from collections.abc import Iterator
from typing import Any, get_type_hints

import msgspec

from common.messages import Entry

_FIELDS = Entry.__struct_fields__
_HINTS = get_type_hints(Entry)
_DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(tuple[tuple(_HINTS[name] for name in _FIELDS)])  # type: ignore[misc]
_ENCODER = msgspec.msgpack.Encoder()


class PackedEntries:
    """A mapping of keys to entries at about a quarter of the memory: values without the fields' names."""

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, key: str) -> bool:
        return key in self._packed

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __setitem__(self, key: str, entry: Entry) -> None:
        self._packed[key] = _ENCODER.encode(msgspec.structs.astuple(entry))

    def __getitem__(self, key: str) -> Entry:
        return Entry(**dict(zip(_FIELDS, _DECODER.decode(self._packed[key]), strict=True)))

    def get(self, key: str) -> Entry | None:
        """The entry, None if there is none of that key."""
        return self[key] if key in self._packed else None
