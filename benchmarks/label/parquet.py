"""The other side: one Parquet file, read and rewritten with the column added.

As well as it can be done with pyarrow: a row group at a time, its defaults for threads, nothing
compressed (images do not compress, and it is faster so), only what the scorer needs handed to it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.table import LABEL_TYPES, Label
from serve_apps.contract import Scorer
from serve_apps.fragment_scoring import BATCH_ROWS


def write_parquet(path: Path, batches: Iterable[pa.Table]) -> None:
    """A row group for each of the batches."""
    writer: pq.ParquetWriter | None = None
    for rows in batches:
        writer = writer or pq.ParquetWriter(path, rows.schema, compression="none")
        writer.write_table(rows, row_group_size=len(rows))
    if writer:
        writer.close()


def rewrite(path: Path, out: Path, label: Label, scorer: Scorer) -> None:
    """The file again with the label's column; rows that have a value already keep it."""
    file = pq.ParquetFile(path)
    writer: pq.ParquetWriter | None = None
    for number in range(file.num_row_groups):
        rows = file.read_row_group(number)
        rows = _labelled(rows, label, scorer)
        writer = writer or pq.ParquetWriter(out, rows.schema, compression="none")
        writer.write_table(rows, row_group_size=len(rows))
    if writer:
        writer.close()


def _labelled(rows: pa.Table, label: Label, scorer: Scorer) -> pa.Table:
    if label.name not in rows.column_names:
        return rows.append_column(label.name, _values(rows, label, scorer))
    if rows[label.name].null_count == 0:
        return rows
    place = rows.column_names.index(label.name)
    return rows.set_column(place, label.name, _values(rows, label, scorer))


def _values(rows: pa.Table, label: Label, scorer: Scorer) -> Any:
    inputs = rows.select(list(scorer.inputs))
    values = [
        score.value
        for batch in inputs.to_batches(max_chunksize=BATCH_ROWS)
        for score in scorer.score(batch)
    ]
    return pa.array(values, LABEL_TYPES[label.type])
