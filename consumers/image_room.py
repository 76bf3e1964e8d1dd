"""Room in memory for the images of one ingest actor, from their first byte to the micro-batch.

How large an image is shows only as it is read. So a fetch begins while an image of the usual size
would fit, and one that does not fit after all is broken off, and begins again when there is room.
The first unfinished event of a partition always has room: what comes after it waits for it in
memory, and that memory may be what it would wait for.

Guarantee: at most `bytes_max` and one image for each partition. For one event loop.
"""

import asyncio
from types import TracebackType
from typing import Self

from frameloop.core.errors import BackPressure
from frameloop.core.micro_batch import MicroBatcher, Slot
from frameloop.runtime import metrics

USUAL_BYTES_FIRST = 1 << 18
"""Taken for an image's size until the first has been read."""
USUAL_WEIGHT = 0.05
"""Of the newest size in the usual one, an exponentially weighted mean."""


class NoRoom(BackPressure):
    """The image does not fit at present: fetch it again when there is room."""


class Intake:
    """The bytes of one image on their way; `close` gives back what it holds."""

    def __init__(self, room: "ImageRoom", slot: Slot) -> None:
        self._room = room
        self._slot = slot
        self.size = 0

    def clear(self) -> None:
        """Another attempt begins: what was read before is gone."""
        self._room.give_back(self.size)
        self.size = 0

    def take(self, size: int) -> None:
        """Raises `NoRoom` if so many bytes more are too many."""
        self._room.take(self._slot, size, self.size + size)
        self.size += size

    async def __aenter__(self) -> Self:
        await self._room.enter(self._slot)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._room.leave(self.size)
        self.size = 0


class ImageRoom:
    """Counts what is being read or verified; what is finished, the micro-batcher counts."""

    def __init__(self, bytes_max: int, batcher: MicroBatcher) -> None:
        self._bytes_max = bytes_max
        self._batcher = batcher
        self._usual = float(USUAL_BYTES_FIRST)
        self._fetches = 0
        self._reading = 0
        self._waiting: dict[Slot, asyncio.Future[None]] = {}

    @property
    def bytes_held(self) -> int:
        return self._reading + self._batcher.bytes_held

    def intake(self, slot: Slot) -> Intake:
        """To be entered before the fetch, and left when the event is finished."""
        return Intake(self, slot)

    async def enter(self, slot: Slot) -> None:
        """Wait until an image may be fetched."""
        if self._may_begin(slot):
            self._fetches += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[slot] = turn
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(0)  # its turn came in the same moment
            raise
        finally:
            self._waiting.pop(slot, None)

    def leave(self, size: int) -> None:
        self._fetches -= 1
        self.give_back(size)

    def take(self, slot: Slot, size: int, so_far: int) -> None:
        """Count bytes that were read. Raises `NoRoom` if they are too many."""
        if self.bytes_held + size > self._bytes_max and not self._batcher.is_first(slot):
            self._usual = max(self._usual, float(so_far))  # or all would begin again at once
            metrics.FETCHES_BROKEN_OFF.inc()
            raise NoRoom(f"{self.bytes_held} bytes of images are in memory")
        self._reading += size

    def give_back(self, size: int) -> None:
        self._reading -= size
        if size:
            self._usual += USUAL_WEIGHT * (size - self._usual)

    def wake(self) -> None:
        """Let begin what may begin by now. To be called when events are finished or cut."""
        if not self._waiting:
            return
        for slot in self._batcher.firsts():
            if slot in self._waiting:
                self._begin(slot)
        while self._waiting and self._fits():
            self._begin(next(iter(self._waiting)))

    def _begin(self, slot: Slot) -> None:
        turn = self._waiting.pop(slot)
        if not turn.done():
            self._fetches += 1
            turn.set_result(None)

    def _may_begin(self, slot: Slot) -> bool:
        return self._batcher.is_first(slot) or (not self._waiting and self._fits())

    def _fits(self) -> bool:
        under_way = max(float(self._reading), self._fetches * self._usual)
        return self._batcher.bytes_held + under_way + self._usual <= self._bytes_max
