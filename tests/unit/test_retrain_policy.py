"""The trigger's decision."""

from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.retrain_policy import (
    FAILURE_GAP_MAX_S,
    RetrainLimits,
    RetrainState,
    decide_retrain,
    required_gap_s,
)

LIMITS = RetrainLimits(min_new_rows=100, min_gap_s=30)


def state(
    passing: int = 100, before: int = 0, since: float | None = None, running: bool = False
) -> RetrainState:
    return RetrainState(passing, before, since, running)


def test_a_run_starts_at_the_row_that_completes_the_number() -> None:
    assert not decide_retrain(LIMITS, state(99)).start
    assert decide_retrain(LIMITS, state(100)).start


def test_rows_of_the_last_good_run_do_not_count_again() -> None:
    assert not decide_retrain(LIMITS, state(250, before=200)).start
    assert decide_retrain(LIMITS, state(300, before=200)).start


def test_one_run_at_a_time() -> None:
    assert not decide_retrain(LIMITS, state(1000, running=True)).start


def test_the_gap_is_kept() -> None:
    assert not decide_retrain(LIMITS, state(1000, since=29.9)).start
    assert decide_retrain(LIMITS, state(1000, since=30)).start


def test_after_failures_the_gap_grows_to_a_bound() -> None:
    gaps = [required_gap_s(LIMITS, failures) for failures in range(40)]
    assert gaps[:4] == [30, 60, 120, 240]
    assert gaps == sorted(gaps)
    assert gaps[-1] == FAILURE_GAP_MAX_S


@given(
    st.builds(
        RetrainState,
        st.integers(0, 1000),
        st.integers(0, 1000),
        st.none() | st.floats(0, 1e6),
        st.booleans(),
        st.integers(0, 50),
    )
)
def test_no_start_without_a_reason_and_no_refusal_without_words(given_state: RetrainState) -> None:
    decision = decide_retrain(LIMITS, given_state)
    assert decision.why
    if decision.start:
        assert given_state.rows_new >= LIMITS.min_new_rows
        assert not given_state.running
