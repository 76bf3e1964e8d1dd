"""Ingest actor: polls events, fetches images, cuts micro-batches and hands them to the keeper.

One asyncio loop owns all state. The Kafka client blocks, so it has one thread of its own; data files
are written in worker threads. At most one batch is under way to the keeper, while the next one
gathers. The steps, and what a crash between them leaves, are in docs/protocol.md.
"""

import asyncio
import gc
import logging
import os
import time
from typing import Any

from kafka.errors import KafkaError

from consumers.hand_over import HandOver
from consumers.image_room import ImageRoom
from consumers.keeper import find_keeper
from consumers.positions import Positions
from consumers.resolve import Resolver
from frameloop.adapters.event_source import EventSource, PositionLost
from frameloop.adapters.fetch import ImageFetcher
from frameloop.core.batch import TopicPartition
from frameloop.core.errors import Conflict, FatalError, Fenced, StaleBatch
from frameloop.core.event_row import RawRecord
from frameloop.core.micro_batch import BatchLimits, Cut, MicroBatcher, Slot
from frameloop.runtime import metrics
from frameloop.runtime.faults import reach
from frameloop.runtime.logs import configure_logging
from frameloop.runtime.own_thread import OwnThread
from frameloop.runtime.settings import Settings

log = logging.getLogger(__name__)

POLL_MS = 50
WATCH_SECONDS = 5.0

Refused = list[TopicPartition]
"""Partitions of a batch that did not start where the table stands."""


