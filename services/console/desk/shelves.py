"""The pictures that pages look at, each on a shelf of its own, loaded while the console runs."""

from dataclasses import dataclass, field

import anyio

from common.bus import Bus
from services.console.desk.flow import Flow, flows
from services.console.desk.queue import Queue, queues
from services.console.desk.shelf import Shelf
from services.console.desk.suppliers import Suppliers, suppliers


@dataclass
class Shelves:
    """What the console keeps of the streams; all of it can be read anew."""

    bus: Bus
    queues: Shelf[Queue] = field(init=False)
    flows: Shelf[Flow] = field(init=False)
    suppliers: Shelf[Suppliers] = field(init=False)

    def __post_init__(self) -> None:
        self.queues, self.flows, self.suppliers = queues(self.bus), flows(self.bus), suppliers(self.bus)

    async def run(self) -> None:
        """Load in the background what pages do not wait for, until `stop`."""
        async with anyio.create_task_group() as group:
            for shelf in (self.queues, self.flows, self.suppliers):
                group.start_soon(shelf.run)

    async def stop(self) -> None:
        """Give up what is being loaded."""
        for shelf in (self.queues, self.flows, self.suppliers):
            await shelf.stop()
