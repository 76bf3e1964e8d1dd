"""Scoring consumer: finds unlabelled fragments, has them scored, hands column files to the keeper.

The unit of work is a fragment. Which fragments lack the label is in the table's metadata alone, so a
consumer that starts again needs no state: it looks at the table.
"""

import asyncio
import contextlib
import logging
import math
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import lance
import pyarrow as pa
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from consumers.keeper import find_keeper
from frameloop.adapters import lance_table
from frameloop.adapters.notices import NoticeWatcher
from frameloop.core.batch import LabelRequest
from frameloop.core.errors import BackPressure, Conflict, TransientError
from frameloop.runtime import metrics
from frameloop.runtime.faults import reach
from frameloop.runtime.logs import configure_logging
from frameloop.runtime.settings import Settings
from schemas.table import label_fields
from serve_apps.fragment_scoring import FragmentRequest, FragmentScores

log = logging.getLogger(__name__)

APPLY_ATTEMPTS_MAX = 8
RETRY_SECONDS = 0.5
REPLICA_SECONDS_MAX = 600.0


@dataclass(frozen=True, slots=True)
class TableView:
    """One look at the table: its version and what lacks the label there."""

    version: int
    fragments: tuple[int, ...]
    rows: int


class ScoringConsumer:
    """Number `index` of `scoring.actors`; takes the fragments whose id falls to it."""

    def __init__(self, settings: Settings, index: int) -> None:
        configure_logging(f"scoring-{index}")
        self._settings = settings
        self._keeper = find_keeper(settings)
        self._index = index
        self._label = settings.scoring.label
        self._scored_rows = 0
        self._replicas: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._under_way: dict[int, asyncio.Task[None]] = {}
        metrics.SCORE_ERRORS.labels(self._label)
        metrics.SCORE_FAILURES.labels(self._label)
        self._metrics_address = metrics.serve_metrics(settings.metrics.host)

    async def run(self) -> None:
        """Label what lacks the label, for ever. Work is given up at any point without a trace."""
        loop = asyncio.get_running_loop()
        self._scorer = serve.get_app_handle(self._settings.serve_app)
        watcher = NoticeWatcher(self._settings.kafka, lambda: _wake_up(loop, self._wake))
        try:
            while not self._stopping:
                self._wake.clear()
                try:
                    await self._start_work()
                except (OSError, ValueError) as error:
                    log.warning("the table can't be looked at now: %s", error)
                try:
                    interval = self._settings.scoring.poll_interval_s
                    await asyncio.wait_for(self._wake.wait(), interval)
                except TimeoutError:
                    continue
        finally:
            for task in self._under_way.values():
                task.cancel()
            await asyncio.to_thread(watcher.close)

    async def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    async def status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "metrics_address": self._metrics_address,
            "scored_rows": self._scored_rows,
            "targets": self._replica_targets(),
            "fragments_under_way": sorted(self._under_way),
        }

    async def _start_work(self) -> None:
        view = await asyncio.to_thread(self._look)
        metrics.UNLABELLED_ROWS.labels(self._label).set(view.rows)
        room = self._settings.scoring.concurrent_fragments - len(self._under_way)
        waiting = [f for f in view.fragments if f not in self._under_way]
        for fragment_id in waiting[:room]:
            task = asyncio.create_task(self._label_fragment(view.version, fragment_id))
            self._under_way[fragment_id] = task
            task.add_done_callback(partial(self._ended, fragment_id))

    def _ended(self, fragment_id: int, task: asyncio.Task[None]) -> None:
        del self._under_way[fragment_id]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._wake.set()  # there is room for the next fragment
        else:
            metrics.SCORE_FAILURES.labels(self._label).inc()
            # Left unlabelled, it is found again at the next look.
            log.error("fragment %d could not be labelled: %s", fragment_id, error)

    def _look(self) -> TableView:
        """Newest first: fresh rows are what somebody waits for."""
        dataset = lance.dataset(self._settings.table_uri)
        actors = self._settings.scoring.actors
        unlabelled = lance_table.unlabelled_fragments(dataset, self._label)
        mine = sorted((f for f in unlabelled if f % actors == self._index), reverse=True)
        rows = sum(dataset.get_fragment(f).physical_rows for f in mine)
        return TableView(int(dataset.version), tuple(mine), rows)

    async def _label_fragment(self, version: int, fragment_id: int) -> None:
        began = time.perf_counter()
        request = FragmentRequest(self._settings.table_uri, version, fragment_id)
        try:
            scores: FragmentScores = await self._scorer.score_fragment.remote(request)
        except (RayError, RayServeException) as error:
            raise TransientError(f"the scorer failed: {error}") from error
        reach("scoring.scored")
        await self._apply(version, fragment_id, scores)
        metrics.SCORE_SECONDS.labels(self._label).observe(time.perf_counter() - began)
        self._count(scores)

    async def _apply(self, version: int, fragment_id: int, scores: FragmentScores) -> None:
        """Put the scores in the table. A storage conflict writes again, and never scores again."""
        for _ in range(APPLY_ATTEMPTS_MAX):
            request = await asyncio.to_thread(self._write, version, fragment_id, scores)
            if request is None:
                log.info("fragment %d was labelled or rewritten meanwhile", fragment_id)
                return
            reach("scoring.written")
            try:
                await self._keeper.commit.remote(request)
                return
            except Conflict as error:
                log.info("%s; writing the scores again", error)
                version = int(await asyncio.to_thread(self._latest_version))
            except (RayError, BackPressure) as error:
                log.warning("the keeper did not answer (%s)", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
                version = int(await asyncio.to_thread(self._latest_version))
        raise TransientError(f"fragment {fragment_id} changes too often")

    def _latest_version(self) -> int:
        return int(lance.dataset(self._settings.table_uri).version)

    def _write(self, version: int, fragment_id: int, scores: FragmentScores) -> LabelRequest | None:
        """Column files for the fragment as it is at `version`. None if there is nothing to do."""
        dataset = lance.dataset(self._settings.table_uri, version=version)
        fragment = dataset.get_fragment(fragment_id)
        unlabelled = lance_table.unlabelled_fragments(dataset, self._label)
        if fragment is None or fragment_id not in unlabelled:
            return None
        base = lance_table.metadata_json(fragment.metadata)
        columns = _score_columns(self._label, scores)
        updated, fields = fragment.update_columns(columns, left_on="_rowaddr")
        return LabelRequest(
            label=self._label,
            fragment_id=fragment_id,
            base=base,
            updated=lance_table.metadata_json(updated),
            fields=tuple(int(f) for f in fields),
            rows=len(columns),
        )

    def _replica_targets(self) -> dict[str, str]:
        """Scorer replicas that answered lately: Serve starts and ends them as it likes."""
        now = time.monotonic()
        seen = {a: at for a, at in self._replicas.items() if now - at < REPLICA_SECONDS_MAX}
        self._replicas = seen
        return {f"scorer-{address.rpartition(':')[2]}": address for address in seen}

    def _count(self, scores: FragmentScores) -> None:
        self._replicas[scores.metrics_address] = time.monotonic()
        histogram = metrics.SCORES.labels(self._label)
        for value in scores.values:
            if not math.isnan(value):
                histogram.observe(float(value))
        metrics.SCORE_ERRORS.labels(self._label).inc(len(scores.errors))
        self._scored_rows += scores.rows


def _score_columns(label: str, scores: FragmentScores) -> pa.Table:
    """The label's columns, by row address; a row without a score has null and its error."""
    value, scorer, error = label_fields(label)
    return pa.table(
        {
            "_rowaddr": pa.array(scores.row_addresses, pa.uint64()),
            value.name: pa.array(scores.values, value.type, from_pandas=True),
            scorer.name: pa.array([scores.scorer] * scores.rows, scorer.type),
            error.name: pa.array([scores.errors.get(i) for i in range(scores.rows)], error.type),
        }
    )


def _wake_up(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """From another thread, perhaps as the loop ends."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(event.set)
