"""Who fails to sign in too often waits, and nobody waits for others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.attempts import EACH, WITHIN, Attempts
from services.console.problem import Problem


class Clock:
    """Seconds as the test has them go by."""

    at = 1000.0

    def __call__(self) -> float:
        return self.at


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, WITHIN / 3)), max_size=60))
def test_an_address_waits_exactly_while_its_last_failures_are_recent(steps: list[tuple[str, float]]) -> None:
    clock = Clock()
    attempts, failures = Attempts(clock), dict[str, list[float]]()
    for address, pause in steps:
        clock.at += pause
        recent = [at for at in failures.get(address, []) if at > clock.at - WITHIN]
        if len(recent) >= EACH:
            with pytest.raises(Problem) as refused:
                attempts.failed(address)
            wait = int(refused.value.headers["Retry-After"])
            assert 0 < wait - (recent[-EACH] + WITHIN - clock.at) + 1 <= 2
        else:
            attempts.failed(address)
        failures.setdefault(address, []).append(clock.at)


@pytest.mark.parametrize(
    "address, same, other",
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", "2001:db8:0:2::1"),
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("fe80::1%eth0", "fe80::2%eth1", "fe81::1"),
        ("", "", "unknown"),
    ],
)
def test_addresses_that_one_stranger_has_count_as_one(address: str, same: str, other: str) -> None:
    attempts = Attempts(Clock())
    for number in range(EACH):
        attempts.failed(address if number % 2 else same)
    attempts.failed(other)
    with pytest.raises(Problem, match="too many"):
        attempts.failed(same)
