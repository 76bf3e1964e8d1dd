"""The ledger: where each partition stands, and which dead letters Kafka has yet to confirm."""

import pickle

import pytest

from frameloop.core.batch import AppendRequest, OffsetRange, RewindRequest
from frameloop.core.errors import BackPressure, Rejected, StaleBatch
from frameloop.core.ledger import Ledger
from schemas.dead_letter import Reason
from tests.builders import TOPIC_ID, append, at, letter


def test_a_partition_that_the_table_does_not_know_may_start_anywhere() -> None:
    Ledger().check(append("a", 40, 50), outbox_max=10)


def test_a_batch_must_start_where_the_table_stands() -> None:
    ledger = Ledger().with_batch(append("a", 0, 10))
    ledger.check(append("b", 10, 12), outbox_max=10)
    for first in (0, 5, 9, 11):
        with pytest.raises(StaleBatch):
            ledger.check(append("b", first, first + 20), outbox_max=10)


def test_one_stale_range_refuses_the_whole_batch() -> None:
    ledger = Ledger().with_batch(append("a", 0, 10, partition=1))
    batch = AppendRequest("b", (OffsetRange(at(0), 0, 5), OffsetRange(at(1), 9, 12)), (), 8)
    with pytest.raises(StaleBatch):
        ledger.check(batch, outbox_max=10)


def test_a_partition_twice_in_one_batch_is_refused() -> None:
    batch = AppendRequest("b", (OffsetRange(at(0), 0, 5), OffsetRange(at(0), 5, 9)), (), 9)
    with pytest.raises(StaleBatch):
        Ledger().check(batch, outbox_max=10)


def test_a_batch_is_found_by_its_id_after_it_went_in() -> None:
    ledger = Ledger().with_batch(append("a", 0, 10))
    assert ledger.has(append("a", 0, 10))
    assert not ledger.has(append("b", 0, 10))


def test_a_topic_made_anew_is_another_topic() -> None:
    ledger = Ledger().with_batch(append("a", 0, 1000))
    again = AppendRequest("b", (OffsetRange(at(0, "topic-id-2"), 0, 5),), (), 5)
    ledger.check(again, outbox_max=10)
    ledger = ledger.with_batch(again)
    assert ledger.offsets(TOPIC_ID) == {0: 1000}
    assert ledger.offsets("topic-id-2") == {0: 5}


def test_dead_letters_stay_in_the_outbox_until_kafka_has_them() -> None:
    letters = (letter(3), letter(4))
    batch = AppendRequest("a", (OffsetRange(at(0), 0, 5),), (), 3, letters)
    ledger = Ledger().with_batch(batch)
    assert ledger.outbox == letters
    assert ledger.without_letters([letters[0].identity]).outbox == (letters[1],)


def test_a_full_outbox_pushes_back_instead_of_growing() -> None:
    batch = AppendRequest("a", (OffsetRange(at(0), 0, 2),), (), 0, (letter(0), letter(1)))
    Ledger().check(batch, outbox_max=1)  # one batch always fits, or it would wait for ever
    following = AppendRequest("b", (OffsetRange(at(0), 2, 3),), (), 0, (letter(2),))
    with pytest.raises(BackPressure):
        Ledger().with_batch(batch).check(following, outbox_max=2)


def test_the_ledger_survives_being_stored() -> None:
    batch = AppendRequest("a", (OffsetRange(at(0), 0, 5),), (), 4, (letter(3),))
    ledger = Ledger().taken_over().with_batch(batch).stamped("commit-1")
    assert Ledger.model_validate_json(ledger.model_dump_json()) == ledger


@pytest.mark.parametrize("wrong", [(5, 5), (6, 5), (-1, 5)])
def test_an_empty_or_backward_range_can_not_be_made(wrong: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="is no range"):
        OffsetRange(at(0), *wrong)


def test_errors_survive_pickling_with_what_they_carry() -> None:
    error = pickle.loads(pickle.dumps(Rejected(Reason.TIMED_OUT, "no answer in 30 s")))
    assert (error.reason, error.detail) == (Reason.TIMED_OUT, "no answer in 30 s")


def test_a_log_that_was_cut_off_is_read_again_from_its_end() -> None:
    ledger = Ledger().with_batch(append("a", 0, 10)).with_batch(append("b", 0, 4, partition=1))
    back = ledger.rewound(RewindRequest(at(0), 10, 7))
    assert back.offsets(TOPIC_ID) == {0: 7, 1: 4}
    assert not back.has(append("a", 0, 10))
    back.check(append("c", 7, 9), outbox_max=10)


def test_a_partition_is_put_back_only_from_where_the_table_stands() -> None:
    ledger = Ledger().with_batch(append("a", 0, 10))
    for wrong in (
        RewindRequest(at(0), 9, 7),
        RewindRequest(at(0), 10, 10),
        RewindRequest(at(1), 1, 0),
    ):
        with pytest.raises(StaleBatch):
            ledger.rewound(wrong)
