"""What every scorer in the registry must keep, whoever wrote it."""

import pickle
import re

import numpy as np
import pyarrow as pa
import pytest

from schemas.table import ROW_FIELDS
from serve_apps.app import SCORERS
from serve_apps.calibrate import encode
from serve_apps.contract import Score, Scorer

IMAGE = encode(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))


@pytest.fixture(params=sorted(SCORERS))
def scorer(request: pytest.FixtureRequest) -> Scorer:
    return SCORERS[request.param]()


def batch(scorer: Scorer, images: list[bytes | None]) -> pa.RecordBatch:
    """Rows with these images and null in every other column."""
    fields = [field for field in ROW_FIELDS if field.name in scorer.inputs]
    columns = [
        pa.array(images, f.type) if f.name == "image" else pa.nulls(len(images), f.type)
        for f in fields
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def test_it_is_a_scorer_with_a_name_and_a_version(scorer: Scorer) -> None:
    assert isinstance(scorer, Scorer)
    # Both go into `<label>_scorer` as name/version.
    assert re.fullmatch(r"[a-z][a-z0-9_-]*", scorer.name)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", scorer.version)


def test_it_goes_by_its_own_name() -> None:
    assert {name: factory().name for name, factory in SCORERS.items()} == {n: n for n in SCORERS}


def test_it_reads_columns_that_the_table_has(scorer: Scorer) -> None:
    assert scorer.inputs
    assert set(scorer.inputs) <= {field.name for field in ROW_FIELDS}


def test_it_answers_each_row_in_order(scorer: Scorer) -> None:
    scores = scorer.score(batch(scorer, [IMAGE, b"no image", IMAGE, None]))
    assert [score.error is None for score in scores] == [True, False, True, False]
    assert scores[0] == scores[2]
    assert all(0 <= score.value <= 100 for score in scores if score.value is not None)


def test_an_empty_batch_has_no_scores(scorer: Scorer) -> None:
    assert scorer.score(batch(scorer, [])) == []


def test_its_factory_and_its_scores_travel(scorer: Scorer) -> None:
    factory = pickle.loads(pickle.dumps(SCORERS[scorer.name]))
    assert factory().version == scorer.version
    scores = scorer.score(batch(scorer, [IMAGE, None]))
    assert pickle.loads(pickle.dumps(scores)) == scores


def test_a_score_is_a_value_or_an_error_never_both() -> None:
    with pytest.raises(ValueError, match="either"):
        Score(1.0, "error")
    with pytest.raises(ValueError, match="either"):
        Score(error="error", columns={"messages": []})
