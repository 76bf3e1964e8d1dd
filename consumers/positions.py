"""Where each partition is read: where the table stands, as far as Kafka still has that."""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ActorUnavailableError

from frameloop.adapters.event_source import EventSource
from frameloop.core.batch import RewindRequest, TopicPartition
from frameloop.core.errors import StaleBatch
from frameloop.core.micro_batch import MicroBatcher
from frameloop.runtime import metrics
from frameloop.runtime.own_thread import OwnThread

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


class Positions:
    """Puts the source and the micro-batcher to the same offset of a partition.

    Events that Kafka deleted unread are lost: counted and logged, never passed over in silence. A
    log that was cut off (an unclean election, a broker restored from a backup) is read again from
    its new end: the table is put back to there first, and events that come again make no second
    row, as their ids are known.
    """

    def __init__(
        self, kafka: OwnThread, source: EventSource, keeper: ActorHandle, batcher: MicroBatcher
    ) -> None:
        self._kafka = kafka
        self._source = source
        self._keeper = keeper
        self._batcher = batcher

    async def place(self, partitions: Iterable[TopicPartition]) -> None:
        """Read on where the table stands; where it knows nothing, at Kafka's oldest offset."""
        await self.place_after(dict.fromkeys(partitions))

    async def recover(self, lost: Mapping[TopicPartition, int | None]) -> None:
        """Read on where Kafka does not have what comes next. What is in hand stays in hand if it can."""
        oldest = await self._kafka.call(self._source.first_offsets, lost)
        expected = self._batcher.positions()
        deleted = [at for at in lost if at in expected and expected[at] < oldest[at]]
        for at in deleted:
            self._count_lost(at, expected[at], oldest[at])
            await self._kafka.call(self._source.place, at, oldest[at])
            self._batcher.skip(at, oldest[at])
        await self.place_after({at: end for at, end in lost.items() if at not in deleted})

    async def place_after(self, cut_off: Mapping[TopicPartition, int | None]) -> None:
        """The same, for partitions whose log may have been cut off, at the offset if one is known."""
        table = await self._table_offsets()
        oldest = await self._kafka.call(self._source.first_offsets, cut_off)
        ends = await self._kafka.call(self._source.end_offsets, cut_off)
        for at, known_end in cut_off.items():
            end = ends[at] if known_end is None else min(known_end, ends[at])
            offset = table.get(at.partition, oldest[at])
            if offset > end:
                offset = await self._rewound(at, offset, end)
            self._count_lost(at, offset, oldest[at])
            offset_next = max(offset, oldest[at])
            await self._kafka.call(self._source.place, at, offset_next)
            self._batcher.start(at, offset, offset_next)

    async def report_loss(self, at: TopicPartition, found: int) -> None:
        """Say so if Kafka deleted events before they were read; other gaps hold no events."""
        expected = self._batcher.positions().get(at, found)
        if found > expected:
            oldest = await self._kafka.call(self._source.first_offsets, [at])
            self._count_lost(at, expected, min(oldest[at], found))

    def _count_lost(self, at: TopicPartition, expected: int, oldest: int) -> None:
        if oldest > expected:
            log.error("%s: Kafka has deleted offsets %d to %d unread", at, expected, oldest)
            metrics.EVENTS.labels("lost").inc(oldest - expected)

    async def _rewound(self, at: TopicPartition, offset: int, end: int) -> int:
        """Have the table put back to where Kafka's log ends; returns where to read on."""
        log.error(
            "%s: Kafka's log ends at %d, the table stands at %d: the log was cut off. Reading on "
            "from its end; events sent again make no second row",
            at,
            end,
            offset,
        )
        try:
            await self._keeper.commit.remote(RewindRequest(at, offset, end))
        except StaleBatch:
            return (await self._table_offsets())[at.partition]  # somebody else was faster
        metrics.TRUNCATIONS.inc()
        return end

    async def _table_offsets(self) -> dict[int, int]:
        while True:
            try:
                offsets: dict[int, int] = await self._keeper.offsets.remote(self._source.topic_id)
                return offsets
            except (ActorDiedError, ActorUnavailableError) as error:
                log.warning("the keeper did not answer (%s); asking again", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
