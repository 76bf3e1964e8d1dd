"""A training run as a value: what is asked for, what became of it. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from schemas.table import ROWS_FILTER


class RunStatus(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """One run: exactly these rows (a pinned version and a filter), this model, these options."""

    run_id: str
    output_dir: str
    table_uri: str
    table_version: int
    tag: str
    row_filter: str
    rows: int
    base_model: str
    template: str
    finetuning_type: str
    options: dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Last line of the trainer's log; `loss` is None before the first one is logged."""

    step: int = 0
    steps: int = 0
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """`loss_final` is the mean training loss as LLaMA-Factory reports it at the end."""

    loss_final: float | None
    steps: int
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.error is None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One row of the table `runs`. Times are Unix milliseconds."""

    run_id: str
    status: RunStatus
    started_at_ms: int
    table_uri: str
    table_version: int
    tag: str
    row_filter: str
    rows: int
    base_model: str
    output_dir: str
    ended_at_ms: int | None = None
    loss_final: float | None = None
    steps: int | None = None
    error: str | None = None

    @property
    def seconds(self) -> float | None:
        """Of the whole run, imports and model load included."""
        if self.ended_at_ms is None:
            return None
        return (self.ended_at_ms - self.started_at_ms) / 1000

    def ended(self, result: TrainingResult, now_ms: int) -> "RunRecord":
        status = RunStatus.SUCCEEDED if result.succeeded else RunStatus.FAILED
        return replace(
            self,
            status=status,
            ended_at_ms=now_ms,
            loss_final=result.loss_final,
            steps=result.steps,
            error=result.error,
        )


def started_record(spec: TrainingSpec, now_ms: int) -> RunRecord:
    return RunRecord(
        run_id=spec.run_id,
        status=RunStatus.RUNNING,
        started_at_ms=now_ms,
        table_uri=spec.table_uri,
        table_version=spec.table_version,
        tag=spec.tag,
        row_filter=spec.row_filter,
        rows=spec.rows,
        base_model=spec.base_model,
        output_dir=spec.output_dir,
    )


def passing_filter(label: str, score_min: float) -> str:
    """Rows that a model may learn from: scored high enough, and with an assistant's turn."""
    return f"{ROWS_FILTER} AND {label} >= {score_min:g} AND array_length(messages) > 1"


def trainer_yaml(spec: TrainingSpec, dataset_dir: str) -> dict[str, Any]:
    """LLaMA-Factory's arguments; `spec.options` win, but for what the run itself stands on."""
    defaults: dict[str, Any] = {
        "stage": "sft",
        "do_train": True,
        "cutoff_len": 2048,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "learning_rate": 1.0e-4,
        "num_train_epochs": 1.0,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "logging_steps": 5,
        "save_strategy": "no",
        "report_to": "none",
    }
    if spec.finetuning_type == "lora":
        defaults |= {"lora_rank": 8, "lora_target": "all"}
    fixed = {
        "model_name_or_path": spec.base_model,
        "template": spec.template,
        "finetuning_type": spec.finetuning_type,
        "dataset_dir": dataset_dir,
        "dataset": DATASET_NAME,
        "output_dir": f"{spec.output_dir}/model",
        "overwrite_output_dir": True,
    }
    return {**defaults, **spec.options, **fixed}


DATASET_NAME = "screenshots"


def dataset_info(spec: TrainingSpec) -> dict[str, Any]:
    """`dataset_info.json`: the Lance table itself, at the pinned version."""
    return {
        DATASET_NAME: {
            "file_name": spec.table_uri,
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "image"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
            },
            "lance": {"version": spec.table_version, "filter": spec.row_filter},
        }
    }
