"""Settings of the demo's service, and the folder that it works in."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frameloop.core.errors import SettingsError
from frameloop.runtime.embedded_kafka import free_port
from frameloop.runtime.settings import Settings, load_settings

MARKER = ".frameloop-demo"
SCORE_MIN = 50.0
TRAIN_SHARE = 0.5
"""The run starts when this share of the frames has been scored and passes: once in a demo."""


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Everything that the demo writes. `cache` outlives a run, the rest is made anew."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def frames(self) -> Path:
        return self.root / "frames"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def model(self) -> Path:
        return self.root / "cache" / "tiny-qwen2vl"

    @property
    def config(self) -> Path:
        return self.root / "frameloop.toml"

    @property
    def report(self) -> Path:
        return self.root / "demo-report.json"

    def prepare(self) -> None:
        """Empty the folder of an earlier demo. Raises `SettingsError` if it holds anything else."""
        marker = self.root / MARKER
        if self.root.exists() and any(self.root.iterdir()) and not marker.exists():
            raise SettingsError(
                f"--out: {self.root} is not empty and no demo's; name another folder"
            )
        self.root.mkdir(parents=True, exist_ok=True)
        marker.touch()
        for each in self.root.iterdir():
            if each.name not in (MARKER, "cache"):
                shutil.rmtree(each) if each.is_dir() else each.unlink()
        for folder in (self.data, self.frames, self.logs, self.model.parent):
            folder.mkdir(parents=True, exist_ok=True)


def write_settings(folder: DemoFolder, frames: int, training_environment: Path) -> Settings:
    """A settings file that also serves afterwards: `frameloop status -c OUT/frameloop.toml`."""
    sections: dict[str, dict[str, Any]] = {
        "kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"},
        "fetch": {"allow_networks": ["127.0.0.0/8"]},
        "ingest": {"batch_age_s": 0.5, "batch_rows": 128},
        "metrics": {"port": 0},
        "training": {
            "environment": str(training_environment.absolute()),
            "base_model": str(folder.model.absolute()),
            "score_min": SCORE_MIN,
            "min_new_rows": max(1, int(frames * TRAIN_SHARE)),
            "check_interval_s": 2.0,
            "min_gap_s": 3600.0,
        },
    }
    options = {
        "image_max_pixels": 12544,
        "image_min_pixels": 784,
        "cutoff_len": 256,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1.0e-3,
        "num_train_epochs": 1.0,
        "logging_steps": 5,
    }
    lines = [f"data_dir = {json.dumps(str(folder.data.absolute()))}", ""]
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in values.items()), ""]
    lines += [
        "[training.llamafactory]",
        *(f"{k} = {json.dumps(v)}" for k, v in options.items()),
        "",
    ]
    folder.config.write_text("\n".join(lines), encoding="utf-8")
    return load_settings(folder.config)
