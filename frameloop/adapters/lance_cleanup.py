"""Old versions and files that no version names: what is there, and removing what may go.

Lance itself decides which files may go: those of versions that are removed, and those that no version
names once they are 7 days old (so a writer has days to have its files committed). Tagged versions stay.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import lance

from frameloop.core.errors import TransientError

FILES_LISTED_MAX = 1_000_000
EVERY_VERSION = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Removed:
    """What one clean-up removed. `size` is bytes."""

    versions: int
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class UnnamedFiles:
    """Data files that no version names: of writers that died, or about to be committed.

    `overdue` of them are old enough to be removed, and were not yet.
    """

    count: int
    size: int
    overdue: int


def clean_up(dataset: lance.LanceDataset, keep: timedelta) -> Removed:
    """Remove versions older than `keep`, but for the latest and tagged ones, and what only they name.

    Safe beside writers and readers of newer versions. Raises `TransientError`.
    """
    try:
        stats = dataset.cleanup_old_versions(
            max(keep, EVERY_VERSION), error_if_tagged_old_versions=False
        )
    except OSError as error:
        raise TransientError(f"old versions could not be removed: {error}") from error
    files = (
        stats.data_files_removed
        + stats.transaction_files_removed
        + stats.index_files_removed
        + stats.deletion_files_removed
    )
    return Removed(stats.old_versions, files, stats.bytes_removed)


def unnamed_files(dataset: lance.LanceDataset) -> UnnamedFiles:
    """Found by asking Lance what a clean-up would remove, without removing it."""
    old = _removable(dataset, whatever_age=False)
    overdue = {path: size for path, (size, is_unnamed) in old.items() if is_unnamed}
    every = _removable(dataset, whatever_age=True)
    young = {path: size for path, (size, _) in every.items() if path not in old}
    return UnnamedFiles(
        len(overdue) + len(young), sum(overdue.values()) + sum(young.values()), len(overdue)
    )


def _removable(dataset: lance.LanceDataset, *, whatever_age: bool) -> dict[str, tuple[int, bool]]:
    """Data files that would go with all versions but the latest and tagged ones, by path: bytes, and
    whether no version names it. (The latter is said of every file where age does not matter.)
    """
    explained = dataset.explain_cleanup_old_versions(
        EVERY_VERSION,
        delete_unverified=whatever_age,
        error_if_tagged_old_versions=False,
        include_files=True,
        max_files=FILES_LISTED_MAX,
    )
    files = [file for file in explained.candidate_files if file.kind == "data"]
    return {file.path: (int(file.size_bytes), bool(file.unverified)) for file in files}


def version_ages_s(dataset: lance.LanceDataset, now: datetime | None = None) -> dict[int, float]:
    """Seconds since each version that is still there was committed."""
    now = now or datetime.now(UTC)
    return {
        int(each["version"]): (now - each["timestamp"].astimezone(UTC)).total_seconds()
        for each in dataset.versions()
    }
