"""A day of micro-batches in short: counts stay bounded. `make bench-upkeep` plays it whole, with times."""

from pathlib import Path

import lance

from benchmarks.upkeep import SECONDS_A_COMMIT, Day
from consumers.upkeep_work import UpkeepWork
from frameloop.core.table_health import judge
from frameloop.runtime.settings import Settings
from tests.integration.test_commit_loop import offsets_in_table

COMMITS = 300
ROWS = 2
KEEP_COMMITS = 60


def day(folder: Path, *, upkeep: bool = True) -> Day:
    settings = Settings(
        data_dir=folder,
        upkeep={
            "fragment_bytes": 1 << 17,
            "keep_versions_s": KEEP_COMMITS * SECONDS_A_COMMIT,
            "clean_interval_s": 20 * SECONDS_A_COMMIT,
        },
    )
    return Day(settings.table_uri, UpkeepWork(settings), ROWS, 2048, upkeep=upkeep)


def test_fragments_versions_and_files_stay_bounded_over_many_commits(tmp_path: Path) -> None:
    played = day(tmp_path)
    played.play(COMMITS)
    facts = played.work.look()
    limits = played.work.bounds.limits
    full_max = facts.size // limits.full_bytes + 1
    assert facts.full > 3
    assert played.most["fragments"] <= 1 + full_max + limits.small_max
    # Two versions a commit (rows, labels) and one a merge, of what is kept and what came since.
    assert played.most["versions"] <= 3 * (KEEP_COMMITS + 20)
    assert played.most["files"] <= 10 * (KEEP_COMMITS + 20) + 2 * played.most["fragments"]
    assert played.merged_bytes <= limits.tier(4096) * played.batch_bytes
    assert [v.what for v in judge(facts, played.work.bounds) if not v.is_kept] == []
    table = lance.dataset(played.uri)
    assert table.count_rows("score1 = 50") == COMMITS * ROWS
    assert offsets_in_table(played.uri) == list(range(COMMITS * ROWS))


def test_without_upkeep_they_grow_with_every_commit(tmp_path: Path) -> None:
    """So the bounds of the other test say something."""
    played = day(tmp_path, upkeep=False)
    played.play(100)
    assert played.most["fragments"] == 101
    assert played.most["versions"] > 200
