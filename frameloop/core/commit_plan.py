"""Which of the waiting requests go into the next table commit, and what becomes of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from frameloop.core.batch import AppendRequest, CommitRequest, LabelRequest, RewindRequest
from frameloop.core.errors import Conflict, DuplicateRows, FrameloopError
from frameloop.core.ledger import Ledger
from frameloop.core.row_ids import RowIds


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """One commit. `taken`, `refused`, `present` and `deferred` hold positions in the input."""

    ledger: Ledger
    taken: tuple[int, ...]
    refused: Mapping[int, FrameloopError]
    present: tuple[int, ...] = ()
    """Already in the table from an earlier attempt: to be acknowledged, not done again."""
    deferred: tuple[int, ...] = ()
    """For the next commit: a fragment can change only once in one commit."""
    appends: tuple[AppendRequest, ...] = ()
    labels: tuple[LabelRequest, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.taken


@dataclass(slots=True)
class _Draft:
    ledger: Ledger
    taken: list[int] = field(default_factory=list)
    refused: dict[int, FrameloopError] = field(default_factory=dict)
    present: list[int] = field(default_factory=list)
    deferred: list[int] = field(default_factory=list)
    appends: list[AppendRequest] = field(default_factory=list)
    labels: list[LabelRequest] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    row_ids: RowIds = field(default_factory=RowIds)
    """Of the batches in this commit."""


@dataclass(frozen=True, slots=True)
class TableState:
    """What a commit is planned on."""

    ledger: Ledger
    fragments: Mapping[int, str]
    """Metadata JSON of the fragments that labels ask for, by id."""
    row_ids: RowIds


def plan_commit(
    table: TableState, requests: Sequence[CommitRequest], *, outbox_max: int
) -> CommitPlan:
    """Plan the next commit on the table as it is.

    Guarantee: applying the plan as one atomic commit keeps every offset in exactly one batch and
    every id in one row, and no column file is put on a fragment other than its own.
    """
    draft = _Draft(table.ledger)
    for index, request in enumerate(requests):
        try:
            if isinstance(request, AppendRequest):
                _plan_append(draft, index, request, (table.row_ids, outbox_max))
            elif isinstance(request, RewindRequest):
                draft.ledger = draft.ledger.rewound(request)
                draft.taken.append(index)
            else:
                _plan_label(draft, index, request, table.fragments)
        except FrameloopError as error:
            draft.refused[index] = error
    return CommitPlan(
        ledger=draft.ledger,
        taken=tuple(draft.taken),
        refused=draft.refused,
        present=tuple(draft.present),
        deferred=tuple(draft.deferred),
        appends=tuple(draft.appends),
        labels=tuple(draft.labels),
    )


def _plan_append(
    draft: _Draft, index: int, batch: AppendRequest, limits: tuple[RowIds, int]
) -> None:
    if draft.ledger.has(batch):
        draft.present.append(index)
        return
    row_ids, outbox_max = limits
    draft.ledger.check(batch, outbox_max)
    if twice := {*row_ids.known(batch.ids), *draft.row_ids.known(batch.ids)}:
        raise DuplicateRows(tuple(sorted(twice)))
    draft.row_ids.add(batch.ids)
    draft.ledger = draft.ledger.with_batch(batch)
    draft.appends.append(batch)
    draft.taken.append(index)


def _plan_label(
    draft: _Draft, index: int, label: LabelRequest, fragments: Mapping[int, str]
) -> None:
    if label.fragment_id in draft.touched:
        draft.deferred.append(index)
        return
    present = fragments.get(label.fragment_id)
    if present is None:
        raise Conflict(f"fragment {label.fragment_id} is no longer in the table")
    if present != label.base:
        raise Conflict(f"fragment {label.fragment_id} has changed since it was scored")
    draft.touched.add(label.fragment_id)
    draft.labels.append(label)
    draft.taken.append(index)
