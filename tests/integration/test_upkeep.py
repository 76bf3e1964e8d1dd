"""Upkeep on a real Lance table: what it may never touch, what it must keep, and that it bounds the rest."""

import datetime
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from consumers.commit_loop import FILES_AGE_MAX_MS, CommitLoop
from consumers.upkeep_work import TAG_WITHOUT_RUN_S_MAX, UpkeepWork
from frameloop.adapters import lance_cleanup, lance_compaction, lance_index, lance_table
from frameloop.adapters.runs_table import save_run
from frameloop.core.batch import AppendRequest, CommitReceipt, CompactRequest
from frameloop.core.errors import Conflict, Fenced, FilesGone, StaleBatch
from frameloop.core.table_health import judge
from frameloop.core.training import RunRecord, RunStatus
from frameloop.runtime.settings import Settings
from schemas.table import ROWS_FILTER, Label
from tests.builders import TOPIC_ID, written_append
from tests.integration.test_commit_loop import LABEL, keeper, label_request, offsets_in_table

DAY_S = 24 * 3600.0
NOW = datetime.timedelta(0)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "screenshots.lance")


@pytest.fixture
def work(uri: str, tmp_path: Path) -> UpkeepWork:
    settings = Settings(
        data_dir=tmp_path,
        table={"uri": uri},
        upkeep={"fan_in": 4, "fragment_bytes": 1 << 16, "index_id": False},
    )
    return UpkeepWork(settings)


def filled(uri: str, batches: int, *, unlabelled: int = 0) -> CommitLoop:
    """A table of `batches` fragments of two rows, all but the last `unlabelled` of them labelled."""
    loop = keeper(uri)
    for number in range(batches):
        loop.step([written_append(uri, f"batch-{number}", 2 * number, 2 * number + 2)])
    waiting = lance_table.unlabelled_fragments(loop.dataset, LABEL)
    for fragment_id in waiting[: batches - unlabelled]:
        loop.step([label_request(uri, fragment_id, value=float(fragment_id))])
    return loop


def compact_all(loop: CommitLoop, work: UpkeepWork) -> int:
    """Merge until there is nothing to merge; how many merges it took."""
    count = 0
    while jobs := work.plan():
        for job in jobs:
            (answer,) = loop.step([lance_compaction.execute(job)]).answers.values()
            assert isinstance(answer, CommitReceipt)
            count += 1
    return count


def rewritten(work: UpkeepWork) -> CompactRequest:
    return lance_compaction.execute(work.plan()[0])


def content(uri: str) -> list[dict[str, Any]]:
    """Every row with all its columns and its row id, in an order that compaction does not change."""
    table = lance.dataset(uri).to_table(filter=ROWS_FILTER, with_row_id=True)
    return sorted(table.to_pylist(), key=lambda row: row["id"])


def data_files(request: AppendRequest | CompactRequest, uri: str) -> list[Path]:
    return [Path(uri) / "data" / name for name in sorted(request.new_files())]


def make_old(paths: list[Path], days: float) -> None:
    then = time.time() - days * DAY_S
    for path in paths:
        os.utime(path, (then, then))


def test_compaction_keeps_every_row_its_id_its_label_and_its_bytes(
    uri: str, work: UpkeepWork
) -> None:
    loop = filled(uri, 16)
    before = content(uri)
    assert compact_all(loop, work) == 5
    assert content(uri) == before
    assert len(lance.dataset(uri).get_fragments()) == 2  # the ledger's and one other


def test_an_unlabelled_fragment_and_the_ledger_are_never_merged(uri: str, work: UpkeepWork) -> None:
    loop = filled(uri, 12, unlabelled=8)
    unlabelled = lance_table.unlabelled_fragments(loop.dataset, LABEL)
    _, ledger = lance_table.read_ledger(loop.dataset)
    compact_all(loop, work)
    now = lance.dataset(uri)
    assert lance_table.unlabelled_fragments(now, LABEL) == unlabelled
    assert lance_table.read_ledger(now)[1] == ledger
    assert len(now.get_fragments()) == 1 + 8 + 1


def test_offsets_survive_compaction_and_clean_up_and_still_refuse_and_acknowledge(
    uri: str, work: UpkeepWork
) -> None:
    loop = filled(uri, 8)
    last = written_append(uri, "last", 16, 18)
    loop.step([last])
    compact_all(loop, work)
    lance_cleanup.clean_up(lance.dataset(uri), NOW)
    assert len(lance.dataset(uri).versions()) == 1
    after = keeper(uri)
    assert after.ledger.offsets(TOPIC_ID) == {0: 18}
    stale = written_append(uri, "stale", 4, 6)
    assert isinstance(after.step([stale]).answers[0], StaleBatch)
    assert isinstance(after.step([last]).answers[0], CommitReceipt)
    assert offsets_in_table(uri) == list(range(18))


