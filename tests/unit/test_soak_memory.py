"""What the soak says about memory: steady, growing, or too little seen."""

from collections.abc import Callable

import pytest

from tests.soak.memory import YOUNG_SECONDS, Figures, Sample, figures_of

BEGIN_S, END_S = 1000.0, 1900.0


def keeper(size_mib: Callable[[float], float], pid: int = 1, born_s: float = 0.0) -> list[Sample]:
    """Samples of one process every 3 s; its size by the time since `BEGIN_S`."""
    times = [BEGIN_S + 3.0 * number for number in range(300)]
    return [
        Sample(at, "keeper", pid, at - born_s, size_mib(at - BEGIN_S))
        for at in times
        if at >= born_s
    ]


def figures(samples: list[Sample]) -> Figures:
    return figures_of(samples, BEGIN_S, END_S)["keeper"]


def test_a_size_that_stays_is_steady() -> None:
    found = figures(keeper(lambda s: 300.0 + s % 9))
    assert found.is_steady
    assert (found.first_mib, found.max_mib, found.processes) == (300.0, 306.0, 1)
    assert found.slope_mib_per_h == pytest.approx(0, abs=5)


def test_a_leak_is_growth() -> None:
    found = figures(keeper(lambda s: 300.0 + s * 0.2))
    assert not found.is_steady
    assert found.slope_mib_per_h == pytest.approx(720)
    assert found.growth_mib == pytest.approx(60)


def test_a_process_that_is_full_after_a_while_is_steady() -> None:
    assert figures(keeper(lambda s: 200.0 + min(s, 290) * 0.3)).is_steady


def test_young_processes_do_not_count() -> None:
    young = keeper(lambda s: 900.0, pid=2, born_s=END_S - YOUNG_SECONDS)
    found = figures(keeper(lambda s: 300.0) + young)
    assert (found.max_mib, found.processes) == (300.0, 1)


def test_nothing_is_said_of_what_was_hardly_seen() -> None:
    born = END_S - YOUNG_SECONDS - 20
    assert not figures_of(keeper(lambda s: 300.0, born_s=born), BEGIN_S, END_S)
    assert not figures_of([], BEGIN_S, END_S)
