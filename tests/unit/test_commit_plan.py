"""Planning a commit: whatever is asked, each offset ends in exactly one batch."""

from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.batch import CommitRequest, LabelRequest
from frameloop.core.commit_plan import plan_commit
from frameloop.core.errors import Conflict, StaleBatch
from frameloop.core.ledger import Ledger
from tests.builders import TOPIC_ID, append

OUTBOX_MAX = 100


def label(fragment_id: int, base: str = "base") -> LabelRequest:
    return LabelRequest("score1", fragment_id, base, "updated", (7,), 10)


def test_batches_that_follow_each_other_go_into_one_commit() -> None:
    plan = plan_commit(Ledger(), [append("a", 0, 5), append("b", 5, 9)], {}, outbox_max=OUTBOX_MAX)
    assert plan.taken == (0, 1)
    assert plan.ledger.offsets(TOPIC_ID) == {0: 9}


def test_of_two_batches_with_the_same_offsets_one_goes_in() -> None:
    plan = plan_commit(Ledger(), [append("a", 0, 5), append("b", 0, 7)], {}, outbox_max=OUTBOX_MAX)
    assert plan.taken == (0,)
    assert isinstance(plan.refused[1], StaleBatch)


def test_a_batch_asked_for_again_is_acknowledged_and_not_done_again() -> None:
    ledger = Ledger().with_batch(append("a", 0, 5))
    plan = plan_commit(ledger, [append("a", 0, 5)], {}, outbox_max=OUTBOX_MAX)
    assert plan.present == (0,)
    assert plan.is_empty


def test_a_label_goes_only_on_the_fragment_it_was_made_for() -> None:
    fragments = {1: "base", 2: "other"}
    plan = plan_commit(Ledger(), [label(1), label(2), label(3)], fragments, outbox_max=OUTBOX_MAX)
    assert plan.taken == (0,)
    assert {i: type(e) for i, e in plan.refused.items()} == {1: Conflict, 2: Conflict}


def test_a_fragment_changes_once_in_one_commit() -> None:
    plan = plan_commit(Ledger(), [label(1), label(1)], {1: "base"}, outbox_max=OUTBOX_MAX)
    assert (plan.taken, plan.deferred) == ((0,), (1,))


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
        plan = plan_commit(ledger, group, {}, outbox_max=OUTBOX_MAX)
        answered = {*plan.taken, *plan.present, *plan.refused, *plan.deferred}
        assert answered == set(range(len(group)))
        for batch in plan.appends:
            for part in batch.ranges:
                offsets = range(part.offset_first, part.offset_next)
                covered.setdefault(part.at.partition, []).extend(offsets)
        ledger = plan.ledger
    for partition, offsets in covered.items():
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
        assert ledger.offsets(TOPIC_ID)[partition] == offsets[-1] + 1
