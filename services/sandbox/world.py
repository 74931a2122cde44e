"""What both providers share: the store, the switches, one clock, and who has connected."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import msgspec

from services.sandbox.document import draw
from services.sandbox.store import File, Memo, Store
from services.sandbox.switches import Switches


@dataclass(frozen=True, slots=True)
class Credentials:
    """The one app registered with each provider."""

    quickbooks_client_id: str
    quickbooks_client_secret: str
    qonto_client_id: str
    qonto_client_secret: str
    qonto_staging_token: str = ""


Operation = Literal["Create", "Update", "Delete", "Merge", "Void"]


@dataclass(frozen=True, slots=True)
class Change:
    """One write in QuickBooks as others may hear of it; `at` is epoch seconds, `gone` the id a merge left behind."""

    realm: str
    entity: str
    id: str
    operation: Operation
    at: float
    gone: str = ""


class World:
    """State of the sandbox as every route sees it."""

    def __init__(self, store: Store, credentials: Credentials) -> None:
        self.store = store
        self.credentials = credentials
        kept = store.memo("sandbox", "switches")
        self.switches = Switches() if kept is None else msgspec.json.decode(kept.body, type=Switches)
        key = store.memo("sandbox", "signing-key")
        if key is None:
            key = Memo(0, secrets.token_bytes(32), 0.0)
            store.put_memo("sandbox", "signing-key", key)
        self._key = key.body
        self._listeners: list[Callable[[Change], None]] = []

    def listen(self, listener: Callable[[Change], None]) -> None:
        self._listeners.append(listener)

    def tell(self, realm: str, entity: str, ident: str, operation: Operation, gone: str = "") -> None:
        """Lets the listeners know of a write once it is stored."""
        change = Change(realm, entity, ident, operation, self.now(), gone)
        for listener in self._listeners:
            self.store.after_commit(partial(listener, change))

    def now(self) -> float:
        """Epoch seconds of the sandbox's clock."""
        return time.time() + self.switches.clock_offset

    def turn(self, switches: Switches) -> None:
        self.switches = switches
        self.store.put_memo("sandbox", "switches", Memo(0, msgspec.json.encode(switches), time.time()))

    def sign(self, *parts: str | int) -> str:
        """Signature for a link that needs no other authority."""
        return hmac.new(self._key, "\n".join(map(str, parts)).encode(), hashlib.sha256).hexdigest()

    def content(self, file_id: str) -> tuple[File, bytes]:
        """A file with its bytes, drawn now if this is its first use; `KeyError` when there is none."""
        file = self.store.file(file_id)
        if file is None:
            raise KeyError(file_id)
        if file.content is not None:
            return file, file.content
        content = draw(file.recipe)
        self.store.put_file(File(file.id, file.name, file.content_type, content, file.recipe))
        return file, content
