"""What is to be labelled next, and what is out of date."""

import lance
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.errors import SettingsError
from frameloop.core.labels import (
    FragmentLabels,
    Task,
    check_order,
    failed,
    labels_in,
    next_tasks,
    stale,
    unlabelled_rows,
)

NAMES = ("score1", "judge", "caption")


def fragment(number: int, *missing: str) -> FragmentLabels:
    return FragmentLabels(number, 10, frozenset(missing))


def test_labels_are_found_in_a_filter_by_any_of_their_columns() -> None:
    assert labels_in("score1 >= 40 AND judge_error IS NULL", NAMES) == {"score1", "judge"}
    assert labels_in("source = 'score1' AND score10 > 1", NAMES) == set()
    assert labels_in("source = 'it''s' AND caption IS NULL", NAMES) == {"caption"}


def test_labels_that_wait_for_each_other_are_refused() -> None:
    check_order({"a": {"b"}, "b": set(), "c": {"a", "b"}})
    with pytest.raises(SettingsError, match="a, b"):
        check_order({"a": {"b"}, "b": {"a"}, "c": set()})


def test_the_newest_fragment_comes_first_and_a_label_waits_for_what_it_needs() -> None:
    fragments = [fragment(1, "score1", "judge"), fragment(2, "judge"), fragment(3, *NAMES)]
    needs = {"score1": set[str](), "judge": {"score1"}, "caption": set[str]()}
    found = next_tasks(fragments, needs, [], 10)
    assert found == [
        Task("score1", 3),
        Task("caption", 3),
        Task("judge", 2),
        Task("score1", 1),
    ]
    assert next_tasks(fragments, needs, [Task("score1", 3)], 1) == [Task("caption", 3)]
    assert next_tasks(fragments, needs, [], 0) == []


@given(
    missing=st.lists(st.frozensets(st.sampled_from(NAMES)), max_size=8),
    busy=st.frozensets(st.builds(Task, st.sampled_from(NAMES), st.integers(0, 7))),
    room=st.integers(0, 9),
)
def test_each_task_is_missing_ready_and_given_out_once(
    missing: list[frozenset[str]], busy: frozenset[Task], room: int
) -> None:
    needs = {"score1": set[str](), "judge": {"score1"}, "caption": set[str]()}
    fragments = [FragmentLabels(i, 5, each) for i, each in enumerate(missing)]
    found = next_tasks(fragments, needs, busy, room)
    assert len(found) == len(set(found)) <= room
    for task in found:
        lacks = missing[task.fragment_id]
        assert task.label in lacks
        assert not lacks & needs[task.label]
        assert task not in busy


def test_rows_without_a_label_are_counted_for_each_label() -> None:
    fragments = [fragment(1, "score1"), fragment(2, "score1", "judge")]
    assert unlabelled_rows(fragments, NAMES) == {"score1": 20, "judge": 10, "caption": 0}


def test_stale_is_what_another_version_scored_or_nobody_looked_at(tmp_path: object) -> None:
    """Asked of Lance, which is who answers in earnest."""
    rows = pa.table(
        {
            "id": ["now", "old", "by hand", "missed", "filtered out", "failed before"],
            "width": [9, 9, 9, 9, 1, 9],
            "judge_scorer": ["judge/2", "judge/1", "human/ann", None, None, "judge/1"],
            "judge_error": [None, None, None, None, None, "it's gone"],
        }
    )
    table = lance.write_dataset(rows, f"{tmp_path}/t.lance")
    found = table.to_table(filter=stale("judge", "judge/2", "width > 5"))["id"].to_pylist()
    assert found == ["old", "missed", "failed before"]
    everyone = table.to_table(filter=stale("judge", "ju'dge", None))["id"].to_pylist()
    assert everyone == ["now", "old", "missed", "filtered out", "failed before"]
    assert table.to_table(filter=failed("judge"))["id"].to_pylist() == ["failed before"]
