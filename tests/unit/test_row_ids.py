"""The set of row ids: exact, whatever the order and the sizes."""

import pickle
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.errors import DuplicateRows
from frameloop.core.row_ids import FRESH_MAX, RowIds, pack_ids

small_ids = st.integers(0, 40).map(lambda number: number.to_bytes(16, "big"))
batches = st.lists(st.lists(small_ids, max_size=30), max_size=20)


@given(batches, st.lists(small_ids, max_size=30))
def test_an_id_is_known_if_and_only_if_it_was_added_or_stands_twice(
    added: list[list[bytes]], asked: list[bytes]
) -> None:
    ids = RowIds()
    for batch in added:
        ids.add(b"".join(batch))
    have = {each for batch in added for each in batch}
    expected = [i for i, each in enumerate(asked) if each in have or each in asked[:i]]
    assert ids.known(b"".join(asked)) == expected


def test_nothing_is_forgotten_or_invented_over_many_runs() -> None:
    ids = RowIds()
    added = [secrets.token_bytes(16 * 1000) for _ in range(40)]
    added.append(secrets.token_bytes(16 * (FRESH_MAX + 1)))
    for packed in added:
        ids.add(packed)
    assert len(ids) == 40 * 1000 + FRESH_MAX + 1
    for packed in added:
        assert ids.known(packed) == list(range(len(packed) // 16))
    assert ids.known(secrets.token_bytes(16 * 5000)) == []


def test_ids_that_share_a_half_are_told_apart() -> None:
    ids = RowIds()
    ids.add(b"".join(b"A" * 8 + n.to_bytes(8, "big") for n in range(FRESH_MAX)))
    assert ids.known(b"A" * 8 + (FRESH_MAX + 1).to_bytes(8, "big")) == []
    assert ids.known(b"A" * 8 + (5).to_bytes(8, "big")) == [0]


@pytest.mark.parametrize("wrong", ["abc", "x" * 32, "0" * 30])
def test_only_ids_of_32_hex_digits_can_be_packed(wrong: str) -> None:
    with pytest.raises(ValueError, match="hex"):
        pack_ids([wrong])


def test_the_places_of_duplicates_survive_pickling() -> None:
    assert pickle.loads(pickle.dumps(DuplicateRows((1, 5)))).places == (1, 5)
