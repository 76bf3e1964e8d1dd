"""Steady state: what lies between start and end, with the CPU time that processes used meanwhile.

Pipelines fill at their start and drain at their end. Both sides of the benchmark are measured in
between: from the time at which a share of the images was done to the time of a larger share.
"""

import bisect
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

WINDOW = (0.15, 0.85)
SAMPLE_SECONDS = 0.1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Mark = tuple[float, int]
"""Unix time, and the images that were done then for good."""


@dataclass(frozen=True, slots=True)
class Window:
    """`images` were done between the two Unix times."""

    began_s: float
    ended_s: float
    images: int

    @property
    def images_per_s(self) -> float:
        return self.images / (self.ended_s - self.began_s)


def steady_window(marks: Iterable[Mark]) -> Window:
    """From the first mark at or above the lower share to the first at or above the upper one."""
    times: list[float] = []
    done: list[int] = []
    for at_s, images in sorted(marks):
        times.append(at_s)
        done.append(images + (done[-1] if done else 0))
    first, last = (bisect.bisect_left(done, share * done[-1]) for share in WINDOW)
    if last <= first:
        raise SystemExit("too few images for a steady state; use more frames")
    return Window(times[first], times[last], done[last] - done[first])


def tree_of(pid: int) -> list[int]:
    """The process and its descendants that live now."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        if fields := _fields(stat):
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _fields(stat: Path) -> list[str]:
    """Of proc(5), from the third on: the second may hold spaces. Empty: the process has ended."""
    try:
        return stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


class CpuSampler:
    """CPU seconds (user and system) of groups of processes over time, read from /proc.

    `groups` gives the processes of each group, asked anew at each sample; the CPU time of one that
    has ended stays counted.
    """

    def __init__(self, groups: Callable[[], Mapping[str, Sequence[int]]]) -> None:
        self._groups = groups
        self._seen: dict[str, dict[int, float]] = {}
        self._times: list[float] = []
        self._cpu: dict[str, list[float]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def used_s(self, group: str, window: Window) -> float:
        """CPU seconds of the group in the window, interpolated between samples."""
        return self._at(group, window.ended_s) - self._at(group, window.began_s)

    def _at(self, group: str, when_s: float) -> float:
        times, cpu = self._times, self._cpu.get(group, [])
        times = times[len(times) - len(cpu) :]  # a group may begin later than others
        place = bisect.bisect_left(times, when_s)
        if place == 0 or place == len(times):
            raise SystemExit(f"no CPU sample of {group} around the window")
        before, after = times[place - 1], times[place]
        share = (when_s - before) / (after - before)
        return cpu[place - 1] + share * (cpu[place] - cpu[place - 1])

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._sample()
            self._stopping.wait(SAMPLE_SECONDS)
        self._sample()

    def _sample(self) -> None:
        groups = self._groups()
        self._times.append(time.time())
        for name, pids in groups.items():
            seen = self._seen.setdefault(name, {})
            for pid in pids:
                if fields := _fields(Path(f"/proc/{pid}/stat")):
                    seen[pid] = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
            self._cpu.setdefault(name, []).append(sum(seen.values()))