class IngestActor:
    """Number `index` of `ingest.actors`. May be killed at any time and started again."""

    def __init__(self, settings: Settings, index: int) -> None:
        configure_logging(f"ingest-{index}")
        self._index = index
        self._settings = settings
        self._keeper = find_keeper(settings)
        limits = settings.ingest
        self._batcher = MicroBatcher(
            BatchLimits(limits.batch_rows, limits.batch_bytes, limits.batch_age_s)
        )
        self._room = ImageRoom(limits.in_flight_bytes, self._batcher)
        self._hand_over = HandOver(settings.table_uri, self._keeper)
        self._kafka = OwnThread("kafka")
        self._tasks: dict[asyncio.Task[None], Slot] = {}
        self._commit: asyncio.Task[Refused] | None = None
        self._stopping = asyncio.Event()
        self._metrics_address = metrics.serve_metrics(settings.metrics.host)

    async def run(self) -> None:
        """Work until `stop`.

        Raises `Fenced` and `FatalError`, which a new start would not mend. Everything else ends the
        process: Ray starts the actor and this call again, and it reads on where the table stands.
        """
        try:
            await self._run()
        except (Fenced, FatalError):
            raise
        except Exception:
            log.exception("the ingest actor can't go on and ends its process")
            os._exit(1)

    async def _run(self) -> None:
        settings = self._settings
        gc.freeze()  # what has been imported stays: it need not be looked through again and again
        self._source = await self._kafka.call(
            EventSource,
            settings.kafka,
            self._index,
            settings.ingest.actors,
            settings.ingest.in_flight_events // 4 + 1,
        )
        self._positions = Positions(self._kafka, self._source, self._keeper, self._batcher)
        await self._positions.place(self._source.partitions)
        async with ImageFetcher(settings.fetch) as fetcher:
            self._resolver = Resolver(fetcher, settings.fetch)
            watch = asyncio.create_task(self._watch_topic())
            try:
                while not self._stopping.is_set():
                    await self._turn()
                    if watch.done():
                        watch.result()
            finally:
                watch.cancel()
                for task in self._tasks:
                    task.cancel()
                await self._kafka.call(self._source.close)

    async def stop(self) -> None:
        """End after the present turn. What is not committed yet is read again by the next owner."""
        self._stopping.set()

    async def status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "metrics_address": self._metrics_address,
            "events_held": self._batcher.events_held,
            "bytes_held": self._room.bytes_held,
            "committed_rows": self._hand_over.rows,
            "committed_letters": self._hand_over.letters,
            "duplicates": self._hand_over.duplicates,
            "partitions": sorted(at.partition for at in self._batcher.positions()),
            "resident_bytes_max": metrics.resident_bytes_max(),
        }

    async def _turn(self) -> None:
        """One round. Only here are positions changed, and never between a poll and its records.

        Records that were polled at an older position would otherwise look like a run with a gap.
        """
        if self._commit is not None and self._commit.done():
            refused = self._commit.result()
            self._commit = None
            if refused:
                await self._positions.place(refused)
                self._cancel_dropped()
        try:
            records = await self._kafka.call(self._source.poll, POLL_MS, self._is_full())
        except PositionLost as lost:
            await self._check_topic()
            await self._positions.recover(lost.partitions)
            self._cancel_dropped()
            return
        for at, polled in records.items():
            await self._positions.report_loss(at, polled[0].offset)
            self._take_in(at, polled)
        self._show_held()
        if self._commit is None and self._batcher.due(time.monotonic()):
            cut = self._batcher.cut(time.monotonic())
            self._room.wake()
            if cut is not None:
                self._commit = asyncio.create_task(self._deliver(cut))

    def _is_full(self) -> bool:
        limits = self._settings.ingest
        return (
            self._batcher.events_held >= limits.in_flight_events
            or self._room.bytes_held >= limits.in_flight_bytes
        )

    def _take_in(self, at: TopicPartition, polled: list[Any]) -> None:
        for each in polled:
            slot = self._batcher.expect(at, each.offset)
            if slot is None:
                continue
            record = RawRecord(at, each.offset, each.key, each.value, each.headers or ())
            task = asyncio.create_task(self._resolve(slot, record))
            self._tasks[task] = slot
            task.add_done_callback(self._resolved)

    async def _resolve(self, slot: Slot, record: RawRecord) -> None:
        outcome = await self._resolver.resolve(record, self._room.intake(slot))
        reach("ingest.fetched")
        self._batcher.finish(slot, outcome, time.monotonic())
        self._room.wake()

    def _resolved(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            # A fault of ours: the event must not be passed over. A new start reads it again.
            log.error("an event could not be resolved; ending the process", exc_info=error)
            os._exit(1)

    def _cancel_dropped(self) -> None:
        """What is read again need not be fetched to its end now."""
        for task, slot in self._tasks.items():
            if slot.dropped:
                task.cancel()

    async def _deliver(self, cut: Cut) -> Refused:
        """Into the table; returns what has to be read again."""
        try:
            await self._hand_over.deliver(cut)
        except StaleBatch as error:
            log.warning("%s; reading again from there", error)
            metrics.BATCHES_REFUSED.inc()
            return [part.at for part in cut.ranges]
        reach("ingest.before_hint")
        hints = {part.at: part.offset_next for part in cut.ranges}
        await self._kafka.call(self._source.commit_hint, hints)
        return []

    async def _check_topic(self) -> None:
        """Notice a topic that was deleted and made anew under the same name.

        Its offsets start again: at the old positions its events would be passed over in silence.
        """
        if await self._kafka.call(self._source.topic_has_changed):
            raise Conflict(
                f"topic {self._source.topic} was made anew or has other partitions; starting again"
            )

    async def _watch_topic(self) -> None:
        """Look at the topic, and show the lag."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self._check_topic()
            positions = self._batcher.positions()
            if positions:
                try:
                    lag = await self._kafka.call(self._source.lag, positions)
                except KafkaError as error:  # the broker is away: for those who read to deal with
                    log.warning("the lag can't be told: %s", error)
                    continue
                for at, events in lag.items():
                    metrics.LAG.labels(str(at.partition)).set(events)

    def _show_held(self) -> None:
        metrics.EVENTS_HELD.set(self._batcher.events_held)
        metrics.BYTES_HELD.set(self._room.bytes_held)
