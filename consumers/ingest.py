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
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from ray.exceptions import ActorDiedError, ActorUnavailableError

from consumers.keeper import find_keeper
from consumers.resolve import Resolver
from frameloop.adapters import lance_table
from frameloop.adapters.event_source import EventSource
from frameloop.adapters.fetch import ImageFetcher
from frameloop.core.batch import AppendRequest, TopicPartition
from frameloop.core.errors import (
    BackPressure,
    Conflict,
    DuplicateRows,
    FatalError,
    Fenced,
    StaleBatch,
    TransientError,
)
from frameloop.core.event_row import RawRecord
from frameloop.core.micro_batch import BatchLimits, Cut, MicroBatcher, Slot
from frameloop.core.row_ids import pack_ids
from frameloop.runtime import metrics
from frameloop.runtime.faults import reach
from frameloop.runtime.logs import configure_logging
from frameloop.runtime.settings import Settings
from schemas.table import row_schema

log = logging.getLogger(__name__)

POLL_MS = 50
RETRY_SECONDS = 0.5
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
        self._kafka = ThreadPoolExecutor(1, thread_name_prefix="kafka")
        self._tasks: set[asyncio.Task[None]] = set()
        self._commit: asyncio.Task[Refused] | None = None
        self._committed_rows = 0
        self._committed_letters = 0
        self._duplicates = 0
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
        self._source = await self._in_kafka_thread(
            EventSource,
            settings.kafka,
            self._index,
            settings.ingest.actors,
            settings.ingest.in_flight_events // 4 + 1,
        )
        await self._place(self._source.partitions)
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
                await self._in_kafka_thread(self._source.close)

    async def stop(self) -> None:
        """End after the present turn. What is not committed yet is read again by the next owner."""
        self._stopping.set()

    async def status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "metrics_address": self._metrics_address,
            "events_held": self._batcher.events_held,
            "bytes_held": self._batcher.bytes_held,
            "committed_rows": self._committed_rows,
            "committed_letters": self._committed_letters,
            "duplicates": self._duplicates,
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
                await self._place(refused)
        records = await self._in_kafka_thread(self._source.poll, POLL_MS, self._is_full())
        for at, polled in records.items():
            await self._report_loss(at, polled[0].offset)
            self._take_in(at, polled)
        self._show_held()
        if self._commit is None and self._batcher.due(time.monotonic()):
            cut = self._batcher.cut(time.monotonic())
            if cut is not None:
                self._commit = asyncio.create_task(self._hand_over(cut))

    def _is_full(self) -> bool:
        limits = self._settings.ingest
        return (
            self._batcher.events_held >= limits.in_flight_events
            or self._batcher.bytes_held >= limits.in_flight_bytes
        )

    async def _report_loss(self, at: TopicPartition, found: int) -> None:
        """Say so if Kafka deleted events before they were read; other gaps hold no events."""
        expected = self._batcher.positions().get(at, found)
        if found > expected:
            oldest = await self._in_kafka_thread(self._source.first_offsets, [at])
            self._count_lost(at, expected, min(oldest[at], found))

    def _count_lost(self, at: TopicPartition, expected: int, oldest: int) -> None:
        if oldest > expected:
            log.error("%s: Kafka has deleted offsets %d to %d unread", at, expected, oldest)
            metrics.EVENTS.labels("lost").inc(oldest - expected)

    def _take_in(self, at: TopicPartition, polled: list[Any]) -> None:
        for each in polled:
            slot = self._batcher.expect(at, each.offset)
            if slot is None:
                continue
            record = RawRecord(at, each.offset, each.key, each.value, each.headers or ())
            task = asyncio.create_task(self._resolve(slot, record))
            self._tasks.add(task)
            task.add_done_callback(self._resolved)

    async def _resolve(self, slot: Slot, record: RawRecord) -> None:
        outcome = await self._resolver.resolve(record)
        reach("ingest.fetched")
        self._batcher.finish(slot, outcome, time.monotonic())

    def _resolved(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A fault of ours: the event must not be passed over. A new start reads it again.
            log.error("an event could not be resolved; ending the process", exc_info=error)
            os._exit(1)

    async def _hand_over(self, cut: Cut) -> Refused:
        """Write the data files and have them committed; returns what has to be read again."""
        batch_id = uuid.uuid4().hex
        while True:
            try:
                await self._ask_to_commit(await self._written(batch_id, cut))
                break
            except DuplicateRows as error:
                log.info("%s; leaving them out", error)
                metrics.EVENTS.labels("duplicate").inc(len(error.places))
                self._duplicates += len(error.places)
                cut = cut.without_rows(error.places)
            except StaleBatch as error:
                log.warning("%s; reading again from there", error)
                metrics.BATCHES_REFUSED.inc()
                return [part.at for part in cut.ranges]
        self._committed_rows += len(cut.rows)
        self._committed_letters += len(cut.dead_letters)
        metrics.BATCH_ROWS.observe(len(cut.rows))
        metrics.BATCH_BYTES.observe(cut.size)
        reach("ingest.before_hint")
        hints = {part.at: part.offset_next for part in cut.ranges}
        await self._in_kafka_thread(self._source.commit_hint, hints)
        return []

    async def _written(self, batch_id: str, cut: Cut) -> AppendRequest:
        fragments = await self._write(to_table(cut)) if cut.rows else ()
        reach("ingest.written")
        ids = pack_ids([row.values["id"] for row in cut.rows])
        rows = len(cut.rows)
        return AppendRequest(batch_id, cut.ranges, fragments, rows, cut.dead_letters, ids)

    async def _write(self, rows: pa.Table) -> tuple[str, ...]:
        """Until the storage takes it: a full disk holds the batch, and polling pauses behind it."""
        while True:
            began = time.perf_counter()
            try:
                fragments = await asyncio.to_thread(
                    lance_table.write_rows, self._settings.table_uri, rows
                )
            except TransientError as error:
                log.warning("%s; trying again", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            metrics.WRITE_SECONDS.observe(time.perf_counter() - began)
            return fragments

    async def _ask_to_commit(self, request: AppendRequest) -> None:
        """The keeper may die with the request in hand: asked again, it finds the batch by its id."""
        while True:
            try:
                await self._keeper.commit.remote(request)
                return
            except (ActorDiedError, ActorUnavailableError, BackPressure) as error:
                log.warning("the keeper did not answer (%s); asking again", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _place(self, partitions: list[TopicPartition]) -> None:
        """Read on where the table stands; where it knows nothing, at Kafka's oldest offset."""
        table = await self._table_offsets()
        oldest = await self._in_kafka_thread(self._source.first_offsets, partitions)
        for at in partitions:
            offset = table.get(at.partition, oldest[at])
            self._count_lost(at, offset, oldest[at])
            offset = max(offset, oldest[at])
            await self._in_kafka_thread(self._source.place, at, offset)
            self._batcher.start(at, offset)

    async def _table_offsets(self) -> dict[int, int]:
        while True:
            try:
                offsets: dict[int, int] = await self._keeper.offsets.remote(self._source.topic_id)
                return offsets
            except (ActorDiedError, ActorUnavailableError) as error:
                log.warning("the keeper did not answer (%s); asking again", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _watch_topic(self) -> None:
        """Show the lag, and notice a topic that was deleted and made anew under the same name.

        Its offsets start again: at the old positions its events would be passed over in silence.
        """
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if await self._in_kafka_thread(self._source.topic_has_changed):
                raise Conflict(
                    f"topic {self._source.topic} was made anew; reading it from its start"
                )
            positions = self._batcher.positions()
            if positions:
                lag = await self._in_kafka_thread(self._source.lag, positions)
                for at, events in lag.items():
                    metrics.LAG.labels(str(at.partition)).set(events)

    def _show_held(self) -> None:
        metrics.EVENTS_HELD.set(self._batcher.events_held)
        metrics.BYTES_HELD.set(self._batcher.bytes_held)

    async def _in_kafka_thread(self, call: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._kafka, call, *args)


def to_table(cut: Cut) -> pa.Table:
    """The rows of a batch as the table stores them."""
    schema = row_schema()
    columns = [
        pa.array([row.values[field.name] for row in cut.rows], field.type) for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
