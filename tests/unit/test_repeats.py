"""Answers for rows: each decided once, by the rows before it, and found again by the row's id."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.repeats import (
    FRESH_MAX,
    NO_HASH,
    NO_SOURCE,
    ORIGINAL,
    UNKNOWN,
    Pictures,
    Repeats,
    keys_of,
    parse_hash,
)
from tests.unit.test_hash_index import compare_with_all, hashes

rows = st.lists(st.tuples(st.integers(0, 2), hashes), max_size=40)


def row_id(number: int) -> str:
    return hashlib.md5(f"{number}".encode(), usedforsecurity=False).hexdigest()


def pictures(part: list[tuple[int, int]], first: int = 0) -> Pictures:
    ids = [row_id(first + place) for place in range(len(part))]
    return Pictures(ids, [source for source, _ in part], [bits for _, bits in part])


@given(rows, st.integers(1, 40))
def test_answers_do_not_depend_on_how_rows_are_cut_into_parts(
    given_rows: list[tuple[int, int]], cut: int
) -> None:
    parts = Repeats(1)
    for first in range(0, len(given_rows), cut):
        parts.add(pictures(given_rows[first : first + cut], first))
    expected = compare_with_all(given_rows, 1)
    ids = [row_id(place) for place in range(len(given_rows))]
    found = parts.find(ids)
    assert found == [ORIGINAL if place is None else place for place in expected]
    originals = [each for each, place in zip(ids, expected, strict=True) if place is None]
    assert [parts.original_id(place) for place in range(parts.originals)] == originals


def test_a_slow_pan_keeps_a_frame_for_each_step_that_can_be_told_apart() -> None:
    """Every frame is near the last one; a chain must not make all of them repeats of the first."""
    pan = [(1, (1 << step) - 1) for step in range(64)]
    repeats = Repeats(3)
    repeats.add(pictures(pan))
    found = repeats.find([row_id(step) for step in range(64)])
    originals = [step for step, code in enumerate(found) if code == ORIGINAL]
    assert originals == list(range(0, 64, 4))
    assert [originals[code] for code in found[1:4]] == [0, 0, 0]


def test_answers_outlive_many_runs_and_cost_few_bytes() -> None:
    count = 5 * FRESH_MAX
    repeats = Repeats(1)
    for first in range(0, count, 1000):
        part = [
            (1, number // 2 * 0x9E3779B97F4A7C15 % 2**64) for number in range(first, first + 1000)
        ]
        repeats.add(pictures(part[: count - first], first))
    found = repeats.find([row_id(number) for number in range(count)])
    assert [code == ORIGINAL for code in found] == [number % 2 == 0 for number in range(count)]
    assert len(repeats) == count
    assert repeats.size_bytes / count < 60  # half of the rows are originals


def test_rows_without_what_is_needed_say_so_and_unknown_rows_too() -> None:
    repeats = Repeats(0)
    ids = [row_id(place) for place in range(3)]
    repeats.add(Pictures(ids, [1, None, 1], [None, 5, 5]))
    assert repeats.find([*ids, row_id(3)]) == [NO_HASH, NO_SOURCE, ORIGINAL, UNKNOWN]
    assert repeats.find([]) == []


@given(st.lists(st.text(max_size=40) | st.from_regex(r"[0-9a-f ]{31,33}", fullmatch=True)))
def test_an_id_of_any_form_has_one_key_whatever_stands_beside_it(ids: list[str]) -> None:
    together = keys_of(ids).tolist()
    assert together == [int(keys_of([each])[0]) for each in ids]
    assert len(set(together)) == len(set(ids))


@pytest.mark.parametrize(
    "text", [None, "", "0" * 15, "0" * 17, "x" * 16, " " * 16, "+" + "0" * 15, "_" * 16]
)
def test_what_is_no_hash_is_not_taken_for_one(text: str | None) -> None:
    assert parse_hash(text) is None


def test_a_hash_is_read_as_it_is_written() -> None:
    assert parse_hash(f"{2**64 - 2:016x}") == 2**64 - 2
