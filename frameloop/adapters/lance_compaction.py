"""Compaction of chosen fragments: Lance rewrites them, the choice is ours (`frameloop.core.upkeep`).

Lance's planner counts rows and knows nothing of labels. Its tasks travel as JSON though, so a task is
composed here from the metadata of exactly the fragments that were chosen. Executing one only writes
files; `commit` makes them part of the table.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import lance
from lance.optimize import Compaction, CompactionTask, RewriteResult

from frameloop.adapters import lance_table
from frameloop.adapters.lance_index import fragments_by_index
from frameloop.core.batch import CompactRequest
from frameloop.core.errors import Conflict, TransientError
from frameloop.core.upkeep import FragmentFacts

ROWS_UNBOUNDED = 1 << 40
"""The group is what bounds a new fragment."""
BATCH_BYTES = 8 << 20
BATCH_ROWS_MAX = 1024
IO_BUFFER_BYTES = 128 << 20
"""Lance reads ahead up to this; its own default is 2 GB."""
VERSION_FIELDS = ("created_at_version_meta", "last_updated_at_version_meta")


@dataclass(frozen=True, slots=True)
class CompactionJob:
    """One group, as it travels to whoever executes it. `size` is bytes of the old files."""

    uri: str
    version: int
    task: str
    fragment_ids: tuple[int, ...]
    base: tuple[str, ...]
    rows: int
    size: int


def read_facts(dataset: lance.LanceDataset, labels: Sequence[str]) -> list[FragmentFacts]:
    """Every fragment in the table's order, from metadata alone."""
    ledger = {int(f.fragment_id) for f in lance_table.ledger_fragments(dataset)}
    indexes = fragments_by_index(dataset)
    state = lance_table.label_state(dataset, labels)
    unlabelled = {each.fragment_id for each in state if each.missing}
    found = []
    for fragment in dataset.get_fragments():
        number = int(fragment.fragment_id)
        physical = int(fragment.physical_rows)
        found.append(
            FragmentFacts(
                fragment_id=number,
                rows=physical - int(fragment.num_deletions),
                rows_physical=physical,
                size=sum(file.file_size_bytes or 0 for file in fragment.data_files()),
                is_ledger=number in ledger,
                is_labelled=number not in unlabelled,
                indexed_by=frozenset(
                    name for name, covered in indexes.items() if number in covered
                ),
            )
        )
    return found


def compose_jobs(
    dataset: lance.LanceDataset, groups: Sequence[Sequence[FragmentFacts]]
) -> list[CompactionJob]:
    """A task for each group, at the dataset's version."""
    return [_compose(dataset, group) for group in groups]


def _compose(dataset: lance.LanceDataset, group: Sequence[FragmentFacts]) -> CompactionJob:
    row_bytes = max(each.size / max(each.rows_physical, 1) for each in group)
    options = {
        "target_rows_per_fragment": ROWS_UNBOUNDED,
        "batch_size": max(1, min(BATCH_ROWS_MAX, int(BATCH_BYTES / max(row_bytes, 1)))),
        "io_buffer_size": IO_BUFFER_BYTES,
        "num_threads": 1,
        "max_source_fragments": 1,
    }
    # Of Lance's plan only the options are used, as it spells them.
    plan = json.loads(Compaction.plan(dataset, options).json())
    fragments = [dataset.get_fragment(each.fragment_id).metadata for each in group]
    task = {
        "task": {"fragments": [fragment.to_json() for fragment in fragments]},
        "read_version": int(dataset.version),
        "options": {**plan["options"], "max_source_fragments": None},
    }
    return CompactionJob(
        uri=dataset.uri,
        version=int(dataset.version),
        task=json.dumps(task),
        fragment_ids=tuple(each.fragment_id for each in group),
        base=tuple(lance_table.metadata_json(fragment) for fragment in fragments),
        rows=sum(each.rows for each in group),
        size=sum(each.size for each in group),
    )


def execute(job: CompactionJob) -> CompactRequest:
    """Write the merged fragment's file. Nobody sees it before a commit.

    Raises `TransientError` if the storage refuses, or has the version no longer.
    """
    began_ms = time.time_ns() // 1_000_000
    try:
        dataset = lance.dataset(job.uri, version=job.version)
        result = CompactionTask.from_json(job.task).execute(dataset)
    except (OSError, ValueError) as error:
        raise TransientError(f"fragments {job.fragment_ids}: not rewritten: {error}") from error
    rewrite = json.loads(result.json())
    for fragment in rewrite["new_fragments"]:
        # Ten bytes and more for each batch there ever was, in every manifest for ever: the columns
        # `_row_created_at_version` and its like, which nothing here reads.
        for name in VERSION_FIELDS:
            fragment.pop(name, None)
    return CompactRequest(
        job.fragment_ids, job.base, json.dumps(rewrite), job.rows, written_at_ms=began_ms
    )


def commit(dataset: lance.LanceDataset, request: CompactRequest) -> None:
    """Put the merged fragments in the place of the old ones: one version.

    Row ids and rows stay, so it may come between any other commits; Lance refuses it if one of them has
    touched the old fragments since they were read. Raises `Conflict` then, and `TransientError`
    when the storage failed: whether it was committed is then unknown.
    """
    try:
        Compaction.commit(dataset, [RewriteResult.from_json(request.rewrite)])
    except OSError as error:
        if "conflict" in str(error).lower():
            raise Conflict(str(error).split(", /")[0]) from error
        raise TransientError(f"the compaction's commit failed: {error}") from error
