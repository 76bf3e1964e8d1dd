"""What was measured, round by round, and what is made of it."""

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Self


def say(text: str) -> None:
    load = os.getloadavg()[0]
    print(f"{text} (load average {load:.1f})", file=sys.stderr, flush=True)


def middle(values: Iterable[float]) -> float:
    return float(median(values))


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds by the clock, and of CPU in this process (user and system, all threads)."""

    wall_s: float
    cpu_s: float


class Stopwatch:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    @classmethod
    def synced(cls) -> Self:
        """After all that was written before is on the disk: that is not this round's to wait for."""
        os.sync()
        return cls()

    def spent(self) -> Spent:
        return Spent(time.perf_counter() - self._wall, time.process_time() - self._cpu)


class Rounds:
    """What was spent, by name, a value each round."""

    def __init__(self) -> None:
        self._spent: dict[str, list[Spent]] = {}

    def add(self, name: str, spent: Spent) -> None:
        self._spent.setdefault(name, []).append(spent)
        say(f"{name}: {spent.wall_s:.3f} s, CPU {spent.cpu_s:.3f} s")

    def wall_s(self, name: str) -> float:
        return middle(each.wall_s for each in self._spent[name])

    def cpu_s(self, name: str) -> float:
        return middle(each.cpu_s for each in self._spent[name])

    def ratios(self, name: str, slow: str, fast: str) -> dict[str, float]:
        """Of the medians, by the clock and in CPU time."""
        return {
            name: round(self.wall_s(slow) / self.wall_s(fast), 2),
            f"{name}_cpu": round(self.cpu_s(slow) / self.cpu_s(fast), 2),
        }

    def medians(self) -> dict[str, float]:
        wall = {f"{name}_s": round(self.wall_s(name), 4) for name in self._spent}
        return wall | {f"{name}_cpu_s": round(self.cpu_s(name), 4) for name in self._spent}
