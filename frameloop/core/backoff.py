"""Work that failed rests for a while, longer each time, so that it does not keep other work waiting."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Backoff(Generic[T]):
    """Remembers what failed last time. The clock (seconds, monotonic) is passed in."""

    def __init__(self, base_s: float, max_s: float) -> None:
        self._base_s = base_s
        self._max_s = max_s
        self._failures: dict[T, tuple[int, float]] = {}

    def failed(self, task: T, now_s: float) -> float:
        """It rests from now on; returns for how many seconds: `base_s`, doubled with each failure."""
        count = self._failures.get(task, (0, 0.0))[0]
        rest_s = min(self._max_s, self._base_s * 2.0 ** min(count, 60))
        self._failures[task] = (count + 1, now_s + rest_s)
        return rest_s

    def succeeded(self, task: T) -> None:
        self._failures.pop(task, None)

    def keep(self, tasks: Iterable[T]) -> None:
        """Forget all but these: what is not there any more takes no memory."""
        wanted = set(tasks)
        self._failures = {t: each for t, each in self._failures.items() if t in wanted}

    def resting(self, now_s: float) -> set[T]:
        """What is not to be tried yet."""
        return {task for task, (_, until_s) in self._failures.items() if now_s < until_s}
