"""What upkeep does to the table, without Ray: plan merges, clean up, tend the index, look.

It holds no state: a process that is killed at any point leaves at most files that no version names, and the
next one looks at the table anew.
"""

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import lance

from frameloop.adapters.lance_cleanup import Removed, clean_up
from frameloop.adapters.lance_compaction import CompactionJob, compose_jobs, read_facts
from frameloop.adapters.lance_health import read_health
from frameloop.adapters.lance_index import tend_index
from frameloop.adapters.runs_table import load_runs
from frameloop.core.table_health import Bounds, TableFacts
from frameloop.core.training import RunStatus
from frameloop.core.upkeep import plan_groups
from frameloop.runtime.settings import Settings

log = logging.getLogger(__name__)

GROUPS_MAX = 64
"""In one round: then the table is looked at again, and cleaned up if that is due."""
TAG_PREFIX = "run-"
TAG_WITHOUT_RUN_S_MAX = 7 * 24 * 3600.0
"""A run is tagged before it is recorded, and may wait for a GPU in between."""


@dataclass(frozen=True, slots=True)
class UpkeepWork:
    """Upkeep of the table that the settings name."""

    settings: Settings

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.settings.labels)

    @property
    def bounds(self) -> Bounds:
        upkeep = self.settings.upkeep
        return Bounds(upkeep.limits, upkeep.keep_versions_s, upkeep.clean_interval_s)

    def plan(self) -> list[CompactionJob]:
        """Merges that can be done now, each apart from the others; none if the table is in order."""
        dataset = lance.dataset(self.settings.table_uri)
        groups = plan_groups(read_facts(dataset, self.labels), self.settings.upkeep.limits)
        return compose_jobs(dataset, groups[:GROUPS_MAX])

    def clean(self, keep: timedelta | None = None) -> Removed:
        """Give back tags of runs that ended, then remove old versions and files that nobody needs."""
        self.untag_ended()
        keep = keep or timedelta(seconds=self.settings.upkeep.keep_versions_s)
        return clean_up(lance.dataset(self.settings.table_uri), keep)

    def untag_ended(self) -> list[str]:
        """Tags of training runs whose record says that they ended, or that never had a record."""
        dataset = lance.dataset(self.settings.table_uri)
        records = {run.tag: run for run in load_runs(self.settings.runs_uri)}
        now = datetime.now(UTC)
        removed = []
        for name, tag in dataset.tags.list().items():
            if not name.startswith(TAG_PREFIX):
                continue
            run = records.get(name)
            age_s = (now - tag["created_at"]).total_seconds()
            if (run and run.status is not RunStatus.RUNNING) or (
                run is None and age_s > TAG_WITHOUT_RUN_S_MAX
            ):
                dataset.tags.delete(name)
                log.info("tag %s of version %d removed: its run is over", name, tag["version"])
                removed.append(name)
        return removed

    def tend_index(self) -> bool:
        """True if the index was made or brought up to date."""
        if not self.settings.upkeep.index_id:
            return False
        began = time.perf_counter()
        done = tend_index(lance.dataset(self.settings.table_uri))
        if done:
            log.info("the index on id is up to date, after %.1f s", time.perf_counter() - began)
        return done

    def look(self) -> TableFacts:
        return read_health(self.settings.table_uri, self.labels, self.settings.upkeep.limits)
