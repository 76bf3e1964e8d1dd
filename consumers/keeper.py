"""The table keeper: the one Ray actor that commits the table's metadata.

Ingest actors and scoring consumers write data files and hand over their metadata; the keeper puts
what waits into one commit and answers when it is in the table. Compactions it commits between.
"""

import asyncio
import logging
import os
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from kafka import KafkaProducer
from ray.actor import ActorHandle

from consumers.commit_loop import Answer, CommitLoop, StepResult
from frameloop.adapters import lance_table
from frameloop.adapters.kafka_config import client_config
from frameloop.adapters.kafka_errors import kafka_errors
from frameloop.adapters.kafka_topics import LETTER_BYTES_MAX
from frameloop.adapters.publisher import Publisher
from frameloop.core.batch import CommitReceipt, CommitRequest
from frameloop.core.errors import (
    BackPressure,
    Conflict,
    FatalError,
    Fenced,
    SettingsError,
    TransientError,
)
from frameloop.runtime import metrics
from frameloop.runtime.faults import reach
from frameloop.runtime.logs import configure_logging
from frameloop.runtime.settings import Settings
from schemas.commit import CommitNotice

log = logging.getLogger(__name__)

KEEPER_NAME = "table-keeper"
IDLE_SECONDS = 1.0
STORAGE_RETRY_SECONDS = 1.0
START_RETRY_SECONDS = 1.0
PUBLISH_TIMEOUT_S = 10.0


def find_keeper(settings: Settings) -> ActorHandle:
    """The service's keeper, by name. An actor that gets a handle passed may not start again: Ray
    keeps the handle in its object store, and a copy there can be lost."""
    return ray.get_actor(KEEPER_NAME, namespace=settings.ray.namespace)


@dataclass(slots=True, eq=False)
class _Waiting:
    request: CommitRequest
    done: asyncio.Future[CommitReceipt]

    def resolve(self, answer: Answer) -> None:
        """Answer, unless the caller has gone."""
        if self.done.done():
            return
        if isinstance(answer, CommitReceipt):
            self.done.set_result(answer)
        else:
            self.done.set_exception(answer)


