"""Which files hang on which bills, as far as that was read, kept between the slices of a pull.

Reading it costs a call for each thousand files, and a slice ends before a large company is through. So whoever reads
keeps what it has in memory, and its next slice goes on there. Another instance, or a restart, begins anew.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from common import quickbooks as wire
from services.puller.salvage import Salvage
from services.puller.window import Window

FRESH = timedelta(minutes=30)
"""How long an index may lie before it is read anew; by QuickBooks' time."""


@dataclass
class Index:
    """The attachments of a window: the bills each is on, and what hangs on each bill.

    `at` is where reading goes on, None at the end; it reached `reached`, which later slices do not move: whatever
    changes after it, deletions too, is for the next pull. `moved` says that one may have left its bill, `salvage`
    what of it was damaged.
    """

    since: datetime
    at: Window | None
    reached: datetime
    salvage: Salvage
    read_at: datetime | None = None
    on: dict[str, frozenset[str]] = field(default_factory=dict)
    of: dict[str, dict[str, wire.Attachable]] = field(default_factory=dict)
    moved: bool = False


class Indexes:
    """The indexes that a process has not done with, by workspace and company."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Index] = {}

    def of(self, workspace: str, realm: str, window: Window, salvage: Salvage, at: datetime) -> Index:
        """The index of `window`, as far as it was read if that is not long ago at `at`."""
        kept = self._kept.get((workspace, realm))
        if kept is None or kept.since != window.since or kept.read_at is None or at - kept.read_at > FRESH:
            kept = Index(window.since, window, window.since, salvage)
            self._kept[workspace, realm] = kept
        elif kept.salvage is not salvage:
            salvage.take_over(kept.salvage)
            kept.salvage = salvage
        return kept

    def done(self, workspace: str, realm: str) -> None:
        """Forget the index: everything in it is in RECORDS."""
        self._kept.pop((workspace, realm), None)
