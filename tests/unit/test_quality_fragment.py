"""Scoring a fragment of a real table by reference, without Ray."""

import asyncio
import pickle
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from frameloop.core.errors import Conflict, FatalError, SettingsError, TransientError
from frameloop.runtime.settings import ScoringSettings
from schemas.table import ROW_FIELDS
from serve_apps.app import ScorerDeployment, build_app
from serve_apps.calibrate import encode
from serve_apps.contract import Score
from serve_apps.fragment_scoring import BATCH_ROWS, FragmentRequest, TableCache, score_fragment
from serve_apps.quality import QualityScorer, score_image

SCHEMA = pa.schema([field for field in ROW_FIELDS if field.name in ("id", "image")])


def images(count: int) -> list[bytes]:
    rng = np.random.default_rng(count)
    return [encode(rng.integers(0, 255, (24, 24, 3)).astype(np.uint8)) for _ in range(count)]


def write(uri: str, values: list[bytes | None], mode: str = "create") -> int:
    """One more fragment; the table's version."""
    rows = pa.table({"id": [f"{i}" for i in range(len(values))], "image": values}, schema=SCHEMA)
    return int(lance.write_dataset(rows, uri, mode=mode).version)


class Counting:
    """Remembers the sizes of the batches it got."""

    name, version, type = "counting", "1", "float32"
    inputs: tuple[str, ...] = ("image",)

    def __init__(self, answers: int | None = None) -> None:
        self.batches: list[int] = []
        self._answers = answers

    def score(self, batch: pa.RecordBatch) -> list[Score]:
        self.batches.append(batch.num_rows)
        assert batch.schema.names == ["image"]
        return [Score(1.0)] * (batch.num_rows if self._answers is None else self._answers)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "screenshots.lance")


def test_each_row_gets_its_own_score_under_its_address(uri: str) -> None:
    first, second = images(3), images(5)
    write(uri, [*first])
    version = write(uri, [*second], "append")
    scores = score_fragment(FragmentRequest(uri, version, 1), QualityScorer(), TableCache())
    assert scores.scorer == "quality/1"
    assert scores.row_addresses.dtype == np.uint64
    assert scores.row_addresses.tolist() == [(1 << 32) + row for row in range(5)]
    assert scores.values.dtype == np.float32
    expected = np.array([score_image(data).value for data in second], np.float32)
    np.testing.assert_array_equal(scores.values, expected)
    assert scores.errors == {}
    assert scores.seconds_scoring > 0


def test_a_row_without_a_score_is_nan_with_its_reason(uri: str) -> None:
    version = write(uri, [images(1)[0], None, b"no image"])
    scores = score_fragment(FragmentRequest(uri, version, 0), QualityScorer(), TableCache())
    assert np.isnan(scores.values).tolist() == [False, True, True]
    assert scores.errors[1] == "the image is null"
    assert sorted(scores.errors) == [1, 2]


def test_rows_are_streamed_in_small_batches(uri: str) -> None:
    scorer = Counting()
    version = write(uri, [*images(2 * BATCH_ROWS + 3)])
    assert score_fragment(FragmentRequest(uri, version, 0), scorer, TableCache()).rows == 67
    assert scorer.batches == [BATCH_ROWS, BATCH_ROWS, 3]


def test_rows_deleted_by_that_version_are_left_out(uri: str) -> None:
    before = write(uri, [*images(4)])
    table = lance.dataset(uri)
    table.delete("id = '1'")
    tables = TableCache()
    after = FragmentRequest(uri, table.version, 0)
    assert score_fragment(after, QualityScorer(), tables).row_addresses.tolist() == [0, 2, 3]
    assert score_fragment(FragmentRequest(uri, before, 0), QualityScorer(), tables).rows == 4


def test_later_commits_do_not_change_what_is_scored(uri: str) -> None:
    version = write(uri, [*images(2)])
    tables = TableCache()
    request = FragmentRequest(uri, version, 0)
    before = score_fragment(request, QualityScorer(), tables)
    write(uri, [None], "overwrite")
    after = score_fragment(request, QualityScorer(), TableCache())
    np.testing.assert_array_equal(before.values, after.values)


def test_only_the_last_few_tables_stay_open(uri: str) -> None:
    versions = [write(uri, [b""], "overwrite" if i else "create") for i in range(4)]
    tables = TableCache(tables_max=2)
    opened = [tables.at(uri, version) for version in versions]
    assert len(tables) == 2
    assert tables.at(uri, versions[-1]) is opened[-1]
    assert tables.at(uri, versions[0]) is not opened[0]


def test_what_is_not_there_any_more_asks_for_a_new_plan(uri: str) -> None:
    version = write(uri, [b""])
    for request in (FragmentRequest(uri, 99, 0), FragmentRequest(uri, version, 7)):
        with pytest.raises(Conflict):
            score_fragment(request, QualityScorer(), TableCache())


def test_lost_files_are_worth_another_try_on_a_table_opened_anew(uri: str) -> None:
    version = write(uri, [b""])
    for file in (Path(uri) / "data").iterdir():
        file.unlink()
    tables = TableCache()
    with pytest.raises(TransientError):
        score_fragment(FragmentRequest(uri, version, 0), QualityScorer(), tables)
    assert len(tables) == 0


def test_a_scorer_that_breaks_its_contract_stops_the_work(uri: str) -> None:
    request = FragmentRequest(uri, write(uri, [*images(2)]), 0)
    with pytest.raises(FatalError, match="1 scores for 2 rows"):
        score_fragment(request, Counting(answers=1), TableCache())
    reader = Counting()
    reader.inputs = ("image", "caption")
    with pytest.raises(FatalError, match="caption"):
        score_fragment(request, reader, TableCache())


def test_requests_and_scores_travel(uri: str) -> None:
    request = FragmentRequest(uri, write(uri, [*images(2)]), 0)
    scores = pickle.loads(pickle.dumps(score_fragment(request, QualityScorer(), TableCache())))
    assert scores.request == request
    assert scores.rows == 2


def test_a_replica_scores_by_reference_and_says_that_it_is_well(uri: str) -> None:
    request = FragmentRequest(uri, write(uri, [*images(2)]), 0)
    replica = ScorerDeployment(QualityScorer)
    assert asyncio.run(replica.score_fragment(request)).rows == 2
    assert asyncio.run(replica.scorer_id()) == "quality/1"
    replica.check_health()


def test_a_replica_that_hangs_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = ScorerDeployment(QualityScorer)
    monkeypatch.setattr(replica, "_started_at", -1e9)
    with pytest.raises(RuntimeError, match="longer than"):
        replica.check_health()


def test_an_unknown_scorer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="other"):
        build_app(ScoringSettings(), {"other": QualityScorer})
