"""The commit protocol on a real Lance table: fencing, races, lost answers, compaction and clean-up."""

import datetime
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from consumers.commit_loop import CommitLoop
from frameloop.adapters import lance_table
from frameloop.core.batch import AppendRequest, CommitReceipt, LabelRequest, OffsetRange
from frameloop.core.errors import (
    Conflict,
    DuplicateRows,
    FatalError,
    Fenced,
    StaleBatch,
    TransientError,
)
from schemas.table import ROWS_FILTER, Label
from tests.builders import TOPIC_ID, at, letter, written_append

LABEL = "score1"


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "screenshots.lance")


def keeper(uri: str) -> CommitLoop:
    loop = CommitLoop(uri, (Label(LABEL),), outbox_max=100)
    loop.take_over()
    return loop


def offsets_in_table(uri: str) -> list[int]:
    table = lance.dataset(uri).to_table(columns=["offset"], filter=ROWS_FILTER)
    return sorted(table["offset"].to_pylist())


def label_request(uri: str, fragment_id: int, value: float = 70.0) -> LabelRequest:
    dataset = lance.dataset(uri)
    fragment = dataset.get_fragment(fragment_id)
    addresses = fragment.scanner(columns=[], with_row_address=True).to_table()["_rowaddr"]
    columns = pa.table(
        {"_rowaddr": addresses, LABEL: pa.array([value] * len(addresses), pa.float32())}
    )
    updated, fields = fragment.update_columns(columns, left_on="_rowaddr")
    return LabelRequest(
        LABEL,
        fragment_id,
        lance_table.metadata_json(fragment.metadata),
        lance_table.metadata_json(updated),
        tuple(fields),
        len(addresses),
    )


def test_rows_and_the_offsets_they_cover_are_one_version(uri: str) -> None:
    loop = keeper(uri)
    before = loop.dataset.version
    result = loop.step(
        [written_append(uri, "a", 0, 5), written_append(uri, "b", 0, 3, partition=1)]
    )
    assert loop.dataset.version == before + 1
    assert all(isinstance(answer, CommitReceipt) for answer in result.answers.values())
    ledger, _ = lance_table.read_ledger(lance.dataset(uri))
    assert ledger.offsets(TOPIC_ID) == {0: 5, 1: 3}
    assert lance_table.count_screenshots(loop.dataset) == 8


def test_a_batch_whose_answer_was_lost_goes_in_once(uri: str) -> None:
    loop = keeper(uri)
    batch = written_append(uri, "a", 0, 5)
    loop.step([batch])
    again = keeper(uri).step([batch])
    assert isinstance(again.answers[0], CommitReceipt)
    assert offsets_in_table(uri) == [0, 1, 2, 3, 4]


def test_a_replaced_keeper_commits_nothing_more(uri: str) -> None:
    old = keeper(uri)
    old.step([written_append(uri, "a", 0, 5)])
    new = keeper(uri)
    for request in (written_append(uri, "b", 5, 9), label_request(uri, 1)):
        with pytest.raises(Fenced):
            old.step([request])
    new.step([written_append(uri, "c", 5, 7)])
    assert offsets_in_table(uri) == list(range(7))


def test_two_keepers_racing_lose_nothing_and_double_nothing(uri: str) -> None:
    """Both believe to be the keeper and commit in turn; whoever is fenced takes over again."""
    loops = [keeper(uri), keeper(uri)]
    stands = 0
    for turn in range(20):
        loop = loops[turn % 2]
        batch = written_append(uri, f"batch-{turn}", stands, stands + 2)
        try:
            answer = loop.step([batch]).answers[0]
        except Fenced:
            loop.take_over()
            answer = loop.step([batch]).answers[0]
        assert isinstance(answer, CommitReceipt)
        stands += 2
    assert offsets_in_table(uri) == list(range(40))


def test_a_stale_batch_leaves_the_table_as_it_is(uri: str) -> None:
    loop = keeper(uri)
    loop.step([written_append(uri, "a", 0, 5)])
    version = loop.dataset.version
    answer = loop.step([written_append(uri, "b", 3, 8)]).answers[0]
    assert isinstance(answer, StaleBatch)
    assert lance.dataset(uri).version == version


def test_offsets_survive_compaction_and_clean_up(uri: str) -> None:
    loop = keeper(uri)
    for first in range(0, 10, 2):
        loop.step([written_append(uri, f"batch-{first}", first, first + 2)])
    lance.dataset(uri).optimize.compact_files(target_rows_per_fragment=1000)
    lance.dataset(uri).cleanup_old_versions(older_than=datetime.timedelta(0))
    after = keeper(uri)
    assert after.ledger.offsets(TOPIC_ID) == {0: 10}
    after.step([written_append(uri, "last", 10, 12)])
    assert offsets_in_table(uri) == list(range(12))


def test_compaction_beside_a_keeper_costs_it_nothing_but_a_second_look(uri: str) -> None:
    loop = keeper(uri)
    for first in range(0, 6, 2):
        loop.step([written_append(uri, f"batch-{first}", first, first + 2)])
    lance.dataset(uri).optimize.compact_files(target_rows_per_fragment=1000)
    loop.step([written_append(uri, "last", 6, 8)])
    assert offsets_in_table(uri) == list(range(8))


