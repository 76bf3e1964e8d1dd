"""The scalar index on `id`: made once, and brought up to date when much of the table is not in it.

Row ids are stable, so it survives compaction. Rows that are not in it yet are found by a scan of
their fragments.
"""

from dataclasses import dataclass

import lance

from frameloop.core.errors import TransientError

COLUMN = "id"
NAME = "id_idx"
KIND = "BTREE"


ROWS_UNINDEXED_MIN = 10_000
SHARE_MAX = 0.1
"""Each rewrite of the index is then of a tenth more rows: ten times its final size is written in all."""


@dataclass(frozen=True, slots=True)
class IndexState:
    rows_indexed: int
    rows_unindexed: int

    def is_behind(self, rows_min: int) -> bool:
        """Worth a rewrite of the index, which takes about a second for a million rows?"""
        return self.rows_unindexed > max(rows_min, self.rows_indexed * SHARE_MAX)


def index_state(dataset: lance.LanceDataset) -> IndexState | None:
    """None if there is no index yet."""
    if NAME not in {index.name for index in dataset.describe_indices()}:
        return None
    found = dataset.stats.index_stats(NAME)
    return IndexState(int(found["num_indexed_rows"]), int(found["num_unindexed_rows"]))


def fragments_by_index(dataset: lance.LanceDataset) -> dict[str, set[int]]:
    """Ids of the fragments that each index covers, this one and those that others have made."""
    return {
        index.name: {int(f) for segment in index.segments for f in segment.fragment_ids}
        for index in dataset.describe_indices()
    }


def tend_index(dataset: lance.LanceDataset, rows_min: int = ROWS_UNINDEXED_MIN) -> bool:
    """Make the index, or bring it up to date, if it is due: then one more version of the table.

    Raises `TransientError` if the storage refuses or others commit at the moment.
    """
    try:
        state = index_state(dataset)
        if state is None:
            dataset.create_scalar_index(COLUMN, KIND, name=NAME)
            return True
        if state.is_behind(rows_min):
            dataset.optimize.optimize_indices(index_names=[NAME])
            return True
    except OSError as error:
        raise TransientError(f"the index on {COLUMN}: {error}") from error
    return False
