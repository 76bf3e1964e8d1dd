"""A scorer of one's own: one file, named in the settings."""

import pickle
from pathlib import Path

import pyarrow as pa
import pytest

from frameloop.core.errors import SettingsError
from frameloop.runtime.label_settings import LabelSettings
from serve_apps.registry import factory_of

SOURCE = """
from serve_apps.contract import Score

class Width:
    name, version, type, inputs = "width", "1", "int64", ("width",)
    def __init__(self, times=1):
        self.times = times
    def score(self, batch):
        return [Score(w * self.times) for w in batch.column("width").to_pylist()]

class Half:
    name = "half"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_it_is_made_with_its_options_where_its_file_is_not(file: Path) -> None:
    settings = LabelSettings(scorer=f"{file}:Width", type="int64", options={"times": 2})
    factory = pickle.dumps(factory_of("wide", settings))
    file.unlink()
    scorer = pickle.loads(factory)()
    batch = pa.RecordBatch.from_pydict({"width": [3, 4]})
    assert [score.value for score in scorer.score(batch)] == [6, 8]


@pytest.mark.parametrize(
    ("name", "kind", "options", "words"),
    [
        ("Width", "float32", {}, "labels.wide.type: .*int64.*float32"),
        ("Width", "int64", {"time": 2}, "labels.wide.options: .*time"),
        ("Half", "int64", {}, "lacks version, type, inputs, score"),
        ("None", "int64", {}, "has no class None"),
    ],
)
def test_what_is_wrong_with_it_is_said(
    name: str, kind: str, options: dict[str, int], words: str, file: Path
) -> None:
    values = {"scorer": f"{file}:{name}", "type": kind, "options": options}
    with pytest.raises(SettingsError, match=words):
        factory_of("wide", LabelSettings.model_validate(values))()


def test_a_file_that_is_not_there_or_does_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        factory_of("wide", LabelSettings(scorer=f"{tmp_path}/none.py:Width"))
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_module", encoding="utf-8")
    with pytest.raises(SettingsError, match="no_such_module"):
        factory_of("wide", LabelSettings(scorer=f"{broken}:Width"))
