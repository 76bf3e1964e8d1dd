"""Planning a commit: whatever is asked, each offset ends in exactly one batch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.batch import CommitRequest, LabelRequest
from frameloop.core.commit_plan import CommitPlan, TableState, plan_commit
from frameloop.core.errors import Conflict, DuplicateRows, StaleBatch
from frameloop.core.ledger import Ledger
from frameloop.core.row_ids import RowIds
from tests.builders import TOPIC_ID, append

OUTBOX_MAX = 100


def label(fragment_id: int, base: str = "base") -> LabelRequest:
    return LabelRequest("score1", fragment_id, base, "updated", (7,), 10)


def plan(
    ledger: Ledger,
    requests: Sequence[CommitRequest],
    fragments: Mapping[int, str],
    row_ids: RowIds | None = None,
) -> CommitPlan:
    state = TableState(ledger, fragments, row_ids or RowIds())
    return plan_commit(state, requests, outbox_max=OUTBOX_MAX)


def test_batches_that_follow_each_other_go_into_one_commit() -> None:
    planned = plan(Ledger(), [append("a", 0, 5), append("b", 5, 9)], {})
    assert planned.taken == (0, 1)
    assert planned.ledger.offsets(TOPIC_ID) == {0: 9}


def test_of_two_batches_with_the_same_offsets_one_goes_in() -> None:
    planned = plan(Ledger(), [append("a", 0, 5), append("b", 0, 7)], {})
    assert planned.taken == (0,)
    assert isinstance(planned.refused[1], StaleBatch)


def test_a_batch_asked_for_again_is_acknowledged_and_not_done_again() -> None:
    ledger = Ledger().with_batch(append("a", 0, 5))
    planned = plan(ledger, [append("a", 0, 5)], {})
    assert planned.present == (0,)
    assert planned.is_empty


def test_a_label_goes_only_on_the_fragment_it_was_made_for() -> None:
    fragments = {1: "base", 2: "other"}
    planned = plan(Ledger(), [label(1), label(2), label(3)], fragments)
    assert planned.taken == (0,)
    assert {i: type(e) for i, e in planned.refused.items()} == {1: Conflict, 2: Conflict}


def test_a_fragment_changes_once_in_one_commit() -> None:
    planned = plan(Ledger(), [label(1), label(1)], {1: "base"})
    assert (planned.taken, planned.deferred) == ((0,), (1,))


def test_a_row_that_the_table_has_is_named_by_its_place() -> None:
    have = RowIds()
    have.add(b"b" * 16)
    batch = replace(append("a", 0, 3), ids=b"a" * 16 + b"b" * 16 + b"c" * 16)
    planned = plan(Ledger(), [batch], {}, have)
    error = planned.refused[0]
    assert isinstance(error, DuplicateRows)
    assert error.places == (1,)


def test_two_batches_of_one_commit_do_not_share_a_row() -> None:
    one = replace(append("a", 0, 1), ids=b"a" * 16)
    other = replace(append("b", 0, 1, partition=1), ids=b"a" * 16)
    planned = plan(Ledger(), [one, other], {})
    assert planned.taken == (0,)
    assert isinstance(planned.refused[1], DuplicateRows)


batches = st.lists(
    st.builds(
        lambda i, p, first, count: append(f"batch-{i}", first, first + count, p),
        st.integers(0, 30),
        st.integers(0, 2),
        st.integers(0, 12),
        st.integers(1, 6),
    ),
    max_size=40,
)


@given(groups=st.lists(batches, max_size=5))
def test_whatever_is_asked_every_offset_is_in_exactly_one_batch(
    groups: list[list[CommitRequest]],
) -> None:
    ledger, covered = Ledger(), dict[int, list[int]]()
    for group in groups:
        planned = plan(ledger, group, {})
        answered = {*planned.taken, *planned.present, *planned.refused, *planned.deferred}
        assert answered == set(range(len(group)))
        for batch in planned.appends:
            for part in batch.ranges:
                offsets = range(part.offset_first, part.offset_next)
                covered.setdefault(part.at.partition, []).extend(offsets)
        ledger = planned.ledger
    for partition, offsets in covered.items():
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
        assert ledger.offsets(TOPIC_ID)[partition] == offsets[-1] + 1
