"""Counts what `frameloop table health` shows."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import lance
from lance.file import LanceFileSession

from frameloop.adapters import lance_table
from frameloop.adapters.lance_cleanup import unnamed_files, version_ages_s
from frameloop.adapters.lance_compaction import read_facts
from frameloop.adapters.lance_index import index_state
from frameloop.core.table_health import TableFacts, TagFacts
from frameloop.core.upkeep import UpkeepLimits


def read_health(uri: str, labels: Sequence[str], limits: UpkeepLimits) -> TableFacts:
    """Reads metadata only: the list of files, and the manifest of each version that is kept.

    About a second for a thousand versions. Raises `ValueError` if there is no table and `OSError` if
    the storage refuses.
    """
    began = time.perf_counter()
    dataset = lance.dataset(uri)
    facts = read_facts(dataset, labels)
    open_seconds = time.perf_counter() - began
    ordinary = [each for each in facts if not each.is_ledger and each.is_labelled]
    tiers = Counter(limits.tier(each.size) for each in ordinary)
    full = tiers.pop(0, 0)
    ages = version_ages_s(dataset)
    tags = _tags(dataset)
    pinned = {tag.version for tag in tags} | {int(dataset.version)}
    unnamed = unnamed_files(dataset)
    index = index_state(dataset)
    return TableFacts(
        version=int(dataset.version),
        rows=lance_table.count_screenshots(dataset),
        fragments=len(facts),
        full=full,
        small=dict(sorted(tiers.items())),
        unlabelled=sum(not each.is_labelled for each in facts),
        size=sum(each.size for each in facts),
        versions=len(ages),
        version_age_s_max=max((age for v, age in ages.items() if v not in pinned), default=0.0),
        files=len(LanceFileSession(uri).list()),
        unnamed_count=unnamed.count,
        unnamed_size=unnamed.size,
        unnamed_overdue=unnamed.overdue,
        tags=tags,
        open_seconds=open_seconds,
        rows_unindexed=index.rows_unindexed if index else None,
    )


def _tags(dataset: lance.LanceDataset) -> tuple[TagFacts, ...]:
    now = datetime.now(UTC)
    found: dict[str, Any] = dataset.tags.list()
    return tuple(
        TagFacts(name, int(tag["version"]), (now - tag["created_at"]).total_seconds())
        for name, tag in sorted(found.items())
    )
