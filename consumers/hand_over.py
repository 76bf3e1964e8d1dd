"""A cut batch on its way into the table: write its data files, have the keeper commit them."""

import asyncio
import logging
import time
import uuid

import pyarrow as pa
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ActorUnavailableError

from frameloop.adapters import lance_table
from frameloop.core.batch import AppendRequest
from frameloop.core.errors import BackPressure, DuplicateRows, FilesGone, TransientError
from frameloop.core.micro_batch import Cut
from frameloop.core.row_ids import pack_ids
from frameloop.runtime import metrics
from frameloop.runtime.faults import reach
from schemas.table import row_schema

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


class HandOver:
    """One batch at a time: the ledger knows a batch again only while it is its partition's last."""

    def __init__(self, table_uri: str, keeper: ActorHandle) -> None:
        self._table_uri = table_uri
        self._keeper = keeper
        self.rows = 0
        self.letters = 0
        self.duplicates = 0

    async def deliver(self, cut: Cut) -> None:
        """Returns once the batch is in the table, whatever storage and keeper go through meanwhile.

        Raises `StaleBatch` if it does not start where the table stands, and `Fenced`.
        """
        batch_id = uuid.uuid4().hex
        while True:
            try:
                await self._commit(await self._written(batch_id, cut))
                break
            except DuplicateRows as error:
                log.info("%s; leaving them out", error)
                metrics.EVENTS.labels("duplicate").inc(len(error.places))
                self.duplicates += len(error.places)
                cut = cut.without_rows(error.places)
            except FilesGone as error:
                log.warning("%s", error)
        self.rows += len(cut.rows)
        self.letters += len(cut.dead_letters)
        metrics.BATCH_ROWS.observe(len(cut.rows))
        metrics.BATCH_BYTES.observe(cut.size)

    async def _written(self, batch_id: str, cut: Cut) -> AppendRequest:
        began_ms = time.time_ns() // 1_000_000
        fragments = await self._write(to_table(cut)) if cut.rows else ()
        reach("ingest.written")
        ids = pack_ids([row.values["id"] for row in cut.rows])
        rows = len(cut.rows)
        return AppendRequest(batch_id, cut.ranges, fragments, rows, cut.dead_letters, ids, began_ms)

    async def _write(self, rows: pa.Table) -> tuple[str, ...]:
        """Until the storage takes it: a full disk holds the batch, and polling pauses behind it."""
        while True:
            began = time.perf_counter()
            try:
                fragments = await asyncio.to_thread(lance_table.write_rows, self._table_uri, rows)
            except TransientError as error:
                log.warning("%s; trying again", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            metrics.WRITE_SECONDS.observe(time.perf_counter() - began)
            return fragments

    async def _commit(self, request: AppendRequest) -> None:
        """The keeper may die with the request in hand: asked again, it finds the batch by its id."""
        while True:
            try:
                await self._keeper.commit.remote(request)
                return
            except (ActorDiedError, ActorUnavailableError, BackPressure) as error:
                log.warning("the keeper did not answer (%s); asking again", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)


def to_table(cut: Cut) -> pa.Table:
    """The rows of a batch as the table stores them."""
    schema = row_schema()
    columns = [
        pa.array([row.values[field.name] for row in cut.rows], field.type) for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
