"""What always fails is tried ever more seldom, and holds up nothing else."""

from frameloop.core.backoff import Backoff


def test_each_failure_doubles_the_rest_up_to_its_bound() -> None:
    backoff = Backoff[str](base_s=1, max_s=10)
    assert [backoff.failed("a", 0) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert backoff.resting(9.9) == {"a"}
    assert backoff.resting(10) == set()


def test_a_success_makes_it_new() -> None:
    backoff = Backoff[str](base_s=1, max_s=10)
    backoff.failed("a", 0)
    backoff.failed("a", 0)
    backoff.succeeded("a")
    assert backoff.resting(0) == set()
    assert backoff.failed("a", 0) == 1


def test_what_is_gone_is_forgotten() -> None:
    backoff = Backoff[str](base_s=1, max_s=10)
    backoff.failed("a", 0)
    backoff.failed("b", 0)
    backoff.keep(["b"])
    assert backoff.resting(0) == {"b"}
