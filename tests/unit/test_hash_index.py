"""The index of picture hashes: finds what comparing with every original finds, at a bounded cost."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.hash_index import BUCKETS_MIN, CANDIDATES_MAX, DISTANCE_MAX, HashIndex

WORD = (1 << 64) - 1
# Few bases and few flipped bits, so that hashes meet at every distance around the limit.
flips = st.lists(st.integers(0, 63), max_size=DISTANCE_MAX + 2, unique=True)
hashes = st.builds(
    lambda base, bits: base ^ sum(1 << bit for bit in bits),
    st.sampled_from([0, WORD, 0x0123456789ABCDEF]),
    flips,
)
pictures = st.lists(st.tuples(st.integers(0, 2), hashes), max_size=60)


def compare_with_all(rows: list[tuple[int, int]], distance_max: int) -> list[int | None]:
    originals: list[tuple[int, int]] = []
    found: list[int | None] = []
    for source, bits in rows:
        near = (
            place
            for place, (other, original) in enumerate(originals)
            if other == source and (original ^ bits).bit_count() <= distance_max
        )
        found.append(next(near, None))
        if found[-1] is None:
            originals.append((source, bits))
    return found


@given(pictures, st.integers(0, DISTANCE_MAX))
def test_it_finds_what_comparing_with_all_finds(
    rows: list[tuple[int, int]], distance_max: int
) -> None:
    index = HashIndex(distance_max)
    assert [index.place(*row) for row in rows] == compare_with_all(rows, distance_max)


@pytest.mark.parametrize("distance_max", range(DISTANCE_MAX + 1))
def test_nothing_is_lost_as_it_grows(distance_max: int) -> None:
    index, rng = HashIndex(distance_max), random.Random(distance_max)
    originals = [(rng.getrandbits(64), rng.getrandbits(64)) for _ in range(5 * BUCKETS_MIN)]
    assert [index.place(*each) for each in originals] == [None] * len(originals)
    for place, (source, bits) in enumerate(originals):
        noisy = bits ^ sum(1 << bit for bit in rng.sample(range(64), distance_max))
        assert index.place(source, noisy) == place
    assert len(index) == len(originals)


def test_equal_pictures_take_no_room_however_many() -> None:
    index = HashIndex(1)
    assert index.place(1, 0) is None
    size = index.size_bytes
    assert {index.place(1, 0) for _ in range(50_000)} == {0}
    assert index.size_bytes == size


def agreeing_in_half(count: int) -> list[int]:
    """Hashes far from each other that agree in every second bit, hence share one chain."""
    rng = random.Random(count)
    return list({sum(rng.getrandbits(1) << bit for bit in range(0, 64, 2)) for _ in range(count)})


def test_a_chain_that_holds_everything_still_finds_the_newest() -> None:
    index = HashIndex(1)
    originals = [bits for bits in agreeing_in_half(5000) if index.place(1, bits) is None]
    newest = len(originals) - CANDIDATES_MAX
    for place in range(newest, len(originals)):
        # The flipped bit is in the half that differs, so only the crowded chain can find it.
        assert index.place(1, originals[place] ^ 1) == place


def test_a_chain_that_holds_everything_costs_no_more_as_it_grows() -> None:
    def seconds(count: int) -> float:
        index = HashIndex(1)
        for bits in agreeing_in_half(count):
            index.place(1, bits)
        began = time.process_time()
        for bits in agreeing_in_half(2000):
            index.place(2, bits)
            index.place(1, bits ^ (1 << 1))
        return time.process_time() - began

    # 32 times the chain; linear cost would be some 30 times as much.
    assert seconds(32_000) < 6 * seconds(1_000)


def test_a_distance_it_was_not_made_for_is_refused() -> None:
    with pytest.raises(ValueError, match="distance_max"):
        HashIndex(DISTANCE_MAX + 1)
