"""Micro-batches: events finish in any order, batches cover offsets without a hole."""

from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.micro_batch import BatchLimits, Cut, MicroBatcher, Row
from tests.builders import at, letter

LIMITS = BatchLimits(rows=3, bytes=1000, age_s=2.0)


def row(size: int = 10) -> Row:
    return Row({}, size)


def batcher(*offsets: int, limits: BatchLimits = LIMITS) -> tuple[MicroBatcher, list]:
    made = MicroBatcher(limits)
    made.start(at(), offsets[0] if offsets else 0)
    return made, [made.expect(at(), offset) for offset in offsets]


def covered(cut: Cut | None) -> list[int]:
    return (
        [o for part in cut.ranges for o in range(part.offset_first, part.offset_next)]
        if cut
        else []
    )


def test_nothing_is_cut_behind_an_event_that_is_not_finished() -> None:
    made, slots = batcher(0, 1, 2)
    made.finish(slots[1], row(), now=0)
    made.finish(slots[2], row(), now=0)
    assert made.cut(now=9) is None
    made.finish(slots[0], row(), now=9)
    assert covered(made.cut(now=9)) == [0, 1, 2]


def test_a_batch_is_due_by_rows_by_bytes_or_by_age() -> None:
    made, slots = batcher(0, 1, 2)
    made.finish(slots[0], row(), now=0)
    assert not made.due(now=1.9)
    assert made.due(now=2.0)
    made.finish(slots[1], row(), now=0)
    made.finish(slots[2], row(), now=0)
    assert made.due(now=0)
    heavy, slots = batcher(0)
    heavy.finish(slots[0], row(1000), now=0)
    assert heavy.due(now=0)


def test_the_rest_of_a_large_backlog_is_due_at_its_own_age() -> None:
    made, slots = batcher(0, 1, 2, 3)
    for slot in slots:
        made.finish(slot, row(), now=0)
    assert covered(made.cut(now=5)) == [0, 1, 2]
    assert not made.due(now=5)
    assert made.due(now=7)


def test_dead_letters_cover_their_offsets_like_rows() -> None:
    made, slots = batcher(0, 1)
    made.finish(slots[0], letter(0), now=0)
    made.finish(slots[1], row(), now=0)
    cut = made.cut(now=0)
    assert cut is not None
    assert (len(cut.rows), len(cut.dead_letters), covered(cut)) == (1, 1, [0, 1])


def test_offsets_that_kafka_leaves_out_are_covered_with_the_next_event() -> None:
    made, slots = batcher(0, 7)
    for slot in slots:
        made.finish(slot, row(), now=0)
    cut = made.cut(now=0)
    assert cut is not None
    assert [(p.offset_first, p.offset_next) for p in cut.ranges] == [(0, 8)]


def test_an_event_polled_twice_is_taken_once() -> None:
    made, _ = batcher(0, 1)
    assert made.expect(at(), 1) is None
    assert made.expect(at(1), 0) is None


def test_events_of_a_lost_partition_finish_without_effect() -> None:
    made, slots = batcher(0, 1)
    made.finish(slots[0], row(), now=0)
    made.drop([at()])
    made.finish(slots[1], row(), now=0)
    assert (made.events_held, made.bytes_held, made.cut(now=9)) == (0, 0, None)
    assert not made.due(now=9)


def test_a_partition_started_again_reads_again_from_there() -> None:
    made, slots = batcher(0, 1)
    made.start(at(), 0)
    again = made.expect(at(), 0)
    made.finish(slots[0], row(), now=0)
    assert made.cut(now=9) is None
    assert again is not None
    made.finish(again, row(), now=9)
    assert covered(made.cut(now=9)) == [0]


@given(
    order=st.permutations(range(12)),
    letters=st.sets(st.integers(0, 11)),
    cut_after=st.sets(st.integers(0, 11)),
)
def test_in_every_order_each_event_is_in_one_batch_and_held_counts_return_to_zero(
    order: list[int], letters: set[int], cut_after: set[int]
) -> None:
    made = MicroBatcher(BatchLimits(rows=5, bytes=30, age_s=1))
    places = [(i % 3, i // 3) for i in range(12)]
    for partition in range(3):
        made.start(at(partition), 0)
    slots = [made.expect(at(partition), offset) for partition, offset in places]
    seen: list[tuple[int, int]] = []

    def cut(now: float) -> bool:
        batch = made.cut(now)
        if batch is None:
            return False
        new = [
            (part.at.partition, offset)
            for part in batch.ranges
            for offset in range(part.offset_first, part.offset_next)
        ]
        assert len(new) == len(batch.rows) + len(batch.dead_letters) <= 5
        seen.extend(new)
        return True

    for now, index in enumerate(order):
        slot = slots[index]
        assert slot is not None
        made.finish(slot, letter(0) if index in letters else row(), now)
        if index in cut_after:
            cut(now)
    while cut(99):
        pass
    assert sorted(seen) == sorted(places)
    assert (made.events_held, made.bytes_held) == (0, 0)


def test_offsets_that_kafka_has_deleted_are_covered_by_the_batch_behind_them() -> None:
    made = MicroBatcher(LIMITS)
    made.start(at(), 3, 7)
    assert made.positions() == {at(): 7}
    slot = made.expect(at(), 7)
    made.skip(at(), 20)
    later = made.expect(at(), 20)
    for each in (slot, later):
        made.finish(each, row(), 0.0)
    assert covered(made.cut(9.0)) == list(range(3, 21))
