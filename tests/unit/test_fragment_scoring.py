"""Scoring a fragment of a real table by reference, without Ray."""

import asyncio
import pickle
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from frameloop.core.errors import Conflict, FatalError, TransientError
from schemas.table import MESSAGES, ROW_FIELDS, Label
from serve_apps.app import ScorerDeployment
from serve_apps.calibrate import encode
from serve_apps.contract import Score
from serve_apps.fragment_scoring import BATCH_ROWS, FragmentRequest, FragmentScores, score_fragment
from serve_apps.quality import QualityScorer, score_image
from serve_apps.table_cache import TableCache

SCHEMA = pa.schema([field for field in ROW_FIELDS if field.name in ("id", "image")])


def images(count: int) -> list[bytes]:
    rng = np.random.default_rng(count)
    return [encode(rng.integers(0, 255, (24, 24, 3)).astype(np.uint8)) for _ in range(count)]


def write(uri: str, values: list[bytes | None], mode: str = "create") -> int:
    """One more fragment; the table's version."""
    rows = pa.table({"id": [f"{i}" for i in range(len(values))], "image": values}, schema=SCHEMA)
    return int(lance.write_dataset(rows, uri, mode=mode).version)


def asked(uri: str, version: int, fragment: int, row_filter: str | None = None) -> FragmentRequest:
    return FragmentRequest(uri, version, fragment, Label("score1"), row_filter)


def column(scores: FragmentScores, name: str) -> list[object]:
    return list(scores.columns[name].to_pylist())


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
    scores = score_fragment(asked(uri, version, 1), QualityScorer(), TableCache())
    assert scores.scorer == "quality/1"
    assert column(scores, "_rowaddr") == [(1 << 32) + row for row in range(5)]
    expected = np.array([score_image(data).value for data in second], np.float32)
    np.testing.assert_array_equal(column(scores, "score1"), expected)
    assert column(scores, "score1_scorer") == ["quality/1"] * 5
    assert column(scores, "score1_error") == [None] * 5
    assert scores.seconds_scoring > 0


def test_a_row_without_a_score_has_null_and_its_error(uri: str) -> None:
    version = write(uri, [images(1)[0], None, b"no image"])
    scores = score_fragment(asked(uri, version, 0), QualityScorer(), TableCache())
    assert [value is None for value in column(scores, "score1")] == [False, True, True]
    errors = column(scores, "score1_error")
    assert errors[:2] == [None, "the image is null"]
    assert errors[2]


def test_rows_are_streamed_in_small_batches(uri: str) -> None:
    scorer = Counting()
    version = write(uri, [*images(2 * BATCH_ROWS + 3)])
    assert score_fragment(asked(uri, version, 0), scorer, TableCache()).rows == 67
    assert scorer.batches == [BATCH_ROWS, BATCH_ROWS, 3]


def test_rows_deleted_by_that_version_are_left_out(uri: str) -> None:
    before = write(uri, [*images(4)])
    table = lance.dataset(uri)
    table.delete("id = '1'")
    tables = TableCache()
    after = asked(uri, table.version, 0)
    assert column(score_fragment(after, QualityScorer(), tables), "_rowaddr") == [0, 2, 3]
    assert score_fragment(asked(uri, before, 0), QualityScorer(), tables).rows == 4


def test_later_commits_do_not_change_what_is_scored(uri: str) -> None:
    version = write(uri, [*images(2)])
    tables = TableCache()
    request = asked(uri, version, 0)
    before = score_fragment(request, QualityScorer(), tables)
    write(uri, [None], "overwrite")
    after = score_fragment(request, QualityScorer(), TableCache())
    assert before.columns.equals(after.columns)


def test_only_the_last_few_tables_stay_open(uri: str) -> None:
    versions = [write(uri, [b""], "overwrite" if i else "create") for i in range(4)]
    tables = TableCache(tables_max=2)
    opened = [tables.at(uri, version) for version in versions]
    assert len(tables) == 2
    assert tables.at(uri, versions[-1]) is opened[-1]
    assert tables.at(uri, versions[0]) is not opened[0]


def test_what_is_not_there_any_more_asks_for_a_new_plan(uri: str) -> None:
    version = write(uri, [b""])
    for request in (asked(uri, 99, 0), asked(uri, version, 7)):
        with pytest.raises(Conflict):
            score_fragment(request, QualityScorer(), TableCache())


def test_lost_files_are_worth_another_try_on_a_table_opened_anew(uri: str) -> None:
    version = write(uri, [b""])
    for file in (Path(uri) / "data").iterdir():
        file.unlink()
    tables = TableCache()
    with pytest.raises(TransientError):
        score_fragment(asked(uri, version, 0), QualityScorer(), tables)
    assert len(tables) == 0


