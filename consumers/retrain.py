"""Retrain trigger: counts the rows that pass, decides, and has a training run done.

The trigger is one actor; the run is an actor of its own, so that it gets the CPUs and GPUs that the
settings ask for, on whichever node has them.
"""

import asyncio
import logging
import os
import time
from dataclasses import asdict
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from consumers.training_run import TrainingRun, close_abandoned, count_passing, plan_run
from frameloop.adapters.runs_table import failures_in_a_row, last_success, load_runs
from frameloop.core.errors import FrameloopError
from frameloop.core.retrain_policy import RetrainLimits, RetrainState, decide_retrain
from frameloop.core.training import RunRecord, RunStatus, TrainingProgress, TrainingSpec
from frameloop.runtime import metrics
from frameloop.runtime.logs import configure_logging
from frameloop.runtime.settings import Settings

log = logging.getLogger(__name__)


class TrainerActor:
    """Does one run. Its child process dies with it."""

    def __init__(self, settings: Settings, spec: TrainingSpec) -> None:
        configure_logging("trainer")
        self._run = TrainingRun(settings, spec)
        self._metrics_address = metrics.serve_metrics(settings.metrics.host)

    async def metrics_address(self) -> str:
        return self._metrics_address

    async def run(self) -> RunRecord:
        return await asyncio.to_thread(self._run.execute)

    async def progress(self) -> TrainingProgress:
        return await asyncio.to_thread(self._run.progress)

    async def stop(self) -> None:
        self._run.stop()


class RetrainTrigger:
    """One per table (a named actor)."""

    def __init__(self, settings: Settings) -> None:
        configure_logging("trigger")
        self._settings = settings
        self._stopping = asyncio.Event()
        self._why = "not looked at yet"
        self._last_start: float | None = None
        self._progress = TrainingProgress()
        self._trainer: ActorHandle | None = None
        self._targets: dict[str, str] = {}
        self._metrics_address = metrics.serve_metrics(settings.metrics.host)

    async def run(self) -> None:
        """Look at the table every `training.check_interval_s` until `stop`."""
        for record in await asyncio.to_thread(close_abandoned, self._settings):
            log.warning(
                "%s was under way when its process died; it counts as failed", record.run_id
            )
        while not self._stopping.is_set():
            try:
                await self._check()
            except (RayError, FrameloopError, OSError, ValueError) as error:
                # Ingest and labelling must not end because a training run did.
                self._why = f"the last look failed: {error}"
                log.exception("a round of the trigger failed; the next one follows")
                await asyncio.to_thread(close_abandoned, self._settings)
            try:
                interval = self._settings.training.check_interval_s
                await asyncio.wait_for(self._stopping.wait(), interval)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """End; a run under way is stopped and recorded as failed."""
        self._stopping.set()
        if self._trainer is not None:
            await self._trainer.stop.remote()

    async def status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "why": self._why,
            "running": self._trainer is not None,
            "targets": self._targets,
            "progress": asdict(self._progress),
            "metrics_address": self._metrics_address,
        }

    async def _check(self) -> None:
        try:
            rows, _version = await asyncio.to_thread(count_passing, self._settings)
        except ValueError as error:
            self._why = f"the table can't be read yet: {error}"
            return
        state = self._state(rows, await asyncio.to_thread(load_runs, self._settings.runs_uri))
        metrics.TRAINING_NEW_ROWS.set(state.rows_new)
        training = self._settings.training
        decision = decide_retrain(RetrainLimits(training.min_new_rows, training.min_gap_s), state)
        if not training.enabled:
            self._why = "training.enabled is false"
        elif decision.start:
            self._why = decision.why
            await self._train()
        else:
            self._why = decision.why

    def _state(self, rows_passing: int, records: list[RunRecord]) -> RetrainState:
        good = last_success(records)
        since = None if self._last_start is None else time.monotonic() - self._last_start
        running = any(record.status is RunStatus.RUNNING for record in records)
        return RetrainState(
            rows_passing, good.rows if good else 0, since, running, failures_in_a_row(records)
        )

    async def _train(self) -> None:
        self._last_start = time.monotonic()
        try:
            spec = await asyncio.to_thread(plan_run, self._settings)
        except FrameloopError as error:
            self._why = str(error)
            log.error("no run could be started: %s", error)
            return
        self._why = f"{spec.run_id} is under way"
        log.info("%s starts: %d rows at version %d", spec.run_id, spec.rows, spec.table_version)
        training = self._settings.training
        actor = ray.remote(num_cpus=training.cpus, num_gpus=training.gpus)(TrainerActor)
        self._trainer = actor.remote(self._settings, spec)
        metrics.TRAINING_RUNNING.set(1)
        try:
            await self._follow(self._trainer)
        finally:
            ray.kill(self._trainer)
            self._trainer = None
            self._targets = {}
            metrics.TRAINING_RUNNING.set(0)

    async def _follow(self, trainer: ActorHandle) -> None:
        self._targets = {"trainer": await trainer.metrics_address.remote()}
        result = asyncio.ensure_future(trainer.run.remote())
        while not result.done():
            await asyncio.wait([result], timeout=1.0)
            self._progress = await trainer.progress.remote()
            metrics.TRAINING_STEP.set(self._progress.step)
            metrics.TRAINING_STEPS.set(self._progress.steps)
            if self._progress.loss is not None:
                metrics.TRAINING_LOSS.set(self._progress.loss)
        record: RunRecord = result.result()
        metrics.TRAINING_RUNS.labels(record.status.value).inc()
        log.info(
            "%s: %s, loss %s %s", record.run_id, record.status, record.loss_final, record.error
        )
