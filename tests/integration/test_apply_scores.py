"""Scores in hand find their rows, whatever happened to the fragment since it was read."""

from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from consumers.apply_scores import ApplyScores
from consumers.commit_loop import CommitLoop
from frameloop.adapters import lance_table
from frameloop.core.batch import CommitRequest
from frameloop.core.errors import Conflict
from schemas.table import Label
from serve_apps.contract import Score
from serve_apps.fragment_scoring import FragmentRequest, FragmentScores, score_fragment
from serve_apps.table_cache import TableCache
from tests.builders import written_append

LABELS = (Label("score1", "int64"), Label("other", "int64"))


class Counting:
    """Counts the rows that it is asked for."""

    name, version, type = "counting", "1", "int64"
    inputs: tuple[str, ...] = ("offset",)
    rows = 0

    def score(self, batch: pa.RecordBatch) -> list[Score]:
        self.rows += batch.num_rows
        return [Score(offset) for offset in batch.column("offset").to_pylist()]


class Keeper:
    """A commit loop where the handle of the keeper's actor is expected. `before` runs once."""

    def __init__(self, loop: CommitLoop) -> None:
        self._loop = loop
        self.commit = self
        self.before: Any = None

    async def remote(self, request: CommitRequest) -> None:
        before, self.before = self.before, None
        if before is not None:
            before()
        answer = self._loop.step([request]).answers[0]
        if isinstance(answer, Exception):
            raise answer


@pytest.fixture
def loop(tmp_path: Path) -> CommitLoop:
    made = CommitLoop(str(tmp_path / "t.lance"), LABELS, outbox_max=10)
    made.take_over()
    for first in (0, 5, 10):
        made.step([written_append(made.uri, f"batch-{first}", first, first + 5)])
    return made


def fragments(loop: CommitLoop) -> list[int]:
    return [
        each.fragment_id for each in lance_table.label_state(lance.dataset(loop.uri), ["score1"])
    ]


def scored(
    loop: CommitLoop,
    scorer: Counting,
    fragment: int,
    label: str = "score1",
    only: str | None = None,
) -> FragmentScores:
    version = int(lance.dataset(loop.uri).version)
    request = FragmentRequest(loop.uri, version, fragment, Label(label, "int64"), only)
    return score_fragment(request, scorer, TableCache())


def values(loop: CommitLoop, label: str = "score1") -> dict[int, int | None]:
    """By offset."""
    found = lance.dataset(loop.uri).to_table(
        columns=["offset", label], filter="id != 'frameloop:ledger'"
    )
    return {row["offset"]: row[label] for row in found.to_pylist()}


async def test_another_label_of_the_same_fragment_costs_no_second_score(loop: CommitLoop) -> None:
    scorer, keeper = Counting(), Keeper(loop)
    fragment = fragments(loop)[0]
    first, second = scored(loop, scorer, fragment), scored(loop, scorer, fragment, "other")
    applying = ApplyScores(loop.uri, keeper)  # type: ignore[arg-type]
    elsewhere = ApplyScores(loop.uri, Keeper(loop))  # type: ignore[arg-type]
    request = elsewhere._write(second, second.columns)
    assert request is not None
    keeper.before = lambda: loop.step([request])  # comes in between the write and the commit
    await applying.apply(first)
    assert scorer.rows == 10
    for label in ("score1", "other"):
        assert values(loop, label)[3] == 3


async def test_rows_that_compaction_moved_get_their_scores_where_they_are_now(
    loop: CommitLoop,
) -> None:
    scorer = Counting()
    applying = ApplyScores(loop.uri, Keeper(loop))  # type: ignore[arg-type]
    for fragment in fragments(loop):
        await applying.apply(scored(loop, scorer, fragment))
    stale = [scored(loop, scorer, fragment, only="score1 >= 3") for fragment in fragments(loop)]
    assert scorer.rows == 15 + 12
    lance.dataset(loop.uri).optimize.compact_files(target_rows_per_fragment=100)
    for each in stale:
        doubled = each.columns.set_column(
            each.columns.column_names.index("score1"),
            "score1",
            pa.array([2 * v for v in each.columns["score1"].to_pylist()], pa.int64()),
        )
        await applying.apply(FragmentScores(each.request, each.scorer, doubled))
    assert scorer.rows == 27
    assert values(loop) == {n: 2 * n if n >= 3 else n for n in range(15)}


async def test_a_fragment_none_of_whose_rows_pass_counts_as_looked_at(loop: CommitLoop) -> None:
    applying = ApplyScores(loop.uri, Keeper(loop))  # type: ignore[arg-type]
    fragment = fragments(loop)[0]
    await applying.apply(scored(loop, Counting(), fragment, only="offset < 0"))
    state = lance_table.label_state(lance.dataset(loop.uri), ["score1"])
    assert [each.fragment_id for each in state if not each.missing] == [fragment]
    assert set(values(loop).values()) == {None}


async def test_a_fragment_that_was_labelled_meanwhile_is_left_alone(loop: CommitLoop) -> None:
    applying = ApplyScores(loop.uri, Keeper(loop))  # type: ignore[arg-type]
    fragment = fragments(loop)[0]
    scores = scored(loop, Counting(), fragment)
    await applying.apply(scores)
    version = loop.dataset.latest_version
    await applying.apply(scores)
    assert loop.dataset.latest_version == version


async def test_a_keeper_that_always_refuses_ends_in_an_error_and_changes_nothing(
    loop: CommitLoop,
) -> None:
    class Refusing(Keeper):
        async def remote(self, request: CommitRequest) -> None:
            raise Conflict("changed")

    applying = ApplyScores(loop.uri, Refusing(loop))  # type: ignore[arg-type]
    with pytest.raises(Exception, match="changes too often"):
        await applying.apply(scored(loop, Counting(), fragments(loop)[0]))
    assert set(values(loop).values()) == {None}
