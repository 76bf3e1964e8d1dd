"""Tests of `training/`; run with the training environment's Python, from any folder:

    .venv-training/bin/python -m pytest tests/training

Elsewhere, where LLaMA-Factory is not installed, nothing here is collected.
"""

import filecmp
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TRAINING = HERE.parents[1] / "training"

if importlib.util.find_spec("llamafactory") is None:
    collect_ignore_glob = ["*"]
else:
    sys.path[:0] = [str(TRAINING), str(HERE)]  # for `tiny_model` and the tests' own `tables`
    os.environ.update(
        HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", LANCE_LOG="error"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """The tests run what is installed, as users do: refuse to test an older build."""
    if importlib.util.find_spec("llamafactory") is None:
        return
    spec = importlib.util.find_spec("llamafactory_lance")
    # The tree itself is importable from TRAINING; the installed copy must be the same.
    installed = [Path(p) / "llamafactory_lance" for p in sys.path if p != str(TRAINING)]
    found = next((folder for folder in installed if folder.is_dir()), None)
    if spec is None or found is None or _differs(TRAINING / "llamafactory_lance", found):
        pytest.exit("first: uv pip install --no-deps --reinstall ./training", returncode=3)


def _differs(source: Path, installed: Path) -> bool:
    names = [path.relative_to(source) for path in source.rglob("*.py")]
    return any(
        not (installed / name).is_file()
        or not filecmp.cmp(source / name, installed / name, shallow=False)
        for name in names
    )


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="session")
def data_dir(work: Path) -> Path:
    """A dataset folder with the same 24 samples as a Lance table and as JSON with image files."""
    import tables

    folder = work / "data"
    tables.write_dataset_dir(folder)
    return folder


@pytest.fixture(scope="session")
def model_dir(work: Path) -> Path:
    import tiny_model

    folder = work / "model"
    tiny_model.make_model(folder, "lora", seed=0)
    return folder


@pytest.fixture
def fresh_run() -> Iterator[None]:
    from llamafactory_lance import run

    run.current = run.Run()
    yield
    run.current = run.Run()
