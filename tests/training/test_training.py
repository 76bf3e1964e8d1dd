"""The real thing: LLaMA-Factory on a table does what it does on JSON and image files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
STEPS = 6


def environment(work: Path) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HF_HOME": str(work / "hf"), "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def reports(work: Path, data_dir: Path, model_dir: Path) -> dict[str, dict[str, Any]]:
    command = [
        sys.executable,
        str(HERE / "loader_run.py"),
        str(data_dir),
        str(model_dir),
        "table",
        "files",
    ]
    done = subprocess.run(
        command, env=environment(work), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.rstrip().rpartition("\n")[2]))


def test_batches_are_equal_tensor_for_tensor(reports: dict[str, dict[str, Any]]) -> None:
    assert len(reports["table"]["checksums"]) == 2 * 6
    assert reports["table"]["checksums"] == reports["files"]["checksums"]


def test_the_trainer_never_uses_lance_before_it_forks_its_workers(
    reports: dict[str, dict[str, Any]],
) -> None:
    """Tokenization, in forked processes too, has ended; the workers were forked twice."""
    assert not reports["table"]["lance_before"]
    assert not reports["table"]["lance_after"]


def losses(work: Path, data_dir: Path, model_dir: Path, dataset: str) -> list[float]:
    out_dir = work / f"out-{dataset}"
    settings = {
        "model_name_or_path": str(model_dir),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 4,
        "image_max_pixels": 12544,
        "image_min_pixels": 784,
        "dataset_dir": str(data_dir),
        "dataset": dataset,
        "template": "qwen2_vl",
        "cutoff_len": 256,
        "output_dir": str(out_dir),
        "logging_steps": 1,
        "save_strategy": "no",
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "num_train_epochs": 1,
        "seed": 7,
        "report_to": "none",
    }
    path = work / f"{dataset}.json"
    path.write_text(json.dumps(settings))
    config = path.rename(path.with_suffix(".yaml"))  # JSON is YAML
    command = ["llamafactory-cli", "train", str(config)]
    done = subprocess.run(
        command, env=environment(work), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (out_dir / "trainer_log.jsonl").read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


def test_a_real_training_run_has_the_same_loss_at_each_step(
    work: Path, data_dir: Path, model_dir: Path
) -> None:
    from_table = losses(work, data_dir, model_dir, "table")
    assert len(from_table) == STEPS
    assert from_table == losses(work, data_dir, model_dir, "files")
    assert from_table[-1] < from_table[0]
