"""What every scorer of ours must keep, whoever wrote it."""

import pickle
import re

import numpy as np
import pyarrow as pa
import pytest
from pydantic import JsonValue

from frameloop.core.errors import SettingsError
from frameloop.runtime.label_settings import SCORER_TYPES, LabelSettings
from schemas.table import LABEL_TYPES, ROW_FIELDS
from serve_apps.calibrate import encode
from serve_apps.contract import WRITABLE, Score, Scorer
from serve_apps.quality import QualityScorer
from serve_apps.registry import SCORERS, factory_of

IMAGE = encode(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
SERVER: dict[str, JsonValue] = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
OPTIONS = {"judge": SERVER, "caption": SERVER}
"""What a scorer can't be made without."""


@pytest.fixture(params=sorted(SCORERS))
def settings(request: pytest.FixtureRequest) -> LabelSettings:
    return LabelSettings(scorer=request.param, options=OPTIONS.get(request.param, {}))


@pytest.fixture
def scorer(settings: LabelSettings) -> Scorer:
    return factory_of("score1", settings)()


def batch(scorer: Scorer, images: list[bytes | None]) -> pa.RecordBatch:
    """Rows with these images and null in every other column."""
    fields = [field for field in ROW_FIELDS if field.name in scorer.inputs]
    columns = [
        pa.array(images, f.type) if f.name == "image" else pa.nulls(len(images), f.type)
        for f in fields
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def test_all_scorers_that_the_settings_know_are_there() -> None:
    assert set(SCORERS) == set(SCORER_TYPES)


def test_it_is_a_scorer_with_a_name_and_a_version(scorer: Scorer, settings: LabelSettings) -> None:
    assert isinstance(scorer, Scorer)
    assert scorer.name == settings.scorer
    # Both go into `<label>_scorer` as name/version.
    assert re.fullmatch(r"[a-z][a-z0-9_-]*", scorer.name)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", scorer.version)


def test_its_type_is_the_one_that_the_settings_know(scorer: Scorer) -> None:
    assert scorer.type == SCORER_TYPES[scorer.name]
    assert scorer.type in LABEL_TYPES


def test_it_reads_columns_that_the_table_has_and_writes_what_it_may(scorer: Scorer) -> None:
    assert scorer.inputs
    assert set(scorer.inputs) <= {field.name for field in ROW_FIELDS}
    assert set(getattr(scorer, "writes", ())) <= set(WRITABLE) & set(scorer.inputs)


def test_an_empty_batch_has_no_scores(scorer: Scorer) -> None:
    assert scorer.score(batch(scorer, [])) == []


def test_its_factory_travels_and_makes_the_same_version(settings: LabelSettings) -> None:
    factory = factory_of("score1", settings)
    assert pickle.loads(pickle.dumps(factory))().version == factory().version


def test_quality_answers_each_row_in_order() -> None:
    scorer = QualityScorer()
    scores = scorer.score(batch(scorer, [IMAGE, b"no image", IMAGE, None]))
    assert [score.error is None for score in scores] == [True, False, True, False]
    assert scores[0] == scores[2]
    assert all(0 <= float(s.value) <= 100 for s in scores if s.value is not None)
    assert pickle.loads(pickle.dumps(scores)) == scores


def test_a_score_is_a_value_or_an_error_never_both() -> None:
    with pytest.raises(ValueError, match="either"):
        Score(1.0, "error")
    with pytest.raises(ValueError, match="either"):
        Score(error="error", columns={"messages": []})


def test_an_option_that_a_scorer_does_not_take_is_named() -> None:
    wrong = LabelSettings(scorer="quality", options={"sharpness": 3})
    with pytest.raises(SettingsError, match=r"labels\.score1\.options.*sharpness"):
        factory_of("score1", wrong)()
