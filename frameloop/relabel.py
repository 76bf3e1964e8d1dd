"""Have rows labelled again by the service that runs: those out of date, or those with an error."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import lance
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from frameloop.adapters import lance_table
from frameloop.core.errors import FatalError, FrameloopError, SettingsError
from frameloop.core.labels import Task, failed, stale
from frameloop.runtime.settings import Settings

FRAGMENTS_AT_ONCE = 4
"""For each scoring actor: fresh rows are labelled beside them."""
ANSWER_SECONDS_MAX = 60.0


class Which(StrEnum):
    STALE = "stale"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Again:
    """Rows of one fragment to be scored again: those that pass the filter."""

    task: Task
    row_filter: str
    rows: int


class Relabelling:
    """One command's work. What is done is in the table, so it can be broken off and begun again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._actors = _scoring_actors(settings)

    def plan(self, labels: Sequence[str], which: Which) -> list[Again]:
        """What is to be done, newest first. Searches the labels' columns of the whole table."""
        facts = _answered(self._actors[0].facts.remote())
        dataset = lance.dataset(self._settings.table_uri)
        state = lance_table.label_state(dataset, self._settings.labels)
        found = []
        for fragment in sorted(state, key=lambda each: each.fragment_id, reverse=True):
            for name in labels:
                if name in fragment.missing:
                    continue  # the service labels it by itself
                label = self._settings.labels[name]
                is_stale = which is Which.STALE
                wanted = (
                    stale(name, facts[name].scorer, label.row_filter) if is_stale else failed(name)
                )
                rows = dataset.get_fragment(fragment.fragment_id).count_rows(wanted)
                if rows:
                    found.append(Again(Task(name, fragment.fragment_id), wanted, int(rows)))
        return found

    def run(self, plan: Sequence[Again]) -> Iterator[tuple[Again, int | FrameloopError]]:
        """Each piece as it is done, with its rows or what went wrong with it."""
        waiting = list(reversed(plan))
        under_way: dict[Any, Again] = {}
        while waiting or under_way:
            while waiting and len(under_way) < FRAGMENTS_AT_ONCE * len(self._actors):
                piece = waiting.pop()
                under_way[self._begin(piece)] = piece
            (done,), _ = ray.wait(list(under_way), num_returns=1)
            piece = under_way.pop(done)
            try:
                yield piece, int(ray.get(done))
            except FrameloopError as error:
                yield piece, error
            except RayError as error:
                yield piece, FatalError(f"the scoring actor failed: {error}")

    def _begin(self, piece: Again) -> Any:
        task = piece.task
        actor = self._actors[task.fragment_id % len(self._actors)]
        return actor.label_again.remote(task.label, task.fragment_id, piece.row_filter)


def _scoring_actors(settings: Settings) -> list[ActorHandle]:
    """Raises `SettingsError` if no service runs that these settings lead to."""
    namespace = settings.ray.namespace
    try:
        if not ray.is_initialized():
            address = settings.ray.address or os.environ.get("RAY_ADDRESS") or "auto"
            ray.init(address=address, namespace=namespace, logging_level="ERROR")
        names = [f"scoring-{index}" for index in range(settings.scoring.actors)]
        return [ray.get_actor(name, namespace=namespace) for name in names]
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"ray.address, ray.namespace: no service is found that runs with these settings; start "
            f"`frameloop up` first ({str(error).splitlines()[0]})"
        ) from None


def _answered(reference: Any) -> Any:
    try:
        return ray.get(reference, timeout=ANSWER_SECONDS_MAX)
    except RayError as error:
        raise FatalError(f"the scoring actor does not answer: {error}") from error
