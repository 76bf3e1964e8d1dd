"""Waiting with an end, on the monotonic clock."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Deadline:
    """`seconds` from now."""

    seconds: float
    _end: float = field(init=False)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.left == 0

    def ticks(self, interval: float) -> Iterator[float]:
        """Yield at once and then every `interval` seconds, until the deadline has passed."""
        while True:
            yield self.left
            if self.passed:
                return
            time.sleep(min(interval, self.left))
