"""Typed key-value buckets and the document store.

Every write is a create, or a compare-and-set on the revision that was read: a lost race raises `Conflict`,
never overwrites. Reads serve people and hints; only the writes decide.
"""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Generic, TypeVar

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.kv import KeyValue
from nats.js.object_store import ObjectStore

from common import codec
from common.bus import PUBLISH_TIMEOUT, WRONG_LAST_SEQUENCE, Bus
from common.errors import Conflict, RetryLater

T = TypeVar("T")

_PAGE = 500
"""Values read at once."""


class Kept(msgspec.Struct, Generic[T], frozen=True):
    """A value and the revision to name when it is replaced."""

    key: str
    value: T
    revision: int


class Bucket(Generic[T]):
    """One bucket of one type. Keys are dot-separated tokens checked by `common.subjects`."""

    def __init__(self, bus: Bus, name: str, type_: type[T]) -> None:
        self.name = bus.topology.bucket(name)
        self._bus = bus
        self._type = type_
        self._store: KeyValue | None = None

    async def store(self) -> KeyValue:
        """The client library's handle, bound on first use."""
        if self._store is None:
            self._store = await self._bus.js.key_value(self.name)
        return self._store

    async def get(self, key: str) -> Kept[T] | None:
        """The present value, or None."""
        try:
            entry = await (await self.store()).get(key)
        except nats.js.errors.KeyNotFoundError:
            return None
        return Kept(key, codec.decode(entry.value or b"", self._type), int(entry.revision or 0))

    async def create(self, key: str, value: T, *, ttl: float | None = None) -> int:
        """Write a key that does not exist; its revision. Conflict if it does. `ttl` in whole seconds."""
        try:
            revision = int(await (await self.store()).create(key, codec.encode(value), msg_ttl=ttl))
        except (nats.js.errors.KeyWrongLastSequenceError, nats.js.errors.KeyNotFoundError) as error:
            # Not found: it ended after it stood in the way, when the client library looked whether it was deleted.
            raise Conflict(f"{self.name}: {key} exists") from error
        except nats.errors.TimeoutError as error:
            raise await self._bus.storing.why_not(self._bus.js, f"KV_{self.name}") from error
        self._bus.storing.took(f"KV_{self.name}")
        return revision

    async def replace(self, key: str, value: T, revision: int, *, ttl: float | None = None) -> int:
        """Replace the value of `revision`; the new revision. Conflict if it moved on. `ttl` in whole seconds."""
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        try:
            ack = await self._bus.js.publish(
                f"$KV.{self.name}.{key}", codec.encode(value), stream=f"KV_{self.name}", headers=headers, msg_ttl=ttl
            )
        except nats.js.errors.BadRequestError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                raise Conflict(f"{self.name}: {key} is no longer at revision {revision}") from error
            raise
        except nats.errors.TimeoutError as error:
            raise await self._bus.storing.why_not(self._bus.js, f"KV_{self.name}") from error
        self._bus.storing.took(f"KV_{self.name}")
        return int(ack.seq)

    async def put(self, key: str, value: T) -> int:
        """Write whatever is there, by reading and comparing until nobody interferes."""
        while True:
            present = await self.get(key)
            try:
                if present is None:
                    return await self.create(key, value)
                return await self.replace(key, value, present.revision)
            except Conflict:
                continue

    async def delete(self, key: str, revision: int) -> None:
        """Forget the value of `revision`; Conflict if it moved on."""
        try:
            await (await self.store()).delete(key, last=revision)
        except nats.js.errors.KeyWrongLastSequenceError as error:
            raise Conflict(f"{self.name}: {key} is no longer at revision {revision}") from error
        except nats.js.errors.BadRequestError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                raise Conflict(f"{self.name}: {key} is no longer at revision {revision}") from error
            raise

    async def items(self, prefix: str = "") -> AsyncGenerator[Kept[T], None]:
        """Every present value whose key begins with `prefix` (whole tokens, ending in a dot).

        Read by a consumer that is asked for each page, so how much there is is known before any of it comes: the
        client library's watch may say that there is nothing when what there is overtakes its question.
        """
        keys = f"$KV.{self.name}."
        held = _held(self._bus, f"KV_{self.name}", f"{keys}{prefix}>", DeliverPolicy.LAST_PER_SUBJECT)
        async with aclosing(held):
            async for message in held:
                headers = message.headers or {}
                if "KV-Operation" not in headers and "Nats-Marker-Reason" not in headers:
                    value = codec.decode(message.data, self._type)
                    yield Kept(message.subject.removeprefix(keys), value, message.metadata.sequence.stream)


async def _held(bus: Bus, stream: str, subject: str, policy: DeliverPolicy) -> AsyncGenerator[Msg, None]:
    """What a stream holds now on a subject, by a consumer that goes with its reader. RetryLater if it is not all."""
    config = ConsumerConfig(deliver_policy=policy, ack_policy=AckPolicy.NONE, inactive_threshold=30.0)
    reader = await bus.js.pull_subscribe(subject, stream=stream, config=config)
    taken = 0
    try:
        info = await reader.consumer_info()
        left = info.num_pending or 0
        while left > 0:
            page = await reader.fetch(min(left, _PAGE), timeout=PUBLISH_TIMEOUT)
            if not page:
                raise TimeoutError
            for message in page:
                taken += 1
                if message.metadata.sequence.consumer != taken:
                    raise RetryLater(f"a lost connection swallowed something of {stream}")
                yield message
            # What is replaced meanwhile comes later or not at all: the broker knows what is still to come.
            left = min(left - len(page), page[-1].metadata.num_pending)
        await bus.js.delete_consumer(stream, info.name)  # one left behind the broker forgets by itself
    except TimeoutError as error:  # the client library's own, or one of asyncio's that it lets through
        raise RetryLater(f"{stream} does not answer") from error
    finally:
        await reader.unsubscribe()


class Documents:
    """Files of records, stored once under the SHA-256 of their bytes."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._store: ObjectStore | None = None

    async def _open(self) -> ObjectStore:
        if self._store is None:
            self._store = await self._bus.js.object_store(self._bus.topology.bucket("documents"))
        return self._store

    async def put(self, data: bytes) -> str:
        """Store `data` unless it is there; its hash."""
        name = hashlib.sha256(data).hexdigest()
        if not await self.holds(name):
            await (await self._open()).put(name, data)
        return name

    async def holds(self, sha256: str) -> bool:
        """Whether the file is stored."""
        try:
            await (await self._open()).get_info(sha256)
        except nats.js.errors.ObjectNotFoundError:
            return False
        return True

    async def get(self, sha256: str) -> bytes:
        """The bytes; RetryLater if they are not there or do not match their hash."""
        try:
            info = await (await self._open()).get_info(sha256)
        except nats.js.errors.ObjectNotFoundError as error:
            raise RetryLater(f"document {sha256[:12]} is not in the store") from error
        # Not the client library's `get`: it asks for the names of all streams, and for a consumer whose filter no
        # permission can see.
        bucket = self._bus.topology.bucket("documents")
        pieces = _held(self._bus, f"OBJ_{bucket}", f"$O.{bucket}.C.{info.nuid}", DeliverPolicy.ALL)
        data = b"".join([piece.data async for piece in pieces])
        if hashlib.sha256(data).hexdigest() != sha256:
            raise RetryLater(f"document {sha256[:12]} is damaged in the store")
        return data
