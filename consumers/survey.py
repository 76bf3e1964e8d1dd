"""Survey: which fragments hold rows whose label is out of date, a few fragments at each look.

A label goes out of date when its scorer's version changes, or when another label changes that its
filter asks for. Metadata does not show that, so fragments are searched, each once for each of its
states: what is done at a look is bounded, however large the table is.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import lance

from frameloop.core.labels import FragmentLabels, Task, stale
from frameloop.runtime import metrics
from frameloop.runtime.settings import Settings
from serve_apps.app import ScorerFacts

Found = list[tuple[Task, str]]
State = tuple[int, str]
"""What decides whether rows are out of date: the fragment's files, and the scorer."""


class Survey:
    """Of one scoring consumer, over its share of the fragments."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stale: dict[Task, tuple[State, int]] = {}

    async def look(
        self, version: int, fragments: Sequence[FragmentLabels], facts: Mapping[str, ScorerFacts]
    ) -> Found:
        """Tasks for labels that are to be scored again by themselves, with the filter for each."""
        return await asyncio.to_thread(self._look, version, fragments, facts)

    def _look(
        self, version: int, fragments: Sequence[FragmentLabels], facts: Mapping[str, ScorerFacts]
    ) -> Found:
        dataset = lance.dataset(self._settings.table_uri, version=version)
        present = {each.fragment_id for each in fragments}
        self._stale = {t: s for t, s in self._stale.items() if t.fragment_id in present}
        left = self._settings.scoring.survey_fragments
        found: Found = []
        for task, files, scorer in self._tasks(fragments, facts):
            label = self._settings.labels[task.label]
            row_filter = stale(task.label, scorer, label.row_filter)
            state, rows = self._stale.get(task, (None, 0))
            if state != (files, scorer):
                if left == 0:
                    continue
                left -= 1
                rows = int(dataset.get_fragment(task.fragment_id).count_rows(row_filter))
                self._stale[task] = ((files, scorer), rows)
            if rows and label.rescore:
                found.append((task, row_filter))
        self._show()
        return found

    def _tasks(
        self, fragments: Sequence[FragmentLabels], facts: Mapping[str, ScorerFacts]
    ) -> Iterator[tuple[Task, int, str]]:
        for fragment in sorted(fragments, key=lambda each: each.fragment_id, reverse=True):
            for name in self._settings.labels:
                if name not in fragment.missing:
                    task = Task(name, fragment.fragment_id)
                    yield task, fragment.files, facts[name].scorer

    def _show(self) -> None:
        for label in self._settings.labels:
            rows = sum(n for task, (_, n) in self._stale.items() if task.label == label)
            metrics.STALE_ROWS.labels(label).set(rows)
