"""The system clock may jump: nothing about delivery rests on it. Each use of it is listed here."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WALL_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today"}
USES = {
    "consumers/apply_scores.py": "age of files, within a day of six days' slack (docs/protocol.md)",
    "consumers/hand_over.py": "the same",
    "consumers/commit_loop.py": "the same; and the time that a notice tells",
    "consumers/resolve.py": "`ingested_at`, and the time that a dead letter tells",
    "consumers/training_run.py": "when a run started and ended, and its name",
    "consumers/upkeep_work.py": "age of tags that no run has a record of",
    "frameloop/adapters/answer.py": "Retry-After as a date, when the answer has no Date of its own",
    "frameloop/adapters/lance_cleanup.py": "age of versions",
    "frameloop/adapters/lance_compaction.py": "age of files",
    "frameloop/adapters/lance_health.py": "age of tags, for show",
    "serve_apps/vlm_http.py": "Retry-After as a date",
}
"""What each file wants to know the time for. Waiting, timing out and retrying use monotonic clocks."""


def wall_clock_users() -> set[str]:
    found = set()
    for folder in ("consumers", "serve_apps", "schemas", "frameloop/core", "frameloop/adapters"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
            if any(ast.unparse(node) in WALL_CLOCKS for node in attributes):
                found.add(str(path.relative_to(ROOT)))
    return found


def test_the_wall_clock_is_read_only_where_it_is_listed_and_why() -> None:
    assert wall_clock_users() == set(USES)
