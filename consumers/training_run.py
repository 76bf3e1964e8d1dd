"""One training run from pin to record: tag the version, train, write down what became of it."""

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import lance

from frameloop.adapters import lance_table
from frameloop.adapters.llama_factory import Trainer, trainer_command
from frameloop.adapters.runs_table import load_runs, save_run
from frameloop.core.errors import FatalError, FrameloopError
from frameloop.core.training import (
    RunRecord,
    RunStatus,
    TrainingProgress,
    TrainingResult,
    TrainingSpec,
    passing_filter,
    started_record,
)
from frameloop.runtime.settings import Settings

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def count_passing(settings: Settings) -> tuple[int, int]:
    """Rows that pass the training filter, and the table version they were counted at."""
    dataset = lance.dataset(settings.table_uri)
    row_filter = passing_filter(settings.training.label, settings.training.score_min)
    return lance_table.count_rows(dataset, row_filter), int(dataset.version)


def plan_run(settings: Settings) -> TrainingSpec:
    """Pin the table's present version with a tag, so that its files stay for the run.

    Raises `FatalError` if no row passes and `SettingsError` if LLaMA-Factory is not there.
    """
    trainer_command(settings.training.environment)
    rows, version = count_passing(settings)
    training = settings.training
    row_filter = passing_filter(settings.training.label, training.score_min)
    if not rows:
        raise FatalError(f"no row of {settings.table_uri} passes {row_filter}")
    run_id = f"run-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:4]}"
    lance.dataset(settings.table_uri).tags.create(run_id, version)
    model = Path(training.base_model)
    return TrainingSpec(
        run_id=run_id,
        output_dir=str(settings.data_dir.resolve() / "runs" / run_id),
        table_uri=settings.table_uri,
        table_version=version,
        tag=run_id,
        row_filter=row_filter,
        rows=rows,
        base_model=str(model.resolve()) if model.is_dir() else training.base_model,
        template=training.template,
        finetuning_type=training.finetuning_type,
        options=training.llamafactory,
    )


@dataclass(slots=True)
class TrainingRun:
    """Runs one spec. `execute` blocks; `progress` may be asked from another thread."""

    settings: Settings
    spec: TrainingSpec
    _trainer: Trainer = field(init=False)
    _stopped: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        training = self.settings.training
        self._trainer = Trainer(self.spec, training.environment, training.hub)

    def execute(self, on_progress: Callable[[TrainingProgress], None] | None = None) -> RunRecord:
        """Train and record it. A failed training is a record with its error, not an exception."""
        record = started_record(self.spec, now_ms())
        save_run(self.settings.runs_uri, record)
        try:
            self._trainer.start()
            result = self._wait(on_progress)
        except (OSError, FrameloopError) as error:
            result = TrainingResult(None, 0, f"could not start: {error}")
        finally:
            self._trainer.stop()
        record = record.ended(result, now_ms())
        save_run(self.settings.runs_uri, record)
        untag(self.spec.table_uri, self.spec.tag)
        return record

    def progress(self) -> TrainingProgress:
        return self._trainer.progress()

    def stop(self) -> None:
        self._stopped = True

    def _wait(self, on_progress: Callable[[TrainingProgress], None] | None) -> TrainingResult:
        end = time.monotonic() + self.settings.training.timeout_s
        while True:
            result = self._trainer.poll()
            if on_progress:
                on_progress(self.progress())
            if result is not None:
                return result
            if self._stopped:
                return TrainingResult(None, self.progress().step, "stopped")
            if time.monotonic() > end:
                limit = f"training.timeout_s = {self.settings.training.timeout_s:g}"
                return TrainingResult(None, self.progress().step, f"ran past {limit}")
            time.sleep(POLL_SECONDS)


def close_abandoned(settings: Settings) -> list[RunRecord]:
    """Runs that still say `running` while nobody runs them: mark them failed, give their tag back.

    Call it only where no run can be under way: at the start of the one trigger.
    """
    closed = []
    for record in load_runs(settings.runs_uri):
        if record.status is not RunStatus.RUNNING:
            continue
        result = TrainingResult(
            None, record.steps or 0, "its process died; found at the next start"
        )
        ended = record.ended(result, now_ms())
        save_run(settings.runs_uri, ended)
        untag(record.table_uri, record.tag)
        closed.append(ended)
    return closed


def untag(table_uri: str, tag: str) -> None:
    """A tag keeps old files from being cleaned up for ever, so it goes as soon as it may."""
    tags = lance.dataset(table_uri).tags
    if tag in tags.list():
        tags.delete(tag)
