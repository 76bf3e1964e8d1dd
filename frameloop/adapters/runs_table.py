"""The Lance table `runs`: one row a training run, written by whoever runs it."""

from dataclasses import asdict, fields

import lance
import pyarrow as pa

from frameloop.core.training import RunRecord, RunStatus

_COLUMNS: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "status": pa.string(),
    "started_at_ms": pa.int64(),
    "table_uri": pa.string(),
    "table_version": pa.int64(),
    "tag": pa.string(),
    "row_filter": pa.string(),
    "rows": pa.int64(),
    "base_model": pa.string(),
    "output_dir": pa.string(),
    "ended_at_ms": pa.int64(),
    "loss_final": pa.float64(),
    "steps": pa.int64(),
    "error": pa.string(),
}
_SCHEMA = pa.schema(_COLUMNS)


def save_run(uri: str, record: RunRecord) -> None:
    """Insert the run, or put it in place of the record with its id. The table is made if need be."""
    row = pa.Table.from_pylist([asdict(record)], schema=_SCHEMA)
    try:
        dataset = lance.dataset(uri)
    except ValueError:
        lance.write_dataset(row, uri, mode="create")
        return
    merge = dataset.merge_insert("run_id")
    merge.when_matched_update_all().when_not_matched_insert_all().execute(row)


def load_runs(uri: str) -> list[RunRecord]:
    """All runs, oldest first; none if there is no table yet."""
    try:
        rows = lance.dataset(uri).to_table().to_pylist()
    except ValueError:
        return []
    names = {field.name for field in fields(RunRecord)}
    records = [
        RunRecord(
            **{k: v for k, v in row.items() if k in names} | {"status": RunStatus(row["status"])}
        )
        for row in rows
    ]
    return sorted(records, key=lambda record: record.started_at_ms)


def last_success(records: list[RunRecord]) -> RunRecord | None:
    good = [record for record in records if record.status is RunStatus.SUCCEEDED]
    return good[-1] if good else None


def failures_in_a_row(records: list[RunRecord]) -> int:
    """How many of the newest ended runs failed, up to the last good one."""
    count = 0
    for record in reversed(records):
        if record.status is RunStatus.SUCCEEDED:
            break
        count += record.status is RunStatus.FAILED
    return count
