"""The same arguments make the same model, whole or not at all."""

import filecmp
import json
from pathlib import Path

import pytest
import tiny_model


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def parameters(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as tensors:
        return sum(tensors.get_tensor(name).numel() for name in tensors.keys())  # noqa: SIM118 - no dict


def test_same_arguments_same_bytes(model_dir: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert tiny_model.make_model(again, "lora", seed=0)
    assert files(again) == files(model_dir)
    assert filecmp.cmpfiles(model_dir, again, files(again), shallow=False)[1:] == ([], [])
    assert 150_000 < parameters(again) < 250_000


def test_a_second_call_does_nothing_and_other_arguments_overwrite_nothing(model_dir: Path) -> None:
    before = (model_dir / "model.safetensors").stat()
    assert not tiny_model.make_model(model_dir, "lora", seed=0)
    with pytest.raises(tiny_model.ModelExistsError, match="other arguments"):
        tiny_model.make_model(model_dir, "full", seed=0)
    assert (model_dir / "model.safetensors").stat() == before


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(tiny_model, "_write", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        tiny_model.make_model(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_full_preset_is_the_one_that_learns(tmp_path: Path) -> None:
    tiny_model.make_model(tmp_path / "full", "full", seed=1)
    assert 780_000 < parameters(tmp_path / "full") < 850_000
    assert json.loads((tmp_path / "full" / tiny_model.MARKER).read_text())["seed"] == 1
