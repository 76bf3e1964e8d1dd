"""Scores in hand on their way into the table: write column files, have the keeper commit them.

A storage conflict writes the columns again, for the fragment as it is by then; it never calls the
scorer again.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import lance
import pyarrow as pa
import pyarrow.compute as pc
from ray.actor import ActorHandle
from ray.exceptions import RayError

from frameloop.adapters import lance_table
from frameloop.core.batch import LabelRequest
from frameloop.core.errors import BackPressure, Conflict, TransientError
from frameloop.runtime.faults import reach
from schemas.table import label_fields
from serve_apps.fragment_scoring import ROW_ADDRESS, ROW_ID, FragmentScores, scores_schema

log = logging.getLogger(__name__)

APPLY_ATTEMPTS_MAX = 8
RETRY_SECONDS = 0.5
FRAGMENT_SHIFT = lance_table.ROW_ADDRESS_FRAGMENT_SHIFT


class ApplyScores:
    """Of one scoring consumer. Two labels of one fragment are applied one after the other."""

    def __init__(self, table_uri: str, keeper: ActorHandle) -> None:
        self._table_uri = table_uri
        self._keeper = keeper
        self._turns: dict[int, asyncio.Lock] = {}

    async def apply(self, scores: FragmentScores) -> None:
        """Put the scores into the table.

        Raises `TransientError` if the fragment changes too often meanwhile; then nothing is lost
        but the work.
        """
        async with self._turn(scores.request.fragment_id):
            parts = [scores.columns]
            while parts:
                parts += await self._apply_part(scores, parts.pop())

    async def _apply_part(self, scores: FragmentScores, columns: pa.Table) -> list[pa.Table]:
        """Rows of one fragment. Returns them by their new fragments if compaction has moved them."""
        for _ in range(APPLY_ATTEMPTS_MAX):
            try:
                request = await asyncio.to_thread(self._write, scores, columns)
            except MovedError as moved:
                return moved.parts
            if request is None:
                log.info("fragment %d was labelled meanwhile", scores.request.fragment_id)
                return []
            reach("scoring.written")
            try:
                await self._keeper.commit.remote(request)
                return []
            except Conflict as error:
                log.info("%s; writing the scores again", error)
            except (RayError, BackPressure) as error:
                log.warning("the keeper did not answer (%s)", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
        raise TransientError(f"fragment {scores.request.fragment_id} changes too often")

    def _write(self, scores: FragmentScores, columns: pa.Table) -> LabelRequest | None:
        """Column files for the fragment as it is now. None if there is nothing to do (any more).

        Raises `MovedError` if the rows are in other fragments by now.
        """
        asked = scores.request
        dataset = lance.dataset(self._table_uri)
        fragment_id = _fragment_of(columns, asked.fragment_id)
        fragment = dataset.get_fragment(fragment_id)
        if fragment is None:
            raise MovedError(list(moved(dataset, columns)))
        is_labelled = lance_table.has_label(dataset, fragment_id, asked.label.name)
        if is_labelled and (asked.row_filter is None or not columns.num_rows):
            return None
        base = lance_table.metadata_json(fragment.metadata)
        began_ms = time.time_ns() // 1_000_000
        data = (columns if columns.num_rows else _no_scores(scores, fragment_id)).drop([ROW_ID])
        updated, fields = fragment.update_columns(data, left_on=ROW_ADDRESS)
        return LabelRequest(
            label=asked.label.name,
            fragment_id=fragment_id,
            base=base,
            updated=lance_table.metadata_json(updated),
            fields=tuple(int(f) for f in fields),
            rows=columns.num_rows,
            written_at_ms=began_ms,
        )

    @asynccontextmanager
    async def _turn(self, fragment_id: int) -> AsyncIterator[None]:
        lock = self._turns.setdefault(fragment_id, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._turns.pop(fragment_id, None)


class MovedError(Exception):
    """Compaction has put the rows into other fragments; `parts` has them by fragment."""

    def __init__(self, parts: list[pa.Table]) -> None:
        super().__init__(parts)
        self.parts = parts


def moved(dataset: lance.LanceDataset, columns: pa.Table) -> Iterator[pa.Table]:
    """The rows that are still in the table, at their present addresses, a table a fragment."""
    ids = columns[ROW_ID].to_pylist()
    if not ids:
        return
    now = dataset.scanner(
        columns=["id"],
        filter=f"_rowid IN ({', '.join(map(str, ids))})",
        with_row_id=True,
        with_row_address=True,
    ).to_table()
    at = columns.drop([ROW_ADDRESS]).join(now.drop(["id"]), ROW_ID, join_type="inner")
    fragments = pc.shift_right(at[ROW_ADDRESS], pa.scalar(FRAGMENT_SHIFT, pa.uint64()))
    for fragment in fragments.unique():
        yield at.filter(pc.equal(fragments, fragment)).select(columns.column_names)


def _fragment_of(columns: pa.Table, fallback: int) -> int:
    return columns[ROW_ADDRESS][0].as_py() >> FRAGMENT_SHIFT if columns.num_rows else fallback


def _no_scores(scores: FragmentScores, fragment_id: int) -> pa.Table:
    """Lance joins with one row at least: nulls, so that the fragment counts as looked at."""
    fields = label_fields(scores.request.label)
    nulls = [pa.nulls(1, field.type) for field in fields]
    address = pa.array([fragment_id << FRAGMENT_SHIFT], pa.uint64())
    return pa.Table.from_arrays(
        [address, pa.array([0], pa.uint64()), *nulls], schema=scores_schema(scores.request.label)
    )
