"""The circuit breaker: when a host is left alone, and how it comes back."""

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from frameloop.core.breaker import Admission, Breaker

OPEN_S = 15.0


def opened(failures: int = 3, now: float = 0.0) -> Breaker:
    breaker = Breaker(failures, OPEN_S)
    for _ in range(failures):
        breaker.failed("a", now, breaker.admit("a", now))
    return breaker


def test_a_host_is_left_alone_after_failures_in_a_row() -> None:
    breaker = opened(3)
    assert breaker.admit("a", 1.0) == Admission(wait_s=14.0, failures=3)
    assert breaker.admit("b", 1.0).wait_s == 0
    assert breaker.open_hosts() == 1


def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker = Breaker(3, OPEN_S)
    for _ in range(5):
        breaker.failed("a", 0.0, breaker.admit("a", 0.0))
        breaker.failed("a", 0.0, breaker.admit("a", 0.0))
        breaker.succeeded("a")
    assert breaker.admit("a", 0.0).wait_s == 0


def test_exactly_one_probe_goes_when_the_time_is_up() -> None:
    breaker = opened()
    admissions = [breaker.admit("a", OPEN_S) for _ in range(10)]
    assert [a.probe for a in admissions] == [True] + [False] * 9
    assert all(a.wait_s > 0 for a in admissions[1:])


def test_a_probe_that_succeeds_closes_the_host() -> None:
    breaker = opened()
    breaker.admit("a", OPEN_S)
    breaker.succeeded("a")
    assert breaker.admit("a", OPEN_S) == Admission()
    assert breaker.open_hosts() == 0


def test_a_probe_that_fails_opens_the_host_for_as_long_again() -> None:
    breaker = opened()
    probe = breaker.admit("a", OPEN_S)
    breaker.failed("a", OPEN_S + 5, probe)
    assert breaker.admit("a", OPEN_S + 6).wait_s == OPEN_S - 1


def test_a_probe_that_never_reports_back_blocks_nobody_for_ever() -> None:
    breaker = opened()
    assert breaker.admit("a", OPEN_S).probe
    assert breaker.admit("a", 2 * OPEN_S).probe


def test_late_failures_of_older_requests_do_not_prolong_the_opening() -> None:
    breaker = Breaker(2, OPEN_S)
    old = [breaker.admit("a", 0.0) for _ in range(5)]
    for now, admission in enumerate(old):
        breaker.failed("a", float(now), admission)
    assert breaker.admit("a", 1.0 + OPEN_S).probe


def test_memory_is_bounded_by_hosts() -> None:
    breaker = Breaker(1, OPEN_S, hosts_max=10)
    for n in range(100):
        breaker.failed(str(n), 0.0, breaker.admit(str(n), 0.0))
    assert breaker.open_hosts() == 10
    assert breaker.admit("0", 0.0).wait_s == 0
    assert breaker.admit("99", 0.0).wait_s > 0


class AnyOrder(RuleBasedStateMachine):
    """Whatever the order of outcomes: no host is open for ever, one probe at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker(3, OPEN_S)
        self.on_their_way: list[Admission] = []
        self.probed_s: list[float] = []

    @rule(seconds=st.floats(0, 2 * OPEN_S))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        admission = self.breaker.admit("a", self.now)
        if admission.wait_s == 0:
            self.on_their_way.append(admission)
        if admission.probe:
            self.probed_s.append(self.now)

    @rule(which=st.integers(0, 50), good=st.booleans())
    def report(self, which: int, good: bool) -> None:
        if self.on_their_way:
            admission = self.on_their_way.pop(which % len(self.on_their_way))
            if good:
                self.breaker.succeeded("a")
                self.probed_s.clear()
            else:
                self.breaker.failed("a", self.now, admission)

    @invariant()
    def no_wait_is_longer_than_the_opening(self) -> None:
        state = self.breaker._hosts.get("a")
        assert state is None or (state.open_until_s or 0) <= self.now + OPEN_S

    @invariant()
    def probes_are_at_least_one_opening_apart(self) -> None:
        gaps = pairwise(self.probed_s)
        assert all(later - earlier >= OPEN_S * 0.999 for earlier, later in gaps)


AnyOrder.TestCase.settings = settings(max_examples=50, stateful_step_count=30)
TestAnyOrder = AnyOrder.TestCase