def test_a_scorer_that_breaks_its_contract_stops_the_work(uri: str) -> None:
    request = asked(uri, write(uri, [*images(2)]), 0)
    with pytest.raises(FatalError, match="1 scores for 2 rows"):
        score_fragment(request, Counting(answers=1), TableCache())
    reader = Counting()
    reader.inputs = ("image", "caption")
    with pytest.raises(FatalError, match="caption"):
        score_fragment(request, reader, TableCache())


def test_requests_and_scores_travel(uri: str) -> None:
    request = asked(uri, write(uri, [*images(2)]), 0)
    scores = pickle.loads(pickle.dumps(score_fragment(request, QualityScorer(), TableCache())))
    assert scores.request == request
    assert scores.rows == 2


def test_a_replica_scores_by_reference_and_says_that_it_is_well(uri: str) -> None:
    request = asked(uri, write(uri, [*images(2)]), 0)
    replica = ScorerDeployment(QualityScorer)
    assert asyncio.run(replica.score_fragment(request)).rows == 2
    assert asyncio.run(replica.facts()).scorer == "quality/1"
    replica.check_health()


def test_a_replica_that_hangs_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = ScorerDeployment(QualityScorer)
    monkeypatch.setattr(replica, "_started_at", -1e9)
    with pytest.raises(RuntimeError, match="longer than"):
        replica.check_health()


def test_only_rows_that_pass_the_filter_are_scored(uri: str) -> None:
    version = write(uri, [*images(5)])
    scorer = Counting()
    scores = score_fragment(asked(uri, version, 0, "id IN ('1', '3')"), scorer, TableCache())
    assert column(scores, "_rowaddr") == [1, 3]
    assert sum(scorer.batches) == 2
    nobody = score_fragment(asked(uri, version, 0, "id = 'x'"), scorer, TableCache())
    assert (nobody.rows, sum(scorer.batches)) == (0, 2)
    with pytest.raises(FatalError, match="filter"):
        score_fragment(asked(uri, version, 0, "no SQL"), scorer, TableCache())


def test_values_of_the_wrong_type_stop_the_work(uri: str) -> None:
    request = FragmentRequest(uri, write(uri, [*images(2)]), 0, Label("score1", "int64"))
    with pytest.raises(FatalError, match="int64"):
        score_fragment(request, Wrong(), TableCache())


class Wrong(Counting):
    def score(self, batch: pa.RecordBatch) -> list[Score]:
        return [Score("a word")] * batch.num_rows


class NotANumber(Counting):
    def score(self, batch: pa.RecordBatch) -> list[Score]:
        return [Score(float("nan"))] * batch.num_rows


def test_nan_is_an_error_on_the_row(uri: str) -> None:
    version = write(uri, [*images(1)])
    scores = score_fragment(asked(uri, version, 0), NotANumber(), TableCache())
    assert column(scores, "score1") == [None]
    assert column(scores, "score1_error") == ["the scorer gave NaN"]


class Renaming(Counting):
    """Writes `messages` of the rows whose id is odd, which it may; and `image`, which it may not."""

    inputs = ("id", "messages")
    writes: tuple[str, ...] = ("messages",)

    def score(self, batch: pa.RecordBatch) -> list[Score]:
        turn = [{"role": "user", "content": "new"}]
        odd = [int(each) % 2 for each in batch.column("id").to_pylist()]
        return [Score(1.0, columns={"messages": turn} if each else {}) for each in odd]


def test_a_scorer_sets_other_columns_of_the_rows_it_means_and_no_others(uri: str) -> None:
    old = [{"role": "user", "content": "old"}]
    rows = pa.table(
        {"id": ["0", "1"], "messages": pa.array([old, old], MESSAGES)},
        schema=pa.schema([field for field in ROW_FIELDS if field.name in ("id", "messages")]),
    )
    version = int(lance.write_dataset(rows, uri).version)
    scores = score_fragment(asked(uri, version, 0), Renaming(), TableCache())
    assert [m[0]["content"] for m in column(scores, "messages")] == ["old", "new"]  # type: ignore[index]
    greedy = Renaming()
    greedy.writes = ("id",)
    with pytest.raises(FatalError, match="may write"):
        score_fragment(asked(uri, version, 0), greedy, TableCache())


class Looking(Counting):
    seen: int = 0

    def look(self, table: lance.LanceDataset) -> None:
        self.seen = int(table.version)


def test_a_scorer_that_looks_at_the_table_sees_the_version_it_scores(uri: str) -> None:
    version = write(uri, [*images(2)])
    write(uri, [*images(2)], "append")
    scorer = Looking()
    score_fragment(asked(uri, version, 0), scorer, TableCache())
    assert scorer.seen == version