def test_compaction_of_what_was_labelled_deleted_from_or_merged_meanwhile_is_refused(
    uri: str, work: UpkeepWork
) -> None:
    loop = filled(uri, 4)
    request = rewritten(work)
    lance.dataset(uri).delete("offset = 1")
    assert isinstance(loop.step([request]).answers[0], Conflict)
    again = rewritten(work)
    assert isinstance(loop.step([again]).answers[0], CommitReceipt)
    assert isinstance(loop.step([again]).answers[0], Conflict)
    assert offsets_in_table(uri) == [0, 2, 3, 4, 5, 6, 7]


def test_lance_itself_refuses_a_merge_of_a_fragment_that_got_another_label_meanwhile(
    uri: str, work: UpkeepWork
) -> None:
    """The keeper looks first; this is what stands behind it when it looks too early."""
    filled(uri, 4)
    request = rewritten(work)
    loop = CommitLoop(uri, (Label(LABEL), Label("score2")), outbox_max=100)
    loop.take_over()
    fragment_id = lance_table.unlabelled_fragments(loop.dataset, "score2")[0]
    fragment = loop.dataset.get_fragment(fragment_id)
    addresses = fragment.scanner(columns=[], with_row_address=True).to_table()["_rowaddr"]
    values = pa.array([1.0] * len(addresses), pa.float32())
    updated, fields = fragment.update_columns(
        pa.table({"_rowaddr": addresses, "score2": values}), left_on="_rowaddr"
    )
    label = replace(
        label_request(uri, fragment_id),
        label="score2",
        updated=lance_table.metadata_json(updated),
        fields=tuple(fields),
    )
    assert isinstance(loop.step([label]).answers[0], CommitReceipt)
    with pytest.raises(Conflict):
        lance_compaction.commit(lance.dataset(uri), request)
    assert lance_table.count_rows(lance.dataset(uri), "score2 = 1") == 2


def test_a_label_and_a_merge_of_one_fragment_in_one_group_leave_both_true(
    uri: str, work: UpkeepWork
) -> None:
    loop = filled(uri, 4)
    request = rewritten(work)
    again = label_request(uri, request.fragment_ids[0], value=99.0)
    first = loop.step([again, request])
    assert set(first.answers) == {0}
    assert isinstance(loop.step([request]).answers[0], Conflict)
    assert lance_table.count_rows(lance.dataset(uri), f"{LABEL} = 99") == 2


def test_rows_labels_and_a_merge_of_one_group_are_all_committed(uri: str, work: UpkeepWork) -> None:
    loop = filled(uri, 5, unlabelled=1)
    label = label_request(uri, lance_table.unlabelled_fragments(loop.dataset, LABEL)[0])
    result = loop.step([rewritten(work), written_append(uri, "more", 10, 12), label])
    assert all(isinstance(answer, CommitReceipt) for answer in result.answers.values())
    assert result.compacted == 1
    assert offsets_in_table(uri) == list(range(12))
    assert len(lance.dataset(uri).get_fragments()) == 4


def test_a_replaced_keeper_commits_no_compaction(uri: str, work: UpkeepWork) -> None:
    old = filled(uri, 4)
    request = rewritten(work)
    new = keeper(uri)
    version = new.dataset.version
    assert isinstance(old.step([request]).answers[0], Fenced)
    with pytest.raises(Fenced):
        old.step([request])
    assert lance.dataset(uri).version == version
    assert isinstance(new.step([request]).answers[0], CommitReceipt)


def test_the_keeper_goes_on_after_a_compaction_that_it_did_not_commit(
    uri: str, work: UpkeepWork
) -> None:
    loop = filled(uri, 4)
    lance_compaction.commit(lance.dataset(uri), rewritten(work))
    loop.step([written_append(uri, "more", 8, 10)])
    assert offsets_in_table(uri) == list(range(10))


def test_a_fragment_that_lost_many_rows_is_rewritten_without_them(
    uri: str, work: UpkeepWork
) -> None:
    loop = filled(uri, 1)
    lance.dataset(uri).delete("offset = 0")
    assert compact_all(loop, work) == 1
    (fragment,) = [f for f in lance.dataset(uri).get_fragments() if f.fragment_id > 1]
    assert fragment.physical_rows == 1
    # One row, and a ledger column of nulls: not to be taken for the ledger's own fragment.
    CommitLoop(uri, (Label(LABEL), Label("score2")), outbox_max=100).take_over()
    assert lance_table.unlabelled_fragments(lance.dataset(uri), "score2") == [fragment.fragment_id]


