"""Scoring consumer: finds what lacks a label, has it scored, puts the label into the table.

The unit of work is a fragment. Which fragments lack which labels is in the table's metadata alone, so
a consumer that starts again needs no state: it looks at the table. Rows that are out of date are found
by a survey, a few fragments at each look.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import lance
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from consumers.apply_scores import ApplyScores
from consumers.keeper import find_keeper
from consumers.survey import Survey
from frameloop.adapters import lance_table
from frameloop.adapters.notices import NoticeWatcher
from frameloop.core.backoff import Backoff
from frameloop.core.errors import TransientError
from frameloop.core.labels import FragmentLabels, Task, labels_in, next_tasks, unlabelled_rows
from frameloop.runtime import metrics
from frameloop.runtime.faults import reach
from frameloop.runtime.logs import configure_logging
from frameloop.runtime.settings import Settings
from serve_apps.app import ScorerFacts
from serve_apps.fragment_scoring import FragmentRequest, FragmentScores

log = logging.getLogger(__name__)

REPLICA_SECONDS_MAX = 600.0
BACKOFF_BASE_S = 1.0
BACKOFF_MAX_S = 300.0


@dataclass(frozen=True, slots=True)
class TableView:
    """One look at the table: its version, and this consumer's share of its fragments."""

    version: int
    fragments: Sequence[FragmentLabels]


