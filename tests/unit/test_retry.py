"""The retry policy: how often, how long, and what a server may ask for."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.retry import RetryPolicy, retry_after_s, status_is_retried

POLICY = RetryPolicy(retries=3, backoff_base_s=0.25, backoff_max_s=10)
NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@given(
    failures=st.integers(1, 10_000),
    asked=st.none() | st.floats(0, 1e9),
    base=st.floats(0.001, 60),
    longest=st.floats(0.001, 600),
    seed=st.integers(),
)
def test_no_wait_is_longer_than_the_cap(
    failures: int, asked: float | None, base: float, longest: float, seed: int
) -> None:
    policy = RetryPolicy(retries=10_000, backoff_base_s=base, backoff_max_s=longest)
    delay = policy.delay_s(failures, asked, Random(seed))
    assert delay is not None
    assert 0 < delay <= longest


@given(failures=st.integers(1, 3), asked=st.floats(0, 10), seed=st.integers())
def test_what_the_server_asks_never_shortens_the_wait(
    failures: int, asked: float, seed: int
) -> None:
    delay = POLICY.delay_s(failures, asked, Random(seed))
    assert delay is not None
    assert delay >= min(asked, POLICY.backoff_max_s)
    assert delay >= 0.5 * POLICY.backoff_base_s * 2 ** (failures - 1)


def test_attempts_end_after_the_retries() -> None:
    delays = [POLICY.delay_s(failures, 1.0, Random(0)) for failures in (1, 2, 3, 4)]
    assert [delay is None for delay in delays] == [False, False, False, True]
    assert RetryPolicy(0, 1, 1).delay_s(1, None, Random(0)) is None


def test_waits_grow_and_differ_between_callers() -> None:
    mean = [
        sum(POLICY.delay_s(n, None, Random(seed)) or 0 for seed in range(100)) / 100
        for n in (1, 2, 3)
    ]
    assert mean[0] < mean[1] < mean[2]
    assert len({POLICY.delay_s(1, 5.0, Random(seed)) for seed in range(50)}) == 50


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_statuses_that_may_change_are_retried(status: int) -> None:
    assert status_is_retried(status)


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 410, 451, 600])
def test_statuses_that_will_not_change_are_final(status: int) -> None:
    assert not status_is_retried(status)


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        ("120", None, 120),
        (" 0 ", None, 0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", None, 60),
        ("Tue, 14 Nov 2023 22:14:20 -0000", None, 60),
        ("Tue, 14 Nov 2023 22:14:20 GMT", "Tue, 14 Nov 2023 22:14:00 GMT", 20),
        ("Tue, 14 Nov 2023 22:14:20 GMT", "nonsense", 60),
        ("Tue, 14 Nov 2000 22:14:20 GMT", None, 0),
        ("-5", None, None),
        ("soon", None, None),
        ("1.5", None, None),
        ("²", None, None),
        (None, None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(
    value: str | None, date: str | None, expected: float | None
) -> None:
    assert retry_after_s(value, date, NOW) == expected


@given(st.text(), st.none() | st.text())
def test_any_retry_after_is_survived(value: str, date: str | None) -> None:
    seconds = retry_after_s(value, date, NOW)
    assert seconds is None or seconds >= 0