@contextmanager
def writing(uri: str, loop: CommitLoop, lock: threading.Lock, batches: int) -> Iterator[None]:
    """Another thread appends and labels, while the caller goes on; its errors are raised at the end."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for number in range(batches):
                first = loop.ledger.offsets(TOPIC_ID)[0]
                batch = written_append(uri, f"beside-{number}", first, first + 2)
                waiting = lance_table.unlabelled_fragments(lance.dataset(uri), LABEL)
                labels = [label_request(uri, fragment_id) for fragment_id in waiting]
                with lock:
                    answers = loop.step([batch, *labels]).answers
                assert all(isinstance(each, CommitReceipt) for each in answers.values())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise failures[0]


def test_compaction_beside_appends_and_labels_loses_and_doubles_nothing(
    uri: str, work: UpkeepWork
) -> None:
    loop = filled(uri, 8)
    lock = threading.Lock()
    merged = 0
    with writing(uri, loop, lock, batches=30):
        while loop.ledger.offsets(TOPIC_ID)[0] < 2 * 30:
            for job in work.plan():
                request = lance_compaction.execute(job)
                with lock:
                    answer = loop.step([request]).answers[0]
                merged += isinstance(answer, CommitReceipt)
    assert merged > 0
    rows = 2 * (8 + 30)
    assert offsets_in_table(uri) == list(range(rows))
    row_ids = [row["_rowid"] for row in content(uri)]
    assert len(set(row_ids)) == rows


def test_old_versions_go_and_tagged_ones_stay_readable(uri: str, work: UpkeepWork) -> None:
    loop = filled(uri, 4)
    pinned = int(loop.dataset.version)
    rows = content(uri)
    loop.dataset.tags.create("run-a", pinned)
    compact_all(loop, work)
    lance_cleanup.clean_up(lance.dataset(uri), NOW)
    assert len(lance.dataset(uri).versions()) == 2
    old = lance.dataset(uri, version=pinned)
    assert len(old.to_table(filter=ROWS_FILTER)) == len(rows)
    lance.dataset(uri).tags.delete("run-a")
    removed = lance_cleanup.clean_up(lance.dataset(uri), NOW)
    assert removed.versions == 1
    assert content(uri) == rows


def test_versions_younger_than_the_setting_stay(uri: str, work: UpkeepWork) -> None:
    filled(uri, 4)
    before = len(lance.dataset(uri).versions())
    assert work.clean().versions == 0
    assert len(lance.dataset(uri).versions()) == before


def test_files_of_a_live_writer_stay_and_those_of_a_dead_one_go_after_seven_days(
    uri: str, work: UpkeepWork
) -> None:
    loop = filled(uri, 2)
    alive, dead = (written_append(uri, name, 4, 6) for name in ("alive", "dead"))
    make_old(data_files(alive, uri), days=6.9)
    make_old(data_files(dead, uri), days=7.1)
    assert work.look().unnamed_count == 2
    assert work.look().unnamed_overdue == 1
    lance_cleanup.clean_up(lance.dataset(uri), NOW)
    assert all(path.exists() for path in data_files(alive, uri))
    assert not any(path.exists() for path in data_files(dead, uri))
    assert isinstance(loop.step([alive]).answers[0], CommitReceipt)
    assert work.look().unnamed_count == 0


def test_a_commit_whose_files_were_removed_is_refused_and_goes_in_once_written_anew(
    uri: str, work: UpkeepWork
) -> None:
    loop = filled(uri, 2)
    batch = written_append(uri, "late", 4, 6)
    make_old(data_files(batch, uri), days=8)
    lance_cleanup.clean_up(lance.dataset(uri), NOW)
    other = written_append(uri, "other", 0, 2, partition=1)
    answers = loop.step([batch, other]).answers
    assert isinstance(answers[0], FilesGone)
    assert isinstance(answers[1], CommitReceipt)
    assert isinstance(loop.step([written_append(uri, "late", 4, 6)]).answers[0], CommitReceipt)
    assert isinstance(loop.step([batch]).answers[0], CommitReceipt)  # the same batch: it is in
    assert lance.dataset(uri).count_rows(ROWS_FILTER) == 8
    content(uri)


def test_a_label_or_a_merge_whose_files_were_removed_is_refused(uri: str, work: UpkeepWork) -> None:
    loop = filled(uri, 5, unlabelled=1)
    merge = rewritten(work)
    label = label_request(uri, lance_table.unlabelled_fragments(loop.dataset, LABEL)[0])
    for name in merge.new_files() | label.new_files():
        (Path(uri) / "data" / name).unlink()
    answers = loop.step([merge, label]).answers
    assert [type(answers[index]) for index in (0, 1)] == [FilesGone, FilesGone]
    content(uri)


def test_files_that_waited_for_a_day_are_refused_while_they_are_still_there(uri: str) -> None:
    loop = filled(uri, 1)
    now = time.time_ns() // 1_000_000
    late = replace(written_append(uri, "late", 2, 4), written_at_ms=now - FILES_AGE_MAX_MS - 1)
    assert isinstance(loop.step([late]).answers[0], FilesGone)
    in_time = replace(late, written_at_ms=now - FILES_AGE_MAX_MS + 60_000)
    assert isinstance(loop.step([in_time]).answers[0], CommitReceipt)


def run_record(work: UpkeepWork, tag: str, status: RunStatus) -> RunRecord:
    return RunRecord(tag, status, 0, work.settings.table_uri, 1, tag, "", 0, "model", "out")


def test_tags_of_ended_runs_go_and_those_of_running_and_starting_ones_and_of_people_stay(
    uri: str, work: UpkeepWork
) -> None:
    version = int(filled(uri, 1).dataset.version)
    for name in ("run-good", "run-bad", "run-running", "run-starting", "mine"):
        lance.dataset(uri).tags.create(name, version)
    statuses = {
        "run-good": RunStatus.SUCCEEDED,
        "run-bad": RunStatus.FAILED,
        "run-running": RunStatus.RUNNING,
    }
    for tag, status in statuses.items():
        save_run(work.settings.runs_uri, run_record(work, tag, status))
    assert sorted(work.untag_ended()) == ["run-bad", "run-good"]
    assert sorted(lance.dataset(uri).tags.list()) == ["mine", "run-running", "run-starting"]
    assert work.settings.training.timeout_s < TAG_WITHOUT_RUN_S_MAX


def test_the_index_survives_compaction_deletes_and_its_own_update(
    uri: str, work: UpkeepWork
) -> None:
    loop = filled(uri, 8)
    assert lance_index.tend_index(lance.dataset(uri))
    assert not lance_index.tend_index(lance.dataset(uri), rows_min=3)
    compact_all(loop, work)
    loop.step([written_append(uri, "more", 16, 24)])
    lance.dataset(uri).delete("offset = 3")
    assert lance_index.index_state(lance.dataset(uri)) == lance_index.IndexState(16, 8)
    assert lance_index.tend_index(lance.dataset(uri), rows_min=3)
    now = lance.dataset(uri)
    for row in content(uri):
        found = now.to_table(columns=["offset"], filter=f"id = '{row['id']}'").to_pylist()
        assert [each["offset"] for each in found] == [row["offset"]]
    assert lance_table.count_rows(now) == 23
    assert isinstance(loop.step([written_append(uri, "last", 24, 26)]).answers[0], CommitReceipt)


def test_fragments_in_the_index_and_others_are_not_merged_until_all_are_in_it(
    uri: str, work: UpkeepWork
) -> None:
    """Lance refuses such a mixture when it commits, after the bytes were written."""
    loop = filled(uri, 3)
    lance_index.tend_index(lance.dataset(uri))
    for first in (6, 8, 10):
        loop.step([written_append(uri, f"batch-{first}", first, first + 2)])
    for fragment_id in lance_table.unlabelled_fragments(loop.dataset, LABEL):
        loop.step([label_request(uri, fragment_id)])
    assert work.plan() == []
    lance_index.tend_index(lance.dataset(uri), rows_min=0)
    assert compact_all(loop, work) == 1
    assert lance_index.index_state(lance.dataset(uri)) == lance_index.IndexState(
        13, 0
    )  # the ledger row, too


def test_health_counts_what_is_there_and_says_which_bound_is_broken(
    uri: str, work: UpkeepWork
) -> None:
    filled(uri, 9, unlabelled=2)
    facts = work.look()
    assert (facts.fragments, facts.unlabelled, facts.small_count, facts.full) == (10, 2, 7, 0)
    assert facts.rows == 18
    assert facts.versions == facts.version
    on_disk = [path for path in Path(uri).rglob("*") if path.is_file()]
    assert facts.files == len(on_disk)
    assert all(verdict.is_kept for verdict in judge(facts, work.bounds))
    worse = replace(facts, version_age_s_max=DAY_S, small={3: 500}, unnamed_overdue=1)
    broken = [verdict.what for verdict in judge(worse, work.bounds) if not verdict.is_kept]
    assert len(broken) == 3
    assert json.dumps([v.advice for v in judge(worse, work.bounds)])