def test_labels_and_rows_go_into_one_commit_and_images_stay(uri: str) -> None:
    loop = keeper(uri)
    loop.step([written_append(uri, "a", 0, 5)])
    (fragment_id,) = lance_table.unlabelled_fragments(loop.dataset, LABEL)
    before = {f.path for f in loop.dataset.get_fragment(fragment_id).data_files()}
    result = loop.step([label_request(uri, fragment_id), written_append(uri, "b", 5, 8)])
    assert result.notice is not None
    assert result.notice.labelled_fragments == {LABEL: [fragment_id]}
    assert before <= {f.path for f in loop.dataset.get_fragment(fragment_id).data_files()}
    assert lance_table.count_rows(loop.dataset, f"{LABEL} >= 60") == 5
    assert len(lance_table.unlabelled_fragments(loop.dataset, LABEL)) == 1


def test_a_label_for_a_fragment_that_was_rewritten_is_refused(uri: str) -> None:
    loop = keeper(uri)
    for first in range(0, 4, 2):
        loop.step([written_append(uri, f"batch-{first}", first, first + 2)])
    fragment_id = lance_table.unlabelled_fragments(loop.dataset, LABEL)[0]
    request = label_request(uri, fragment_id)
    lance.dataset(uri).optimize.compact_files(target_rows_per_fragment=1000)
    keeper_after = keeper(uri)
    assert isinstance(keeper_after.step([request]).answers[0], Conflict)


def test_a_label_does_not_bring_deleted_rows_back(uri: str) -> None:
    loop = keeper(uri)
    loop.step([written_append(uri, "a", 0, 5)])
    fragment_id = lance_table.unlabelled_fragments(loop.dataset, LABEL)[0]
    request = label_request(uri, fragment_id)
    lance.dataset(uri).delete("offset = 2")
    after = keeper(uri)
    assert isinstance(after.step([request]).answers[0], Conflict)
    assert offsets_in_table(uri) == [0, 1, 3, 4]


def test_dead_letters_are_decided_with_their_offsets_and_go_once_kafka_has_them(uri: str) -> None:
    loop = keeper(uri)
    letters = (letter(0), letter(1))
    loop.step([AppendRequest("a", (OffsetRange(at(), 0, 2),), (), 0, letters)])
    after = keeper(uri)
    assert after.ledger.outbox == letters
    after.step([written_append(uri, "b", 2, 3)], published=[letters[0].identity])
    assert keeper(uri).ledger.outbox == (letters[1],)


def test_a_commit_that_the_storage_refuses_can_be_asked_for_again(uri: str) -> None:
    loop = keeper(uri)
    batch = written_append(uri, "a", 0, 5)
    data = Path(uri) / "_transactions"
    kept = Path(uri).parent / "kept"
    shutil.move(data, kept)
    data.touch()  # a file where Lance wants a folder: every commit fails
    with pytest.raises(TransientError):
        loop.step([batch])
    data.unlink()
    shutil.move(kept, data)
    assert isinstance(loop.step([batch]).answers[0], CommitReceipt)
    assert offsets_in_table(uri) == [0, 1, 2, 3, 4]


def test_a_table_of_another_make_is_refused(uri: str) -> None:
    lance.write_dataset(pa.table({"x": [1]}), uri)
    with pytest.raises(FatalError, match="no table of screenshots"):
        keeper(uri)


def test_a_new_label_becomes_a_column_of_an_old_table(uri: str) -> None:
    keeper(uri).step([written_append(uri, "a", 0, 5)])
    loop = CommitLoop(uri, (Label(LABEL), Label("score2")), outbox_max=100)
    loop.take_over()
    assert "score2_error" in loop.dataset.schema.names
    assert len(lance_table.unlabelled_fragments(loop.dataset, "score2")) == 1


def test_a_row_sent_again_is_refused_by_its_place_also_by_the_next_keeper(uri: str) -> None:
    keeper(uri).step([written_append(uri, "a", 0, 5)])
    again = replace(written_append(uri, "b", 3, 7), ranges=(OffsetRange(at(), 5, 9),))
    answer = keeper(uri).step([again]).answers[0]
    assert isinstance(answer, DuplicateRows)
    assert answer.places == (0, 1)
    assert offsets_in_table(uri) == [0, 1, 2, 3, 4]


def test_a_commit_whose_outcome_the_storage_hid_is_found_by_its_own_id(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = keeper(uri)
    real = lance_table.commit

    def commit_and_lose_the_answer(*args: Any) -> Any:
        real(*args)
        raise TransientError("connection reset")

    batch = written_append(uri, "a", 0, 5)
    monkeypatch.setattr(lance_table, "commit", commit_and_lose_the_answer)
    assert isinstance(loop.step([batch]).answers[0], CommitReceipt)
    monkeypatch.setattr(lance_table, "commit", real)
    assert isinstance(loop.step([replace(batch, batch_id="b")]).answers[0], StaleBatch)
    assert offsets_in_table(uri) == [0, 1, 2, 3, 4]
