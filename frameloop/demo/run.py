"""The demo: the whole loop on real games, from an empty folder to a retrained model."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from rich.console import Console
from rich.live import Live

from frameloop.adapters.llama_factory import trainer_command
from frameloop.adapters.runs_table import load_runs
from frameloop.core.errors import FatalError
from frameloop.core.training import RunStatus
from frameloop.demo.accounting import read_topic
from frameloop.demo.config import DemoFolder, write_settings
from frameloop.demo.live import Progress, line, render
from frameloop.demo.report import (
    DemoReport,
    make_report,
    print_summary,
    write_pictures,
    write_report,
)
from frameloop.demo.upstream import Upstream, make_tiny_model
from frameloop.runtime.child import stop_child
from frameloop.runtime.deadline import Deadline
from frameloop.runtime.settings import Settings
from frameloop.service import TRIGGER_NAME, Service
from schemas.commit import CommitNotice

SECONDS_MAX = 1200.0
LOOK_SECONDS = 0.5
LINE_SECONDS = 10.0


@dataclass(slots=True)
class Demo:
    """One run. `stages` gets the seconds of each stage, in order; some of them overlap."""

    console: Console
    folder: DemoFolder
    settings: Settings
    frames: int
    seed: int
    stages: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def run(self) -> DemoReport:
        """Raises `FatalError` if a part fails or the whole takes too long."""
        service = Service(self.settings, log_to_driver=False)
        upstream = Upstream(self.folder, self.frames, self.seed)
        model = make_tiny_model(self.folder, self.settings.training.environment)
        try:
            self._say("starting Kafka, Ray, Ray Serve and the actors")
            service.start()
            self._finish_model(model)
            self._end_stage("start")
            self._say(
                f"metrics at http://{service.metrics_address}/metrics, the table at "
                f"{self.settings.table_uri}"
            )
            upstream.start()
            self._watch(service, upstream)
            self._end_stage("training_end")
            notices = [
                CommitNotice.model_validate_json(record.value)
                for record in read_topic(self.settings, self.settings.kafka.commit_topic)
            ]
            report = make_report(self.settings, notices, self.stages)
            write_pictures(self.settings, self.folder)
            return report
        finally:
            stop_child(model)
            upstream.stop()
            service.stop()

    def _finish_model(self, model: Popen[bytes]) -> None:
        if model.wait() != 0:
            raise FatalError(f"no tiny model was made; see {self.folder.logs / 'tiny-model.log'}")

    def _watch(self, service: Service, upstream: Upstream) -> None:
        """Until every event is in, every row is scored and the run has ended."""
        deadline = Deadline(SECONDS_MAX)
        live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        last_line = 0.0
        if live:
            live.start()
        try:
            for _ in deadline.ticks(LOOK_SECONDS):
                service.check()
                progress = self._look(service, upstream)
                if live:
                    live.update(render(progress), refresh=True)
                elif progress.seconds - last_line >= LINE_SECONDS:
                    last_line = progress.seconds
                    self.console.print(line(progress), highlight=False, soft_wrap=True)
                if self._is_done(progress, upstream):
                    return
        finally:
            if live:
                live.stop()
        raise FatalError(f"not done within {SECONDS_MAX:g} s: {line(progress)}")

    def _look(self, service: Service, upstream: Upstream) -> Progress:
        status = service.status()
        ingest = [s for name, s in status.items() if name.startswith("ingest")]
        scoring = [s for name, s in status.items() if name.startswith("scoring")]
        trigger: dict[str, Any] = status.get(TRIGGER_NAME, {})
        training = trigger.get("progress", {})
        events, _, _ = upstream.sent()
        rows = sum(s["committed_rows"] for s in ingest)
        letters = sum(s["committed_letters"] for s in ingest)
        loss = training.get("loss")
        why = trigger.get("why", "") if loss is None else f"loss {loss:.3f}"
        return Progress(
            seconds=time.monotonic() - self._began,
            events=events,
            events_all=self.frames,
            covered=rows + letters + sum(s["duplicates"] for s in ingest),
            rows=rows,
            dead_letters=letters,
            scored=sum(s["scored_rows"] for s in scoring),
            training=why,
            step=training.get("step", 0),
            steps=training.get("steps", 0),
        )

    def _is_done(self, progress: Progress, upstream: Upstream) -> bool:
        events, _, all_sent = upstream.sent()
        if all_sent:
            self._end_stage("play_and_send")
        if all_sent and progress.covered >= events:
            self._end_stage("ingest")
            if progress.scored >= progress.rows:
                self._end_stage("label")
        runs = load_runs(self.settings.runs_uri)
        if runs and runs[-1].status is RunStatus.FAILED:
            raise FatalError(f"the training run failed: {runs[-1].error}")
        ended = bool(runs) and runs[-1].status is RunStatus.SUCCEEDED
        return ended and "label" in self.stages

    def _end_stage(self, name: str) -> None:
        """Seconds from the demo's start to the end of this stage."""
        self.stages.setdefault(name, time.monotonic() - self._began)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)


def run_demo(console: Console, out: Path, frames: int, seed: int, environment: Path) -> bool:
    """Run the demo into `out`. True if every event is accounted for and every stage worked."""
    trainer_command(environment)
    folder = DemoFolder(out)
    folder.prepare()
    settings = write_settings(folder, frames, environment)
    report = Demo(console, folder, settings, frames, seed).run()
    write_report(folder, report)
    print_summary(console, report, folder)
    return not report.problems
