"""Micro-batches: what was polled, what is done with it, and when a batch is cut.

Events finish in any order, a batch covers offsets without a hole: per partition it takes the run
of finished events from the front. No I/O; the clock (seconds, monotonic) is passed in.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from frameloop.core.batch import OffsetRange, TopicPartition
from schemas.dead_letter import DeadLetter


@dataclass(frozen=True, slots=True)
class Row:
    """One row for the table; `size` is its image in bytes."""

    values: Mapping[str, Any]
    size: int


@dataclass(slots=True, eq=False)
class Slot:
    """One polled event, from poll to cut. A slot that was dropped may still be finished: no harm.

    One is equal to itself alone.
    """

    at: TopicPartition
    offset: int
    outcome: Row | DeadLetter | None = None
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """A batch as it was cut: every offset in `ranges` is in `rows` or in `dead_letters`."""

    ranges: tuple[OffsetRange, ...]
    rows: tuple[Row, ...]
    dead_letters: tuple[DeadLetter, ...]

    @property
    def size(self) -> int:
        return sum(row.size for row in self.rows)

    def without_rows(self, places: Iterable[int]) -> "Cut":
        """The same offsets less these rows, which the table has from an earlier event."""
        gone = set(places)
        kept = tuple(row for place, row in enumerate(self.rows) if place not in gone)
        return replace(self, rows=kept)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """A batch is due at `rows`, `bytes` or `age_s`, whichever comes first."""

    rows: int
    bytes: int
    age_s: float


@dataclass(slots=True)
class _Lane:
    """One partition: `offset_cut` is where the next batch starts, `offset_next` the next poll.

    `ready` holds the run of finished events at the front, `waiting` what comes after it.
    """

    offset_cut: int
    offset_next: int
    ready: deque[Slot] = field(default_factory=deque)
    waiting: deque[Slot] = field(default_factory=deque)


class MicroBatcher:
    """The events in hand of one ingest actor. Not thread-safe: one loop owns it."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._ready_since: float | None = None
        self._ready_events = 0
        self._ready_bytes = 0
        self.events_held = 0
        self.bytes_held = 0

    def positions(self) -> dict[TopicPartition, int]:
        """Per partition, the offset that comes next from Kafka."""
        return {at: lane.offset_next for at, lane in self._lanes.items()}

    def start(self, at: TopicPartition, offset: int, offset_next: int | None = None) -> None:
        """Begin (again) at `offset`; what was in hand of this partition is dropped.

        `offset_next` comes first from Kafka if that has deleted what is between: the first batch
        covers the gap, or it would not start where the table stands.
        """
        self.drop([at])
        self._lanes[at] = _Lane(offset, offset if offset_next is None else offset_next)

    def skip(self, at: TopicPartition, offset_next: int) -> None:
        """Kafka has nothing before `offset_next` any more; the batch with that event covers the gap."""
        self._lanes[at].offset_next = offset_next

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that are no longer ours."""
        for at in partitions:
            lane = self._lanes.pop(at, None)
            if lane is None:
                continue
            for slot in lane.ready:
                self._ready_events -= 1
                self._ready_bytes -= _size(slot)
            for slot in (*lane.ready, *lane.waiting):
                slot.dropped = True
                self.events_held -= 1
                self.bytes_held -= _size(slot)
        if not self._ready_events:
            self._ready_since = None

    def expect(self, at: TopicPartition, offset: int) -> Slot | None:
        """Take in a polled event. None if it is not ours, or in hand already."""
        lane = self._lanes.get(at)
        if lane is None or offset < lane.offset_next:
            return None
        slot = Slot(at, offset)
        lane.waiting.append(slot)
        lane.offset_next = offset + 1
        self.events_held += 1
        return slot

    def finish(self, slot: Slot, outcome: Row | DeadLetter, now: float) -> None:
        """Say what became of an event."""
        slot.outcome = outcome
        if slot.dropped:
            return
        self.bytes_held += _size(slot)
        lane = self._lanes[slot.at]
        while lane.waiting and lane.waiting[0].outcome is not None:
            ready = lane.waiting.popleft()
            lane.ready.append(ready)
            self._ready_events += 1
            self._ready_bytes += _size(ready)
        if self._ready_since is None and self._ready_events:
            self._ready_since = now

    def is_first(self, slot: Slot) -> bool:
        """Is it the first unfinished event of its partition, which those behind it wait for?"""
        lane = self._lanes.get(slot.at)
        return lane is not None and bool(lane.waiting) and lane.waiting[0] is slot

    def firsts(self) -> list[Slot]:
        """The first unfinished event of each partition that has one."""
        return [lane.waiting[0] for lane in self._lanes.values() if lane.waiting]

    def due(self, now: float) -> bool:
        """Has a limit been reached?"""
        if self._ready_since is None:
            return False
        return (
            self._ready_events >= self._limits.rows
            or self._ready_bytes >= self._limits.bytes
            or now - self._ready_since >= self._limits.age_s
        )

    def cut(self, now: float) -> Cut | None:
        """Take the next batch, as large as the limits allow. None if nothing is ready."""
        ranges: list[OffsetRange] = []
        slots: list[Slot] = []
        size = 0
        for at, lane in self._lanes.items():
            first = lane.offset_cut
            while lane.ready and len(slots) < self._limits.rows and size < self._limits.bytes:
                slot = lane.ready.popleft()
                lane.offset_cut = slot.offset + 1
                slots.append(slot)
                size += _size(slot)
            if lane.offset_cut > first:
                ranges.append(OffsetRange(at, first, lane.offset_cut))
        self.events_held -= len(slots)
        self.bytes_held -= size
        self._ready_events -= len(slots)
        self._ready_bytes -= size
        self._ready_since = now if self._ready_events else None
        outcomes = [slot.outcome for slot in slots]
        rows = tuple(each for each in outcomes if isinstance(each, Row))
        letters = tuple(each for each in outcomes if isinstance(each, DeadLetter))
        return Cut(tuple(ranges), rows, letters) if ranges else None


def _size(slot: Slot) -> int:
    return slot.outcome.size if isinstance(slot.outcome, Row) else 0
