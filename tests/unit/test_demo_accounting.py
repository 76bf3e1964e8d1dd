"""The demo's verdict: every event is accounted for, and no stage did nothing."""

import pytest

from frameloop.demo.accounting import Accounts, find_problems, latencies_s
from frameloop.demo.report import find_idle_stages
from schemas.commit import CommitNotice, CommittedRange


def accounts(**changes: object) -> Accounts:
    fine: dict[str, object] = {
        "sent_at_ms": {(0, 0): 1000, (0, 1): 2000, (0, 2): 3000},
        "rows": [(0, 0), (0, 1)],
        "fragment_of": {(0, 0): 1, (0, 1): 1},
        "scores": {(0, 0): 80.0, (0, 1): 70.0},
        "letters": {(0, 2): "image_damaged"},
        "unscored": 0,
        "problems": [],
    }
    return Accounts(**{**fine, **changes})  # type: ignore[arg-type]


def test_a_run_in_which_all_is_well_has_no_problem() -> None:
    fine = accounts()
    assert find_problems(set(fine.sent_at_ms), fine.rows, set(fine.letters)) == []
    assert find_idle_stages(fine, runs_succeeded=1) == []


@pytest.mark.parametrize(
    ("rows", "letters", "words"),
    [
        ([(0, 0), (0, 0), (0, 1)], {(0, 2)}, "twice in the table"),
        ([(0, 0)], {(0, 2)}, "neither a row nor a dead letter"),
        ([(0, 0), (0, 1), (0, 2)], {(0, 2)}, "a row and a dead letter"),
        ([(0, 0), (0, 1), (9, 9)], {(0, 2)}, "never sent"),
    ],
)
def test_an_event_that_is_not_accounted_for_is_a_problem(
    rows: list[tuple[int, int]], letters: set[tuple[int, int]], words: str
) -> None:
    (problem,) = find_problems({(0, 0), (0, 1), (0, 2)}, rows, letters)
    assert words in problem


@pytest.mark.parametrize(
    ("changes", "runs", "words"),
    [
        ({"rows": []}, 1, "no row"),
        ({"letters": {}}, 1, "no bad event"),
        ({"scores": {}}, 1, "no row was scored"),
        ({"unscored": 3}, 1, "3 rows have no score"),
        ({}, 0, "no training run"),
        ({"problems": ["1 events are lost"]}, 1, "1 events are lost"),
    ],
)
def test_a_stage_that_did_nothing_fails_the_demo(
    changes: dict[str, object], runs: int, words: str
) -> None:
    assert any(words in problem for problem in find_idle_stages(accounts(**changes), runs))


def test_latency_runs_from_kafkas_time_to_the_commit_that_holds_the_event() -> None:
    part = CommittedRange(topic="t", partition=0, offset_first=0, offset_next=3)
    common = {"table_uri": "u", "table_version": 2}
    notices = [
        CommitNotice(committed_at_ms=3500, ranges=[part], **common),
        CommitNotice(committed_at_ms=5000, labelled_fragments={"score1": [1]}, **common),
    ]
    to_row, to_score = latencies_s(accounts(), notices, "score1")
    assert to_row == [2.5, 1.5]
    assert to_score == [4.0, 3.0]
