"""How often somebody may fail to sign in: counted in this process, by where they come from.

Who comes with the right secret is let in whatever was counted: a secret has 256 bits, so nobody finds one by guessing,
and a limit that held for right ones too would let strangers keep people out.
"""

import ipaddress
import math
from collections import OrderedDict, deque
from collections.abc import Callable

from services.console.problem import Problem

WITHIN = 300.0
"""Seconds over which failures count."""
EACH = 10
"""Failures from one place after which the next ones are only told to wait."""
_PLACES = 10_000


class Attempts:
    """Failed attempts to sign in; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._each: OrderedDict[str, deque[float]] = OrderedDict()

    def failed(self, address: str) -> None:
        """Count one; Problem with the seconds to wait if there were too many before it."""
        at, place = self._clock(), _place(address)
        failures = self._each.setdefault(place, deque(maxlen=EACH))
        self._each.move_to_end(place)
        wait = math.ceil(failures[0] + WITHIN - at) if len(failures) == EACH else 0
        failures.append(at)
        while len(self._each) > _PLACES:
            self._each.popitem(last=False)
        if wait > 0:
            why = "There were too many attempts to sign in."
            raise Problem(
                429, "Wait a moment", why, f"Try again in {wait} seconds.", headers={"Retry-After": str(wait)}
            )


def _place(address: str) -> str:
    """What one customer of a provider has: an IPv4 address, or a network of 2^64 in IPv6."""
    try:
        host = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(host, ipaddress.IPv4Address):
        return str(host)
    return str(host.ipv4_mapped or ipaddress.ip_network((int(host), 64), strict=False))
