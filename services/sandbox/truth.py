"""What is really so in a generated company, and the count of what must never happen."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from services.sandbox.qonto import invoices
from services.sandbox.store import ENCODER, Memo, Store

Case = Literal["invoice", "matched", "transaction", "absent", "incomplete", "duplicate", "near_tie"]


class Counterpart(msgspec.Struct, frozen=True):
    """One Qonto entry that is the same document as a bill."""

    kind: Literal["invoice", "transaction"]
    id: str


class Truth(msgspec.Struct, frozen=True):
    """One bill. `counterparts` are all entries of the same document, an invoice and the transaction it
    is matched with both listed. `ambiguous`: nobody could tell from the data which of two it is.
    """

    bill: str
    case: Case
    counterparts: tuple[Counterpart, ...] = ()
    ambiguous: bool = False
    duplicate_of: str | None = None


def keep(store: Store, realm: str, truths: Iterable[Truth]) -> None:
    store.put_memo("truth", realm, Memo(200, ENCODER.encode(list(truths)), 0.0))


def known(store: Store, realm: str) -> list[Truth]:
    memo = store.memo("truth", realm)
    return [] if memo is None else msgspec.json.decode(memo.body, type=list[Truth])


def tally(truths: Iterable[Truth]) -> dict[str, int]:
    return dict(sorted(Counter(truth.case for truth in truths).items()))


def duplicates(store: Store, realm: str, organization: str) -> dict[str, Any]:
    """Live supplier invoices beyond the first, over all bills, found by their file names.

    A file name beginning `QBO-{realm}-{bill id}-` says which bill an invoice was made for.
    """
    live: defaultdict[str, list[str]] = defaultdict(list)
    prefix = f"QBO-{realm}-"
    for row in store.table(organization, invoices.KIND).values():
        name = row.body["file_name"]
        if name.startswith(prefix) and row.body["status"] not in invoices.DEAD:
            live[name.removeprefix(prefix).partition("-")[0]].append(row.id)
    several = {bill: ids for bill, ids in sorted(live.items()) if len(ids) > 1}
    return {
        "bills": len(store.table(realm, "Bill")),
        "bills_with_entry": len(live),
        "live_entries": sum(len(ids) for ids in live.values()),
        "surplus": sum(len(ids) - 1 for ids in several.values()),
        "duplicates": [{"bill": bill, "entries": ids} for bill, ids in several.items()],
    }
