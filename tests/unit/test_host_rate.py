"""Turns at a host are evenly spaced."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.host_rate import HostRate


@given(st.lists(st.floats(0, 3), max_size=40), st.floats(0.1, 100))
def test_turns_at_one_host_are_never_closer_than_the_rate(
    pauses: list[float], per_s: float
) -> None:
    rate, now, turns = HostRate(per_s), 0.0, []
    for pause in pauses:
        now += pause
        turns.append(now + rate.turn_in_s("a", now))
    assert all(b - a >= 0.999 / per_s for a, b in pairwise(turns))


def test_hosts_do_not_wait_for_each_other_and_the_first_turn_is_now() -> None:
    rate = HostRate(1)
    assert [rate.turn_in_s(host, 5.0) for host in ("a", "b", "a")] == [0, 0, 1]


def test_rate_zero_means_no_limit_and_takes_no_memory() -> None:
    rate = HostRate(0)
    assert [rate.turn_in_s("a", 0.0) for _ in range(3)] == [0, 0, 0]
    assert not rate._next_s


def test_memory_is_bounded_by_hosts() -> None:
    rate = HostRate(1, hosts_max=5)
    for n in range(50):
        rate.turn_in_s(str(n), 0.0)
    assert len(rate._next_s) == 5
