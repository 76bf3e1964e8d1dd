"""Rows of a Lance table by their stable row ids, whatever fragments they are in by now.

Lance numbers rows as they are committed and keeps the numbers when it compacts or labels. A version
of the table that has a row hence has every row of a lower number, unless that was deleted.
"""

from collections.abc import Sequence

import lance
import numpy as np
import pyarrow as pa

from frameloop.core.errors import FatalError, TransientError

ROW_ID = "_rowid"
FRAGMENT_SHIFT = 32
EMPTY = (0, -1)


class RowRanges:
    """Lowest and highest row id of each fragment, asked for once for each."""

    def __init__(self) -> None:
        self._ranges: dict[int, tuple[int, int]] = {}

    @property
    def last(self) -> int:
        """The highest row id in the table; -1 if it has no rows."""
        return max((last for _, last in self._ranges.values()), default=-1)

    def look(self, table: lance.LanceDataset) -> None:
        """Forget fragments that this version lacks, ask for those not yet known: no data is read.

        Raises `FatalError` if the table's row ids change when it is compacted, `TransientError` if
        it can't be read.
        """
        if not table.has_stable_row_ids:
            raise FatalError(f"{table.uri} was made without stable row ids: rows have no order")
        fragments = {fragment.fragment_id: fragment for fragment in table.get_fragments()}
        known = {i: each for i, each in self._ranges.items() if i in fragments}
        new = [fragment for i, fragment in fragments.items() if i not in known]
        if new:
            known.update((fragment.fragment_id, EMPTY) for fragment in new)
            _ask(table, new, known)
        self._ranges = known

    def fragments(self, first: int, end: int) -> list[int]:
        """Fragments that may hold rows `[first, end)`."""
        return [i for i, (low, high) in self._ranges.items() if low < end and high >= first]


def read_rows(
    table: lance.LanceDataset,
    fragments: Sequence[int],
    columns: Sequence[str],
    first: int,
    end: int,
) -> pa.Table:
    """Rows `[first, end)` of these fragments, by row id. Raises `TransientError`, `FatalError`."""
    if missing := set(columns) - set(table.schema.names):
        raise FatalError(f"{table.uri} lacks {missing}")
    chosen = [table.get_fragment(i) for i in fragments]
    try:
        rows: pa.Table = table.scanner(
            columns=list(columns), with_row_id=True, fragments=chosen
        ).to_table()
    except (OSError, ValueError) as error:
        raise TransientError(f"{table.uri}: rows can't be read: {error}") from error
    row_ids = rows[ROW_ID].to_numpy()
    wanted = np.flatnonzero((row_ids >= first) & (row_ids < end))
    order = wanted[np.argsort(row_ids[wanted], kind="stable")]
    if len(order) == len(row_ids) and np.array_equal(order, np.arange(len(order))):
        return rows
    taken: pa.Table = rows.take(order)
    return taken


def row_ids_of(table: lance.LanceDataset, ids: Sequence[str]) -> list[int]:
    """Row ids of the rows of these ids; one that the table lacks has none. Reads all ids."""
    texts = ", ".join("'" + each.replace("'", "''") + "'" for each in ids)
    scanner = table.scanner(columns=[], filter=f"id IN ({texts})", with_row_id=True)
    try:
        found = scanner.to_table()[ROW_ID].to_pylist()
    except (OSError, ValueError) as error:
        raise TransientError(f"{table.uri}: ids can't be read: {error}") from error
    return [int(each) for each in found]


def _ask(
    table: lance.LanceDataset,
    fragments: list[lance.LanceFragment],
    into: dict[int, tuple[int, int]],
) -> None:
    scanner = table.scanner(
        columns=[], with_row_id=True, with_row_address=True, fragments=fragments
    )
    try:
        for batch in scanner.to_batches():
            ids = batch.column(ROW_ID).to_numpy()
            owners = batch.column("_rowaddr").to_numpy() >> FRAGMENT_SHIFT
            for owner in np.unique(owners).tolist():
                part = ids[owners == owner]
                low, high = into[owner]
                low = int(part.min()) if high < low else min(low, int(part.min()))
                into[owner] = (low, max(high, int(part.max())))
    except (OSError, ValueError) as error:
        raise TransientError(f"{table.uri}: row ids can't be read: {error}") from error
