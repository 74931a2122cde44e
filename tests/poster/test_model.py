"""Every interleaving of the create protocol: crashes, takeovers, late arrivals, lost answers, forgotten keys.

Two workers, one message, one ledger page, one Qonto. The workers move by the ledger's own `step` and `doubt`.
Assumed of the world, and nothing else: a marked request leaves and arrives, or is lost, before Qonto forgets
its key (the five minutes between KEY_HELD and thirty minutes). Look-ups may miss an entry that is there.
"""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from services.poster.ledger import KEY_HELD, Doubt, Page, State, doubt, step

SENT_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOST_SENT = 3
MOST_CRASHES = 2


class Worker(NamedTuple):
    """Where a worker stands, and whether the page it holds is the newest and marked as sent."""

    at: str = "idle"
    newest: bool = False
    marked: bool = False


class World(NamedTuple):
    """Everything at one moment; `flights` are the requests under way, by worker."""

    state: State | None = None
    marked: bool = False
    late: bool = False
    forgotten: bool = False
    known: bool = False
    entries: int = 0
    flights: tuple[int, ...] = ()
    sent: int = 0
    crashes: int = 0
    acked: bool = False
    workers: tuple[Worker, Worker] = (Worker(), Worker())

    def worker(self, index: int, worker: Worker, **changes: object) -> "World":
        pair = list(self.workers)
        pair[index] = worker
        return self._replace(workers=(pair[0], pair[1]), **changes)  # type: ignore[arg-type]


def page(world: World, *, marked: bool) -> Page:
    return Page(
        state=world.state or "claimed",
        revision=1,
        epoch=1,
        owner="w",
        deadline=SENT_AT,
        record_seq=1,
        record_hash="h",
        decision="d",
        sent_at=SENT_AT if marked else None,
    )


def written(world: World, index: int, state: State, at: str, *, marked: bool) -> World:
    """A compare-and-set by a worker: takes the step, or finds itself fenced."""
    if not world.workers[index].newest:
        return world.worker(index, Worker())
    if world.state is not None:
        step(page(world, marked=world.marked), state)
    fenced = world.worker(1 - index, world.workers[1 - index]._replace(newest=False))
    return fenced.worker(index, Worker(at, newest=True, marked=marked), state=state, marked=marked)


def moves(world: World, mode: str) -> Iterator[World]:
    """What may happen next."""
    if not world.late and world.marked:
        yield world._replace(late=True)
    busy = any(worker.at in {"send", "await"} for worker in world.workers)
    if world.late and world.known and not world.forgotten and not world.flights and not busy:
        yield world._replace(forgotten=True, known=False)
    for number, owner in enumerate(world.flights):
        rest = world.flights[:number] + world.flights[number + 1 :]
        yield world._replace(flights=rest)
        yield from landed(world._replace(flights=rest), owner, mode)
    for index in (0, 1):
        yield from acts(world, index)
        if world.workers[index].at != "idle" and world.crashes < MOST_CRASHES:
            yield world.worker(index, Worker(), crashes=world.crashes + 1)


def landed(world: World, owner: int, mode: str) -> Iterator[World]:
    """A request arrives; its answer reaches a worker that still waits, or nobody."""
    replay = world.known and mode != "keyless"
    after = world._replace(entries=world.entries if replay else world.entries + 1, known=True)
    yield after
    worker = after.workers[owner]
    if worker.at == "await":
        answered = "commit" if not replay or mode in {"a", "d"} else "look"
        yield after.worker(owner, worker._replace(at=answered))


def acts(world: World, index: int) -> Iterator[World]:
    """What one worker may do."""
    worker = world.workers[index]
    match worker.at:
        case "idle" if not world.acked:
            if world.state in {"verified", "uncertain"}:
                yield world._replace(acked=True)
            else:
                ready = world.worker(index, Worker("idle", newest=True, marked=world.marked))
                state: State = world.state or "claimed"
                yield written(ready, index, state, "look", marked=world.marked)
        case "look":
            if world.entries:
                yield world.worker(index, worker._replace(at="commit"))
            at = SENT_AT + KEY_HELD * (2 if world.late else 0) + timedelta(seconds=1)
            match doubt(page(world, marked=worker.marked), at):
                case Doubt.UNKNOWABLE:
                    yield written(world, index, "uncertain", "idle", marked=True)
                case _ if world.sent < MOST_SENT:
                    yield written(world, index, "sent", "send", marked=True)
                case _:
                    yield world.worker(index, Worker())
        case "send":
            yield world.worker(index, worker._replace(at="await"), flights=(*world.flights, index), sent=world.sent + 1)
        case "await":
            yield world.worker(index, worker._replace(at="look"))
        case "commit":
            yield written(world, index, "verified", "idle", marked=worker.marked)


def explore(mode: str) -> set[World]:
    """Every world that can come about; stops at the first with two entries."""
    first = World()
    seen, waiting = {first}, deque([first])
    while waiting:
        world = waiting.popleft()
        if world.entries > 1:
            return {world}
        for after in moves(world, mode):
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return seen


@pytest.mark.parametrize("mode", ["a", "b", "c", "d"])
def test_no_duplicate_and_no_silent_loss(mode: str) -> None:
    worlds = explore(mode)
    assert len(worlds) > 1000
    for world in worlds:
        assert world.entries <= 1, world
        if world.acked:
            assert world.state == "uncertain" or (world.state == "verified" and world.entries == 1), world
    assert any(world.acked and world.state == "verified" for world in worlds)
    assert any(world.acked and world.state == "uncertain" for world in worlds)


def test_the_model_finds_the_duplicate_when_qonto_ignores_keys() -> None:
    [world] = explore("keyless")
    assert world.entries == 2


def test_from_every_world_the_end_can_be_reached() -> None:
    worlds = explore("a")
    back: dict[World, list[World]] = {}
    for world in worlds:
        for after in moves(world, "a"):
            back.setdefault(after, []).append(world)
    reached = {world for world in worlds if world.acked}
    waiting = deque(reached)
    while waiting:
        for before in back.get(waiting.popleft(), []):
            if before not in reached:
                reached.add(before)
                waiting.append(before)
    assert reached == worlds
