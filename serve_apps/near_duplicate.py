"""Scorer `near_duplicate`: which earlier frame of its source a frame repeats, by perceptual hash.

The value is the `id` of that row; null, without an error, if the frame repeats none. No image is
read: ingest has put each frame's hash into the table. docs/near-duplicates.md says what the answer
depends on, and what it costs.
"""

from collections import OrderedDict

import lance
import pyarrow as pa

from frameloop.core.errors import FatalError, SettingsError
from frameloop.core.hash_index import DISTANCE_MAX
from frameloop.core.repeats import (
    NO_HASH,
    NO_SOURCE,
    ORIGINAL,
    UNKNOWN,
    Pictures,
    Repeats,
    parse_hash,
    text_key,
)
from serve_apps.contract import Score
from serve_apps.row_windows import RowRanges, read_rows, row_ids_of

WINDOW_ROWS = 1 << 20
WINDOW_ROWS_LIMITS = (1024, 1 << 24)
WINDOWS_MAX = 3
"""Windows held: the newest, and two for a back-fill that is at the border of two older ones."""
READ = ("id", "source", "phash")
SLICE_ROWS = 8192

_PROBLEMS = {
    NO_HASH: "the row has no perceptual hash",
    NO_SOURCE: "the row has no source",
    UNKNOWN: "the table has no such row",
}


class NearDuplicateScorer:
    """Answers from a memory of the table's rows, which `look` keeps up to date.

    Rows `[n * window_rows, (n + 1) * window_rows)`, by Lance's stable row ids, are window n: a row
    is compared with earlier ones of its own window. Deterministic: two replicas, or one started
    anew, give the same answer, whatever the order in which they are asked.
    """

    name = "near_duplicate"
    type = "string"
    inputs: tuple[str, ...] = ("id",)
    """What else is needed, `look` reads."""

    def __init__(self, distance_max: int = 1, window_rows: int = WINDOW_ROWS) -> None:
        low, high = WINDOW_ROWS_LIMITS
        if not 0 <= distance_max <= DISTANCE_MAX:
            raise SettingsError(f"near_duplicate: distance_max must be 0 to {DISTANCE_MAX}")
        if not low <= window_rows <= high:
            raise SettingsError(f"near_duplicate: window_rows must be {low} to {high}")
        self.version = f"1-d{distance_max}-w{window_rows}"
        self._distance_max, self._window_rows = distance_max, window_rows
        self._table: lance.LanceDataset | None = None
        self._forget()

    @property
    def size_bytes(self) -> int:
        """Memory held by the windows."""
        return sum(window.repeats.size_bytes for window in self._windows.values())

    def look(self, table: lance.LanceDataset) -> None:
        """Take in the rows of this version that are new: three small columns of them, no image.

        Raises `FatalError` if the table has no stable row ids or lacks a column, `TransientError`
        if it can't be read; nothing is half done then.
        """
        if self._table is not None:
            if self._table.uri != table.uri:
                self._forget()
            elif self._table.version == table.version:
                return
        self._ranges.look(table)
        self._table = table
        if self._ranges.last >= 0:
            self._load(self._ranges.last // self._window_rows)

    def score(self, batch: pa.RecordBatch) -> list[Score]:
        """One `Score` a row; a row without hash or source is an error on the row.

        Raises as `look` does, and `FatalError` if that has never been called.
        """
        ids: list[str | None] = batch.column("id").to_pylist()
        answers: dict[str, Score] = {}
        self._answer([each for each in ids if each is not None], answers)
        return [Score(error="the row has no id") if each is None else answers[each] for each in ids]

    def _answer(self, ids: list[str], answers: dict[str, Score]) -> None:
        """Put an answer for each id into `answers`; windows are read where none is held."""
        missing = self._known(ids, answers)
        if not missing:
            return
        if self._table is None:
            raise FatalError("near_duplicate: `look` must be called before `score`")
        row_ids = row_ids_of(self._table, missing)
        for number in sorted({row_id // self._window_rows for row_id in row_ids}):
            self._load(number)
            missing = self._known(missing, answers)
        answers.update((each, Score(error=_PROBLEMS[UNKNOWN])) for each in missing)

    def _known(self, ids: list[str], answers: dict[str, Score]) -> list[str]:
        """Those of the ids that no window knows; the others' answers go into `answers`."""
        for number in reversed(list(self._windows)):
            if not ids:
                break
            repeats = self._windows[number].repeats
            found = repeats.find(ids)
            known = [(each, code) for each, code in zip(ids, found, strict=True) if code != UNKNOWN]
            answers.update((each, _score(repeats, code)) for each, code in known)
            if known:
                self._windows.move_to_end(number)
            ids = [each for each, code in zip(ids, found, strict=True) if code == UNKNOWN]
        return ids

    def _load(self, number: int) -> None:
        """Hold the window, with all of its rows that the table has."""
        window = self._windows.get(number)
        if window is None:
            window = _Window(number * self._window_rows, Repeats(self._distance_max))
        end = (number + 1) * self._window_rows
        if self._table is not None:
            window.take_in(self._table, self._ranges, end)
        self._windows[number] = window
        self._windows.move_to_end(number)
        while len(self._windows) > WINDOWS_MAX:
            self._windows.popitem(last=False)

    def _forget(self) -> None:
        self._ranges = RowRanges()
        self._windows: OrderedDict[int, _Window] = OrderedDict()


class _Window:
    """Rows of a window up to, not including, `row_id_next`."""

    def __init__(self, row_id_next: int, repeats: Repeats) -> None:
        self.row_id_next = row_id_next
        self.repeats = repeats

    def take_in(self, table: lance.LanceDataset, ranges: RowRanges, end: int) -> None:
        """Its rows that are in the table and not yet here. Work for new rows only."""
        end = min(end, ranges.last + 1)
        if end <= self.row_id_next:
            return
        fragments = ranges.fragments(self.row_id_next, end)
        rows = read_rows(table, fragments, READ, self.row_id_next, end)
        for first in range(0, len(rows), SLICE_ROWS):
            self.repeats.add(_pictures(rows.slice(first, SLICE_ROWS)))
        self.row_id_next = end


def _pictures(rows: pa.Table) -> Pictures:
    ids: list[str] = rows["id"].to_pylist()  # type: ignore[assignment]  # not nullable
    names = rows["source"].to_pylist()
    keys = {name: text_key(name) for name in set(names) if name is not None}
    return Pictures(
        ids=ids,
        sources=[keys.get(name) for name in names],
        hashes=[parse_hash(text) for text in rows["phash"].to_pylist()],
    )


def _score(repeats: Repeats, code: int) -> Score:
    if code == ORIGINAL:
        return Score()
    problem = _PROBLEMS.get(code)
    return Score(error=problem) if problem else Score(repeats.original_id(code))
