"""What is counted by the minute is used evenly."""

from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.pace import Pace


@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0.1, 50)), max_size=40), st.floats(0.5, 10_000)
)
def test_no_turn_comes_before_the_one_before_it_is_used_up(
    asked: list[tuple[float, float]], per_minute: float
) -> None:
    pace, now, free_at = Pace(per_minute), 0.0, 0.0
    for pause, units in asked:
        now += pause
        turn = now + pace.turn_in_s(now, units)
        assert turn >= free_at - 1e-6
        free_at = turn + units * 60 / per_minute


@given(st.integers(1, 200), st.integers(1, 400))
def test_any_minute_holds_the_limit_and_one_more_at_most(per_minute: int, count: int) -> None:
    pace = Pace(per_minute)
    turns = [pace.turn_in_s(0.0) for _ in range(count)]
    for start in turns:
        assert sum(start <= turn < start + 60 - 1e-6 for turn in turns) <= per_minute + 1


def test_what_a_turn_really_cost_is_settled() -> None:
    pace = Pace(60)
    assert pace.turn_in_s(0.0, 10) == 0
    pace.settle(-7)
    assert pace.turn_in_s(0.0, 10) == 3
    pace.settle(+2)
    assert pace.turn_in_s(0.0) == 15


def test_too_much_settled_back_gives_no_burst() -> None:
    pace = Pace(60)
    pace.turn_in_s(100.0)
    pace.settle(-1000)
    assert [pace.turn_in_s(100.0) for _ in range(3)] == [0, 1, 2]


def test_without_a_limit_only_a_hold_delays() -> None:
    pace = Pace(None)
    assert [pace.turn_in_s(1.0) for _ in range(3)] == [0, 0, 0]
    pace.hold_until(6.0)
    pace.hold_until(3.0)
    assert [pace.turn_in_s(1.0), pace.turn_in_s(7.0)] == [5, 0]
