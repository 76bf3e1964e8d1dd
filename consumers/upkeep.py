"""Upkeep actor: keeps the table healthy while others write to it.

It plans, Ray tasks rewrite, the table keeper commits; old versions and files it removes itself, which
Lance allows beside any writer. It may be killed at any time and started again: all state is in the table.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import ray
from ray.exceptions import RayError

from consumers.keeper import find_keeper
from consumers.upkeep_work import UpkeepWork
from frameloop.adapters import lance_compaction
from frameloop.adapters.lance_compaction import CompactionJob
from frameloop.core.batch import CompactRequest
from frameloop.core.errors import FrameloopError
from frameloop.core.table_health import TableFacts
from frameloop.runtime import metrics
from frameloop.runtime.faults import reach
from frameloop.runtime.logs import configure_logging
from frameloop.runtime.settings import Settings

log = logging.getLogger(__name__)

TASK_SECONDS_MAX = 3600.0


def rewrite(job: CompactionJob) -> CompactRequest:
    """A Ray task: it runs in a process of its own, which bounds what a crash or its memory can harm."""
    configure_logging("rewrite")
    request = lance_compaction.execute(job)
    reach("upkeep.rewritten")
    return request


class UpkeepActor:
    """One per table."""

    def __init__(self, settings: Settings) -> None:
        configure_logging("upkeep")
        self._settings = settings
        self._work = UpkeepWork(settings)
        self._keeper = find_keeper(settings)
        # A task that died is not tried again as it is: the next round looks at the table anew.
        self._rewrite = ray.remote(rewrite).options(
            num_cpus=settings.upkeep.task_cpus, max_retries=0
        )
        self._stopping = asyncio.Event()
        self._facts: TableFacts | None = None
        self._clean_due = 0.0
        self._why = "not looked at yet"
        if settings.upkeep.enabled:
            metrics.UPKEEP_SUCCESS.set_to_current_time()  # 0 would say that it is switched off
        self._metrics_address = metrics.serve_metrics(settings.metrics.host)

    async def run(self) -> None:
        """Work until `stop`. A fault of ours ends the process: Ray starts the actor and this call again."""
        try:
            while self._settings.upkeep.enabled and not self._stopping.is_set():
                if not await self._round():
                    await self._wait(self._settings.upkeep.interval_s)
            await self._stopping.wait()
        except Exception:
            log.exception("upkeep can't go on and ends its process")
            os._exit(1)

    async def stop(self) -> None:
        """End after what is under way; a rewrite that is not committed by then is lost."""
        self._stopping.set()

    async def status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "why": self._why if self._settings.upkeep.enabled else "upkeep.enabled is false",
            "table": asdict(self._facts) if self._facts else None,
            "metrics_address": self._metrics_address,
        }

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _round(self) -> bool:
        """Both parts, whether the other fails or not: the next round looks at the table anew.

        True if there may be more to merge at once.
        """
        merged = await self._tried(self._merge)
        cleaned: bool | None = True
        if time.monotonic() >= self._clean_due:
            cleaned = await self._tried(self._clean)
        if merged is not None and cleaned is not None:
            metrics.UPKEEP_SUCCESS.set_to_current_time()
        return bool(merged)

    async def _tried(self, part: Callable[[], Awaitable[bool]]) -> bool | None:
        """None if it failed."""
        try:
            return await part()
        except (RayError, FrameloopError, OSError, ValueError) as error:
            self._why = f"the last round failed: {error}"
            log.exception("a part of upkeep failed; the next round follows")
            return None

    async def _merge(self) -> bool:
        """True if something was merged, which may be merged again with others."""
        jobs = await asyncio.to_thread(self._work.plan)
        places = asyncio.Semaphore(self._settings.upkeep.tasks)
        done = await asyncio.gather(*(self._compact(job, places) for job in jobs))
        self._why = f"{sum(done)} of {len(jobs)} merges done" if jobs else "nothing to merge"
        return any(done)

    async def _compact(self, job: CompactionJob, places: asyncio.Semaphore) -> bool:
        """True if it was committed. A failure costs the bytes written, and nothing else."""
        async with places:
            if self._stopping.is_set():
                return False
            ref = self._rewrite.remote(job)
            try:
                request = await asyncio.wait_for(ref, TASK_SECONDS_MAX)
                reach("upkeep.executed")
                await self._keeper.commit.remote(request)
            except (RayError, FrameloopError, TimeoutError) as error:
                ray.cancel(ref, force=True)
                metrics.COMPACTIONS.labels("failed").inc()
                log.warning("fragments %s could not be merged: %s", job.fragment_ids, error)
                return False
        metrics.COMPACTIONS.labels("done").inc()
        metrics.COMPACTED_BYTES.inc(job.size)
        metrics.UPKEEP_SUCCESS.set_to_current_time()  # a backlog takes long, and goes on
        log.info("%d fragments of %d bytes are one", len(job.fragment_ids), job.size)
        return True

    async def _clean(self) -> bool:
        removed = await asyncio.to_thread(self._work.clean)
        reach("upkeep.cleaned")
        metrics.REMOVED_BYTES.inc(removed.size)
        await asyncio.to_thread(self._work.tend_index)
        self._facts = await asyncio.to_thread(self._work.look)
        self._show(self._facts)
        self._clean_due = time.monotonic() + self._settings.upkeep.clean_interval_s
        return True

    def _show(self, facts: TableFacts) -> None:
        metrics.TABLE_SMALL_FRAGMENTS.set(facts.small_count)
        metrics.TABLE_SMALL_FRAGMENTS_MAX.set(self._work.bounds.small_max)
        metrics.TABLE_VERSIONS.set(facts.versions)
        metrics.TABLE_VERSION_AGE.set(facts.version_age_s_max)
        metrics.TABLE_VERSION_AGE_MAX.set(self._work.bounds.version_age_s_max)
        metrics.TABLE_FILES.set(facts.files)
        metrics.TABLE_BYTES.set(facts.size)
        metrics.TABLE_UNNAMED_FILES.set(facts.unnamed_count)
        metrics.TABLE_UNNAMED_BYTES.set(facts.unnamed_size)
        metrics.TABLE_TAGS.set(len(facts.tags))
        metrics.TABLE_OPEN_SECONDS.set(facts.open_seconds)
        metrics.TABLE_UNINDEXED_ROWS.set(facts.rows_unindexed or 0)
