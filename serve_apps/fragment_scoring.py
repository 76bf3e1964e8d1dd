"""Read one fragment of a pinned table version and score it. Lance and a scorer; no Ray.

What travels is a reference (`FragmentRequest`) and numbers (`FragmentScores`), never an image: a
Serve call costs about a millisecond for each image of 100 kB that it carries, while a scan in
batches reads the same bytes at over a gigabyte a second.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, field

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from frameloop.core.errors import Conflict, FatalError, TransientError
from serve_apps.contract import Score, Scorer

BATCH_ROWS = 32
"""Rows read and scored at once: a few megabytes of images, however large the fragment."""
READAHEAD_BATCHES = 2
"""Batches that Lance may hold ready; the scorer, not the disk, is what takes time."""
TABLES_MAX = 4
"""Open table versions that are kept."""
ROW_ADDRESS = "_rowaddr"


@dataclass(frozen=True, slots=True)
class FragmentRequest:
    """Which rows to score: those of one fragment, as they are in one version of the table."""

    table_uri: str
    table_version: int
    fragment_id: int


@dataclass(frozen=True, slots=True, eq=False)
class FragmentScores:
    """The scores of a fragment's live rows, in scan order. Row i is the same row in all of them."""

    request: FragmentRequest
    scorer: str
    """`name/version`, e.g. `quality/1`."""
    row_addresses: npt.NDArray[np.uint64]
    """`_rowaddr`: the fragment's id in the upper 32 bits, the row in the lower; shape (rows,)."""
    values: npt.NDArray[np.float32]
    """NaN where there is an error; shape (rows,)."""
    errors: dict[int, str] = field(default_factory=dict)
    """Index of the row in the arrays -> why it has no score."""
    seconds_reading: float = 0.0
    seconds_scoring: float = 0.0
    metrics_address: str = ""
    """Where the replica that scored this serves its metrics."""

    @property
    def rows(self) -> int:
        return len(self.row_addresses)


class TableCache:
    """The last few open table versions, so that not each fragment opens the table anew.

    For one thread. Lance is not fork-safe: to be made in the process that uses it.
    """

    def __init__(self, tables_max: int = TABLES_MAX) -> None:
        if tables_max < 1:
            raise ValueError("tables_max must be at least 1")
        self._tables_max = tables_max
        self._tables: OrderedDict[tuple[str, int], lance.LanceDataset] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tables)

    def at(self, uri: str, version: int) -> lance.LanceDataset:
        """The table as it was at `version`.

        Raises `Conflict` if there is no such version (any more), `TransientError` if the storage
        can't be reached.
        """
        key = (uri, version)
        if key not in self._tables:
            try:
                self._tables[key] = lance.dataset(uri, version=version)
            except ValueError as error:
                raise Conflict(f"{uri} has no version {version}: {error}") from error
            except OSError as error:
                raise TransientError(f"{uri} version {version} can't be opened: {error}") from error
        self._tables.move_to_end(key)
        while len(self._tables) > self._tables_max:
            self._tables.popitem(last=False)
        return self._tables[key]

    def forget(self, uri: str, version: int) -> None:
        """Open it anew next time: its files could not be read."""
        self._tables.pop((uri, version), None)


def scorer_id(scorer: Scorer) -> str:
    """What is written beside each score: a score of another version is another label."""
    return f"{scorer.name}/{scorer.version}"


def score_fragment(request: FragmentRequest, scorer: Scorer, tables: TableCache) -> FragmentScores:
    """Scores of all rows of the fragment, streamed: at most a few batches are in memory.

    Raises `TransientError` if the table can't be read, `Conflict` if the version or the fragment
    is not there (any more), `FatalError` if the table lacks a column that the scorer reads or the
    scorer breaks its contract, and whatever the scorer raises when it fails itself.
    """
    parts: list[_Part] = []
    reading = scoring = 0.0
    batches = iter(_read(request, scorer, tables))
    while True:
        started = time.perf_counter()
        try:
            batch = next(batches, None)
        except (OSError, ValueError) as error:
            tables.forget(request.table_uri, request.table_version)
            raise TransientError(f"{request}: can't be read: {error}") from error
        read = time.perf_counter()
        reading += read - started
        if batch is None:
            break
        parts.append(_score_batch(batch, scorer))
        scoring += time.perf_counter() - read
    return _join(request, scorer, parts, (reading, scoring))


@dataclass(frozen=True, slots=True)
class _Part:
    row_addresses: npt.NDArray[np.uint64]
    scores: list[Score]


def _read(request: FragmentRequest, scorer: Scorer, tables: TableCache) -> pa.RecordBatchReader:
    table = tables.at(request.table_uri, request.table_version)
    fragment = table.get_fragment(request.fragment_id)
    if fragment is None:
        raise Conflict(f"{request}: there is no such fragment in this version")
    missing = set(scorer.inputs) - set(table.schema.names)
    if missing:
        raise FatalError(f"{request.table_uri} lacks {missing}, which {scorer_id(scorer)} reads")
    scanner = fragment.scanner(
        columns=list(scorer.inputs),
        batch_size=BATCH_ROWS,
        with_row_address=True,
        batch_readahead=READAHEAD_BATCHES,
    )
    reader: pa.RecordBatchReader = scanner.to_reader()
    return reader


def _score_batch(batch: pa.RecordBatch, scorer: Scorer) -> _Part:
    addresses = batch.column(ROW_ADDRESS).to_numpy(zero_copy_only=False)
    scores = scorer.score(batch.select(list(scorer.inputs)))
    if len(scores) != batch.num_rows:
        raise FatalError(
            f"scorer {scorer_id(scorer)} gave {len(scores)} scores for {batch.num_rows} rows"
        )
    # A copy, since the view would keep the batch, and all its images, in memory.
    return _Part(addresses.astype(np.uint64, copy=True), scores)


def _join(
    request: FragmentRequest, scorer: Scorer, parts: list[_Part], seconds: tuple[float, float]
) -> FragmentScores:
    scores = [score for part in parts for score in part.scores]
    addresses = [part.row_addresses for part in parts]
    return FragmentScores(
        request=request,
        scorer=scorer_id(scorer),
        row_addresses=np.concatenate(addresses) if addresses else np.empty(0, np.uint64),
        values=np.array([np.nan if s.value is None else s.value for s in scores], np.float32),
        errors={i: s.error for i, s in enumerate(scores) if s.error is not None},
        seconds_reading=seconds[0],
        seconds_scoring=seconds[1],
    )
