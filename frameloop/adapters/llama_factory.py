"""LLaMA-Factory as a child process in its own environment: start it, watch it, read what it wrote."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from frameloop.core.errors import SettingsError
from frameloop.core.training import (
    TrainingProgress,
    TrainingResult,
    TrainingSpec,
    dataset_info,
    trainer_yaml,
)
from frameloop.runtime.child import start_child, stop_child

LOG_TAIL_CHARS = 2000


def trainer_command(environment: Path) -> Path:
    """`llamafactory-cli` of the environment. Raises `SettingsError` if it is not there."""
    command = environment.absolute() / "bin" / "llamafactory-cli"
    if not command.exists():
        raise SettingsError(
            f"training.environment: {command} does not exist; `make setup` makes the environment, "
            "or set training.enabled = false"
        )
    return command


@dataclass(slots=True)
class Trainer:
    """One `llamafactory-cli train`, from start to end."""

    spec: TrainingSpec
    environment: Path
    hub: str
    _child: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        return Path(self.spec.output_dir)

    @property
    def log_path(self) -> Path:
        return self.folder / "train.log"

    def start(self) -> None:
        """Write the run's configuration and start. The child dies with this process."""
        command = trainer_command(self.environment)
        dataset_dir = self.folder / "dataset"
        dataset_dir.mkdir(parents=True, exist_ok=True)
        info = json.dumps(dataset_info(self.spec), indent=2)
        (dataset_dir / "dataset_info.json").write_text(info, encoding="utf-8")
        config = self.folder / "train.yaml"
        arguments = trainer_yaml(self.spec, str(dataset_dir))
        config.write_text(yaml.safe_dump(arguments, sort_keys=False), encoding="utf-8")
        with self.log_path.open("ab") as log:
            self._child = start_child(
                [str(command), "train", str(config)], log=log, env=self._child_environment(command)
            )

    def poll(self) -> TrainingResult | None:
        """The result once the trainer has ended, None while it runs."""
        if self._child is None:
            raise RuntimeError("start the trainer first")
        status = self._child.poll()
        if status is None:
            return None
        return self._result(status)

    def stop(self) -> None:
        if self._child is not None:
            stop_child(self._child)

    def progress(self) -> TrainingProgress:
        return last_progress(self.folder)

    def _child_environment(self, command: Path) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))}
        return {
            **inherited,
            # The Web UI and torchrun are found by PATH, hence this environment comes first.
            "PATH": f"{command.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "VIRTUAL_ENV": str(self.environment.absolute()),
            "HF_HOME": str(self.folder.parent / "cache"),  # shared: a model is downloaded once
            "DISABLE_VERSION_CHECK": "0",
            "USE_MODELSCOPE_HUB": "1" if self.hub == "modelscope" else "0",
        }

    def _result(self, status: int) -> TrainingResult:
        last = self.progress()
        if status != 0:
            tail = self.log_path.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL_CHARS:]
            return TrainingResult(None, last.step, f"exit status {status}: {_last_words(tail)}")
        results = self.folder / "model" / "train_results.json"
        try:
            loss = float(json.loads(results.read_text(encoding="utf-8"))["train_loss"])
        except (OSError, ValueError, KeyError) as error:
            return TrainingResult(None, last.step, f"no result was written: {error}")
        return TrainingResult(loss, last.step)


def last_progress(folder: Path) -> TrainingProgress:
    """Step and loss from the trainer's own log, as far as it has got."""
    history = loss_history(folder)
    step, steps = 0, 0
    for line in _log_lines(folder):
        step = int(line.get("current_steps", step))
        steps = int(line.get("total_steps", steps))
    return TrainingProgress(step, steps, history[-1][1] if history else None)


def loss_history(folder: Path) -> list[tuple[int, float]]:
    """(step, loss) of each logged step."""
    return [
        (int(line["current_steps"]), float(line["loss"]))
        for line in _log_lines(folder)
        if "loss" in line and "current_steps" in line
    ]


def _log_lines(folder: Path) -> list[dict[str, float]]:
    path = folder / "model" / "trainer_log.jsonl"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    # The last line may be half written.
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["it said nothing"])[-1]