class ScoringConsumer:
    """Number `index` of `scoring.actors`; takes the fragments whose id falls to it."""

    def __init__(self, settings: Settings, index: int) -> None:
        configure_logging(f"scoring-{index}")
        self._settings = settings
        self._index = index
        self._columns = {label.name: label for label in settings.label_columns}
        self._applying = ApplyScores(settings.table_uri, find_keeper(settings))
        self._scored_rows = 0
        self._replicas: dict[str, float] = {}
        self._facts: dict[str, ScorerFacts] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._under_way: dict[Task, asyncio.Task[int]] = {}
        self._ended_during: list[set[Task]] = []
        self._survey = Survey(settings)
        self._backoff = Backoff[Task](BACKOFF_BASE_S, BACKOFF_MAX_S)
        for label in settings.labels:
            metrics.SCORE_ERRORS.labels(label)
            metrics.SCORE_FAILURES.labels(label)
        self._metrics_address = metrics.serve_metrics(settings.metrics.host)

    async def run(self) -> None:
        """Label what lacks a label, for ever. Work is given up at any point without a trace."""
        loop = asyncio.get_running_loop()
        watcher = NoticeWatcher(self._settings.kafka, lambda: _wake_up(loop, self._wake))
        try:
            while not self._stopping:
                self._wake.clear()
                try:
                    await self._start_work()
                except (OSError, ValueError, RayError, RayServeException) as error:
                    log.warning("no look at table and scorers now: %s", error)
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

    async def label_again(self, label: str, fragment_id: int, row_filter: str) -> int:
        """Score rows of a fragment again, those that pass the filter; returns how many.

        Raises `TransientError`; what was not done can be asked for again.
        """
        task = Task(label, fragment_id)
        while True:
            if task in self._under_way:
                await asyncio.wait([self._under_way[task]])
            with self._noting_ends() as ended:
                version = int((await asyncio.to_thread(self._look)).version)
                if task not in ended.union(self._under_way):
                    return await self._begin(task, version, row_filter)

    async def facts(self) -> dict[str, ScorerFacts]:
        """Of each label's scorer, as its replicas say."""
        for label in self._settings.labels:
            if label not in self._facts:
                self._facts[label] = await self._handle(label).facts.remote()
        return self._facts

    async def status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "metrics_address": self._metrics_address,
            "scored_rows": self._scored_rows,
            "targets": self._replica_targets(),
            "under_way": sorted((t.label, t.fragment_id) for t in self._under_way),
        }

    async def _start_work(self) -> None:
        with self._noting_ends() as ended:
            view = await asyncio.to_thread(self._look)
            for label, rows in unlabelled_rows(view.fragments, self._settings.labels).items():
                metrics.UNLABELLED_ROWS.labels(label).set(rows)
            needs = await self._needs()
            room = self._settings.scoring.concurrent_fragments - len(self._under_way)
            busy = ended.union(self._under_way)
            self._backoff.keep(Task(n, f.fragment_id) for f in view.fragments for n in needs)
            resting = self._backoff.resting(time.monotonic())
            for task in next_tasks(view.fragments, needs, busy | resting, room):
                self._begin(task, view.version, self._settings.labels[task.label].row_filter)
            if not busy and not self._under_way:  # nothing new: look for what is out of date
                self._facts.clear()  # another version may have been deployed
                found = await self._survey.look(view.version, view.fragments, await self.facts())
                taken = ended.union(self._under_way, resting)
                free = [each for each in found if each[0] not in taken]
                for task, row_filter in free[:room]:
                    self._begin(task, view.version, row_filter)

    @contextmanager
    def _noting_ends(self) -> Iterator[set[Task]]:
        """Tasks that end meanwhile: a look at the table may have come too soon for their labels."""
        ended: set[Task] = set()
        self._ended_during.append(ended)
        try:
            yield ended
        finally:
            self._ended_during = [each for each in self._ended_during if each is not ended]

    async def _needs(self) -> dict[str, frozenset[str]]:
        """Which labels each label waits for: those that its filter or its scorer reads."""
        facts = await self.facts()
        labels = self._settings.labels
        return {
            name: labels_in(" ".join([label.row_filter or "", *facts[name].inputs]), labels)
            - {name}
            for name, label in labels.items()
        }

    def _begin(self, task: Task, version: int, row_filter: str | None) -> asyncio.Task[int]:
        work = asyncio.create_task(self._label_fragment(task, version, row_filter))
        self._under_way[task] = work
        work.add_done_callback(partial(self._ended, task))
        return work

    def _ended(self, task: Task, work: asyncio.Task[int]) -> None:
        del self._under_way[task]
        for ended in self._ended_during:
            ended.add(task)
        if work.cancelled():
            return
        error = work.exception()
        self._wake.set()  # there is room for the next fragment
        if error is None:
            self._backoff.succeeded(task)
            return
        metrics.SCORE_FAILURES.labels(task.label).inc()
        # Left as it is, it is found again, later each time: others must not wait for it.
        rest_s = self._backoff.failed(task, time.monotonic())
        where = f"{task.label} of fragment {task.fragment_id}"
        log.error("%s failed, next try in %.0f s: %s", where, rest_s, error)

    def _look(self) -> TableView:
        dataset = lance.dataset(self._settings.table_uri)
        actors = self._settings.scoring.actors
        state = lance_table.label_state(dataset, self._settings.labels)
        mine = [each for each in state if each.fragment_id % actors == self._index]
        return TableView(int(dataset.version), mine)

    async def _label_fragment(self, task: Task, version: int, row_filter: str | None) -> int:
        began = time.perf_counter()
        request = FragmentRequest(
            self._settings.table_uri,
            version,
            task.fragment_id,
            self._columns[task.label],
            row_filter,
        )
        try:
            handle = self._handle(task.label)
            scores: FragmentScores = await handle.score_fragment.remote(request)
        except (RayError, RayServeException) as error:
            raise TransientError(f"the scorer failed: {error}") from error
        reach("scoring.scored")
        await self._applying.apply(scores)
        metrics.SCORE_SECONDS.labels(task.label).observe(time.perf_counter() - began)
        self._count(scores)
        return scores.rows

    def _handle(self, label: str) -> DeploymentHandle[Any]:
        return serve.get_app_handle(self._settings.serve_app(label))

    def _replica_targets(self) -> dict[str, str]:
        """Scorer replicas that answered lately: Serve starts and ends them as it likes."""
        now = time.monotonic()
        seen = {a: at for a, at in self._replicas.items() if now - at < REPLICA_SECONDS_MAX}
        self._replicas = seen
        return {f"scorer-{address.rpartition(':')[2]}": address for address in seen}

    def _count(self, scores: FragmentScores) -> None:
        self._replicas[scores.metrics_address] = time.monotonic()
        label = scores.request.label
        if label.type in ("float32", "int64"):
            histogram = metrics.SCORES.labels(label.name)
            for value in scores.columns[label.name].drop_null():
                histogram.observe(float(value.as_py()))
        errors = scores.columns[f"{label.name}_error"]
        metrics.SCORE_ERRORS.labels(label.name).inc(len(errors) - errors.null_count)
        self._scored_rows += scores.rows


def _wake_up(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """From another thread, perhaps as the loop ends."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(event.set)
