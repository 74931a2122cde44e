"""Why the create protocol is as it is: the weaker ones, each with the shortest way to its duplicate or its loss.

Two workers, one message, one ledger page, one Qonto; every interleaving of crash, redelivery while another works,
end of a lease, request lost, request landing after the client gave up, answer lost, and Qonto forgetting keys.
Breadth first, so what is found first is shortest. `test_model.py` explores the protocol of the poster itself, by
its own `step` and `doubt`.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import pytest

MOST_SENT, MOST_CRASHES = 3, 2


class Protocol(NamedTuple):
    """What a protocol does, and what Qonto does for it.

    `claim`: none; `once` (seen means done); `lease` (taken over at its end). `look`: before a call by whoever takes
    over. `quiet`: a takeover waits until nothing is under way. `key`: Qonto knows a request again, as long as it
    keeps the key. `forgets`: `never`, `anytime`, or `settled` (once the page is closed
    and nobody who might still send is left). `unique`: Qonto
    refuses a second entry of the same name. `ask`: nobody takes over by sending; what is not found goes to a person.
    """

    claim: str = "lease"
    look: bool = False
    quiet: bool = False
    key: bool = False
    forgets: str = "never"
    unique: bool = False
    ask: bool = False


WEAK = {
    "V0 call, acknowledge": (Protocol(claim="none"), "duplicate"),
    "V1 claim, seen is done": (Protocol(claim="once"), "loss"),
    "V2 lease, takeover calls again": (Protocol(), "duplicate"),
    "V3 lease, look before calling again": (Protocol(look=True), "duplicate"),
    "V5 V3 and a quiet time": (Protocol(look=True, quiet=True), "duplicate"),
    "V4d V3 and a key that is forgotten": (Protocol(look=True, key=True, forgets="anytime"), "duplicate"),
}
STRONG = {
    "V4 lease, look, key kept": Protocol(look=True, key=True),
    "V4b key kept, and nothing else": Protocol(claim="none", key=True),
    "V4e key forgotten once settled": Protocol(look=True, key=True, forgets="settled"),
    "V6 look, then ask a person": Protocol(look=True, ask=True),
    "V7 unique name at Qonto": Protocol(look=True, unique=True),
}


class World(NamedTuple):
    """Everything at one moment. `page` is the ledger's state, `owner` who holds it, `expired` its lease's end."""

    page: str = "none"
    owner: int = -1
    expired: bool = False
    at: tuple[str, str] = ("idle", "idle")
    flights: tuple[int, ...] = ()
    entries: int = 0
    known: bool = False
    sent: int = 0
    crashes: int = 0
    acked: bool = False

    def go(self, me: int, to: str, **changes: object) -> "World":
        at = (to, self.at[1]) if me == 0 else (self.at[0], to)
        return self._replace(at=at, **changes)  # type: ignore[arg-type]


def moves(world: World, rule: Protocol) -> Iterator[tuple[str, World]]:
    """What may happen next, in words."""
    if world.page == "claimed" and not world.expired:
        yield "the lease ends", world._replace(expired=True)
    settled = world.page == "done" and not world.flights and world.at == ("idle", "idle")
    if world.known and (rule.forgets == "anytime" or (rule.forgets == "settled" and settled)):
        yield "Qonto forgets the key", world._replace(known=False)
    for number, sender in enumerate(world.flights):
        rest = world._replace(flights=world.flights[:number] + world.flights[number + 1 :])
        yield f"the request of {sender} is lost", rest
        twice = (rule.key and rest.known) or (rule.unique and rest.entries > 0)
        landed = rest._replace(entries=rest.entries if twice else rest.entries + 1, known=True)
        yield f"the request of {sender} lands, its answer is lost", landed
        if landed.at[sender] == "wait":
            yield f"the request of {sender} lands and is answered", landed.go(sender, "commit")
    for me in (0, 1):
        for what, after in acts(world, me, rule):
            yield f"{me} {what}", after
        if world.at[me] != "idle" and world.crashes < MOST_CRASHES:
            yield f"{me} dies", world.go(me, "idle", crashes=world.crashes + 1)


def acts(world: World, me: int, rule: Protocol) -> Iterator[tuple[str, World]]:
    """What one worker may do."""
    match world.at[me]:
        case "idle" if not world.acked:
            yield from begins(world, me, rule)
        case "look" if world.entries:
            yield "finds it", world.go(me, "commit")
        case "look" if rule.ask:
            yield "asks a person", world.go(me, "idle", page="asked", acked=True)
        case "look":
            yield "does not find it", world.go(me, "send")
        case "send" if world.sent < MOST_SENT:
            yield "sends", world.go(me, "wait", flights=(*world.flights, me), sent=world.sent + 1)
        case "wait":
            # Without an answer nothing is known: the message comes again.
            yield "gives up waiting", world.go(me, "idle")
        case "commit":
            fenced = rule.claim == "lease" and world.owner != me
            yield "commits", world.go(me, "idle") if fenced else world.go(me, "idle", page="done", acked=True)


def begins(world: World, me: int, rule: Protocol) -> Iterator[tuple[str, World]]:
    """A delivery of the message."""
    if world.page in {"done", "asked"}:
        yield "acknowledges what is done", world._replace(acked=True)
    elif rule.claim == "none":
        yield "takes the message", world.go(me, "send")
    elif world.page == "none":
        yield "claims", world.go(me, "send", page="claimed", owner=me, expired=False)
    elif rule.claim == "once":
        yield "takes what was seen for done", world._replace(acked=True)
    elif (world.expired or world.owner == me) and not (rule.quiet and world.flights):
        yield "takes over", world.go(me, "look" if rule.look else "send", owner=me, expired=False)


def wrong(world: World) -> str | None:
    """What is wrong with a world: two entries, or an acknowledged message with none, nobody asked, none to come."""
    if world.entries > 1:
        return "duplicate"
    quiet = not world.flights and world.at == ("idle", "idle")
    return "loss" if world.acked and quiet and world.entries == 0 and world.page != "asked" else None


def counter_example(rule: Protocol, kinds: frozenset[str]) -> tuple[str, ...]:
    """The shortest way to something wrong; empty if there is none."""
    first = World()
    way: dict[World, tuple[World, str] | None] = {first: None}
    waiting = deque([first])
    while waiting:
        world = waiting.popleft()
        if wrong(world) in kinds:
            steps: list[str] = []
            while (before := way[world]) is not None:
                world, step = before
                steps.append(step)
            return tuple(reversed(steps))
        for step, after in moves(world, rule):
            if after not in way:
                way[after] = (world, step)
                waiting.append(after)
    return ()


@pytest.mark.parametrize("name", WEAK)
def test_each_weaker_protocol_fails(name: str) -> None:
    rule, kind = WEAK[name]
    steps = counter_example(rule, frozenset({kind}))
    assert steps, name
    print(f"{name}: {kind}: {', '.join(steps)}")  # noqa: T201 (what a reader of a run wants to see)
    other = {"duplicate": "loss", "loss": "duplicate"}[kind]
    assert not counter_example(rule, frozenset({other})), f"{name} was known for a {kind} only"


@pytest.mark.parametrize("name", STRONG)
def test_each_sufficient_protocol_holds(name: str) -> None:
    assert counter_example(STRONG[name], frozenset({"duplicate", "loss"})) == ()
