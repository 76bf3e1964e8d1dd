"""Our side, without Ray: the service's own code scores fragments, writes columns, commits them."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import lance
from ray.actor import ActorHandle

from benchmarks.ingest.disk import tree_bytes
from benchmarks.label.rounds import Spent, Stopwatch
from benchmarks.label.rows import keeper_of
from benchmarks.label.scorers import LABELS
from consumers.apply_scores import ApplyScores
from consumers.commit_loop import CommitLoop
from frameloop.adapters import lance_table
from frameloop.core.batch import LabelRequest
from schemas.table import Label
from serve_apps.contract import Scorer
from serve_apps.fragment_scoring import FragmentRequest, score_fragment
from serve_apps.table_cache import TableCache


@dataclass(frozen=True, slots=True)
class Labelled:
    """What one pass took, from the look at the table to the commit. `bytes_written` is on disk."""

    spent: Spent
    rows: int
    bytes_written: int


class OurTable:
    """A copy of a table (its data files as hard links: they never change) to be labelled once."""

    def __init__(self, original: Path, at: Path, labels: Sequence[Label] = LABELS) -> None:
        shutil.rmtree(at, ignore_errors=True)
        shutil.copytree(original, at, copy_function=lambda a, b: Path(b).hardlink_to(a))
        self.path = at
        self.keeper: CommitLoop = keeper_of(str(at), labels)

    def label(self, label: Label, make: Callable[[], Scorer], threads: int) -> Labelled:
        """All fragments that lack it, `threads` at once, in one commit, as the keeper groups them."""
        scorers = [make() for _ in range(threads)]
        caches = [TableCache() for _ in range(threads)]
        before = tree_bytes(self.path)
        watch = Stopwatch.synced()
        table = lance.dataset(str(self.path))
        missing = lance_table.unlabelled_fragments(table, label.name)

        uri, version = str(self.path), int(table.version)

        def work(index: int) -> list[LabelRequest]:
            return [
                label_fragment(uri, version, each, label, scorers[index], caches[index])
                for each in missing[index::threads]
            ]

        with ThreadPoolExecutor(threads) as pool:
            requests = [each for part in pool.map(work, range(threads)) for each in part]
        self.commit(requests)
        spent = watch.spent()
        rows = sum(each.rows for each in requests)
        return Labelled(spent, rows, tree_bytes(self.path) - before)

    @property
    def rows(self) -> int:
        return lance_table.count_screenshots(self.keeper.dataset)

    def unlabelled(self, label: Label) -> list[int]:
        return lance_table.unlabelled_fragments(lance.dataset(str(self.path)), label.name)

    def label_fragment(self, fragment_id: int, label: Label, scorer: Scorer) -> LabelRequest:
        """At the latest version; not yet committed."""
        version = int(lance.dataset(str(self.path)).version)
        return label_fragment(str(self.path), version, fragment_id, label, scorer, TableCache())

    def commit(self, requests: list[LabelRequest]) -> None:
        """All of them, in one version of the table."""
        answers = self.keeper.step(requests).answers
        failed = [each for each in answers.values() if isinstance(each, Exception)]
        if failed or len(answers) != len(requests):
            raise SystemExit(f"not all labels were taken: {failed}")


def label_fragment(
    uri: str, version: int, fragment_id: int, label: Label, scorer: Scorer, cache: TableCache
) -> LabelRequest:
    """What replica and consumer do for one fragment: read, score, write the columns."""
    scores = score_fragment(FragmentRequest(uri, version, fragment_id, label), scorer, cache)
    # The consumer's own step; the keeper is asked for all fragments at once, so there is no actor.
    written = ApplyScores(uri, cast(ActorHandle, None))._write(scores, scores.columns)
    if written is None:
        raise SystemExit(f"fragment {fragment_id} was not labelled")
    return written
