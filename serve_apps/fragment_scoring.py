"""Read rows of one fragment of a pinned table version and score them. Lance and a scorer; no Ray.

What travels is a reference (`FragmentRequest`) and label columns (`FragmentScores`), never an image:
a Serve call costs about a millisecond for each image of 100 kB that it carries, while a scan in
batches reads the same bytes at over a gigabyte a second.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from frameloop.core.errors import Conflict, FatalError, TransientError
from schemas.table import LABEL_TYPES, Label, label_fields
from serve_apps.contract import WRITABLE, LookingScorer, Score, Scorer, WritingScorer
from serve_apps.table_cache import TableCache

BATCH_ROWS = 32
"""Rows read and scored at once: a few megabytes of images, however large the fragment."""
TEXT_BATCH_ROWS = 1024
"""The same for a scorer that reads no image."""
READAHEAD_BATCHES = 2
"""Batches that Lance may hold ready; the scorer, not the disk, is what takes time."""
ERROR_CHARS_MAX = 1000
REASON_CHARS_MAX = 4000
ROW_ADDRESS, ROW_ID = "_rowaddr", "_rowid"


@dataclass(frozen=True, slots=True)
class FragmentRequest:
    """Which rows to score: those of one fragment, as they are in one version of the table, that
    pass `row_filter` (SQL; None: all)."""

    table_uri: str
    table_version: int
    fragment_id: int
    label: Label
    row_filter: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FragmentScores:
    """The label of a fragment's rows, as the table stores it.

    `columns` has one row for each row scored, in scan order: `_rowaddr` (the fragment's id in the
    upper 32 bits, the row in the lower), `_rowid` (stable under compaction), the label's columns,
    and those that the scorer writes besides.
    """

    request: FragmentRequest
    scorer: str
    """`name/version`, e.g. `quality/1`."""
    columns: pa.Table
    seconds_reading: float = 0.0
    seconds_scoring: float = 0.0
    metrics_address: str = ""
    """Where the replica that scored this serves its metrics."""

    @property
    def rows(self) -> int:
        return int(self.columns.num_rows)


def scorer_id(scorer: Scorer) -> str:
    """What is written beside each value: a value of another version is another label."""
    return f"{scorer.name}/{scorer.version}"


def score_fragment(
    request: FragmentRequest,
    scorer: Scorer,
    tables: TableCache,
    on_batch: Callable[[], None] = lambda: None,
) -> FragmentScores:
    """The label of the rows asked for, streamed: at most a few batches are in memory.

    `on_batch` is called after each batch: the work gets on.

    Raises `TransientError` if the table can't be read, `Conflict` if the version or the fragment
    is not there (any more), `FatalError` if the table lacks a column that the scorer reads, the
    filter is no SQL or the scorer breaks its contract, and whatever the scorer raises when it
    fails itself.
    """
    parts: list[pa.RecordBatch] = []
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
        if batch.num_rows:
            parts.append(_scored(batch, scorer, request.label))
        scoring += time.perf_counter() - read
        on_batch()
    schema = parts[0].schema if parts else scores_schema(request.label)
    columns = pa.Table.from_batches(parts, schema)
    return FragmentScores(request, scorer_id(scorer), columns, reading, scoring)


def scores_schema(label: Label) -> pa.Schema:
    """Of `FragmentScores.columns`, less what a scorer writes besides."""
    addresses = [pa.field(ROW_ADDRESS, pa.uint64()), pa.field(ROW_ID, pa.uint64())]
    return pa.schema([*addresses, *label_fields(label)])


def _read(request: FragmentRequest, scorer: Scorer, tables: TableCache) -> pa.RecordBatchReader:
    table = tables.at(request.table_uri, request.table_version)
    fragment = table.get_fragment(request.fragment_id)
    if fragment is None:
        raise Conflict(f"{request}: there is no such fragment in this version")
    missing = {*scorer.inputs, *_writes(scorer)} - set(table.schema.names)
    if missing:
        raise FatalError(f"{request.table_uri} lacks {missing}, which {scorer_id(scorer)} reads")
    if isinstance(scorer, LookingScorer):
        scorer.look(table)
    try:
        scanner = fragment.scanner(
            columns=list(scorer.inputs),
            filter=request.row_filter,
            batch_size=BATCH_ROWS if "image" in scorer.inputs else TEXT_BATCH_ROWS,
            with_row_address=True,
            with_row_id=True,
            batch_readahead=READAHEAD_BATCHES,
        )
        reader: pa.RecordBatchReader = scanner.to_reader()
    except ValueError as error:
        raise FatalError(f"{request}: the filter can't be used: {error}") from error
    return reader


def _writes(scorer: Scorer) -> tuple[str, ...]:
    writes = scorer.writes if isinstance(scorer, WritingScorer) else ()
    if not set(writes) <= {*WRITABLE} & {*scorer.inputs}:
        raise FatalError(f"{scorer_id(scorer)} may write {WRITABLE} if it reads them, not {writes}")
    return writes


def _scored(batch: pa.RecordBatch, scorer: Scorer, label: Label) -> pa.RecordBatch:
    scores = scorer.score(batch.select(list(scorer.inputs)))
    if len(scores) != batch.num_rows:
        raise FatalError(
            f"scorer {scorer_id(scorer)} gave {len(scores)} scores for {batch.num_rows} rows"
        )
    arrays = _label_arrays(scorer, label, scores)
    fields = list(scores_schema(label))
    # Copies, since views would keep the batch, and all its images, in memory.
    addresses = [_copy(batch.column(name), pa.uint64()) for name in (ROW_ADDRESS, ROW_ID)]
    for name in _writes(scorer):
        had = batch.column(name).to_pylist()
        values = [s.columns.get(name, old) for s, old in zip(scores, had, strict=True)]
        kind = batch.schema.field(name).type
        arrays.append(_array(scorer, values, kind))
        fields.append(pa.field(name, kind))
    return pa.RecordBatch.from_arrays([*addresses, *arrays], schema=pa.schema(fields))


def _label_arrays(scorer: Scorer, label: Label, scores: Sequence[Score]) -> list[Any]:
    values, errors = [], []
    for score in scores:
        is_nan = isinstance(score.value, float) and math.isnan(score.value)
        values.append(None if is_nan else score.value)
        errors.append("the scorer gave NaN" if is_nan else score.error)
    return [
        _array(scorer, values, LABEL_TYPES[label.type]),
        pa.array([scorer_id(scorer)] * len(scores), pa.string()),
        pa.array([e and e[:ERROR_CHARS_MAX] for e in errors], pa.string()),
        pa.array([s.reason and s.reason[:REASON_CHARS_MAX] for s in scores], pa.string()),
    ]


def _array(scorer: Scorer, values: list[Any], kind: pa.DataType) -> Any:
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, OverflowError) as error:
        raise FatalError(f"scorer {scorer_id(scorer)} gave what is no {kind}: {error}") from error


def _copy(column: Any, kind: pa.DataType) -> Any:
    return pa.array(column.to_numpy(zero_copy_only=False).copy(), kind)