class TableKeeper:
    """One per table (a named actor). Its start fences every earlier keeper of the table."""

    def __init__(self, settings: Settings) -> None:
        configure_logging("keeper")
        self._settings = settings
        try:
            self._take_over()
        except (FatalError, SettingsError):
            raise
        except Exception:
            # Ray gives an actor up for good whose constructor raises, but starts one again whose
            # process ends: what is away now (storage, Kafka) comes back.
            log.exception("the keeper could not start; trying again")
            time.sleep(START_RETRY_SECONDS)
            os._exit(1)
        self._queue: deque[_Waiting] = deque()
        self._notices: list[CommitNotice] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._fenced: Fenced | None = None
        self._metrics_address = metrics.serve_metrics(settings.metrics.host)
        self._show_table()

    def _take_over(self) -> None:
        settings = self._settings
        self._loop = CommitLoop(
            settings.table_uri, settings.label_columns, settings.table.outbox_max
        )
        self._loop.take_over()
        with kafka_errors(settings.kafka):
            producer = KafkaProducer(
                **client_config(settings.kafka),
                acks="all",
                enable_idempotence=True,
                max_request_size=LETTER_BYTES_MAX,
                max_block_ms=int(PUBLISH_TIMEOUT_S * 1000),
            )
        self._publisher = Publisher(
            producer,
            settings.kafka.dead_letter_topic,
            settings.kafka.commit_topic,
            lambda error: log.warning("Kafka did not take a message: %s", error),
        )

    async def commit(self, request: CommitRequest) -> CommitReceipt:
        """Returns once the request is part of the table; asking again with the same id is safe.

        Raises `StaleBatch` or `Conflict` (plan again), `BackPressure` (later), `Fenced`.
        """
        if self._fenced:
            raise self._fenced
        if len(self._queue) >= self._settings.table.commit_queue_max:
            raise BackPressure(f"{len(self._queue)} requests wait for a commit")
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._start()
        self._wake.set()
        return await waiting.done

    async def offsets(self, topic_id: str) -> dict[int, int]:
        """Where the table stands: the next offset of each partition that it knows."""
        self._start()
        if self._fenced:
            raise self._fenced
        return self._loop.ledger.offsets(topic_id)

    async def status(self) -> dict[str, Any]:
        self._start()
        ledger = self._loop.ledger
        return {
            "pid": os.getpid(),
            "epoch": ledger.epoch,
            "table_version": int(self._loop.dataset.version),
            "outbox": len(ledger.outbox),
            "queue": len(self._queue),
            "fenced": str(self._fenced) if self._fenced else None,
            "metrics_address": self._metrics_address,
        }

    def _start(self) -> None:
        """The loop needs the actor's event loop, which a constructor does not have yet."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while not self._fenced:
                self._publish()
                await self._turn()
        except Exception:
            # A keeper in an unknown state must not go on. Ray starts a new one, which reads the
            # table; whoever waits hears of the death and asks again with the same batch id.
            log.exception("the keeper can't go on and ends its process")
            os._exit(1)

    async def _turn(self) -> None:
        if not self._queue:
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), IDLE_SECONDS)
            except TimeoutError:
                return
        count = min(len(self._queue), self._settings.table.commit_group_max)
        await self._commit_group([self._queue.popleft() for _ in range(count)])

    def _publish(self) -> None:
        """Send letters and notices beside the commits, which do not wait for Kafka."""
        if self._publishing is not None and not self._publishing.done():
            return
        if self._publishing is not None:
            self._publishing.result()
        outbox, notices = self._loop.ledger.outbox, self._notices
        if outbox or notices:
            self._notices = []
            send = asyncio.to_thread(self._publisher.send, outbox, notices)
            self._publishing = asyncio.create_task(send)

    async def _commit_group(self, group: list[_Waiting]) -> None:
        published = self._publisher.take_published()
        step = partial(self._loop.step, [each.request for each in group], published)
        began = time.perf_counter()
        try:
            result = await asyncio.to_thread(step)
        except Fenced as error:
            self._stop_fenced(error, group)
            return
        except TransientError as error:
            log.warning("%s; trying again with the same batches", error)
            metrics.COMMIT_FAILURES.inc()
            self._queue.extendleft(reversed(group))
            await asyncio.sleep(STORAGE_RETRY_SECONDS)
            return
        self._answer(group, result)
        if result.notice:
            self._publisher.forget(published)
            metrics.COMMIT_SECONDS.observe(time.perf_counter() - began)
            metrics.COMMIT_REQUESTS.observe(len(group))
            reach("keeper.answered")
            self._notices.append(result.notice)
        if result.notice or result.compacted:
            self._show_table()

    def _answer(self, group: list[_Waiting], result: StepResult) -> None:
        for index, each in enumerate(group):
            answer = result.answers.get(index)
            if answer is None:
                self._queue.append(each)
                continue
            metrics.COMMIT_CONFLICTS.inc(isinstance(answer, Conflict))
            each.resolve(answer)

    def _stop_fenced(self, error: Fenced, group: list[_Waiting]) -> None:
        log.error("%s; this keeper commits nothing more", error)
        self._fenced = error
        for each in (*group, *self._queue):
            each.resolve(error)
        self._queue.clear()

    def _show_table(self) -> None:
        dataset = self._loop.dataset
        metrics.TABLE_VERSION.set(dataset.version)
        metrics.TABLE_FRAGMENTS.set(len(dataset.get_fragments()))
        metrics.TABLE_ROWS.set(lance_table.count_screenshots(dataset))
        metrics.OUTBOX.set(len(self._loop.ledger.outbox))
