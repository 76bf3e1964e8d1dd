"""Resident memory of the service's processes over time, and whether it stays where it is."""

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

import psutil

MIB = 1 << 20
SAMPLE_SECONDS = 3.0
YOUNG_SECONDS = 90.0
"""A process grows while it imports, opens its files and fills its pools: it counts from this age on."""
JUDGED_SECONDS_MIN = 600.0
"""In a shorter time the first clean-up of the table or the first merge looks like growth."""
SAMPLES_MIN = 10
"""In each third, or nothing can be said of the role."""

ROLES = {
    "ray::TableKeeper": "keeper",
    "ray::IngestActor": "ingest",
    "ray::ScoringConsumer": "scoring",
    "ray::ServeReplica": "scorer",
    "ray::UpkeepActor": "upkeep",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one process; `at_s` on the monotonic clock."""

    at_s: float
    role: str
    pid: int
    age_s: float
    mib: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One role. The slope is a least-squares fit over the second half of the time."""

    first_mib: float
    median_mib: float
    last_mib: float
    max_mib: float
    slope_mib_per_h: float
    growth_mib: float
    """Median of the last third less that of the second."""
    growth_mib_max: float
    processes: int
    samples: int

    @property
    def is_steady(self) -> bool:
        return self.growth_mib <= self.growth_mib_max


class MemoryWatch:
    """Samples the descendants of this process in a thread of its own, inside a `with` block."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            for process in psutil.Process().children(recursive=True):
                try:
                    self._look_at(process)
                except psutil.NoSuchProcess:
                    continue  # it has just ended

    def _look_at(self, process: psutil.Process) -> None:
        title = " ".join(process.cmdline())
        for prefix, role in ROLES.items():
            if title.startswith(prefix):
                age_s = time.time() - process.create_time()
                size = process.memory_info().rss / MIB
                self.samples.append(Sample(time.monotonic(), role, process.pid, age_s, size))


def figures_of(samples: Sequence[Sample], begin_s: float, end_s: float) -> dict[str, Figures]:
    """Per role, from samples in `[begin_s, end_s)` of processes that are not young any more.

    A role that was seen too seldom is left out.
    """
    found = {}
    for role in sorted({each.role for each in samples}):
        mine = [
            each
            for each in samples
            if each.role == role and begin_s <= each.at_s < end_s and each.age_s >= YOUNG_SECONDS
        ]
        figures = _figures(mine, begin_s, end_s)
        if figures is not None:
            found[role] = figures
    return found


def growth_mib_max(second_third_mib: float) -> float:
    return max(16.0, 0.1 * second_third_mib)


def _figures(mine: Sequence[Sample], begin_s: float, end_s: float) -> Figures | None:
    third_s = (end_s - begin_s) / 3
    second = [s.mib for s in mine if begin_s + third_s <= s.at_s < begin_s + 2 * third_s]
    last = [s.mib for s in mine if s.at_s >= begin_s + 2 * third_s]
    if min(len(second), len(last)) < SAMPLES_MIN:
        return None
    sizes = [each.mib for each in mine]
    half = [each for each in mine if each.at_s >= (begin_s + end_s) / 2]
    return Figures(
        first_mib=sizes[0],
        median_mib=median(sizes),
        last_mib=sizes[-1],
        max_mib=max(sizes),
        slope_mib_per_h=_slope(half) * 3600,
        growth_mib=median(last) - median(second),
        growth_mib_max=growth_mib_max(median(second)),
        processes=len({each.pid for each in mine}),
        samples=len(mine),
    )


def _slope(samples: Sequence[Sample]) -> float:
    """Least squares, in MiB per second."""
    at, size = fmean(s.at_s for s in samples), fmean(s.mib for s in samples)
    spread = sum((s.at_s - at) ** 2 for s in samples)
    return sum((s.at_s - at) * (s.mib - size) for s in samples) / spread if spread else 0.0


def rounded(figures: Figures) -> dict[str, Any]:
    return {name: round(value, 1) for name, value in asdict(figures).items()}
