"""Which fragments are merged: bounded in number, in bytes rewritten, and never one that must be left."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frameloop.core.upkeep import FragmentFacts, UpkeepLimits, plan_groups

KIB, MIB = 1 << 10, 1 << 20

limits_any = st.builds(
    UpkeepLimits,
    fan_in=st.integers(2, 16),
    target_bytes=st.integers(64 * KIB, 1 << 30),
)


def fragment(number: int, size: int = 100 * KIB, rows: int = 10) -> FragmentFacts:
    return FragmentFacts(number, rows, rows, size)


facts = st.builds(
    FragmentFacts,
    fragment_id=st.just(0),
    rows=st.integers(0, 50),
    rows_physical=st.integers(50, 100),
    size=st.integers(0, 1 << 31),
    is_ledger=st.booleans(),
    is_labelled=st.booleans(),
    indexed_by=st.sampled_from([frozenset(), frozenset({"a"}), frozenset({"a", "b"})]),
)
tables = st.lists(facts, max_size=60).map(
    lambda found: [replace(each, fragment_id=i) for i, each in enumerate(found)]
)


@given(tables, limits_any)
def test_no_group_has_the_ledger_an_unlabelled_fragment_or_one_of_another_group(
    table: list[FragmentFacts], limits: UpkeepLimits
) -> None:
    groups = plan_groups(table, limits)
    chosen = [each for group in groups for each in group]
    assert len({each.fragment_id for each in chosen}) == len(chosen)
    assert all(each.is_labelled and not each.is_ledger for each in chosen)


@given(tables, limits_any)
def test_no_task_is_larger_than_its_bound_and_none_changes_nothing(
    table: list[FragmentFacts], limits: UpkeepLimits
) -> None:
    for group in plan_groups(table, limits):
        assert sum(each.size for each in group) <= limits.task_bytes_max
        assert len(group) > 1 or group[0].deleted_share > limits.deleted_share_max


@given(tables, limits_any)
def test_parts_of_a_group_are_in_the_same_indexes(
    table: list[FragmentFacts], limits: UpkeepLimits
) -> None:
    for group in plan_groups(table, limits):
        assert len({each.indexed_by for each in group}) == 1


@given(tables, limits_any)
def test_a_full_fragment_is_left_alone_unless_it_lost_rows(
    table: list[FragmentFacts], limits: UpkeepLimits
) -> None:
    for group in plan_groups(table, limits):
        for each in group:
            assert each.size < limits.full_bytes or len(group) == 1


def run(sizes: list[int], limits: UpkeepLimits, shrink: float) -> tuple[int, int, int]:
    """Commit fragments one by one, and merge until nothing is left to merge after each.

    Returns the most small fragments at rest, bytes rewritten, and the most rewrites of one image.
    """
    table: list[FragmentFacts] = []
    rewrites: dict[int, int] = {}
    most, written, number = 0, 0, 0
    for size in sizes:
        number += 1
        table.append(fragment(number, size))
        rewrites[number] = 0
        while groups := plan_groups(table, limits):
            for group in groups:
                number += 1
                size_new = max(1, int(sum(each.size for each in group) * shrink))
                written += size_new
                rewrites[number] = 1 + max(rewrites[each.fragment_id] for each in group)
                place = table.index(group[0])
                table[place : place + 1] = [fragment(number, size_new)]
                table = [each for each in table if each not in group]
        most = max(most, sum(limits.tier(each.size) > 0 for each in table))
    return most, written, max(rewrites.values(), default=0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(4 * KIB, 4 * MIB), min_size=1, max_size=300),
    st.integers(2, 10),
    st.sampled_from([1.0, 0.99, 0.95]),
)
def test_small_fragments_stay_few_and_an_image_is_rewritten_once_or_twice_a_tier(
    sizes: list[int], fan_in: int, shrink: float
) -> None:
    limits = UpkeepLimits(fan_in=fan_in, target_bytes=32 * MIB)
    most, written, rewrites = run(sizes, limits, shrink)
    assert most <= limits.small_max
    tiers = limits.tier(min(sizes))
    assert rewrites <= 2 * tiers
    assert written <= 2 * tiers * sum(sizes)


def test_equal_batches_are_rewritten_once_a_tier_and_fragments_grow_with_the_logarithm() -> None:
    limits = UpkeepLimits(fan_in=8, target_bytes=32 * MIB)
    for count in (8, 64, 512, 4096):
        size = 65 * KIB
        most, written, _ = run([size] * count, limits, 1.0)
        assert most <= 7 * math.ceil(math.log(count + 1, 8))
        assert written <= math.ceil(math.log(32 * MIB / size, 8)) * count * size


def test_parts_of_a_group_stand_in_the_order_of_the_table() -> None:
    limits = UpkeepLimits(fan_in=4, target_bytes=MIB)
    table = [fragment(i) for i in (9, 3, 7, 5, 2)]
    (group,) = plan_groups(table, limits)
    assert [each.fragment_id for each in group] == [9, 3, 7, 5]


def test_two_large_fragments_are_merged_before_fan_in_is_reached() -> None:
    limits = UpkeepLimits(fan_in=8, target_bytes=MIB)
    (group,) = plan_groups([fragment(1, 700 * KIB), fragment(2, 700 * KIB)], limits)
    assert len(group) == 2


@pytest.mark.parametrize(("rows", "alone"), [(80, False), (79, True)])
def test_a_fragment_that_lost_many_rows_is_rewritten_alone(rows: int, alone: bool) -> None:
    limits = UpkeepLimits(fan_in=8, target_bytes=MIB, deleted_share_max=0.2)
    (full,) = [FragmentFacts(1, rows, 100, 2 * MIB)]
    assert bool(plan_groups([full], limits)) is alone


def test_one_fragment_larger_than_a_task_may_be_is_left_alone() -> None:
    limits = UpkeepLimits(fan_in=8, target_bytes=MIB)
    assert plan_groups([FragmentFacts(1, 10, 100, 3 * MIB)], limits) == []
